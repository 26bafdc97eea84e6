#!/usr/bin/env python3
# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""A thousand checkpoints asked for at once, and what that costs.

    benchmarks/flood.py [--count N] [--rounds N] [--database URL]

Run it with the product's Python. karbor-api (two processes) and
karbor-protection run as services do, without authentication and with the
no-op plugin. After a small flood that makes everything be loaded, one project
sends N requests for a checkpoint at the same moment, over a connection each;
then another project asks for a single one.

Prints for each round in how many seconds all were answered, in how many the
other project had its checkpoint, and in how many all had ended; and the most
memory of both services, all their processes together, with what it was
before. Exits with 1 if an answer is not 200, if a checkpoint does not become
available, if the other project waits for half of the flood, or if a service
grows by more than 64 MiB.

The database is SQLite in a temporary directory, or an empty one at URL,
which is emptied at the end. The bank is in the temporary directory.
"""

import argparse
import asyncio
import collections
import contextlib
import json
import pathlib
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid

import psutil
import sqlalchemy as sa

from karbor_ng.store import models
from karbor_ng.store import schema
from karbor_ng.store import session

MIB = 2 ** 20
MOST_GROWTH = 64
WARM_UP = 50
PATIENCE_SECONDS = 60
PROVIDER = str(uuid.uuid4())
SERVICES = {'api': 'karbor_ng.cmd.api',
            'protection': 'karbor_ng.cmd.protection'}
CONFIGURATION = """
[DEFAULT]
host = flood
auth_strategy = noauth
transport_url = kombu+memory://
osapi_karbor_listen = 127.0.0.1
osapi_karbor_listen_port = {port}
osapi_karbor_workers = 2
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


def main():
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        url = options.database or f'sqlite:///{folder}/karbor.sqlite'
        db = session.Database(url)
        if sa.inspect(db.engine).get_table_names():
            raise SystemExit('There are tables in the database already: give '
                             'me an empty one; I remove them at the end.')
        try:
            schema.upgrade(db)
            with _Site(pathlib.Path(folder), db, url) as site:
                return _measure(site, options)
        finally:
            _empty(db)


def _empty(db):
    with db.engine.begin() as connection:
        models.Base.metadata.drop_all(connection)
        connection.execute(sa.text('DROP TABLE IF EXISTS alembic_version'))
    db.dispose()


def _options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--count', type=int, default=1000, metavar='N',
                        help='requests at once (default: 1000)')
    parser.add_argument('--rounds', type=int, default=2, metavar='N',
                        help='one after the other (default: 2)')
    parser.add_argument('--database', metavar='URL',
                        help='of an empty database, as in [database] '
                             'connection (default: SQLite)')
    return parser.parse_args()


class _Site(contextlib.ExitStack):
    """Both services, with a configuration in a folder."""

    def __init__(self, folder, db, url):
        super().__init__()
        self._folder = folder
        self._db = db
        self._url = url
        self.port = _free_port()
        self.processes = {}

    def __enter__(self):
        super().__enter__()
        (self._folder / 'providers.d').mkdir()
        (self._folder / 'providers.d' / 'noop.conf').write_text(
            PROVIDER_FILE.format(provider=PROVIDER, folder=self._folder))
        (self._folder / 'karbor.conf').write_text(CONFIGURATION.format(
            port=self.port, database=self._url, folder=self._folder))
        for name, module in SERVICES.items():
            self._start(name, module)
        until = time.monotonic() + PATIENCE_SECONDS
        while not self._is_ready():
            if time.monotonic() > until:
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

    def plan(self, project):
        """Make a plan of one volume; return its id."""
        return self.call('POST', project, 'plans', {'plan': {
            'name': 'flood', 'provider_id': PROVIDER, 'resources': [
                {'type': 'OS::Cinder::Volume', 'id': 'volume',
                 'name': 'volume'}]}})['plan']['id']

    def statuses(self, project):
        """Return ``{status: number of the project's checkpoints}``."""
        columns = models.Checkpoint.status, sa.func.count()
        query = (sa.select(*columns).group_by(models.Checkpoint.status)
                 .where(models.Checkpoint.project_id == project))
        return dict(self._db.read(
            lambda session: session.execute(query).tuples().all()))


