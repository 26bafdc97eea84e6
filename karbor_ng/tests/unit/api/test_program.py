# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""karbor-api as a process: how it starts, stops, and what it says."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import fixtures
from oslotest import base
import psutil

from karbor_ng import credentials
from karbor_ng.store import query
from karbor_ng.store import services
from karbor_ng.tests import fixtures as small
from karbor_ng.tests import fixtures_keystone

CONFIGURATION = """
[DEFAULT]
auth_strategy = {strategy}
transport_url = {transport}
osapi_karbor_listen = 127.0.0.1
osapi_karbor_listen_port = {port}
osapi_karbor_workers = 2
[database]
connection = {database}
max_retries = 0
{more}
"""
RUN = 'from karbor_ng.cmd.api import main; main()'
UWSGI_SAMPLE = (pathlib.Path(__file__).parents[4]
                / 'etc' / 'uwsgi' / 'karbor-api.ini')
#: Starting takes a second or two on an idle machine.
PATIENCE_SECONDS = 60


class Program(fixtures.Fixture):
    """karbor-api with a configuration file."""

    def __init__(self, database, strategy='noauth',
                 transport='kombu+memory://', port=None, more=''):
        super().__init__()
        self.port = port or _free_port()
        self._text = CONFIGURATION.format(
            database=database, strategy=strategy, transport=transport,
            port=self.port, more=more)

    def _setUp(self):
        folder = self.useFixture(fixtures.TempDir()).path
        self._log = os.path.join(folder, 'log')
        path = os.path.join(folder, 'karbor.conf')
        with open(path, 'w') as file:
            file.write(self._text)
        with open(self._log, 'w') as log:
            self.process = subprocess.Popen(
                self.command(path), stdout=log, stderr=log,
                start_new_session=True)
        self.addCleanup(self._end)

    def command(self, path):
        """Return what starts the program with this configuration file."""
        return [sys.executable, '-W', 'ignore', '-c', RUN,
                '--config-file', path]

    def _end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE_SECONDS)

    def log(self):
        """Return what the program wrote."""
        with open(self._log) as file:
            return file.read()

    def get(self, path, **headers):
        """Return the status of a GET, None while nobody listens."""
        request = urllib.request.Request(
            f'http://127.0.0.1:{self.port}{path}', headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status
        except urllib.error.HTTPError as exc:
            return exc.code
        except OSError:
            return None

    def wait_until_ready(self):
        """Return when the program answers."""
        until = time.monotonic() + PATIENCE_SECONDS
        while self.get('/healthcheck') != 200:
            if time.monotonic() > until or self.process.poll() is not None:
                raise AssertionError(self.log())
            time.sleep(0.1)


def _free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


class LifeTest(base.BaseTestCase):
    """Starting, serving, reloading, stopping."""

    def setUp(self):
        super().setUp()
        database = self.useFixture(small.DatabaseFixture())
        self.db = database.db
        self.program = self.useFixture(Program(database.url))
        self.program.wait_until_ready()

    def test_it_is_a_service_while_it_lives(self):
        until = time.monotonic() + PATIENCE_SECONDS
        while len(self.db.read(services.list)) < 2:
            self.assertLess(time.monotonic(), until, self.program.log())
            time.sleep(0.1)
        self.assertEqual({'karbor-api'}, {
            found.service.binary for found in self.db.read(services.list)})
        self.program.process.send_signal(signal.SIGTERM)
        self.program.process.wait(PATIENCE_SECONDS)
        self.assertEqual([], self.db.read(services.list))
        self.assertEqual(1, len(self.db.read(
            services.hosts, query.Page(sort=(('id', 'asc'),)))))

    def test_life(self):
        token = {'X-Auth-Token': 'user:project'}
        self.assertEqual(
            200, self.program.get('/v1/project/plans', **token))
        self.assertEqual(401, self.program.get('/v1/project/plans'))
        self.program.process.send_signal(signal.SIGTERM)
        self.assertEqual(0, self.program.process.wait(PATIENCE_SECONDS))
        self.assertEqual(2, self.program.log().count('has stopped'))
        self.assertNotIn('Traceback', self.program.log())
        self.assertIsNone(self.program.get('/'))

    def test_reload(self):
        # Perhaps in the middle of a worker's start.
        old = self._workers()
        self.program.process.send_signal(signal.SIGHUP)
        until = time.monotonic() + PATIENCE_SECONDS
        while len(self._workers() - old) < 2 or old & self._workers():
            self.assertLess(time.monotonic(), until, self.program.log())
            time.sleep(0.1)
        self.program.wait_until_ready()
        self.assertNotIn('Traceback', self.program.log())

    def _workers(self):
        """Return the ids of the processes that work for the program."""
        return {child.pid for child
                in psutil.Process(self.program.process.pid).children()}

    def test_a_second_one_says_why_not(self):
        second = self.useFixture(Program(
            self.useFixture(small.DatabaseFixture()).url,
            port=self.program.port))
        self.assertEqual(1, second.process.wait(PATIENCE_SECONDS))
        self.assertIn('Address already in use', second.log())

    def test_stopping_breaks_no_answer(self):
        statuses, stop = [], threading.Event()

        def ask():
            while not stop.is_set():
                statuses.append(self.program.get('/healthcheck'))
        askers = [threading.Thread(target=ask) for _number in range(4)]
        for asker in askers:
            asker.start()
        time.sleep(0.5)
        self.program.process.send_signal(signal.SIGTERM)
        self.program.process.wait(PATIENCE_SECONDS)
        stop.set()
        for asker in askers:
            asker.join()
        self.assertLessEqual(set(statuses), {200, None})
        self.assertIn(200, statuses)
        self.assertNotIn('Traceback', self.program.log())


ASK = """
from karbor_ng.api.wsgi import application
import webob
for path in ('/healthcheck', '/v1/project/plans'):
    request = webob.Request.blank(
        path, headers={'X-Auth-Token': 'user:project'})
    print(request.get_response(application).status_int)
"""


class WsgiTest(base.BaseTestCase):
    """The application in a server that is not ours."""

    def _ask(self, environ):
        return subprocess.run(
            [sys.executable, '-W', 'ignore', '-c', ASK], text=True,
            capture_output=True, timeout=PATIENCE_SECONDS,
            env=dict(os.environ, **environ))

    def _folder(self):
        folder = self.useFixture(fixtures.TempDir()).path
        url = self.useFixture(small.DatabaseFixture()).url
        with open(os.path.join(folder, 'karbor.conf'), 'w') as file:
            file.write(CONFIGURATION.format(
                database=url, strategy='noauth', port=1, more='',
                transport='kombu+memory://'))
        return folder

    def test_directory(self):
        ended = self._ask({'OS_KARBOR_CONFIG_DIR': self._folder()})
        self.assertEqual(['200', '200'], ended.stdout.split(), ended.stderr)

    def test_files(self):
        folder = self._folder()
        with open(os.path.join(folder, 'more.conf'), 'w') as file:
            file.write('[oslo_policy]\nenforce_scope = True\n')
        ended = self._ask({
            'OS_KARBOR_CONFIG_DIR': folder,
            'OS_KARBOR_CONFIG_FILES': 'karbor.conf;more.conf'})
        self.assertEqual(['200', '200'], ended.stdout.split(), ended.stderr)

    def test_missing_file(self):
        ended = self._ask({'OS_KARBOR_CONFIG_FILES': '/nowhere/karbor.conf'})
        self.assertNotEqual(0, ended.returncode)
        self.assertIn('/nowhere/karbor.conf', ended.stderr)


class UwsgiTest(base.BaseTestCase):
    """uWSGI, with the sample that is shipped."""

    def start(self, **options):
        program = Program(**options)
        program.command = lambda path: [
            'env', f'OS_KARBOR_CONFIG_FILES={path}',
            pathlib.Path(sys.executable).with_name('uwsgi'), '--ini',
            self.sample(program.port)]
        return self.useFixture(program)

    def sample(self, port):
        """Return a copy of the sample that listens here."""
        text = UWSGI_SAMPLE.read_text()
        self.assertIn('0.0.0.0:8799', text)
        text = text.replace('0.0.0.0:8799', f'127.0.0.1:{port}')
        return self.create_tempfiles([('uwsgi', text)], '.ini')[0]

    def test_life(self):
        program = self.start(
            database=self.useFixture(small.DatabaseFixture()).url)
        program.wait_until_ready()
        self.assertEqual(200, program.get(
            '/v1/project/plans', **{'X-Auth-Token': 'user:project'}))
        until = time.monotonic() + PATIENCE_SECONDS
        while program.log().count('WSGI app 0') < 2:
            self.assertLess(time.monotonic(), until, program.log())
            time.sleep(0.1)
        program.process.send_signal(signal.SIGTERM)
        program.process.wait(PATIENCE_SECONDS)
        self.assertNotIn('Traceback', program.log())
        self.assertIn('goodbye', program.log())

    def test_refusal(self):
        program = self.start(
            database=self.useFixture(small.EmptyDatabaseFixture()).url)
        self.assertNotEqual(0, program.process.wait(PATIENCE_SECONDS))
        self.assertIn('karbor-api can not start: The database has no tables',
                      program.log())


class RefusalTest(base.BaseTestCase):
    """What keeps it from starting is said in its last line."""

    def _check(self, words, **options):
        program = self.useFixture(Program(**options))
        self.assertEqual(1, program.process.wait(PATIENCE_SECONDS))
        line = program.log().strip().splitlines()[-1]
        self.assertNotIn('Traceback', program.log())
        self.assertTrue(line.startswith('karbor-api can not start: '), line)
        self.assertIn(words, line)

    def test_empty_database(self):
        url = self.useFixture(small.EmptyDatabaseFixture()).url
        self._check('karbor-manage db sync', database=url)

    def test_no_database(self):
        self._check('[database] connection',
                    database='sqlite:////nowhere/karbor.sqlite')

    def test_no_credentials(self):
        url = self.useFixture(small.DatabaseFixture()).url
        self._check('[service_user]', database=url, strategy='keystone')

    def _check_keystone(self, words, keystone, keys=None, **kwargs):
        self.useFixture(keystone)
        self._check(
            words, strategy='keystone',
            database=self.useFixture(small.DatabaseFixture()).url,
            more=f'{keystone.section(**kwargs)}[credentials]\n'
                 f'keys = {keys or ""}')

    def test_no_keys(self):
        self._check_keystone('karbor-manage credentials key',
                             fixtures_keystone.Keystone('service'))

    def test_no_service_role(self):
        self._check_keystone('has no role "service"',
                             fixtures_keystone.Keystone('member'),
                             keys=credentials.new_key())

    def test_wrong_password(self):
        self._check_keystone('HTTP 401', fixtures_keystone.Keystone('service'),
                             keys=credentials.new_key(), password='wrong')

    def test_unknown_strategy(self):
        url = self.useFixture(small.DatabaseFixture()).url
        self._check('auth_strategy', database=url, strategy='magic')

    def test_unknown_check(self):
        url = self.useFixture(small.DatabaseFixture()).url
        self._check('essential', database=url, strategy='noauth',
                    more='[healthcheck]\nessential = databse')

    def test_unknown_transport(self):
        url = self.useFixture(small.DatabaseFixture()).url
        self._check('transport_url', database=url, transport='pigeon://')
