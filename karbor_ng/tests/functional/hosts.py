# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Hosts with all of karbor's services, beside those of the stack.

Keystone, broker and database server are the stack's; database, provider and
bank are their own, so that only these services work on what is in them.
"""

import configparser
import pathlib
import signal
import socket
import subprocess
import sys
import time
import uuid

import fixtures
import requests
import sqlalchemy as sa

from karbor_ng.store import session as store_session
from karbor_ng.tests.functional import base
from karbor_ng.tests.functional import secrecy

PROGRAMS = pathlib.Path(sys.executable).parent
STACK = base.STACK / 'etc' / 'karbor' / 'karbor.conf'
SERVICES = ('karbor-api', 'karbor-protection', 'karbor-operationengine')
#: Seconds for an API to start, beside all else that starts.
START_SECONDS = 300
#: What of a host differs from the stack's configuration.
DIFFERENT = '''
[DEFAULT]
host = {host}
state_path = {folder}
osapi_karbor_listen_port = {port}
osapi_karbor_workers = 2
[database]
connection = {connection}
[protection]
provider_config_dir = {folder}/providers.d
graceful_shutdown_timeout = {patience}
[operationengine]
poll_interval = 0.5
[oslo_concurrency]
lock_path = {folder}/lock
'''
PROVIDER = '''
[provider]
name = No-op of hosts
id = {id}
bank = karbor-fs-bank-plugin
plugin = karbor-noop-protection-plugin
enabled = true
[file_system_bank_plugin]
file_system_bank_path = {folder}/bank
[noop_protection_plugin]
registry_path = {folder}/registry
'''


class Hosts(fixtures.Fixture):
    """Some hosts, each with an API of two processes, a worker, an engine.

    :param names: of hosts
    :param patience: seconds that steps get to end when services stop
    :ivar provider_id: of the provider that all of them offer
    :ivar db: their database
    """

    def __init__(self, names, patience=60, **other):
        super().__init__()
        self.names = names
        self._patience = patience
        self._other = other

    def _setUp(self):
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.provider_id = str(uuid.uuid4())
        self.ports = {name: _free_port() for name in self.names}
        self._running = {}
        self._make_database()
        (self.folder / 'providers.d').mkdir()
        (self.folder / 'providers.d' / 'noop.conf').write_text(
            PROVIDER.format(id=self.provider_id, folder=self.folder))
        for name in self.names:
            self._write_configuration(name)
        subprocess.run(
            [PROGRAMS / 'karbor-manage', *self._options(self.names[0]),
             'db', 'sync'], check=True, capture_output=True)
        self.addCleanup(self._kill_all)

    def _make_database(self):
        settings = configparser.RawConfigParser(strict=False)
        settings.read(STACK)
        url = sa.make_url(settings['database']['connection'])
        name = f'hosts_{uuid.uuid4().hex[:8]}'
        server = sa.create_engine(url)
        self.addCleanup(server.dispose)

        def run(statement):
            with server.begin() as connection:
                connection.execute(sa.text(statement))
        run(f'CREATE DATABASE {name}')
        self.addCleanup(run, f'DROP DATABASE {name}')
        self._connection = url.set(database=name).render_as_string(False)
        self.db = store_session.Database(self._connection)
        self.addCleanup(self.db.dispose)

    def _write_configuration(self, name):
        text = DIFFERENT.format(
            host=name, folder=self.folder, port=self.ports[name],
            connection=self._connection, patience=self._patience)
        for group, lines in self._other.items():
            text += f'[{group}]\n{lines}\n'
        (self.folder / f'{name}.conf').write_text(text)

    def _options(self, name):
        return ['--config-file', STACK,
                '--config-file', self.folder / f'{name}.conf']

    def start(self, name, services=SERVICES):
        """Start services of a host; return when its API answers."""
        for service in services:
            log = self.log(name, service)
            if not log.exists():
                self.addCleanup(secrecy.keep_log, log)
            with log.open('ab') as file:
                self._running[name, service] = subprocess.Popen(
                    [PROGRAMS / service, *self._options(name)], stdout=file,
                    stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        if 'karbor-api' in services:
            base.wait(lambda: self._answers(name), START_SECONDS,
                      what=f'API of {name}')

    def log(self, name, service):
        return self.folder / f'{name}-{service}.log'

    def last_words(self, name, service):
        """Return the end of a log."""
        return self.log(name, service).read_text(errors='replace')[-3000:]

    def url(self, name):
        """Return where the API of a host is, without version."""
        return f'http://127.0.0.1:{self.ports[name]}'

    def _answers(self, name):
        ended = self._running[name, 'karbor-api'].poll()
        if ended is not None:
            raise AssertionError(f'The API of {name} ended with {ended}: '
                                 + self.last_words(name, 'karbor-api'))
        try:
            return requests.get(f'{self.url(name)}/healthcheck',
                                timeout=20).status_code == 200
        except requests.ConnectionError:
            return False

    def end(self, name, services=SERVICES):
        """Ask services to end, all at once.

        :return: ``{service: (exit code, seconds that it took)}``
        """
        began = time.monotonic()
        ending = {service: self._running.pop((name, service))
                  for service in services}
        for program in ending.values():
            program.send_signal(signal.SIGTERM)
        found = {}
        for service, program in ending.items():
            code = program.wait(self._patience + 60)
            found[service] = code, time.monotonic() - began
        return found

    def _kill_all(self):
        for program in self._running.values():
            program.terminate()
        for program in self._running.values():
            program.wait(self._patience + 60)


def _free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]
