# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Many rows with one statement, on every database."""

from karbor_ng.store import bulk
from karbor_ng.store import checkpoints
from karbor_ng.store import externals
from karbor_ng.store import operations
from karbor_ng.store import steps
from karbor_ng.tests import fixtures


class ResourcesTest(fixtures.DatabaseTest):

    def setUp(self):
        super().setUp()
        self.one, self.other = (self.write(
            checkpoints.create, fixtures.checkpoint_values()).id
            for _ in range(2))
        for owner_id in (self.one, self.other):
            self.write(checkpoints.put_resources, owner_id, [
                fixtures.resource_values(id=name) for name in 'abc'])

    def rows(self, owner_id):
        return {row.id: row for row in self.read(
            checkpoints.resources, owner_id)}

    def change(self, **changes):
        self.write(checkpoints.change_each, self.one, {
            (fixtures.VOLUME, name): values
            for name, values in changes.items()})

    def test_each_gets_its_own(self):
        self.change(a={'saved': {'x': 'é'}, 'size': 1}, b={'size': 2},
                    c={'saved': {}, 'size': None}, gone={'size': 3})
        found = self.rows(self.one)
        self.assertEqual([1, 2, None], [found[name].size for name in 'abc'])
        self.assertEqual({'x': 'é'}, found['a'].saved)
        self.assertEqual([None] * 3, [
            row.size for row in self.rows(self.other).values()])
        self.assertEqual(3, self.read(checkpoints.size_of_resources,
                                      self.one))

    def test_nothing_to_change(self):
        self.change(a={})
        self.change()
        self.assertEqual('protecting', self.rows(self.one)['a'].status)

    def test_size_that_nobody_knows(self):
        self.assertIsNone(self.read(checkpoints.size_of_resources, self.one))

    def test_size_of_much(self):
        self.change(a={'size': 2 ** 62}, b={'size': 0})
        self.assertEqual(2 ** 62, self.read(
            checkpoints.size_of_resources, self.one))


class StepsTest(fixtures.DatabaseTest):

    def setUp(self):
        super().setUp()
        self.operation = self.write(
            operations.create, fixtures.operation_values()).id

    def step(self, name, **values):
        return {'operation_id': self.operation,
                'resource_type': fixtures.VOLUME, 'resource_id': name,
                'hook': 'on_main', 'state': 'done', 'attempt': 1,
                'result': None, 'started_at': fixtures.MOMENT,
                'ended_at': fixtures.MOMENT, **values}

    def test_put_many_again(self):
        self.write(steps.put, *[self.step(name) for name in 'abc'])
        self.write(steps.put, self.step('b', state='failed', result='Ω'),
                   self.step('d', attempt=2))
        found = {name: (row.state, row.result, row.attempt)
                 for (_type, name, _hook), row in self.read(
                     steps.ended, self.operation).items()}
        done = 'done', None, 1
        self.assertEqual({'a': done, 'b': ('failed', 'Ω', 1), 'c': done,
                          'd': ('done', None, 2)}, found)

    def test_put_nothing(self):
        self.write(steps.put)
        self.assertEqual({}, self.read(steps.ended, self.operation))


class ExternalsTest(fixtures.DatabaseTest):

    def setUp(self):
        super().setUp()
        self.operation = self.write(
            operations.create, fixtures.operation_values()).id
        self.values = [self.external() for _ in range(3)]

    def external(self):
        values = fixtures.external_values(
            None, created_at=fixtures.MOMENT)
        del values['operation_id']
        return values

    def intend(self, *rows):
        return self.write(externals.intend, self.operation, rows)

    def test_intend(self):
        first, second, third = self.values
        self.intend(first)
        self.write(externals.change_each, [
            (first['id'], {'state': 'exists', 'external_id': 'one'})])
        again = dict(first, id=fixtures.new_id())
        found = self.intend(second, again, third)
        self.assertEqual(
            [(second['id'], False, 'intended', None),
             (first['id'], True, 'exists', 'one'),
             (third['id'], False, 'intended', None)],
            [(row.id, known, row.state, row.external_id)
             for row, known in found])
        self.assertEqual(3, len(self.read(externals.of_operation,
                                          self.operation)))

    def test_what_is_gone_is_intended_again(self):
        first = self.values[0]
        self.intend(first)
        self.write(externals.change_each, [
            (first['id'], {'state': 'gone', 'external_id': 'one'})])
        self.assertEqual([True], [
            known for _row, known in self.intend(first)])
        row = self.read(externals.by_tag, self.operation, first['tag'])
        self.assertEqual(('intended', None), (row.state, row.external_id))

    def test_nothing_is_missing(self):
        self.write(bulk.put_missing, externals.External, [])
