# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The stack's MariaDB: its files, its accounts and the services' schemas.

Separate because the order matters: each schema is made in one go, so that a
run that was killed half way is simply begun again.
"""

import os
import shutil
import subprocess

import paths
import ports
import render

DATA = paths.STATE / 'data' / 'mariadb'
SCHEMAS = {
    'keystone': ['keystone'],
    'nova': ['nova_api', 'nova_cell0', 'nova'],
    'neutron': ['neutron'],
    'cinder': ['cinder'],
    'glance': ['glance'],
    'placement': ['placement'],
}
# Fast, and yet whatever was committed survives the death of the process:
# the log reaches the kernel at each commit, it is only not forced to disk.
FAST = [
    '--skip-name-resolve', '--skip-log-bin', '--performance-schema=off',
    '--innodb-flush-log-at-trx-commit=2', '--innodb-flush-method=nosync',
    '--sync-binlog=0', '--character-set-server=utf8mb4',
    '--collation-server=utf8mb4_general_ci', '--max-connections=500',
    '--max-allowed-packet=64M']


def install(data=DATA):
    """Make empty files; `data` appears complete or not at all."""
    if data.exists():
        return
    part = data.with_name(data.name + '.part')
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    subprocess.run(
        ['mariadb-install-db', '--no-defaults', f'--datadir={part}',
         '--skip-test-db', '--auth-root-authentication-method=normal',
         *_account()], check=True, stdout=subprocess.DEVNULL)
    _accounts(data).write_text(
        f"CREATE USER IF NOT EXISTS stack@'{ports.IP}' "
        f"IDENTIFIED BY '{render.PASSWORD}';\n"
        f"GRANT ALL ON *.* TO stack@'{ports.IP}';\n")
    part.rename(data)


def command(data=DATA, port=None, extra=()):
    """The server's command line; it creates the account `stack` itself."""
    return ['/usr/sbin/mariadbd', '--no-defaults', *_account(),
            f'--datadir={data}', f'--bind-address={ports.IP}',
            f'--port={port or ports.port("mariadb")}',
            '--socket=mysqld.sock', '--pid-file=mariadbd.pid',
            f'--init-file={_accounts(data)}', *FAST, *extra]


def _accounts(data):
    return data.with_name('accounts.sql')


def _account():
    return ['--user=root'] if os.getuid() == 0 else []


def query(sql, port=None):
    """Run SQL and return the answer's lines; RuntimeError when refused."""
    done = subprocess.run(
        ['mariadb', '--no-defaults', '--protocol=tcp', f'--host={ports.IP}',
         f'--port={port or ports.port("mariadb")}', '--user=stack',
         f'--password={render.PASSWORD}', '--batch', '--skip-column-names',
         '--execute', sql], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return done.stdout.splitlines()


def answers(port=None):
    try:
        return query('SELECT 1', port) == ['1']
    except RuntimeError:
        return False


def make_schema(service, cloud, env):
    """Make a service's databases from nothing."""
    for name in SCHEMAS[service]:
        query(f'DROP DATABASE IF EXISTS {name}; '
              f'CREATE DATABASE {name} CHARACTER SET utf8mb4')
    for arguments in _syncs(service):
        program = cloud / 'bin' / arguments[0]
        run([program, *arguments[1:]], env, f'schema-{service}')


def _syncs(service):
    etc = paths.ETC / service
    manage = {
        'keystone': ['db_sync'],
        'glance': ['db_sync'],
        'cinder': ['db', 'sync'],
        'placement': ['db', 'sync'],
    }
    if service in manage:
        name = 'glance-api' if service == 'glance' else service
        return [[f'{service}-manage', '--config-file', etc / f'{name}.conf',
                 *manage[service]]]
    if service == 'neutron':
        return [['neutron-db-manage', '--config-file', etc / 'neutron.conf',
                 '--config-file', etc / 'ml2_conf.ini', 'upgrade', 'heads']]
    nova = ['nova-manage', '--config-file', etc / 'nova.conf']
    return [[*nova, 'api_db', 'sync'],
            [*nova, 'cell_v2', 'map_cell0', '--database_connection',
             render.database('nova_cell0')],
            [*nova, 'cell_v2', 'create_cell', '--name', 'cell1'],
            [*nova, 'db', 'sync']]


def run(command_line, env, log):
    """Run a program to its end; its words go to the log of that name.

    It dies with us: an orphan would work on what the next run makes anew.
    """
    path = paths.LOG / f'{log}.log'
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'ab') as output:
        done = subprocess.run(
            ['setpriv', '--pdeathsig', 'KILL', *command_line], env=env,
            stdin=subprocess.DEVNULL, stdout=output,
            stderr=subprocess.STDOUT)
    if done.returncode:
        words = ' '.join(map(str, command_line))
        raise SystemExit(f'failed: {words}\nsee {path}')
