# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Trusts are made once, found again, and revoked with their last use."""

from unittest import mock

from oslo_db import exception as db_exception

from karbor_ng import context
from karbor_ng import errors
from karbor_ng import triggers
from karbor_ng.operationengine import client
from karbor_ng.operationengine import trusts
from karbor_ng.store import query
from karbor_ng.store import scheduled_operations
from karbor_ng.store import trusts as rows
from karbor_ng.tests import fixtures
from karbor_ng.tests.unit.operationengine import environment


class Keystone:
    """Keeps trusts as Keystone does; answers like a ``Delegation``."""

    is_needed = True

    def __init__(self):
        self.trusts = {}
        self.is_away = False

    def check(self, context):
        """All tokens will do."""

    def give(self, context):
        self._answer()
        trust_id = f'trust{len(self.trusts)}'
        self.trusts[trust_id] = (context.user_id, context.project_id)
        return trust_id

    def find(self, context):
        self._answer()
        return [trust_id for trust_id, user in self.trusts.items()
                if user == (context.user_id, context.project_id)]

    def is_known(self, trust_id):
        self._answer()
        return trust_id in self.trusts

    def revoke(self, trust_id):
        self._answer()
        self.trusts.pop(trust_id, None)

    def _answer(self):
        if self.is_away:
            raise errors.Unavailable('Keystone does not answer.')


def asking(user_id='user', project_id=fixtures.PROJECT):
    return context.RequestContext(user_id=user_id, project_id=project_id)


