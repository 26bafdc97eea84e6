# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Polls: with how much patience a worker asks a cloud that stumbles."""

import time
import types

import fixtures as fixture_library
from keystoneauth1 import exceptions
from novaclient import exceptions as nova_exceptions
from oslotest import base

from karbor_ng import errors
from karbor_ng import keystone
from karbor_ng import resource
from karbor_ng.protection import lease
from karbor_ng.protection import work
from karbor_ng.store import models
from karbor_ng.tests import fixtures_rude

BUSY = (429, {'Retry-After': '45'})


class PollTest(base.BaseTestCase):

    def setUp(self):
        super().setUp()
        self.pauses = []
        self.useFixture(fixture_library.MonkeyPatch(
            'karbor_ng.protection.lease.Lease.sleep', self._sleep))
        self.server = self.useFixture(fixtures_rude.RudeServer())
        # Nothing of it is the session's patience.
        self.session = keystone.Session(status_code_retries=0,
                                        connect_retries=0)
        self.lease = lease.Lease('operation', 1, 600, time.monotonic(),
                                 models.utcnow())
        self.work = self._work()

    def _sleep(self, held, seconds):
        self.pauses.append(seconds)
        held.check()

    def _work(self):
        job = types.SimpleNamespace(
            journal=types.SimpleNamespace(lease=self.lease), session=None,
            restored={}, provider=types.SimpleNamespace(bank=None),
            tools=types.SimpleNamespace(stream_slots=None),
            operation=types.SimpleNamespace(
                id='operation', checkpoint_id='checkpoint',
                project_id='project'))
        return work.Work(job, resource.Resource('OS::Nova::Server', 'web'),
                         None, {}, None, {}, 'operation')

    def poll(self, *answers):
        self.server.answers[:] = answers
        return self.work.poll(lambda: self.session.get(
            self.server.url).status_code)

    def test_whatever_passes(self):
        passing = [500, 502, 503, 504, 429, fixtures_rude.HANG_UP]
        self.assertEqual(200, self.poll(*passing))
        for seconds, about in zip(self.pauses, (1, 2, 4, 8, 16, 30),
                                  strict=True):
            self.assertTrue(.75 * about <= seconds <= 1.25 * about)

    def test_whatever_does_not(self):
        for status in (400, 401, 403, 404, 409, 413, 501):
            self.assertRaises(exceptions.HttpError, self.poll, status)
        self.assertEqual([], self.pauses)

    def test_a_cloud_asks_to_be_left_alone(self):
        self.assertEqual(200, self.poll(BUSY))
        self.assertTrue(45 <= self.pauses[0] <= 47, self.pauses)

    def test_nova_says_it_in_its_own_way(self):
        """Cinder's and Glance's clients tell nobody what they were told."""
        self.server.answers[:] = [BUSY]
        response = self.session.get(self.server.url, raise_exc=False)
        problems = [nova_exceptions.from_response(response, {},
                                                  self.server.url)]

        def ask():
            if problems:
                raise problems.pop()
        self.work.poll(ask)
        self.assertTrue(45 <= self.pauses.pop() <= 47)

    def test_patience_ends(self):
        self.useFixture(fixture_library.MonkeyPatch(
            'karbor_ng.protection.work.POLL_PATIENCE', -1))
        self.assertRaises(exceptions.ServiceUnavailable, self.poll, 503, 200)

    def test_the_operation_ends(self):
        self.lease.lose()
        self.assertRaises(errors.Fenced, self.poll, BUSY)
