# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Externals: what may exist in clouds."""

import datetime

from oslo_db import exception as db_exception

from karbor_ng.store import externals
from karbor_ng.store import operations
from karbor_ng.tests import fixtures


class ExternalsTest(fixtures.DatabaseTest):

    def setUp(self):
        super().setUp()
        self.operation, self.other = (self.write(
            operations.create, fixtures.operation_values()).id
            for _ in range(2))
        self.age = fixtures.MOMENT

    def put(self, operation_id=None, **values):
        self.age += datetime.timedelta(seconds=1)
        return self.write(externals.put, fixtures.external_values(
            operation_id or self.operation, created_at=self.age, **values))

    def test_put_is_an_intention(self):
        row = self.put()
        self.assertEqual(('intended', None), (row.state, row.external_id))
        self.assertEqual(row.id, self.by_tag(row.tag).id)

    def by_tag(self, tag):
        return self.read(externals.by_tag, self.operation, tag)

    def test_change(self):
        row, kept = self.put(), self.put()
        self.write(externals.change, row.id, state='exists',
                   external_id='backup-1', attempt=2)
        found = self.by_tag(row.tag)
        self.assertEqual(('exists', 'backup-1', 2),
                         (found.state, found.external_id, found.attempt))
        self.assertEqual('intended', self.by_tag(kept.tag).state)

    def test_tag_is_the_operation_s_own(self):
        row = self.put()
        self.assertRaises(db_exception.DBDuplicateEntry, self.put,
                          tag=row.tag)
        self.put(self.other, tag=row.tag)
        self.assertEqual(row.id, self.by_tag(row.tag).id)
        self.assertIsNone(self.by_tag(fixtures.new_id()))

    def test_one_of_many_intends(self):
        values = fixtures.external_values(self.operation)
        done = fixtures.together(*[lambda: self.database.another().write(
            externals.put, dict(values, id=fixtures.new_id()))] * 4)
        refused = [one for one in done
                   if isinstance(one, db_exception.DBDuplicateEntry)]
        self.assertEqual(3, len(refused), done)
        self.assertEqual(1, len(self.read(externals.of_operation,
                                          self.operation)))

    def test_of_operation_and_of_resource(self):
        first = self.put(resource_id='a')
        second = self.put(resource_id='b')
        third = self.put(resource_id='a', resource_type='OS::Nova::Server')
        fourth = self.put(resource_id='a')
        self.put(self.other, resource_id='a')
        self.assertEqual(
            [first.id, second.id, third.id, fourth.id],
            [row.id for row in self.read(externals.of_operation,
                                         self.operation)])
        self.assertEqual(
            [first.id, fourth.id],
            [row.id for row in self.read(
                externals.of_resource, self.operation, fixtures.VOLUME,
                'a')])
