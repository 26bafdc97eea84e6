# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints, their resources, and who builds upon whom."""

import datetime

import sqlalchemy as sa

from karbor_ng import errors
from karbor_ng.store import checkpoints
from karbor_ng.store import query
from karbor_ng.tests import fixtures

DAY = datetime.timedelta(days=1)


class CheckpointTest(fixtures.DatabaseTest):

    def checkpoint(self, **values):
        return self.write(checkpoints.create,
                          fixtures.checkpoint_values(**values))

    def status(self, checkpoint):
        return self.read(checkpoints.get, checkpoint.id).status


class CheckpointsTest(CheckpointTest):

    def listed(self, **filters):
        return {row.id for row in self.read(
            checkpoints.list, query.Page(), **filters)}

    def test_get(self):
        one = self.checkpoint()
        for project, provider in ((None, None),
                                  (fixtures.PROJECT, fixtures.PROVIDER)):
            found = self.read(checkpoints.get, one.id, project, provider)
            self.assertEqual(one.plan, found.plan)

    def test_get_of_another(self):
        one = self.checkpoint()
        for args in ((fixtures.OTHER_PROJECT,),
                     (fixtures.PROJECT, fixtures.new_id()),
                     (None, fixtures.new_id())):
            self.assertRaises(errors.NotFound, self.read, checkpoints.get,
                              one.id, *args)
        self.assertRaises(errors.NotFound, self.read, checkpoints.get,
                          fixtures.new_id())

    def test_list_filters(self):
        mine = self.checkpoint(created_at=fixtures.MOMENT)
        theirs = self.checkpoint(project_id=fixtures.OTHER_PROJECT,
                                 created_at=fixtures.MOMENT + DAY)
        failed = self.checkpoint(status='error', provider_id='elsewhere',
                                 created_at=fixtures.MOMENT + 2 * DAY)
        gone = self.checkpoint(status='deleted', plan_id=mine.plan_id)
        for expected, filters in (
                ({mine, theirs, failed}, {}),
                ({mine, failed}, {'project_id': fixtures.PROJECT}),
                ({failed}, {'provider_id': 'elsewhere'}),
                ({mine}, {'plan_id': mine.plan_id}),
                ({failed}, {'status': 'error'}),
                ({gone}, {'status': 'deleted'}),
                ({theirs, failed}, {'created_from': fixtures.MOMENT + DAY}),
                ({mine}, {'created_before': fixtures.MOMENT + DAY}),
                ({theirs}, {'created_from': fixtures.MOMENT + DAY,
                            'created_before': fixtures.MOMENT + 2 * DAY})):
            self.assertEqual({row.id for row in expected},
                             self.listed(**filters), filters)

    def test_every_transition(self):
        """Those of the table happen, all others are refused."""
        for source, targets in checkpoints.TRANSITIONS.items():
            for target in checkpoints.TRANSITIONS:
                one = self.checkpoint(status=source)
                if target in targets:
                    self.write(checkpoints.move, one.id, target)
                    self.assertEqual(target, self.status(one))
                    continue
                problem = self.assertRaises(
                    errors.Conflict, self.write, checkpoints.move, one.id,
                    target)
                self.assertIn(f'is {source}', str(problem))
                self.assertEqual(source, self.status(one))

    def test_move_sets_columns_too(self):
        one = self.checkpoint()
        self.write(checkpoints.move, one.id, 'available', size=5,
                   finished_at=fixtures.MOMENT)
        found = self.read(checkpoints.get, one.id)
        self.assertEqual((5, fixtures.MOMENT),
                         (found.size, found.finished_at))

    def test_move_of_nothing(self):
        problem = self.assertRaises(
            errors.Conflict, self.write, checkpoints.move, 'x', 'deleting')
        self.assertIn('gone', str(problem))

    def test_one_of_many_moves_wins(self):
        one = self.checkpoint(status='available')
        done = fixtures.together(*[lambda: self.write(
            checkpoints.move, one.id, 'deleting')] * 8)
        self.assertEqual(1, done.count(None))
        self.assertEqual(7, sum(isinstance(each, errors.Conflict)
                                for each in done))