def _free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def _measure(site, options):
    _allow_connections(options.count)
    _flood(site, 'warm-up', WARM_UP)
    before = {name: _memory(process)
              for name, process in site.processes.items()}
    problems = []
    for number in range(options.rounds):
        with _Peaks(site.processes) as peaks:
            problems += _flood(site, f'round-{number + 1}', options.count)
        for name, peak in peaks.highest.items():
            print(f'  memory of karbor-{name}: {before[name]:.0f} MiB, at '
                  f'most {peak:.0f} MiB', flush=True)
            if peak > before[name] + MOST_GROWTH:
                problems.append(f'karbor-{name} grew by more than '
                                f'{MOST_GROWTH} MiB')
    print('\n'.join(problems) or 'As promised.')
    return int(bool(problems))


def _allow_connections(count):
    """Let this process, and not the services, open a file for each."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE,
                       (min(hard, max(soft, count + 100)), hard))


def _flood(site, project, count):
    """Ask for checkpoints, wait until they have ended; return problems."""
    plan_id, other = site.plan(project), f'{project}-other'
    other_plan = site.plan(other)
    began = time.monotonic()
    answers = asyncio.run(_ask_at_once(site.port, project, plan_id, count))
    answered = time.monotonic() - began
    site.call('POST', other, f'providers/{PROVIDER}/checkpoints',
              {'checkpoint': {'plan_id': other_plan}})
    asked = time.monotonic()
    _wait(site, other)
    waited = time.monotonic() - asked
    left = site.statuses(project).get('protecting', 0)
    ended = _wait(site, project)
    seconds = time.monotonic() - began
    print(f'{project}: {count} answered in {answered:.1f} s, the other '
          f'project served in {waited:.1f} s with {left} left, all ended in '
          f'{seconds:.1f} s', flush=True)
    problems = _problems(answers, ended, count)
    if left < count / 2:
        problems.append('the other project waited for half of the flood')
    return problems


def _problems(answers, ended, count):
    problems = []
    if answers != {'200': count}:
        problems.append(f'answers: {dict(answers)}')
    if ended != {'available': count}:
        problems.append(f'checkpoints: {ended}')
    return problems


def _wait(site, project):
    """Return the statuses of a project's checkpoints when all have ended."""
    while True:
        found = site.statuses(project)
        if not found.get('protecting'):
            return found
        time.sleep(0.2)


async def _ask_at_once(port, project, plan_id, count):
    """Send all requests; return ``{status or error: number of answers}``."""
    body = json.dumps({'checkpoint': {'plan_id': plan_id}})
    request = (
        f'POST /v1/{project}/providers/{PROVIDER}/checkpoints HTTP/1.1\r\n'
        f'Host: 127.0.0.1\r\nX-Auth-Token: user:{project}\r\n'
        f'Content-Type: application/json\r\nContent-Length: {len(body)}\r\n'
        f'Connection: close\r\n\r\n{body}').encode()
    return collections.Counter(await asyncio.gather(
        *[_ask(port, request) for _ in range(count)]))


async def _ask(port, request):
    try:
        reader, writer = await asyncio.open_connection('127.0.0.1', port)
        writer.write(request)
        answer = await reader.read()
        writer.close()
    except OSError as problem:
        return type(problem).__name__
    return answer.split(b' ', 2)[1].decode() if answer else 'nothing'


class _Peaks:
    """Watches the memory of processes and those that they started.

    :ivar highest: ``{name: MiB}``
    """

    def __init__(self, processes):
        self._processes = processes
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.highest = dict.fromkeys(processes, 0)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *problem):
        self._ended.set()
        self._thread.join()

    def _watch(self):
        while not self._ended.wait(0.2):
            for name, process in self._processes.items():
                self.highest[name] = max(self.highest[name],
                                         _memory(process))


def _memory(process):
    """Return MiB of a process and of those that it started."""
    return sum(one.memory_info().rss for one in
               [process, *process.children(recursive=True)]) / MIB


if __name__ == '__main__':
    sys.exit(main())
