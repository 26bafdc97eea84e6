# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""karbor-protection as operators meet it: a process, its words, signals."""

import os
import pathlib
import signal
import socket
import subprocess
import sys

import fixtures
from oslotest import base
import psutil

from karbor_ng import credentials
from karbor_ng.store import providers
from karbor_ng.store import schema
from karbor_ng.store import session
from karbor_ng.tests import fixtures_keystone
from karbor_ng.tests import fixtures_rude
from karbor_ng.tests.unit.protection import environment

VOLUME = 'OS::Cinder::Volume'
PROGRAM = pathlib.Path(sys.executable).with_name('karbor-protection')
CONFIGURATION = '''
[DEFAULT]
transport_url = {transport}
host = {host}
auth_strategy = {auth}
[database]
connection = {connection}
max_retries = 1
retry_interval = 1
[protection]
provider_config_dir = {providers}
sweep_seconds = 0.2
[credentials]
keys = {key}
{more}
'''


class ProgramTestCase(base.BaseTestCase):

    def setUp(self):
        super().setUp()
        self.path = self.useFixture(fixtures.TempDir()).path
        self.values = {
            'host': 'here', 'transport': 'fake://', 'auth': 'noauth',
            'connection': f'sqlite:///{self.path}/karbor.sqlite',
            'providers': f'{self.path}/providers.d',
            'key': credentials.new_key(), 'more': ''}
        self.db = session.Database(self.values['connection'])
        self.addCleanup(self.db.dispose)

    def command(self):
        path = os.path.join(self.path, 'karbor.conf')
        with open(path, 'w') as file:
            file.write(CONFIGURATION.format(**self.values))
        return [PROGRAM, '--config-file', path]


class RefusalTest(ProgramTestCase):
    """What is wrong is told in one line, with exit code 1."""

    def setUp(self):
        super().setUp()
        schema.upgrade(self.db)
        self.site = self.useFixture(environment.Deployment(db=self.db))
        self.values['providers'] = self.site.provider_directory

    def assertRefused(self, *words):
        ended = subprocess.run(self.command(), capture_output=True,
                               text=True, timeout=60)
        self.assertEqual(1, ended.returncode, ended.stderr)
        last = ended.stderr.splitlines()[-1]
        self.assertTrue(last.startswith('karbor-protection can not start: '))
        for word in words:
            self.assertIn(word, last)
        self.assertNotIn('Traceback', ended.stderr)

    def test_no_tables(self):
        self.values['connection'] = f'sqlite:///{self.path}/empty.sqlite'
        self.assertRefused('karbor-manage db sync')

    def test_no_database(self):
        self.values['connection'] = 'mysql+pymysql://a:secret@127.0.0.1:1/b'
        self.assertRefused('[database] connection')

    def test_no_providers(self):
        self.values['providers'] = os.path.join(self.path, 'nowhere')
        self.assertRefused('provider_config_dir', 'nowhere')

    def test_no_key(self):
        self.values.update(auth='keystone', key='')
        self.assertRefused('[service_user]')

    def signs_in(self, *roles, **kwargs):
        keystone = self.useFixture(fixtures_keystone.Keystone(*roles))
        self.values.update(auth='keystone', more=keystone.section(**kwargs))

    def test_no_key_for_credentials(self):
        self.signs_in('service')
        self.values['key'] = ''
        self.assertRefused('[credentials] keys',
                           'karbor-manage credentials key')

    def test_no_service_role(self):
        self.signs_in('member')
        self.assertRefused('User karbor', 'has no role "service"',
                           'project service')

    def test_wrong_password(self):
        self.signs_in('service', password='wrong-secret')
        self.assertRefused('the user in [service_user] (HTTP 401)')

    def test_no_bank(self):
        for path in pathlib.Path(self.values['providers']).iterdir():
            path.write_text(path.read_text().replace(
                f'{self.site.path}/bank', f'{path}/bank'))
        self.assertRefused('No bank of any provider', '"No-op"',
                           'The file system failed')

    def test_unknown_broker(self):
        self.values['transport'] = 'pigeon://'
        self.assertRefused('transport_url', 'pigeon')

    def test_no_configuration_file(self):
        self.command = lambda: [PROGRAM, '--config-file', '/nowhere.conf']
        self.assertRefused('/nowhere.conf')


class RunningTest(ProgramTestCase):

    def setUp(self):
        super().setUp()
        schema.upgrade(self.db)
        self.site = self.useFixture(environment.Deployment(db=self.db))
        self.site.registry.put_graph(
            [{'type': VOLUME, 'id': 'v1', 'name': 'root'}])
        self.values['providers'] = self.site.provider_directory
        self.log = open(os.path.join(self.path, 'log'), 'w')
        self.addCleanup(self.log.close)
        self.start()
        self.addCleanup(self.kill)
        self.site.wait(self.worker)
        self.site.wait(self.site._is_offered)

    def start(self, **environment):
        self.process = subprocess.Popen(
            self.command(), stdout=self.log, stderr=self.log,
            start_new_session=True, env=dict(os.environ, **environment))

    def kill(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def worker(self):
        """Return the id of the worker's process, None without one."""
        children = psutil.Process(self.process.pid).children()
        return children[0].pid if children else None

    def other_worker(self, old):
        def look():
            found = self.worker()
            return found if found not in (None, old) else None
        return self.site.wait(look)

    def assertWorks(self):
        checkpoint_id = self.site.protect([(VOLUME, 'v1')])
        self.assertEqual('available', self.site.ended(checkpoint_id).status)

    def test_systemd_hears_that_it_is_ready_and_lives(self):
        path = os.path.join(self.path, 'notify')
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.bind(path)
            channel.settimeout(60)
            self.db.write(providers.withdraw, 'here', [])
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)
            self.start(NOTIFY_SOCKET=path, WATCHDOG_USEC='300000')
            self.assertEqual(b'READY=1', channel.recv(1000))
            self.assertEqual('here', self.db.read(_host))
            self.assertIn(b'1 of 1 providers', channel.recv(1000))
            self.assertEqual(b'WATCHDOG=1', channel.recv(1000))

    def test_works_until_told_to_stop(self):
        self.assertWorks()
        self.process.send_signal(signal.SIGTERM)
        self.assertEqual(0, self.process.wait(30))

    def test_a_silent_broker_holds_up_neither_work_nor_the_end(self):
        self.process.send_signal(signal.SIGTERM)
        self.assertEqual(0, self.process.wait(60))
        broker = self.useFixture(fixtures_rude.SilentServer())
        self.values['transport'] = (
            f'rabbit://karbor:x@127.0.0.1:{broker.port}/')
        self.start()
        self.assertWorks()
        self.site.wait(lambda: broker.taken)
        self.process.send_signal(signal.SIGTERM)
        self.assertEqual(0, self.process.wait(60))

    def test_another_worker_follows_one_that_died(self):
        old = self.worker()
        os.kill(old, signal.SIGKILL)
        self.other_worker(old)
        self.assertWorks()

    def test_hangup_reads_the_configuration_again(self):
        self.values['host'] = 'there'
        self.command()
        self.process.send_signal(signal.SIGHUP)
        self.site.wait(lambda: self.db.read(_host) == 'there')
        self.assertWorks()


def _host(db_session):
    return providers.get(db_session, environment.PROVIDER_ID).host