class ResourcesTest(CheckpointTest):

    def rows(self, *checkpoint_ids):
        return self.read(checkpoints.resources, *checkpoint_ids)

    def test_put_keeps_what_is_there(self):
        one = self.checkpoint()
        first = fixtures.resource_values(id='a', status='available')
        self.write(checkpoints.put_resources, one.id, [first])
        self.write(checkpoints.put_resources, one.id, [
            dict(first, status='protecting'),
            fixtures.resource_values(id='b')])
        self.assertEqual([('a', 'available'), ('b', 'protecting')], [
            (row.id, row.status) for row in self.rows(one.id)])

    def test_shown_ones_come_without_lists_of_objects(self):
        one = self.checkpoint()
        self.write(checkpoints.put_resources, one.id, [
            fixtures.resource_values(id='a', saved={'size': 1})])
        row, = self.read(checkpoints.shown_resources, one.id)
        self.assertEqual(('a', {'size': 1}), (row.id, row.saved))
        for name in ('objects', 'parameters'):
            self.assertRaises(sa.exc.SQLAlchemyError, getattr, row,
                              name)

    def test_put_takes_rows_with_different_columns(self):
        one = self.checkpoint()
        self.write(checkpoints.put_resources, one.id, [
            fixtures.resource_values(id='a', extra_info={'zone': 'nova'}),
            fixtures.resource_values(id='b', reason='no plugin')])
        self.assertEqual([({'zone': 'nova'}, None), (None, 'no plugin')], [
            (row.extra_info, row.reason) for row in self.rows(one.id)])

    def test_put_nothing(self):
        one = self.checkpoint()
        self.write(checkpoints.put_resources, one.id, [])
        self.assertEqual([], self.rows(one.id))

    def test_one_id_of_two_types(self):
        one = self.checkpoint()
        self.write(checkpoints.put_resources, one.id, [
            fixtures.resource_values(id='a', type=kind)
            for kind in ('OS::Nova::Server', 'OS::Cinder::Volume')])
        self.assertEqual(['OS::Cinder::Volume', 'OS::Nova::Server'],
                         [row.type for row in self.rows(one.id)])

    def test_a_thousand(self):
        one = self.checkpoint()
        rows = [fixtures.resource_values() for _ in range(1000)]
        self.write(checkpoints.put_resources, one.id, rows)
        self.assertEqual(sorted(row['id'] for row in rows),
                         [row.id for row in self.rows(one.id)])

    def test_of_several_checkpoints(self):
        first, second, third = (self.checkpoint() for _ in range(3))
        for one in (first, second, third):
            self.write(checkpoints.put_resources, one.id,
                       [fixtures.resource_values()])
        self.assertEqual(sorted((first.id, third.id)), [
            row.checkpoint_id for row in self.rows(first.id, third.id)])
        self.assertEqual([], self.rows())

    def test_change_one(self):
        one, other = self.checkpoint(), self.checkpoint()
        for checkpoint in (one, other):
            self.write(checkpoints.put_resources, checkpoint.id, [
                fixtures.resource_values(id=name) for name in 'ab'])
        self.write(checkpoints.change_each, one.id, {
            (fixtures.VOLUME, 'a'): {
                'saved': {'backup': 1}, 'progress': 50,
                'objects': [{'key': 'k', 'size': 2, 'sha256': 's'}]}})
        first, second = self.rows(one.id)
        self.assertEqual(({'backup': 1}, 50),
                         (first.saved, first.progress))
        self.assertEqual([{'key': 'k', 'size': 2, 'sha256': 's'}],
                         first.objects)
        for row in (second, *self.rows(other.id)):
            self.assertEqual(({}, 0), (row.saved, row.progress))

    def test_change_all(self):
        one, other = self.checkpoint(), self.checkpoint()
        for checkpoint in (one, other):
            self.write(checkpoints.put_resources, checkpoint.id, [
                fixtures.resource_values(id=name) for name in 'ab'])
        self.write(checkpoints.change_resources, one.id,
                   {'status': 'deleted'})
        self.assertEqual(['deleted'] * 2,
                         [row.status for row in self.rows(one.id)])
        self.assertEqual(['protecting'] * 2,
                         [row.status for row in self.rows(other.id)])


class ChainsTest(CheckpointTest):
    """A full backup, and incremental ones that build upon each other."""

    def setUp(self):
        super().setUp()
        self.volume = fixtures.new_id()
        self.full = self.backup('full', None)
        self.first = self.backup('first', 'full')
        self.second = self.backup('second', 'first')

    def backup(self, name, parent, **values):
        self.age = getattr(self, 'age', fixtures.MOMENT) + DAY
        one = self.checkpoint(status='available', created_at=self.age,
                              **values)
        self.write(checkpoints.put_resources, one.id, [
            fixtures.resource_values(
                id=self.volume, status='available', backup_id=name,
                parent_backup=parent, chain_id='full')])
        return one

    def built_upon(self, checkpoint):
        return self.read(checkpoints.built_upon, checkpoint.id)

    def test_built_upon(self):
        self.assertEqual([self.first.id], self.built_upon(self.full))
        self.assertEqual([self.second.id], self.built_upon(self.first))
        self.assertEqual([], self.built_upon(self.second))

    def test_built_upon_by_several(self):
        another = self.backup('another', 'full')
        self.assertEqual(sorted([self.first.id, another.id]),
                         self.built_upon(self.full))

    def test_deleted_checkpoints_do_not_count(self):
        for status in ('deleting', 'deleted'):
            self.assertEqual([self.second.id], self.built_upon(self.first))
            self.write(checkpoints.move, self.second.id, status)
        self.assertEqual([], self.built_upon(self.first))

    def test_deleted_resources_do_not_count(self):
        self.write(checkpoints.change_resources, self.second.id,
                   {'status': 'deleted'})
        self.assertEqual([], self.built_upon(self.first))

    def test_two_volumes_of_one_checkpoint(self):
        """What builds on the same checkpoint does not forbid deleting it."""
        one = self.checkpoint(status='available')
        self.write(checkpoints.put_resources, one.id, [
            fixtures.resource_values(backup_id='x'),
            fixtures.resource_values(backup_id='y', parent_backup='x')])
        self.assertEqual([], self.built_upon(one))


class ManyTest(CheckpointTest):
    """Of MariaDB only: it counts the rows that it reads."""

    scenarios = [one for one in fixtures.database_scenarios()
                 if one[0] == 'mysql']

    def test_what_builds_on_nothing_is_not_looked_at(self):
        few, _many = [self.with_resources(count) for count in (20, 1000)]
        self.write(lambda session: session.execute(
            sa.text('ANALYZE TABLE checkpoint_resources')).all())
        before = self.rows_read()
        self.assertEqual([], self.read(checkpoints.built_upon, few))
        self.assertLess(self.rows_read() - before, 200)

    def with_resources(self, count):
        one = self.checkpoint(status='available')
        self.write(checkpoints.put_resources, one.id, [
            fixtures.resource_values(id=str(number), backup_id=str(number))
            for number in range(count)])
        return one.id

    def rows_read(self):
        return sum(int(row[1]) for row in self.read(
            lambda session: session.execute(sa.text(
                "SHOW SESSION STATUS LIKE 'Handler_read%'")).all()))
