# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Streams: shared while somebody uses them, and not a moment longer."""

import datetime
import random

from karbor_ng.store import streams
from karbor_ng.tests import fixtures

BANK = fixtures.new_id()


class StreamsTestCase(fixtures.DatabaseTest):

    def setUp(self):
        super().setUp()
        self.age = fixtures.MOMENT

    def use(self, checkpoint_id=None, **values):
        return {'checkpoint_id': checkpoint_id or fixtures.new_id(),
                'resource_type': fixtures.VOLUME, 'resource_id': 'volume',
                'label': 'data', **values}

    def values(self, identity='same', **values):
        self.age += datetime.timedelta(seconds=1)
        return {'id': fixtures.new_id(), 'bank_uuid': BANK,
                'project_id': fixtures.PROJECT,
                'resource_type': fixtures.VOLUME, 'resource_id': 'volume',
                'identity': identity, 'created_at': self.age, **values}

    def begin(self, use=None, instead_of=None, **values):
        return self.write(streams.begin, use or self.use(),
                          self.values(**values), instead_of)

    def stored(self, use=None, **values):
        """Begin a stream and complete it; return its id."""
        stream = self.begin(use, **values)
        self.write(streams.complete, stream.id, 0, 0, 'e' * 64)
        return stream.id

    def state(self, stream_id):
        def look(session):
            row = session.get(streams.Stream, stream_id)
            return row and row.state
        return self.read(look)

    def to_remove(self, bank_uuid=BANK):
        return [row.id for row in self.read(streams.to_remove, bank_uuid)]

    def put_part(self, stream_id, number, **values):
        self.write(streams.put_part, {
            'stream_id': stream_id, 'number': number, 'key': f'k/{number}',
            'size': 5 * 2 ** 32, 'sha256': 'a' * 64, **values})

    def parts(self, stream_id):
        return self.read(streams.parts, stream_id)


