# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Runs: one for each due time, from due to its end."""

import datetime

from oslo_db import exception as db_exception

from karbor_ng import errors
from karbor_ng.store import operations
from karbor_ng.store import query
from karbor_ng.store import runs
from karbor_ng.store import scheduled_operations
from karbor_ng.tests import fixtures

MINUTE = datetime.timedelta(minutes=1)


class RunsTest(fixtures.DatabaseTest):

    def setUp(self):
        super().setUp()
        trigger = self.write(fixtures.add_trigger)
        self.row = self.write(
            scheduled_operations.create,
            fixtures.scheduled_operation_values(trigger_id=trigger.id))

    def due(self, *minutes):
        """Make due runs; return them by time."""
        self.write(runs.create, [
            (self.row, fixtures.MOMENT + number * MINUTE)
            for number in minutes])
        return self.in_state('due')

    def in_state(self, state, limit=10, after=None):
        return self.read(runs.in_state, state, limit, after)

    def test_a_due_time_has_one_run(self):
        self.due(0, 1)
        self.assertRaises(db_exception.DBDuplicateEntry, self.due, 2, 1)
        self.assertEqual(2, len(self.in_state('due')))

    def test_in_order_and_in_pages(self):
        found = self.due(2, 0, 1)
        self.assertEqual([fixtures.MOMENT + number * MINUTE
                          for number in range(3)],
                         [run.planned_at for run in found])
        first, second = self.in_state('due', 2)
        self.assertEqual(found[2].id,
                         self.in_state('due', 2, second)[0].id)
        self.assertEqual(self.row.id, first.scheduled_operation_id)
        self.assertEqual([], self.in_state('started'))

    def test_every_transition(self):
        number = 0
        for source, targets in runs.TRANSITIONS.items():
            for target in runs.TRANSITIONS:
                number += 1
                run = self.due(number)[-1]
                self._set(run, source)
                moved = self.write(runs.move, run.id, target, reason='why')
                self.assertEqual(target in targets, moved)
                found = self.read(runs.get, run.id)
                self.assertEqual(
                    (target, 'why') if moved else (source, None),
                    (found.state, found.reason))
                self._set(run, 'failed')
        self.assertRaises(errors.NotFound, self.read, runs.get, 'x')

    def _set(self, run, state):
        self.write(lambda session: query.change(
            session, runs.Run, {'state': state}, runs.Run.id == run.id))

    def _end(self, operation):
        self.write(operations.claim, operation.id, 'worker', 60)
        self.write(operations.finish, operation.id, 1, 'done')

    def test_only_what_is_due_is_locked(self):
        first, second = self.due(0, 1)
        self._set(first, 'started')
        self.assertEqual([second.id], [run.id for run in self.write(
            runs.lock_due, [first.id, second.id])])

    def test_list(self):
        first, second, third = self.due(0, 1, 2)
        self._set(first, 'retaining')
        self._set(second, 'succeeded')
        for status, expected in ((None, {first, second, third}),
                                 ('succeeded', {first, second}),
                                 ('due', {third}), ('missed', set())):
            found = self.read(runs.list, query.Page(), self.row.id, status)
            self.assertEqual({run.id for run in expected},
                             {run.id for run in found}, status)
        self.assertEqual([], self.read(runs.list, query.Page(), 'x'))
        self.assertEqual('succeeded', runs.status(
            self.read(runs.get, first.id)))

    def test_running(self):
        first, second = self.due(0, 1)
        for run in (first, second):
            self._set(run, 'started')
        going = self.write(operations.create, fixtures.operation_values(
            scheduled_run_id=first.id))
        self._end(self.write(
            operations.create, fixtures.operation_values(
                scheduled_run_id=second.id)))
        self.assertEqual('queued', going.state)
        found = self.read(runs.running, [self.row.id, 'x'])
        self.assertEqual({self.row.id: first.id}, {
            key: run.id for key, run in found.items()})

    def test_ended(self):
        first, second, third = self.due(0, 1, 2)
        for run in (first, second, third):
            self._set(run, 'started')
        going = self.write(operations.create, fixtures.operation_values(
            scheduled_run_id=first.id))
        done = self.write(operations.create, fixtures.operation_values(
            scheduled_run_id=second.id))
        self._end(done)
        self.assertEqual(
            [(second.id, done.id), (third.id, None)],
            [(run.id, operation and operation.id)
             for run, operation in self.read(runs.ended, 10)])
        self.assertEqual([third.id], [
            run.id for run, _ in self.read(runs.ended, 10, second)])
        self.assertEqual('queued', self.read(operations.get, going.id).state)

    def test_overtaken(self):
        first, second = self.due(0, 1)
        self._set(first, 'retaining')
        self.assertFalse(self.read(runs.is_overtaken, first))
        self._set(second, 'retaining')
        self.assertTrue(self.read(runs.is_overtaken, first))
        self.assertFalse(self.read(runs.is_overtaken, second))

    def test_note(self):
        first, second = self.due(0, 1)
        self._set(first, 'retaining')
        for run in (first, second):
            self.write(runs.note, run.id, 'It is being restored.')
        self.assertEqual(['It is being restored.', None], [
            self.read(runs.get, run.id).reason for run in (first, second)])
