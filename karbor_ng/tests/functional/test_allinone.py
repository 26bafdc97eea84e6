# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""karbor-all-in-one on a real cloud: whom it serves, and what survives."""

import os
import pathlib
import re
import signal
import subprocess
import sys

import fixtures

from karbor_ng.tests.functional import base
from karbor_ng.tests.functional import secrecy

PROGRAM = pathlib.Path(sys.executable).with_name('karbor-all-in-one')


class AllInOneTestCase(base.StackTestCase):

    def setUp(self):
        super().setUp()
        self.path = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.output = self.path / 'output'
        self.process = None

    def launch(self, **env):
        """Start it as demo; return the process."""
        with open(self.output, 'w') as output:
            self.process = subprocess.Popen(
                [PROGRAM, '--state', self.path / 'state', '--port', '0'],
                stdout=output, stderr=subprocess.STDOUT,
                env={**os.environ, 'OS_CLOUD': 'demo', **env})
        self.addCleanup(secrecy.keep_log, self.output)
        self.addCleanup(self.end, self.process, signal.SIGKILL)
        return self.process

    def start(self):
        """Start it as demo, be its user; return the URL."""
        self.launch()
        found = base.wait(
            lambda: re.search(r'http://\S+', self.output.read_text()), 60,
            what='the URL of karbor-all-in-one')
        url = found.group()
        self.demo.karbor = base.Karbor(
            self.demo.cloud.session, endpoint_override=url, raise_exc=False)
        self.provider = base.wait(
            lambda: self.request('GET', '/providers')['providers'],
            what='a provider')[0]['id']
        return url

    def end(self, process, number):
        if process.poll() is None:
            process.send_signal(number)
        return process.wait(90)


class UsersTest(AllInOneTestCase):

    def test_it_serves_its_own_user_alone(self):
        url = self.start()
        self.assertEqual([], self.request('GET', '/plans')['plans'])
        for name in ('demo2', 'admin', 'demo_reader'):
            other = base.User(name)
            other.karbor = base.Karbor(
                other.cloud.session, endpoint_override=url, raise_exc=False)
            self.request('GET', '/plans', expect=403, user=other)
        self.assertEqual(0, self.end(self.process, signal.SIGTERM))

    def test_a_second_one_is_refused(self):
        self.start()
        first = self.process
        self.assertEqual(1, self.launch().wait(60))
        self.assertIn(f'Process {first.pid} already works',
                      self.output.read_text())

    def test_a_region_without_volumes(self):
        auth = self.demo.cloud.config.config['auth']
        self.launch(OS_CLOUD='', OS_REGION_NAME='elsewhere', **{
            f'OS_{name.upper()}': value for name, value in auth.items()})
        self.assertEqual(1, self.process.wait(60))
        self.assertIn('no volume service', self.output.read_text())


class SurvivalTest(AllInOneTestCase):

    def check(self, number, seconds):
        """Signal it while Cinder makes a backup; the next start goes on."""
        self.start()
        volume = self.demo.create_volumes(1)[0]
        self.addCleanup(self.demo.delete_volume, volume.id)
        plan_id = self.create_plan([volume], self.provider)
        checkpoint = self.protect(plan_id, self.provider)
        base.wait(lambda: self.demo.backups_of(volume.id),
                  what='a backup in Cinder')
        self.end(self.process, number)
        self.start()
        self.ended(checkpoint, seconds=seconds)
        self.assertEqual(1, len(self.demo.backups_of(volume.id)))
        self.delete(checkpoint)
        self.assertEqual([], self.demo.backups_of(volume.id))
        self.assertEqual([], self.demo.snapshots_of(volume.id))

    def test_a_crash(self):
        self.check(signal.SIGKILL, 75)

    def test_a_stop(self):
        self.check(signal.SIGTERM, 60)
