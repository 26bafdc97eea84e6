# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Asks the API whatever its description allows, and what it forbids.

    python -m karbor_ng.tests.openapi SCHEMATHESIS [OPTION ...]

Run it with the product's Python; SCHEMATHESIS is the program of this name,
which gets the options. The API is served over HTTP without authentication;
services with the no-op plugin do what is asked for. The database is the one
that KARBOR_TEST_MYSQL names, else SQLite.

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
PROVIDERS = ('0d3d3e30-6a0e-4b63-a2c4-5a4a1a1d6b1f',
             '86a1fd7e-3a0c-4a43-9a0b-3d2a1f3b7c55')
CHECKPOINTS = f'/providers/{PROVIDERS[0]}/checkpoints'
RESOURCE = {'id': environment.SYSTEM_VOLUME, 'name': 'v',
            'type': environment.VOLUME}
#: Properties of triggers: two that are right, one that is not.
PATTERNS = [
    {'format': 'crontab', 'pattern': '0 9 * * *'},
    {'format': 'calendar', 'pattern':
     'BEGIN:VEVENT\nRRULE:FREQ=DAILY;INTERVAL=2\nEND:VEVENT',
     'start_time': '2026-11-01 09:00:00', 'window': 3600},
    {'format': 'crontab', 'pattern': '0 0 30 2 *'},
]
NOBODY = '00000000-0000-4000-8000-000000000000'
PATIENCE_SECONDS = 60
SERVICES = ('protection', 'operationengine')
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
name = No-op {provider}
enabled = True
bank = karbor-fs-bank-plugin
plugin = karbor-noop-protection-plugin
[file_system_bank_plugin]
file_system_bank_path = {folder}/bank-{provider}
[noop_protection_plugin]
registry_path = {folder}/registry
"""


class Site(environment.Api):
    """The API on a port, and services that do what is asked for."""

    def _setUp(self):
        super()._setUp()
        self.set('osapi_max_limit', 20)
        for name in ('quota_plans', 'quota_checkpoints'):
            self.set(name, -1)
        self.add_history()
        listener = server.listen('127.0.0.1', 0)
        application = self.make_unchecked_app()
        self.server = server.Server(application, listener, 8,
                                    server.largest_body(self.conf))
        self.server.start()
        self.addCleanup(self.server.stop, 1)
        self._folder = pathlib.Path(self.path)
        self._configure()
        for name in SERVICES:
            self._start(name)
        for provider in PROVIDERS:
            self._wait(lambda path=f'/providers/{provider}': self.call(
                'GET', path, token=TOKEN).status_int == 200)

    def _configure(self):
        providers = self._folder / 'providers.d'
        providers.mkdir()
        for provider in PROVIDERS:
            (providers / f'{provider}.conf').write_text(PROVIDER_FILE.format(
                provider=provider, folder=self._folder))
        database = self.db.engine.url.render_as_string(hide_password=False)
        (self._folder / 'karbor.conf').write_text(CONFIGURATION.format(
            database=database.replace('%', '%%'), folder=self._folder))

    def _start(self, name):
        log = open(self._folder / f'{name}.log', 'w')
        self.addCleanup(log.close)
        process = subprocess.Popen(
            [sys.executable, '-W', 'ignore', '-c',
             f'from karbor_ng.cmd.{name} import main; main()',
             '--config-file', str(self._folder / 'karbor.conf')],
            stdout=log, stderr=log)
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)

    def _wait(self, look):
        until = time.monotonic() + PATIENCE_SECONDS
        while not look():
            if time.monotonic() > until:
                raise SystemExit('The services do not work: ' + ''.join(
                    (self._folder / f'{name}.log').read_text()
                    for name in SERVICES))
            time.sleep(0.2)

    def make_things(self):
        """Make some of everything; return what requests may name."""
        plans = [self._create('/plans', {'plan': {
            'name': f'plan {number}', 'provider_id': PROVIDERS[0],
            'resources': [RESOURCE]}}) for number in range(MANY)]
        checkpoints = [self._create(CHECKPOINTS, {'checkpoint': {
            'plan_id': plan}}) for plan in plans]
        self._wait(lambda: all(
            self._status(one) == 'available' for one in checkpoints))
        triggers = [self._create('/triggers', {'trigger_info': {
            'name': f'trigger {number}', 'type': 'time',
            'properties': PATTERNS[number % 2]}}) for number in range(MANY)]
        used = self._create('/plans', {'plan': {
            'name': 'used', 'provider_id': PROVIDERS[0],
            'resources': [RESOURCE]}})
        scheduled = [self._create('/scheduled_operations', {
            'scheduled_operation': {
                'name': f'operation {number}', 'operation_type': 'protect',
                'trigger_id': triggers[0], 'operation_definition': {
                    'provider_id': PROVIDERS[0], 'plan_id': used}}})
            for number in range(MANY)]
        restores, verifications = (
            [self._create(f'/{noun}s', {noun: {
                'provider_id': PROVIDERS[0], 'checkpoint_id': checkpoint}})
             for checkpoint in checkpoints]
            for noun in ('restore', 'verification'))
        logs = self.call('GET', '/operation_logs?limit=10', token=TOKEN).json
        return {
            'project_id': [environment.PROJECT],
            'provider_id': [PROVIDERS[0]],
            'target_provider_id': [PROVIDERS[1]],
            'plan_id': [*plans, NOBODY],
            'checkpoint_id': [*checkpoints, NOBODY],
            'trigger_id': [*triggers, NOBODY],
            'scheduled_operation_id': [*scheduled, NOBODY],
            'restore_id': [*restores, NOBODY],
            'verification_id': [*verifications, NOBODY],
            'operation_log_id': [log['id'] for log in logs['operation_logs']],
            'restore_target': [None, 'https://nobody.example/v3'],
            'restore_auth': [None, {'type': 'token', 'token': 'secret'}],
            'resource_type': [environment.VOLUME, environment.SERVER],
            'resource_id': [environment.SYSTEM_VOLUME],
            'parameters': [None, {}, {environment.VOLUME: {}},
                           {'OS::No::Ship': {}}],
            'resources.type': [environment.VOLUME, environment.SERVER],
            'trigger_info.properties': PATTERNS,
            'scheduled_operation.operation_type': [
                'protect', 'retention_protect'],
        }

    def _create(self, path, body):
        answer = self.call('POST', path, body, token=TOKEN)
        if answer.status_int != 200:
            raise SystemExit(f'POST {path}: {answer.text}')
        made, = answer.json.values()
        return made['id']

    def _status(self, checkpoint_id):
        return self.call('GET', f'{CHECKPOINTS}/{checkpoint_id}',
                         token=TOKEN).json['checkpoint']['status']


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
