# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Providers, as services publish and withdraw them."""

import datetime

from karbor_ng import errors
from karbor_ng.store import checkpoints
from karbor_ng.store import providers
from karbor_ng.store import query
from karbor_ng.store import session as store_session
from karbor_ng.tests import fixtures

MINUTE = datetime.timedelta(minutes=1)


class ProvidersTest(fixtures.DatabaseTest):

    def publish(self, **values):
        values = fixtures.provider_values(**values)
        self.write(providers.publish, values)
        return values

    def names(self, **filters):
        page = query.Page(sort=(('name', 'asc'),))
        return [row.name for row in self.read(providers.list, page,
                                              **filters)]

    def test_publish(self):
        values = self.publish()
        found = self.read(providers.get, values['id'])
        self.assertEqual(values, {name: getattr(found, name)
                                  for name in values})

    def test_publish_again(self):
        first = self.publish()
        before = self.read(providers.get, first['id']).published_at
        self.publish(name='new', host='node-2', capabilities={},
                     bank_uuid=first['bank_uuid'])
        found = self.read(providers.get, first['id'])
        self.assertEqual(('new', 'node-2', {}),
                         (found.name, found.host, found.capabilities))
        self.assertGreater(found.published_at, before)
        self.assertEqual(['new'], self.names())

    def test_publish_at_once(self):
        """Two hosts that start together have the same provider files."""
        values = fixtures.provider_values()
        self.assertEqual([None] * 4, fixtures.together(*[
            lambda: self.write(providers.publish, values)] * 4))
        self.assertEqual([values['name']], self.names())

    def test_faster_host_is_no_error(self):
        """The other host's row comes after we saw that there is none."""
        values = fixtures.provider_values(name='ours')
        query_change = query.change
        calls = []

        def change(session, *args):
            changed = query_change(session, *args)
            calls.append(changed)
            if len(calls) == 1:
                session.add(providers.Provider(
                    **values, published_at=fixtures.MOMENT))
                session.flush()
                session.expunge_all()
            return changed

        self.patch(query, 'change', change)
        self.write(providers.publish, values)
        self.assertEqual([0, 1], calls)
        found = self.read(providers.get, values['id'])
        self.assertGreater(found.published_at, fixtures.MOMENT)

    def test_another_bank_is_refused_while_it_holds_checkpoints(self):
        values = self.publish()
        checkpoint = self.write(
            checkpoints.create, fixtures.checkpoint_values(
                status='available', bank_uuid=values['bank_uuid']))
        other = fixtures.new_id()
        problem = self.assertRaises(errors.Conflict, self.publish,
                                    bank_uuid=other)
        for text in (values['id'], values['bank_uuid'], other):
            self.assertIn(text, str(problem))
        self.publish(bank_uuid=values['bank_uuid'], name='same bank')
        for status in ('deleting', 'deleted'):
            self.write(checkpoints.move, checkpoint.id, status)
        self.publish(bank_uuid=other, name='empty bank')
        self.assertEqual(['empty bank'], self.names())

    def test_checkpoints_without_a_bank_do_not_matter(self):
        self.publish()
        self.write(checkpoints.create, fixtures.checkpoint_values())
        self.publish(bank_uuid=fixtures.new_id())

    def test_another_host_with_another_bank(self):
        """Each host has a directory of its own, perhaps."""
        values = self.publish()
        problem = self.assertRaises(errors.Conflict, self.publish,
                                    host='node-2')
        for text in ('node-1', values['id'], values['bank_uuid']):
            self.assertIn(text, str(problem))
        self.assertEqual('node-1',
                         self.read(providers.get, values['id']).host)

    def test_host_may_change_its_own_bank(self):
        self.publish()
        self.publish(name='moved')
        self.assertEqual(['moved'], self.names())

    def test_host_that_fell_silent_does_not_count(self):
        values = self.publish()
        self._age(values['id'], providers.FRESH + MINUTE)
        self.publish(name='ours', host='node-2')
        self.assertEqual(['ours'], self.names())

    def test_publishing_again_keeps_it_fresh(self):
        values = self.publish()
        self._age(values['id'], providers.FRESH + MINUTE)
        old = self.read(providers.get, values['id']).published_at
        self.write(providers.publish, values)
        found = self.read(providers.get, values['id']).published_at
        self.assertGreater(found - old, providers.FRESH)
        self.assertRaises(errors.Conflict, self.publish, host='node-2')

    def _age(self, provider_id, age):
        """Let the host's word be so old."""
        def age_row(session):
            row = providers.get(session, provider_id)
            row.published_at = store_session.now(session) - age

        self.write(age_row)

    def test_banks_of_other_providers_do_not_matter(self):
        self.write(checkpoints.create, fixtures.checkpoint_values(
            provider_id=fixtures.new_id(), bank_uuid=fixtures.new_id()))
        self.publish()

    def test_withdraw(self):
        kept = self.publish(id=fixtures.new_id(), name='kept')
        self.publish(id=fixtures.new_id(), name='dropped')
        self.publish(id=fixtures.new_id(), name='elsewhere', host='node-2')
        self.write(providers.withdraw, 'node-1', [kept['id']])
        self.assertEqual(['elsewhere', 'kept'], self.names())
        self.write(providers.withdraw, 'node-1', [])
        self.assertEqual(['elsewhere'], self.names())

    def test_withdraw_keeps_what_another_host_took_over(self):
        values = self.publish()
        self.publish(bank_uuid=values['bank_uuid'], host='node-2')
        self.write(providers.withdraw, 'node-1', ())
        self.assertEqual([values['name']], self.names())

    def test_get_unknown(self):
        self.assertRaises(errors.NotFound, self.read, providers.get, 'x')

    def test_list_filters_are_exact(self):
        self.publish(id=fixtures.new_id(), name='gold', description='fast')
        self.publish(id=fixtures.new_id(), name='golden', description='slow')
        self.assertEqual(['gold'], self.names(name='gold'))
        self.assertEqual(['golden'], self.names(description='slow'))
        self.assertEqual([], self.names(name='gol'))
