# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Asks the API whatever its description allows, and what it forbids.

    python -m karbor_ng.tests.openapi SCHEMATHESIS [OPTION ...]

Run it with the product's Python; SCHEMATHESIS is the program of this name,
which gets the options. The API is served over HTTP without authentication, a
protection service with the no-op plugin does what is asked for. The database
is the one that KARBOR_TEST_MYSQL names, else SQLite.

Ends with the line "N operations, N cases, N failures, seed N", and with 1
if anything is wrong.
"""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import time

from karbor_ng.api import server
from karbor_ng.tests.unit.api import environment

HERE = pathlib.Path(__file__).parent
TOKEN = f'admin:{environment.PROJECT}'
PROVIDER = '0d3d3e30-6a0e-4b63-a2c4-5a4a1a1d6b1f'
NOBODY = '00000000-0000-4000-8000-000000000000'
PATIENCE_SECONDS = 60
#: How many of each thing there are beforehand: some will be deleted.
MANY = 10
CONFIGURATION = """
[DEFAULT]
host = openapi
auth_strategy = noauth
transport_url = kombu+memory://
[database]
connection = {database}
[protection]
provider_config_dir = {folder}/providers.d
sweep_seconds = 1
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


class Site(environment.Api):
    """The API on a port, and a service that does what is asked for."""

    def _setUp(self):
        super()._setUp()
        self.set('osapi_max_limit', 20)
        for name in ('quota_plans', 'quota_checkpoints'):
            self.set(name, -1)
        self.add_history()
        listener = server.listen('127.0.0.1', 0)
        self.server = server.Server(self.make_unchecked_app(), listener, 8)
        self.server.start()
        self.addCleanup(self.server.stop, 1)
        self._start_protection()
        self._wait(lambda: self._is_there(f'/providers/{PROVIDER}'))

    def _start_protection(self):
        folder = pathlib.Path(self.path)
        (folder / 'providers.d').mkdir()
        (folder / 'providers.d' / 'noop.conf').write_text(
            PROVIDER_FILE.format(provider=PROVIDER, folder=folder))
        database = self.db.engine.url.render_as_string(hide_password=False)
        (folder / 'karbor.conf').write_text(CONFIGURATION.format(
            database=database.replace('%', '%%'), folder=folder))
        log = open(folder / 'protection.log', 'w')
        self.addCleanup(log.close)
        process = subprocess.Popen(
            [sys.executable, '-W', 'ignore', '-c',
             'from karbor_ng.cmd.protection import main; main()',
             '--config-file', str(folder / 'karbor.conf')],
            stdout=log, stderr=log)
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)

    def _is_there(self, path):
        return self.call('GET', path, token=TOKEN).status_int == 200

    def _wait(self, look):
        until = time.monotonic() + PATIENCE_SECONDS
        while not look():
            if time.monotonic() > until:
                raise SystemExit('The protection service does not start: ' + (
                    pathlib.Path(self.path) / 'protection.log').read_text())
            time.sleep(0.2)

    def make_things(self):
        """Make some of everything; return what bodies may name."""
        plans = [self._create('/plans', 'plan', {
            'name': f'plan {number}', 'provider_id': PROVIDER,
            'resources': [{'id': environment.SYSTEM_VOLUME, 'name': 'v',
                           'type': environment.VOLUME}]})
                 for number in range(MANY)]
        path = f'/providers/{PROVIDER}/checkpoints'
        checkpoints = [self._create(path, 'checkpoint', {'plan_id': plan})
                       for plan in plans]
        self._wait(lambda: all(self.call(
            'GET', f'{path}/{one}', token=TOKEN).json['checkpoint'][
                'status'] == 'available' for one in checkpoints))
        return {
            'project_id': [environment.PROJECT],
            'provider_id': [PROVIDER],
            'plan_id': [*plans, NOBODY],
            'checkpoint_id': [*checkpoints, NOBODY],
            'resource_type': [environment.VOLUME, environment.SERVER],
            'resource_id': [environment.SYSTEM_VOLUME],
            'parameters': [None, {}, {environment.VOLUME: {}}, {'OS::No::Ship': {}}],
            'resources.type': [environment.VOLUME, environment.SERVER],
        }

    def _create(self, path, noun, values):
        answer = self.call('POST', path, {noun: values}, token=TOKEN)
        if answer.status_int != 200:
            raise SystemExit(f'POST {path}: {answer.text}')
        return answer.json[noun]['id']


def main(program, *options):
    with contextlib.ExitStack() as stack:
        site = stack.enter_context(Site(os.environ.get('KARBOR_TEST_MYSQL')))
        report = pathlib.Path(site.path) / 'report.json'
        subprocess.run(
            [program, '--no-color',
             '--config-file', str(HERE / 'schemathesis.toml'), 'run',
             '--report-json-path', str(report), *options,
             f'http://127.0.0.1:{site.server.port}/v1/openapi.json'],
            cwd=site.path, env={
                **os.environ, 'KARBOR_FOLDER': str(HERE),
                'KARBOR_TOKEN': TOKEN,
                'KARBOR_KNOWN': json.dumps(site.make_things())})
        return _conclude(report)


def _conclude(report):
    """Print the last line; return the exit code."""
    if not report.exists():
        raise SystemExit('schemathesis has not told how it went.')
    told = json.loads(report.read_text())
    failures = told['test_cases']['unique_failures'] + len(told['errors'])
    print(f'{told["operations"]["tested"]} operations, '
          f'{told["test_cases"]["generated"]} cases, {failures} failures, '
          f'seed {told["seed"]}')
    return int(bool(told['exit_code'] or failures or not told['complete']))


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
