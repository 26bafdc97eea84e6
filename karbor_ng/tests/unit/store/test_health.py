# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What rows tell about services that are well, silent, or gone."""

import datetime

import sqlalchemy as sa

from karbor_ng.store import health
from karbor_ng.store import models
from karbor_ng.store import operations
from karbor_ng.store import providers
from karbor_ng.store import scheduled_operations
from karbor_ng.store import session as store_session
from karbor_ng.store import trusts
from karbor_ng.tests import fixtures


def _move(session, model, column, seconds, **equal):
    """Let a time of a row lie so far from the database's present one."""
    moment = (store_session.now(session)
              + datetime.timedelta(seconds=seconds))
    session.execute(sa.update(model).filter_by(**equal).values(
        {column: moment}))


class GlanceTest(fixtures.DatabaseTest):

    def glance(self):
        return self.read(health.glance)

    def operation(self, claimed=False):
        values = fixtures.operation_values()
        self.write(operations.create, values)
        if claimed:
            self.write(operations.claim, values['id'], 'node-1:x', 60)
        return values['id']

    def test_nothing_has_happened_yet(self):
        self.assertEqual(health.Glance(
            providers=[], queued=0, oldest_queued_seconds=0.0, running=0,
            lost=0, longest_lost_seconds=0.0, disabled=[],
            overdue=0, longest_overdue_seconds=0.0, given_up=0),
            self.glance())

    def test_what_waits_longest(self):
        old = self.operation()
        self.operation()
        self.write(_move, models.Operation, 'created_at', -100, id=old)
        found = self.glance()
        self.assertEqual(2, found.queued)
        self.assertAlmostEqual(100, found.oldest_queued_seconds, delta=30)

    def test_copies_wait_for_each_other(self):
        values = fixtures.operation_values(type='copy')
        self.write(operations.create, values)
        self.write(_move, models.Operation, 'created_at', -100,
                   id=values['id'])
        self.operation()
        found = self.glance()
        self.assertEqual(2, found.queued)
        self.assertAlmostEqual(0, found.oldest_queued_seconds, delta=30)

    def test_a_clock_ahead_of_the_database(self):
        self.write(_move, models.Operation, 'created_at', 1000,
                   id=self.operation())
        self.assertEqual(0.0, self.glance().oldest_queued_seconds)

    def test_leases(self):
        lost = self.operation(claimed=True)
        self.operation(claimed=True)
        self.write(_move, models.Operation, 'lease_until', -50, id=lost)
        found = self.glance()
        self.assertEqual((2, 1), (found.running, found.lost))
        self.assertAlmostEqual(50, found.longest_lost_seconds, delta=30)

    def test_triggers_that_are_due(self):
        self.write(fixtures.add_trigger, next_run_at=None)
        for seconds in (-50, -20, 1000):
            trigger = self.write(fixtures.add_trigger)
            self.write(_move, models.Trigger, 'next_run_at', seconds,
                       id=trigger.id)
        found = self.glance()
        self.assertEqual(2, found.overdue)
        self.assertAlmostEqual(50, found.longest_overdue_seconds, delta=30)

    def test_trusts_that_are_given_up(self):
        self.write(trusts.add, 'trust', 'user', fixtures.PROJECT)
        trigger = self.write(fixtures.add_trigger)
        self.write(scheduled_operations.create,
                   fixtures.scheduled_operation_values(
                       trigger_id=trigger.id, trust_id='trust'))
        self.assertEqual(0, self.glance().given_up)
        self.write(trusts.give_up, 'trust', 'It is gone.')
        self.assertEqual(1, self.glance().given_up)

    def test_what_has_ended_does_not_count(self):
        ended = self.operation(claimed=True)
        self.write(operations.finish, ended, 1, 'done')
        found = self.glance()
        self.assertEqual((0, 0, 0), (found.queued, found.running, found.lost))

    def test_providers(self):
        values = fixtures.provider_values()
        self.write(providers.publish, values)
        self.write(_move, models.Provider, 'published_at', -200)
        provider, = self.glance().providers
        self.assertAlmostEqual(200, provider.pop('silent_seconds'), delta=30)
        self.assertEqual({'id': values['id'], 'name': values['name'],
                          'problem': None,
                          'host': 'node-1', 'bank': 'memory'}, provider)
