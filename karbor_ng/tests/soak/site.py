# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""A karbor of its own beside the stack's, each process of which may die.

Separate because it knows programs, ports and files, and nothing of what is
done with them. Its database and its broker are its own as well: Cinder,
which loses what it is just doing when its database dies, keeps the stack's.
"""

import collections
import json
import os
import re
import shutil
import signal
import subprocess

import openstack

import databases
import environment
from karbor_ng.store import session
from karbor_ng.tests.functional import base
from karbor_ng.tests.soak import providers
import lifecycle
import paths
import ports
import processes
import render
import services
import venvs

HOME = providers.HOME
RUN = HOME / 'run'
LOG = HOME / 'log'
_PORTS = {'karbor': 15801, 'mariadb': 15341, 'rabbitmq': 15342,
          'distribution': 15343}
#: Hosts, which tell two programs of a kind apart.
HOSTS = ('soak-1', 'soak-2')
#: Seconds; short, so that many leases run out.
LEASE = 20
#: Seconds between two due times of a trigger, at least.
MIN_INTERVAL = 5

_ERROR = re.compile(
    r'\S+ \S+ \d+ ERROR (?P<logger>\S+) \[[^]]*\] (?P<said>.*)')
_ID = re.compile(r'\[?[0-9a-f]{8}-[0-9a-f-]{27}\]?')

_CONFIGURATION = '''[DEFAULT]
host = {host}
transport_url = rabbit://guest:guest@{ip}:{rabbitmq}/
state_path = {home}
osapi_karbor_listen_port = {karbor}
quota_plans = -1
min_interval = {min_interval}

[database]
connection = {database}

[oslo_concurrency]
lock_path = {home}/lock

[protection]
provider_config_dir = {home}/providers.d
lease_seconds = {lease}
sweep_seconds = 5
max_take_overs = 20
'''


class Site:
    """The programs and files of one soak.

    :param name: in the bank's container in Swift
    """

    def __init__(self, name):
        self.container = f'karbor-{name}'
        self.ports = {name: number + ports.offset()
                      for name, number in _PORTS.items()}
        self.url = f'http://{ports.IP}:{self.ports["karbor"]}'
        self._database = (
            f'mysql+pymysql://stack:{render.PASSWORD}@{ports.IP}:'
            f'{self.ports["mariadb"]}/karbor?charset=utf8mb4')
        self.db = session.Database(self._database, max_retries=0)
        self._product = venvs.folder('product')
        self._stack = lifecycle.existing()
        self._commands = self._table()

    # Files

    def lay_out(self):
        """Write everything anew; what another soak has left goes."""
        for name in self._commands:
            processes.kill(name, RUN)
        shutil.rmtree(HOME, ignore_errors=True)
        for name in ('run', 'log', 'lock', 'bank', 'bank-noop', 'noop',
                     'providers.d', 'rabbitmq'):
            (HOME / name).mkdir(parents=True)
        for host in HOSTS:
            self._write(f'{host}.conf', _CONFIGURATION.format(
                host=host, ip=ports.IP, home=HOME, lease=LEASE,
                min_interval=MIN_INTERVAL, database=self._database,
                **self.ports))
        for name, text in providers.FILES_OF.items():
            self._write(f'providers.d/{name}.conf', text.format(
                home=HOME, container=self.container,
                auth_url=render.auth_url(), password=render.PASSWORD))

    def _write(self, name, text):
        path = HOME / name
        path.write_text(text)
        path.chmod(0o600)

    def _files(self, host):
        return ['--config-file', paths.ETC / 'karbor' / 'karbor.conf',
                '--config-file', HOME / f'{host}.conf']

    # Programs

    @property
    def programs(self):
        """Return the names of all programs, in the order of their start."""
        return list(self._commands)

    def _table(self):
        rabbit = services.rabbit_env(
            HOME / 'rabbitmq', 'soak', self.ports['rabbitmq'],
            self.ports['distribution'])
        cloud = environment.of_services(self._stack.cloud)
        found = {
            'mariadb': (databases.command(
                HOME / 'mariadb', self.ports['mariadb'],
                ['--innodb-buffer-pool-size=64M']), cloud),
            'rabbitmq': ([services.RABBITMQ], {**cloud, **rabbit}),
            'karbor-api': self._program('karbor-api', HOSTS[0])}
        for number, host in enumerate(HOSTS, 1):
            for name in ('karbor-protection', 'karbor-operationengine'):
                found[f'{name}-{number}'] = self._program(name, host)
        return found

    def _program(self, name, host):
        return ([self._product / 'bin' / name, *self._files(host)],
                environment.of_karbor(self._product))

    def begin(self):
        """Start everything for the first time."""
        databases.install(HOME / 'mariadb')
        self.start('mariadb')
        self.start('rabbitmq')
        base.wait(self.has_database, 60, what='the database')
        base.wait(lambda: services.speaks_amqp(self.ports['rabbitmq']), 60,
                  what='the broker')
        number = self.ports['mariadb']
        databases.query('CREATE DATABASE IF NOT EXISTS karbor '
                        'CHARACTER SET utf8mb4', number)
        self.manage('db', 'sync')
        for name in self._commands:
            self.start(name)

    def start(self, name):
        """Start a program; does nothing if it runs."""
        command, env = self._commands[name]
        processes.start(name, command, env, RUN, LOG)

    def is_running(self, name):
        return processes.leader(name, RUN) is not None

    def kill(self, name):
        """SIGKILL every process of a program."""
        processes.kill(name, RUN)

    def pause(self, name):
        """Stop every process of a program where it is."""
        self._signal(name, signal.SIGSTOP)

    def resume(self, name):
        self._signal(name, signal.SIGCONT)

    def _signal(self, name, sign):
        leader = processes.leader(name, RUN)
        for member in processes.members(leader) if leader else ():
            try:
                os.kill(member, sign)
            except ProcessLookupError:
                continue

    def end(self):
        """Stop everything: programs first, then what they stand on."""
        for name in self._commands:
            self.resume(name)
        grounds = ('mariadb', 'rabbitmq')
        processes.stop([name for name in self._commands
                        if name not in grounds], RUN)
        processes.stop(grounds, RUN, whole=('rabbitmq',))

    def memory(self):
        """Return MiB that each program of karbor takes now."""
        return {name: processes.memory(processes.leader(name, RUN)) >> 20
                for name in self._commands
                if name.startswith('karbor-') and self.is_running(name)}

    # The cloud's programs

    def restart_in_cloud(self, name, pause):
        """Stop a service of the cloud gently, and start it after a pause.

        :param pause: called without arguments
        """
        self._stack.stop(name)
        pause()
        self._stack.launch(name)

    def is_cloud_well(self):
        """Return whether all of the cloud's services answer."""
        return all(state == 'ok' for name, state
                   in self._stack.health().items()
                   if not name.startswith('karbor-'))

    def keys_in_swift(self):
        """Return all keys in the bank that is a container, past karbor."""
        return [found.name for found
                in self._swift().objects(self.container)]

    def remove_container(self):
        """Remove the bank in Swift; what was in it is worth nothing now."""
        swift = self._swift()
        for key in self.keys_in_swift():
            swift.delete_object(key, container=self.container)
        swift.delete_container(self.container)

    def _swift(self):
        os.environ['OS_CLIENT_CONFIG_FILE'] = str(
            paths.STATE / 'clouds.yaml')
        return openstack.connect(cloud='karbor').object_store

    # Operators' tools

    def has_database(self):
        return databases.answers(self.ports['mariadb'])

    def manage(self, *words, codes=(0,)):
        """Run karbor-manage; return what it printed.

        :raises RuntimeError: it ended with another code than these
        """
        env = environment.of_karbor(self._product)
        env.update(environment.of_user('admin'), OS_CLOUD='admin')
        done = subprocess.run(
            [self._product / 'bin' / 'karbor-manage',
             *self._files(HOSTS[0]), *words], env=env, text=True,
            capture_output=True)
        if done.returncode not in codes:
            raise RuntimeError(f'karbor-manage {" ".join(words)}: '
                               f'{done.stderr}{done.stdout}')
        return done.stdout

    def findings(self, provider_id):
        """Return what checking bank, rows and cloud finds."""
        return json.loads(self.manage(
            'bank', 'check', '--provider', provider_id, '--read', '--cloud',
            'admin', '--grace-hours', '0', '-f', 'json', codes=(0, 1)))

    def log_lines(self, thing_id, most):
        """Return the last lines of karbor's logs that name something."""
        found = [f'{line.partition(" ")[2][:230]}'
                 for path in LOG.glob('karbor-*.log')
                 for line in path.read_text(errors='replace').splitlines()
                 if thing_id in line]
        return sorted(found)[-most:]

    def log_errors(self, most):
        """Return the most frequent errors in the logs, and how often."""
        found = collections.Counter()
        for path in LOG.glob('karbor-*.log'):
            found.update(_errors(path))
        return found.most_common(most)


def _errors(path):
    """Yield loggers and first words of lines that tell of errors."""
    for line in path.read_text(errors='replace').splitlines():
        found = _ERROR.match(line)
        if found:
            yield f'{found["logger"]}: {_ID.sub("...", found["said"])[:100]}'
