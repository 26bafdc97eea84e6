# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Brings the stack up and down, service by service.

Separate because this is the order of events, while services.py is the list
of who takes part.
"""

import concurrent.futures
import os
import shutil
import time

import databases
import environment
import machine
import paths
import ports
import prepare
import processes
import render
import services
import testdb
import venvs

FOLDERS = (
    'bank', 'bank-noop', 'bin', 'cinder/conversion', 'cinder/lock',
    'cinder/volumes', 'glance/images', 'glance/lock', 'glance/staging',
    'glance/tasks', 'karbor/lock', 'log', 'neutron/lock', 'nova/disks',
    'nova/instances', 'nova/lock', 'noop', 'run', 'swift/disk')
CLOUD_ONLY = paths.STATE / 'cloud_only'
PATIENCE = 180
# As root nothing needs sudo; anyone else gets root's powers over his own
# files from a user namespace.
SUDO = '''#!/bin/sh
# Stands in for sudo: cinder-backup asks for it to start its helper.
while [ "${1#-}" != "$1" ]; do shift; done
case "$1" in *-rootwrap) shift 2;; esac
[ "$(id -u)" = 0 ] && exec "$@"
exec unshare --map-root-user "$@"
'''


class Stack:

    def __init__(self, cloud, product):
        """:param product: folder of karbor's environment, None without"""
        self.cloud = cloud
        self.product = product
        self.table = services.table(cloud, product)

    def launch(self, *names):
        """Start without waiting."""
        for name in names:
            service = self.table[name]
            env = dict(self._env(name), **service.env)
            processes.start(name, service.command, env)

    def start(self, *names):
        """Start and wait until each is well."""
        self.launch(*names)
        for name in names:
            self._await(name)

    def _env(self, name):
        if name.startswith('karbor-'):
            return environment.of_karbor(self.product)
        return environment.of_services(self.cloud)

    def _await(self, name):
        log = paths.LOG / f'{name}.log'
        end = time.monotonic() + PATIENCE
        while not self.table[name].well():
            if not processes.leader(name):
                raise SystemExit(f'{name} ended at once; see {log}')
            if time.monotonic() > end:
                raise SystemExit(
                    f'{name} is not well after {PATIENCE} s; see {log}')
            time.sleep(0.2)

    def start_all(self):
        """In small groups: start-up is all processor, and processors few."""
        waiting = [name for name in self.table if not self._is_well(name)]
        size = 2 * (os.cpu_count() or 1)
        while waiting:
            self.start(*waiting[:size])
            waiting = waiting[size:]

    def _is_well(self, name):
        return processes.leader(name) and self.table[name].well()

    def stop(self, *names):
        """What the others stand on goes last."""
        base = [name for name in names if name in services.BASE]
        for group in ([name for name in names if name not in base], base):
            processes.stop(group, whole=('rabbitmq',))

    def health(self):
        """Map each service to 'ok', 'ill' or 'down'."""
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            return dict(zip(self.table, pool.map(self._health, self.table),
                            strict=True))

    def _health(self, name):
        if not processes.leader(name):
            return 'down'
        return 'ok' if self.table[name].well() else 'ill'


def existing():
    """The stack as it was last brought up; makes nothing."""
    if not paths.ETC.exists():
        raise SystemExit('there is no stack yet; run "tools/stack up"')
    product = None if CLOUD_ONLY.exists() else venvs.folder('product')
    return Stack(venvs.folder('cloud'), product)


def up(cloud_only):
    """Bring everything up; what runs already is left alone."""
    machine.check()
    ports.remember()
    cloud = venvs.ready('cloud')
    product = None if cloud_only else venvs.ready('product')
    _lay_out(cloud, cloud_only)
    stack = Stack(cloud, product)
    stack.launch('epmd', 'memcached', 'rabbitmq')
    prepare.state(cloud, stack)
    stack.start('mariadb')
    if product:
        _sync_karbor(product)
    stack.start_all()
    processes.say('all services are well')
    prepare.seed(cloud)
    processes.say('up; eval "$(tools/stack env demo)" makes you a user of it')


def _lay_out(cloud, cloud_only):
    for name in FOLDERS:
        (paths.STATE / name).mkdir(parents=True, exist_ok=True)
    if cloud_only:
        CLOUD_ONLY.touch()
    else:
        CLOUD_ONLY.unlink(missing_ok=True)
    render.write(cloud)
    environment.write_clouds()
    sudo = paths.BIN / 'sudo'
    sudo.write_text(SUDO)
    sudo.chmod(0o755)


def _sync_karbor(product):
    databases.query('CREATE DATABASE IF NOT EXISTS karbor '
                    'CHARACTER SET utf8mb4')
    conf = paths.ETC / 'karbor' / 'karbor.conf'
    databases.run([product / 'bin' / 'karbor-manage', '--config-file', conf,
                   'db', 'sync'], environment.of_karbor(product),
                  'schema-karbor')
    processes.say('schema-karbor ready')


def start(names):
    """Start again what was stopped, with configuration written afresh."""
    stack = existing()
    render.write(stack.cloud)
    if any(name.startswith('karbor-') for name in names):
        venvs.ready('product')
    stack.start(*names)


def down():
    if paths.ETC.exists():
        Stack(venvs.folder('cloud'), None).stop(*processes.running())
    processes.say('down')


def wipe():
    down()
    testdb.down()
    shutil.rmtree(paths.STATE, ignore_errors=True)
