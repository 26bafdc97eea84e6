# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Throw-away MariaDB and PostgreSQL servers for the unit tests.

Separate from the stack: tests that need a database but no cloud start these
two in seconds.  Nothing of them is meant to survive, so they save every
effort that durability costs.
"""

import hashlib
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

import databases
import paths
import ports
import processes
import render

NAME = 'karbor'
# Not in the checkout: PostgreSQL refuses to run as root, and another account
# may not be able to enter the folder of the checkout.
HOME = pathlib.Path(tempfile.gettempdir()) / 'karbor_ng-testdb-{}-{}'.format(
    os.getuid(), hashlib.sha256(str(paths.CHECKOUT).encode()).hexdigest()[:8])
RUN = HOME / 'run'
POSTGRESQL_ACCOUNT = 'postgres'


def up():
    """Start both with an empty database each; return how to reach them."""
    HOME.mkdir(mode=0o711, exist_ok=True)
    if HOME.stat().st_uid != os.getuid():
        raise SystemExit(f'{HOME} belongs to somebody else; remove it')
    with processes.alone(HOME):
        _check_ports()
        _start_mariadb()
        _start_postgresql()
        databases.query(f'CREATE DATABASE IF NOT EXISTS {NAME} '
                        'CHARACTER SET utf8mb4', ports.port('test_mariadb'))
    return urls()


def down():
    """Stop both and remove everything of them."""
    processes.stop(['postgresql'], RUN, sign=2)
    processes.stop(['mariadb'], RUN)
    shutil.rmtree(HOME, ignore_errors=True)


def urls():
    """Variables with SQLAlchemy's URL of each database."""
    mariadb, postgresql = map(ports.port, ('test_mariadb', 'test_postgresql'))
    return {
        'KARBOR_TEST_MYSQL':
            f'mysql+pymysql://stack:{render.PASSWORD}@{ports.IP}:{mariadb}/'
            f'{NAME}?charset=utf8mb4',
        'KARBOR_TEST_POSTGRESQL':
            f'postgresql+psycopg://stack:{render.PASSWORD}@{ports.IP}:'
            f'{postgresql}/{NAME}',
    }


def _check_ports():
    taken = ports.listeners()
    for server in ('mariadb', 'postgresql'):
        number = ports.port(f'test_{server}')
        if number in taken and not processes.leader(server, RUN):
            raise SystemExit(f'port {number}, wanted for {server}, is held by '
                             f'process {ports.owner(taken[number])}; stop it '
                             'or set STACK_PORT_OFFSET')


def _start_mariadb():
    data = HOME / 'mariadb'
    databases.install(data)
    number = ports.port('test_mariadb')
    command = databases.command(data, number, [
        '--innodb-doublewrite=0', '--innodb-buffer-pool-size=64M'])
    processes.start('mariadb', command, dict(os.environ), RUN, HOME / 'log')
    _await('mariadb', lambda: databases.answers(number))


def _start_postgresql():
    data = HOME / 'postgresql'
    if not data.exists():
        _install_postgresql(data)
    processes.start('postgresql', _as_postgresql(
        'postgres', '-D', data, '-h', ports.IP, '-p',
        str(ports.port('test_postgresql')), '-k', '', '-F',
        '-c', 'synchronous_commit=off', '-c', 'full_page_writes=off',
        '-c', 'max_connections=200'),
        dict(os.environ, LC_ALL='C.UTF-8'), RUN, HOME / 'log')
    _await('postgresql', _make_database)


def _install_postgresql(data):
    part = HOME / 'postgresql.part'
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    secret = HOME / 'password'
    secret.write_text(render.PASSWORD)
    if os.getuid() == 0:
        shutil.chown(part, POSTGRESQL_ACCOUNT)
    subprocess.run(_as_postgresql(
        'initdb', '-D', part, '-U', 'stack', '--pwfile', secret, '-N',
        '-A', 'scram-sha-256', '-E', 'UTF8', '--locale', 'C.UTF-8'),
        check=True, stdout=subprocess.DEVNULL)
    part.rename(data)


def _make_database():
    """True once the server has the tests' database."""
    made = _psql(f'CREATE DATABASE {NAME}')
    return made.returncode == 0 or 'already exists' in made.stderr


def _psql(sql):
    return subprocess.run(
        [_program('psql'), '-h', ports.IP, '-U', 'stack', '-d', 'postgres',
         '-p', str(ports.port('test_postgresql')), '-c', sql],
        env=dict(os.environ, PGPASSWORD=render.PASSWORD),
        capture_output=True, text=True)


def _as_postgresql(program, *arguments):
    """PostgreSQL does not run as root: then its own account takes over."""
    command = [_program(program), *arguments]
    if os.getuid():
        return command
    return ['setpriv', f'--reuid={POSTGRESQL_ACCOUNT}',
            f'--regid={POSTGRESQL_ACCOUNT}', '--init-groups', *command]


def _program(name):
    """The newest release's program: Debian keeps them out of PATH."""
    found = sorted(pathlib.Path('/usr/lib/postgresql').glob(f'*/bin/{name}'),
                   key=lambda path: int(path.parts[4]))
    if not found:
        raise SystemExit(f'{name} is missing; run: apt-get install postgresql')
    return found[-1]


def _await(name, well, seconds=60):
    end = time.monotonic() + seconds
    while not well():
        if not processes.leader(name, RUN) or time.monotonic() > end:
            raise SystemExit(
                f'{name} does not answer; see {HOME}/log/{name}.log')
        time.sleep(0.1)
