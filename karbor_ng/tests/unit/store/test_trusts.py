# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Trusts: known, used, and let go of once."""

from karbor_ng.store import scheduled_operations
from karbor_ng.store import trusts
from karbor_ng.tests import fixtures


class TrustsTest(fixtures.DatabaseTest):

    def setUp(self):
        super().setUp()
        self.trigger = self.write(fixtures.add_trigger)
        self.add('trust')

    def add(self, trust_id, user_id='user'):
        self.write(trusts.add, trust_id, user_id, fixtures.PROJECT)

    def schedule(self, **values):
        return self.write(
            scheduled_operations.create,
            fixtures.scheduled_operation_values(**{
                'trigger_id': self.trigger.id, 'trust_id': 'trust',
                **values}))

    def living(self, user_id='user'):
        return self.read(trusts.living, user_id, fixtures.PROJECT)

    def leftovers(self, idle_seconds=0):
        return self.read(trusts.leftovers, idle_seconds, 10)

    def test_adding_twice_is_once(self):
        self.add('trust')
        self.add('theirs', 'other')
        self.assertEqual(['trust'], self.living())
        self.assertEqual(['theirs'], self.living('other'))
        self.assertEqual({'trust'}, self.read(trusts.known, ['trust', 'x']))

    def test_only_the_last_use_releases(self):
        rows = [self.schedule(), self.schedule()]
        for row, expected in zip(rows, (False, True), strict=True):
            self.write(scheduled_operations.delete, row.id)
            self.assertEqual(expected, self.write(trusts.release, 'trust'))
        self.assertFalse(self.write(trusts.lock, 'trust'))
        self.assertEqual([], self.living())
        self.write(trusts.explain, 'trust', 'Keystone is away.')
        self.write(trusts.remove, 'trust')
        self.assertEqual(set(), self.read(trusts.known, ['trust']))
        self.assertFalse(self.write(trusts.release, 'trust'))

    def test_one_that_lives_is_not_removed(self):
        self.write(trusts.remove, 'trust')
        self.assertEqual(['trust'], self.living())

    def test_leftovers(self):
        self.assertEqual([], self.leftovers(3600))
        self.assertEqual(['trust'], self.leftovers())
        row = self.schedule()
        self.assertEqual([], self.leftovers())
        self.write(scheduled_operations.delete, row.id)
        self.write(trusts.release, 'trust')
        self.assertEqual(['trust'], self.leftovers(3600))

    def test_giving_up_disables_what_uses_it(self):
        self.add('second')
        rows = [self.schedule(), self.schedule(is_enabled=False),
                self.schedule(trust_id='second')]
        self.assertEqual([rows[0].id], self.write(
            trusts.give_up, 'trust', 'It was revoked.'))
        self.assertEqual([], self.write(trusts.give_up, 'trust', 'Again.'))
        found = self.read(scheduled_operations.by_ids,
                          [row.id for row in rows])
        self.assertEqual(
            [(False, 'It was revoked.'), (False, None), (True, None)],
            [(found[row.id].is_enabled, found[row.id].disabled_reason)
             for row in rows])
        self.assertEqual(['second'], self.living())

    def test_the_last_use_and_a_new_one_at_once(self):
        def leave():
            self.write(scheduled_operations.delete, row.id)
            return self.write(trusts.release, 'trust')

        def come():
            def insert(session):
                if not trusts.lock(session, 'trust'):
                    return False
                scheduled_operations.create(
                    session, fixtures.scheduled_operation_values(
                        trigger_id=self.trigger.id, trust_id='trust'))
                return True
            return self.write(insert)

        row = self.schedule()
        is_revoked, is_used = fixtures.together(leave, come)
        self.assertEqual({True, False}, {is_revoked, is_used})
