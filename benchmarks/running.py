# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""karbor-api and karbor-protection as services, for a benchmark.

Apart because more than one benchmark asks them over HTTP. They run without
authentication, with the no-op plugin and a bank in a directory.
"""

import contextlib
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid

import psutil
import sqlalchemy as sa

from karbor_ng import credentials
from karbor_ng.store import models
from karbor_ng.store import schema
from karbor_ng.store import session

PATIENCE_SECONDS = 60
PROVIDER = str(uuid.uuid4())
PROGRAMS = {'api': 'karbor_ng.cmd.api',
            'protection': 'karbor_ng.cmd.protection'}
CONFIGURATION = """
[DEFAULT]
host = benchmark
auth_strategy = noauth
transport_url = {broker}
osapi_karbor_listen = 127.0.0.1
osapi_karbor_listen_port = {port}
osapi_karbor_workers = {workers}
quota_plans = -1
quota_checkpoints = -1
[credentials]
keys = {key}
[database]
connection = {database}
[protection]
provider_config_dir = {folder}/providers.d
sweep_seconds = 2
"""
PROVIDER_FILE = """
[provider]
id = {provider}
name = No-op
enabled = True
bank = karbor-fs-bank-plugin
plugin = karbor-noop-protection-plugin
[file_system_bank_plugin]
file_system_bank_path = {folder}/bank
[noop_protection_plugin]
registry_path = {folder}/registry
"""


@contextlib.contextmanager
def empty_database(url):
    """Hand out the tables at a URL, and remove them at the end.

    :raises SystemExit: there are tables already
    """
    db = session.Database(url)
    if sa.inspect(db.engine).get_table_names():
        raise SystemExit('There are tables in the database already: give '
                         'me an empty one; I remove them at the end.')
    try:
        schema.upgrade(db)
        yield db
    finally:
        with db.engine.begin() as connection:
            models.Base.metadata.drop_all(connection)
            connection.execute(sa.text(
                'DROP TABLE IF EXISTS alembic_version'))
        db.dispose()


class Site(contextlib.ExitStack):
    """Both services, with a configuration in a folder.

    :param url: of the database, whose tables are there
    :param workers: processes of the API

    :ivar processes: :class:`psutil.Process` of each, by name
    """

    def __init__(self, folder, url, workers=2, broker='kombu+memory://'):
        super().__init__()
        self._folder = folder
        self._settings = {
            'database': url, 'folder': folder, 'workers': workers,
            'broker': broker, 'key': credentials.new_key(),
            'provider': PROVIDER}
        self.port = _free_port()
        self.processes = {}

    def __enter__(self):
        super().__enter__()
        (self._folder / 'providers.d').mkdir()
        (self._folder / 'providers.d' / 'noop.conf').write_text(
            PROVIDER_FILE.format(**self._settings))
        (self._folder / 'karbor.conf').write_text(
            CONFIGURATION.format(port=self.port, **self._settings))
        for name, module in PROGRAMS.items():
            self._start(name, module)
        until = time.monotonic() + PATIENCE_SECONDS
        while not self._is_ready():
            if time.monotonic() > until:
                self.close()
                raise SystemExit('The services do not start.')
            time.sleep(0.2)
        return self

    def _start(self, name, module):
        log = self.enter_context(open(self._folder / f'{name}.log', 'w'))
        process = subprocess.Popen(
            [sys.executable, '-W', 'ignore', '-c',
             f'from {module} import main; main()',
             '--config-file', str(self._folder / 'karbor.conf')],
            stdout=log, stderr=log)
        self.callback(process.wait)
        self.callback(process.terminate)
        self.processes[name] = psutil.Process(process.pid)

    def _is_ready(self):
        try:
            return self.call('GET', 'anybody', 'providers')['providers']
        except (urllib.error.URLError, ConnectionError):
            return False

    def call(self, method, project, path, body=None):
        """Send one request; return what the answer holds."""
        request = urllib.request.Request(
            f'http://127.0.0.1:{self.port}/v1/{project}/{path}',
            method=method, data=body and json.dumps(body).encode(),
            headers={'X-Auth-Token': f'user:{project}',
                     'Content-Type': 'application/json'})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def plan(self, project, size=1):
        """Make a plan of so many volumes; return its id."""
        return self.call('POST', project, 'plans', {'plan': {
            'name': 'benchmark', 'provider_id': PROVIDER, 'parameters': {},
            'resources': [
                {'type': 'OS::Cinder::Volume', 'id': f'volume-{number}',
                 'name': f'volume {number}'}
                for number in range(size)]}})['plan']['id']

    def work(self, name):
        """Return the seconds that processors have worked for a service."""
        process = self.processes[name]
        return sum(one.cpu_times().user + one.cpu_times().system for one in
                   [process, *process.children(recursive=True)])


def _free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]
