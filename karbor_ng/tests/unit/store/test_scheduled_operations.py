# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Scheduled operations, and who uses what."""

import datetime

from karbor_ng import errors
from karbor_ng.store import query
from karbor_ng.store import scheduled_operations
from karbor_ng.store import session as store_session
from karbor_ng.store import trusts
from karbor_ng.tests import fixtures


class ScheduledOperationsTest(fixtures.DatabaseTest):

    def setUp(self):
        super().setUp()
        self.trigger = self.write(fixtures.add_trigger)

    def schedule(self, **values):
        return self.write(
            scheduled_operations.create,
            fixtures.scheduled_operation_values(
                **{'trigger_id': self.trigger.id, **values}))

    def test_get(self):
        one = self.schedule(definition={'plan_id': 'a', 'max_backups': '3'})
        found = self.read(scheduled_operations.get, one.id, fixtures.PROJECT)
        self.assertEqual({'plan_id': 'a', 'max_backups': '3'},
                         found.definition)
        self.assertTrue(found.is_enabled)
        for asked in ((one.id, fixtures.OTHER_PROJECT), ('x',)):
            self.assertRaises(errors.NotFound, self.read,
                              scheduled_operations.get, *asked)

    def test_list_filters(self):
        other = self.write(fixtures.add_trigger)
        mine = self.schedule(name='Nightly Shop')
        keeps = self.schedule(name='hourly', operation_type='keep',
                              definition={'max_backups': 3})
        theirs = self.schedule(project_id=fixtures.OTHER_PROJECT,
                               trigger_id=other.id)
        for expected, filters in (
                ({mine, keeps, theirs}, {}),
                ({mine, keeps}, {'project_id': fixtures.PROJECT}),
                ({mine}, {'project_id': fixtures.PROJECT, 'name': 'SHOP'}),
                ({keeps}, {'operation_type': 'keep'}),
                ({theirs}, {'trigger_id': other.id}),
                ({mine}, {'plan_id': mine.plan_id}),
                ({keeps}, {'operation_definition': '"max_backups": 3'}),
                (set(), {'name': '_'})):
            found = self.read(scheduled_operations.list, query.Page(),
                              **filters)
            self.assertEqual({one.id for one in expected},
                             {one.id for one in found}, filters)

    def test_update(self):
        one = self.schedule()
        self.assertIsNone(one.updated_at)
        self.write(scheduled_operations.update, one.id, fixtures.PROJECT,
                   {'is_enabled': False, 'name': 'other'})
        found = self.read(scheduled_operations.get, one.id)
        self.assertEqual((False, 'other'), (found.is_enabled, found.name))
        self.assertIsNotNone(found.updated_at)
        self.assertRaises(errors.NotFound, self.write,
                          scheduled_operations.update, one.id,
                          fixtures.OTHER_PROJECT, {'name': 'x'})

    def test_delete(self):
        one = self.schedule()
        self.assertRaises(errors.NotFound, self.write,
                          scheduled_operations.delete, one.id,
                          fixtures.OTHER_PROJECT)
        self.write(scheduled_operations.delete, one.id, fixtures.PROJECT)
        self.assertEqual({}, self.read(scheduled_operations.by_ids,
                                       [one.id]))

    def test_who_uses_what(self):
        first, second = self.schedule(), self.schedule(is_enabled=False)
        self.assertEqual([first.id, second.id], [
            row.id for row in self.read(scheduled_operations.of_trigger,
                                        self.trigger.id)])
        self.assertEqual([first.id], [
            row.id for row in self.read(scheduled_operations.of_trigger,
                                        self.trigger.id, limit=1)])
        self.assertEqual([second.id], [
            row.id for row in self.read(scheduled_operations.of_plan,
                                        second.plan_id)])
        self.assertEqual([first.id], [
            row.id for row in self.read(scheduled_operations.firing_of,
                                        [self.trigger.id],
                                        fixtures.MOMENT)])

    def test_what_was_started_until_its_trust_ended(self):
        self.write(trusts.add, 'trust', 'user', fixtures.PROJECT)
        one = self.schedule(trust_id='trust')
        before = self.read(store_session.now)
        self.write(trusts.give_up, 'trust', 'It is gone.')
        after = self.read(store_session.now)
        found, = self.read(scheduled_operations.firing_of,
                           [self.trigger.id], before)
        self.assertEqual(one.id, found.id)
        self.assertTrue(before <= found.disabled_at <= after)
        self.assertEqual([], self.read(
            scheduled_operations.firing_of, [self.trigger.id],
            after + datetime.timedelta(seconds=1)))

    def test_trust(self):
        self.write(trusts.add, 'trust', 'user', fixtures.PROJECT)
        one = self.schedule(trust_id='trust')
        self.assertTrue(self.read(scheduled_operations.has_trust, one.id))
        self.write(trusts.give_up, 'trust', 'It is gone.')
        self.assertFalse(self.read(scheduled_operations.has_trust, one.id))
        self.assertFalse(self.read(scheduled_operations.has_trust,
                                   self.schedule().id))
