# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""karbor-operationengine as operators meet it: a process and its words."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

from karbor_ng.store import models
from karbor_ng.store import schema
from karbor_ng.store import services
from karbor_ng.tests import fixtures
from karbor_ng.tests import fixtures_keystone
from karbor_ng.tests.unit.cmd import test_protection

PROGRAM = pathlib.Path(sys.executable).with_name('karbor-operationengine')


class ProgramTestCase(test_protection.ProgramTestCase):

    def setUp(self):
        super().setUp()
        schema.upgrade(self.db)

    def command(self):
        return [PROGRAM, *super().command()[1:]]


class RefusalTest(ProgramTestCase):
    """What is wrong is told in one line, with exit code 1."""

    def refused(self, *words):
        ended = subprocess.run(self.command(), capture_output=True,
                               text=True, timeout=60)
        self.assertEqual(1, ended.returncode, ended.stderr)
        last = ended.stderr.splitlines()[-1]
        self.assertTrue(
            last.startswith('karbor-operationengine can not start: '), last)
        for word in words:
            self.assertIn(word, last)
        self.assertNotIn('Traceback', ended.stderr)

    def test_no_tables(self):
        self.values['connection'] = f'sqlite:///{self.path}/empty.sqlite'
        self.refused('karbor-manage db sync')

    def test_no_broker(self):
        self.values['transport'] = 'pigeon://'
        self.refused('transport_url', 'pigeon')

    def test_options_of_triggers_that_contradict_each_other(self):
        self.values['more'] = '[DEFAULT]\nmin_window_time = 5000\n'
        self.refused('min_window_time (5000)')

    def test_no_service_role(self):
        keystone = self.useFixture(fixtures_keystone.Keystone('member'))
        self.values.update(auth='keystone', more=keystone.section())
        self.refused('has no role "service"')


class RunningTest(ProgramTestCase):

    def setUp(self):
        super().setUp()
        self.values['more'] = '[operationengine]\npoll_interval = 0.1\n'
        path = os.path.join(self.path, 'notify')
        self.channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.channel.close)
        self.channel.bind(path)
        self.channel.settimeout(60)
        self.process = subprocess.Popen(
            self.command(), stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=dict(os.environ, NOTIFY_SOCKET=path))
        self.addCleanup(self.kill)
        self.assertEqual(b'READY=1', self.channel.recv(1000))

    def kill(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def test_from_start_to_stop(self):
        self.assertIn(b'looked for due triggers', self.channel.recv(1000))
        row, = self.rows()
        self.assertEqual(('karbor-operationengine', 'here'),
                         (row.service.binary, row.service.host))
        self.process.send_signal(signal.SIGTERM)
        self.assertEqual(0, self.process.wait(30))
        self.assertEqual([], self.db.read(services.list))

    def rows(self):
        """Return the rows of services, once there is one.

        A thread of its own tells that the engine is there.
        """
        while not (found := self.db.read(services.list)):
            self.assertIsNone(self.process.poll())
            time.sleep(0.05)
        return found

    def test_it_fires(self):
        trigger = self.db.write(fixtures.add_trigger, properties={
            'format': 'crontab', 'pattern': '0 0 29 2 *', 'window': '900',
            'start_time': '2026-01-01 00:00:00'})

        def next_run(session):
            return session.get(models.Trigger, trigger.id).next_run_at
        while self.db.read(next_run) == fixtures.MOMENT:
            self.assertIsNone(self.process.poll())
        self.assertEqual((2, 29), (self.db.read(next_run).month,
                                   self.db.read(next_run).day))