class StreamsTest(StreamsTestCase):

    def test_what_was_begun_is_gone_on_with(self):
        use = self.use()
        first = self.begin(use)
        self.assertEqual('writing', first.state)
        self.assertEqual(first.id, self.begin(use).id)
        self.write(streams.complete, first.id, 0, 0, 'e' * 64)
        again = self.begin(use)
        self.assertEqual((first.id, 'complete', 0, 'e' * 64),
                         (again.id, again.state, again.size, again.sha256))

    def test_only_complete_streams_are_shared(self):
        first = self.begin()
        second = self.begin()
        self.assertNotEqual(first.id, second.id)
        self.write(streams.complete, second.id, 0, 0, 'e' * 64)
        self.assertEqual(second.id, self.begin().id)

    def test_what_differs_is_not_shared(self):
        self.stored()
        for other in ({'bank_uuid': fixtures.new_id()},
                      {'project_id': fixtures.OTHER_PROJECT},
                      {'resource_type': 'OS::Glance::Image'},
                      {'resource_id': 'Volume'}, {'identity': 'SAME'}):
            stream = self.begin(**other)
            self.assertEqual('writing', stream.state, other)

    def test_without_identity_nothing_is_shared(self):
        self.stored(identity=None)
        self.assertEqual('writing', self.begin(identity=None).state)

    def test_an_unfinished_stream_may_become_another(self):
        use = self.use()
        stream = self.begin(use, identity='yesterday')
        self.assertEqual(stream.id, self.begin(use, identity='today').id)
        self.write(streams.complete, stream.id, 0, 0, 'e' * 64)
        self.assertEqual(stream.id, self.begin(identity='today').id)
        self.assertNotEqual(stream.id, self.begin(identity='yesterday').id)

    def test_a_finished_stream_does_not(self):
        use = self.use()
        old = self.stored(use, identity='yesterday')
        new = self.begin(use, identity='today')
        self.assertEqual('writing', new.state)
        self.assertEqual([old], self.to_remove())

    def test_a_damaged_stream_is_replaced(self):
        kept, use = self.use(), self.use()
        broken = self.stored(kept)
        self.assertEqual(broken, self.begin(use).id)
        values = self.values()
        for _ in range(2):
            new = self.write(streams.begin, use, values, broken)
            self.assertEqual((values['id'], 'writing'), (new.id, new.state))
        self.assertEqual('damaged', self.state(broken))
        self.assertEqual([], self.to_remove())
        self.assertNotIn(self.begin().id, (broken, new.id))
        self.write(streams.release, broken, kept['checkpoint_id'])
        self.assertEqual([broken], self.to_remove())

    def test_a_stream_that_another_found_damaged_is_not_gone_on_with(self):
        first, second = self.use(), self.use()
        broken = self.stored(first)
        self.begin(second)
        self.begin(second, instead_of=broken)
        self.assertNotEqual(broken, self.begin(first).id)
        self.assertEqual([broken], self.to_remove())

    def test_parts(self):
        stream, other = self.begin(), self.begin()
        for number in (2, 0, 1):
            self.put_part(stream.id, number)
        self.put_part(other.id, 0)
        self.put_part(stream.id, 1, key='new')
        self.assertEqual(
            [(0, 'k/0'), (1, 'new'), (2, 'k/2')],
            [(part.number, part.key) for part in self.parts(stream.id)])
        self.assertTrue(self.read(streams.has_key, stream.id, 1, 'new'))
        for number, key in ((1, 'k/1'), (3, 'k/3')):
            self.assertFalse(self.read(streams.has_key, stream.id, number,
                                       key))
        self.write(streams.complete, stream.id, 2, 9 * 2 ** 32, 'e' * 64)
        self.assertEqual([0, 1], [
            part.number for part in self.parts(stream.id)])

    def test_the_last_use_takes_the_stream_with_it(self):
        first, second = self.use(), self.use()
        stream_id = self.stored(first)
        self.begin(second)
        self.begin(dict(second, label='again'))
        self.assertEqual([stream_id], self.read(
            streams.used_by, second['checkpoint_id']))
        for _ in range(2):
            self.write(streams.release, stream_id, second['checkpoint_id'])
        self.assertEqual([], self.read(
            streams.used_by, second['checkpoint_id']))
        self.assertEqual('complete', self.state(stream_id))
        self.write(streams.release, stream_id, first['checkpoint_id'])
        self.assertEqual([stream_id], self.to_remove())
        self.assertEqual([], self.to_remove(fixtures.new_id()))
        self.assertEqual([stream_id], self.read(
            streams.used_by, first['checkpoint_id']))
        self.assertNotEqual(stream_id, self.begin().id)

    def test_forget(self):
        use = self.use()
        stream_id = self.stored(use)
        self.put_part(stream_id, 0)
        self.write(streams.forget, stream_id)
        self.assertEqual('complete', self.state(stream_id))
        self.write(streams.release, stream_id, use['checkpoint_id'])
        for _ in range(2):
            self.write(streams.forget, stream_id)
        self.assertIsNone(self.state(stream_id))
        self.assertEqual([], self.read(streams.used_by,
                                       use['checkpoint_id']))
        self.assertEqual([], self.parts(stream_id))
        self.write(streams.release, stream_id, use['checkpoint_id'])


class RaceTest(StreamsTestCase):
    """What several processes do at the same moment."""

    def another(self, function, *args):
        db = self.database.another()
        return lambda: db.write(function, *args)

    def test_two_deletes(self):
        for _ in range(5):
            uses = [self.use() for _number in range(3)]
            stream_id = self.stored(uses[0])
            for use in uses[1:]:
                self.assertEqual(stream_id, self.begin(use).id)
            done = fixtures.together(*[
                self.another(streams.release, stream_id,
                             use['checkpoint_id']) for use in uses])
            self.assertEqual([None] * 3, done)
            self.assertIn(stream_id, self.to_remove())

    def test_a_delete_and_one_who_shares(self):
        """Either it is shared and stays, or a new one begins."""
        for _ in range(12):
            old, new = self.use(), self.use()
            stream_id = self.stored(old)
            calls = [self.another(streams.release, stream_id,
                                  old['checkpoint_id']),
                     self.another(streams.begin, new, self.values())]
            random.shuffle(calls)
            found = [one for one in fixtures.together(*calls)
                     if one is not None][0]
            is_shared = found.id == stream_id
            self.assertEqual('complete' if is_shared else 'removing',
                             self.state(stream_id))
            self.write(streams.release, found.id, new['checkpoint_id'])
        self.assertEqual('removing', self.state(stream_id))