class TrustsTest(environment.EngineTest):
    """What the front door does about trusts."""

    def setUp(self):
        super().setUp()
        self.keystone = Keystone()
        self.client = client.EngineClient(
            self.db, self.keystone, triggers.load(self.schedules.conf))
        # Its plan is what the others are for.
        self.plan_id = self.schedules.add(is_enabled=False).plan_id

    def create(self, context=None, **values):
        context = context or asking()
        return self.client.create(context, context.project_id, {
            'name': 'one', 'description': None,
            'operation_type': 'protect', 'is_enabled': True,
            'trigger_id': self.schedules.trigger.id,
            'definition': {'provider_id': fixtures.PROVIDER,
                           'plan_id': self.plan_id}, **values})

    def delete(self, row):
        self.client.delete(row.id, row.project_id)

    def get(self, row):
        return self.read(scheduled_operations.get, row.id)

    def rows(self):
        return {trust.id: trust.state for trust in self.read(
            lambda session: session.query(rows.Trust).all())}

    def test_one_for_all_of_a_user(self):
        first, second = self.create(), self.create()
        self.assertEqual(first.trust_id, second.trust_id)
        self.assertEqual({first.trust_id: 'living'}, self.rows())
        other = self.create(asking('other'))
        self.assertNotEqual(first.trust_id, other.trust_id)
        self.delete(first)
        self.assertEqual(2, len(self.keystone.trusts))
        self.delete(second)
        self.assertEqual({other.trust_id}, set(self.keystone.trusts))
        self.assertEqual({other.trust_id: 'living'}, self.rows())

    def test_what_is_refused_leaves_none_behind(self):
        self.assertRaises(errors.NotFound, self.create,
                          trigger_id=fixtures.new_id())
        self.assertEqual({}, self.keystone.trusts)

    def test_what_is_refused_late_leaves_none_behind(self):
        with mock.patch.object(scheduled_operations, 'create',
                               side_effect=errors.Conflict('Too late.')):
            self.assertRaises(errors.Conflict, self.create)
        self.assertEqual(({}, {}), (self.keystone.trusts, self.rows()))

    def test_what_a_dead_request_made_is_found(self):
        with mock.patch.object(rows, 'add',
                               side_effect=db_exception.DBError):
            self.assertRaises(db_exception.DBError, self.create)
        made, = self.keystone.trusts
        self.assertEqual(made, self.create().trust_id)
        self.assertEqual([made], list(self.keystone.trusts))

    def test_what_nobody_came_to_use_is_swept_up(self):
        with mock.patch.object(scheduled_operations, 'create',
                               side_effect=db_exception.DBError):
            self.assertRaises(db_exception.DBError, self.create)
        keeper = trusts.Trusts(self.db, self.keystone)
        keeper.sweep()
        self.assertEqual(1, len(self.keystone.trusts))
        with mock.patch.object(trusts, '_IDLE_SECONDS', 0):
            keeper.sweep()
        self.assertEqual(({}, {}), (self.keystone.trusts, self.rows()))

    def test_one_that_is_revoked_is_not_used_for_new_ones(self):
        first = self.create()
        self.keystone.trusts.clear()
        # The next one must not have the same name.
        self.keystone.trusts['of others'] = ('x', 'y')
        second = self.create()
        self.assertNotEqual(first.trust_id, second.trust_id)
        found = self.get(first)
        self.assertFalse(found.is_enabled)
        self.assertIn('revoked', found.disabled_reason)
        self.assertTrue(self.get(second).is_enabled)

    def test_enabling_renews(self):
        row = self.create()
        self.keystone.trusts = {'of others': ('x', 'y')}
        self.write(rows.give_up, row.trust_id, 'It was revoked.')
        found = self.client.update(asking('colleague'), self.get(row),
                                   {'is_enabled': True})
        self.assertEqual((True, None, 'colleague'), (
            found.is_enabled, found.disabled_reason, found.user_id))
        self.assertNotEqual(row.trust_id, found.trust_id)
        self.assertEqual({found.trust_id: 'living'}, self.rows())

    def test_enabling_with_a_living_one_changes_no_user(self):
        row = self.create()
        self.client.update(asking(), self.get(row), {'is_enabled': False})
        found = self.client.update(asking('colleague'), self.get(row),
                                   {'is_enabled': True})
        self.assertEqual((row.trust_id, 'user'),
                         (found.trust_id, found.user_id))

    def test_only_in_the_project_of_the_token(self):
        self.assertRaises(
            errors.Forbidden, self.client.create,
            asking(project_id=fixtures.OTHER_PROJECT), fixtures.PROJECT, {
                'name': 'one', 'description': None, 'is_enabled': True,
                'operation_type': 'protect',
                'trigger_id': self.schedules.trigger.id,
                'definition': {'provider_id': fixtures.PROVIDER,
                               'plan_id': self.plan_id}})
        self.assertEqual({}, self.keystone.trusts)

    def test_keystone_away_at_the_end(self):
        row = self.create()
        self.keystone.is_away = True
        self.delete(row)
        self.assertEqual({row.trust_id: 'removing'}, self.rows())
        self.assertEqual(
            'Keystone does not answer.',
            self.read(lambda session: session.get(
                rows.Trust, row.trust_id).reason))
        self.keystone.is_away = False
        trusts.Trusts(self.db, self.keystone).sweep()
        self.assertEqual(({}, {}), (self.keystone.trusts, self.rows()))

    def test_keystone_away_at_the_beginning(self):
        self.keystone.is_away = True
        self.assertRaises(errors.Unavailable, self.create)
        self.assertEqual(1, len(self.read(scheduled_operations.list,
                                          query.Page())))

    def test_one_that_is_gone_already(self):
        row = self.create()
        self.keystone.trusts.clear()
        self.delete(row)
        self.assertEqual({}, self.rows())

    def test_without_need_there_is_none(self):
        self.keystone.is_needed = False
        row = self.create()
        self.assertIsNone(row.trust_id)
        self.delete(row)
        self.assertEqual({}, self.keystone.trusts)

    def test_the_last_goes_while_the_next_comes(self):
        row = self.create()
        _none, made = fixtures.together(lambda: self.delete(row),
                                        self.create)
        if isinstance(made, errors.Unavailable):
            made = self.create()
        self.assertIn(made.trust_id, self.keystone.trusts)
        self.assertEqual({made.trust_id: 'living'}, self.rows())
