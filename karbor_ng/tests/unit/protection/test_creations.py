# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Creations that fail in passing are tried again, and make one thing."""

import fixtures
from oslotest import base

from karbor_ng.plugins import noop
from karbor_ng.tests.unit.protection import environment

VOLUME = 'OS::Cinder::Volume'
NO_CONNECTION = ConnectionError('nobody is there')


class CreationTest(base.BaseTestCase):

    def setUp(self):
        super().setUp()
        self.site = self.useFixture(environment.Deployment())
        self.site.registry.put_graph([{'type': VOLUME, 'id': 'v'}])
        self.site.start_worker()
        self.useFixture(fixtures.MonkeyPatch(
            'karbor_ng.patience.pause', lambda *args, **kwargs: 0.01))
        self.tries = 0

    def _protect(self, create):
        """Protect with a registry whose creations do something else."""
        real = noop.Registry.create

        def counted(registry, tag, content):
            self.tries += 1
            return create(self.tries, lambda: real(registry, tag, content))
        self.useFixture(fixtures.MonkeyPatch(
            'karbor_ng.plugins.noop.Registry.create', counted))
        checkpoint_id = self.site.protect([(VOLUME, 'v')])
        return self.site.ended(checkpoint_id)

    def _assert_one(self):
        self.assertEqual(1, len(self.site.registry.objects()))

    def test_failure_in_passing_is_tried_again(self):
        def create(number, make):
            if number < 4:
                raise NO_CONNECTION
            return make()
        self.assertEqual('available', self._protect(create).status)
        self.assertEqual(4, self.tries)
        self._assert_one()

    def test_other_failure_is_not(self):
        def create(number, make):
            raise ValueError('it never will')
        self.assertEqual('error', self._protect(create).status)
        self.assertEqual(1, self.tries)

    def test_patience_ends(self):
        self.useFixture(fixtures.MonkeyPatch(
            'karbor_ng.protection.work.POLL_PATIENCE', 0.1))

        def create(number, make):
            raise NO_CONNECTION
        found = self._protect(create)
        self.assertEqual('error', found.status)
        self.assertIn('nobody is there',
                      self.site.resources(found.id)['v'].reason)
        self.assertGreater(self.tries, 2)

    def test_answer_lost_at_the_second_try(self):
        def create(number, make):
            if number > 1:
                make()
            raise NO_CONNECTION
        self.assertEqual('available', self._protect(create).status)
        self.assertEqual(2, self.tries)
        self._assert_one()

    def test_first_request_that_arrives_late_leaves_nothing(self):
        def create(number, make):
            if number == 1:
                raise NO_CONNECTION
            make()
            return make()
        self.assertEqual('available', self._protect(create).status)
        self._assert_one()

    def test_nothing_is_made_that_could_not_be_looked_for(self):
        self.looks = 0

        def find(kind, session, tag, resource):
            self.looks += 1
            if self.looks < 4:
                raise NO_CONNECTION
            return kind.registry.find(tag)
        self.useFixture(fixtures.MonkeyPatch(
            'karbor_ng.plugins.noop.Object.find', find))

        def create(number, make):
            make()
            raise NO_CONNECTION
        self.assertEqual('available', self._protect(create).status)
        self.assertEqual(1, self.tries)
        self._assert_one()
