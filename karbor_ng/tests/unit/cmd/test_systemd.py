# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What systemd hears from a service, at a socket such as it opens."""

import os
import socket
import threading
import time

import fixtures
from oslotest import base

from karbor_ng.cmd import systemd


class Service:
    """A service that hangs, or breaks, when a test wishes it."""

    def __init__(self):
        self.lives = True
        self.ready = threading.Event()
        self.ready.set()
        self.described = '1 operations'

    def wait_until_ready(self):
        self.ready.wait(20)

    def is_alive(self):
        return self.lives

    def describe(self):
        if self.described is None:
            raise ValueError('not foreseen')
        return self.described


class HeartbeatTest(base.BaseTestCase):

    def setUp(self):
        super().setUp()
        path = os.path.join(self.useFixture(fixtures.TempDir()).path, 'notify')
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.socket.close)
        self.socket.bind(path)
        self.socket.settimeout(20)
        self.useFixture(fixtures.EnvironmentVariable('NOTIFY_SOCKET', path))
        self.useFixture(fixtures.EnvironmentVariable(
            'WATCHDOG_USEC', '60000'))
        self.useFixture(fixtures.EnvironmentVariable(systemd._ADDRESS))
        systemd.take_over()
        self.log = self.useFixture(fixtures.FakeLogger())
        self.service = Service()

    def start(self):
        heartbeat = systemd.Heartbeat(self.service)
        self.addCleanup(heartbeat.stop)
        heartbeat.start()

    def heard(self):
        return self.socket.recv(1000).decode()

    def test_ready_then_alive_again_and_again(self):
        self.start()
        self.assertEqual(
            ['READY=1'] + ['STATUS=1 operations', 'WATCHDOG=1'] * 3,
            [self.heard() for _number in range(7)])

    def test_nothing_before_it_is_ready(self):
        self.service.ready.clear()
        self.start()
        self.socket.settimeout(0.2)
        self.assertRaises(TimeoutError, self.heard)
        self.service.ready.set()
        self.socket.settimeout(20)
        self.assertEqual('READY=1', self.heard())

    def test_who_hangs_gives_no_sign_of_life(self):
        self.service.lives = False
        self.start()
        self.assertEqual(['READY=1'] + ['STATUS=1 operations'] * 3,
                         [self.heard() for _number in range(4)])
        self.assertIn('hangs', self.log.output)

    def test_what_breaks_is_told_again_later(self):
        self.service.described = None
        self.start()
        self.assertEqual('READY=1', self.heard())
        until = time.monotonic() + 20
        while 'Telling systemd failed' not in self.log.output:
            self.assertLess(time.monotonic(), until)
            time.sleep(0.01)
        self.service.described = 'well again'
        self.assertEqual('STATUS=well again', self.heard())

    def test_others_can_not_speak_for_us(self):
        self.assertNotIn('NOTIFY_SOCKET', os.environ)

    def test_nobody_listens(self):
        self.socket.close()
        os.unlink(os.environ[systemd._ADDRESS])
        systemd.tell('READY=1')
        self.assertIn('does not listen', self.log.output)


class WithoutSystemdTest(base.BaseTestCase):

    def test_nothing_happens(self):
        self.useFixture(fixtures.EnvironmentVariable('NOTIFY_SOCKET'))
        self.useFixture(fixtures.EnvironmentVariable(systemd._ADDRESS))
        log = self.useFixture(fixtures.FakeLogger())
        systemd.take_over()
        systemd.tell('READY=1')
        self.assertEqual('', log.output)
