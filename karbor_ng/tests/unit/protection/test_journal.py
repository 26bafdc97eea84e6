# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What is left for later is written in time, or told."""

import time

import fixtures

from karbor_ng import errors
from karbor_ng.protection import journal
from karbor_ng.protection import lease
from karbor_ng.resource import Resource
from karbor_ng.store import checkpoints
from karbor_ng.store import models
from karbor_ng.store import operations
from karbor_ng.tests import fixtures as small
from karbor_ng.tests.unit.protection import environment

DISK = Resource(small.VOLUME, 'disk')


class JournalTest(small.DatabaseTest):

    def setUp(self):
        super().setUp()
        self.checkpoint = self.write(
            checkpoints.create, small.checkpoint_values()).id
        self.write(checkpoints.put_resources, self.checkpoint, [
            small.resource_values(id='disk')])
        self.operation = self.write(
            operations.create, small.operation_values(
                checkpoint_id=self.checkpoint, state='running', attempt=1))
        self.lease = lease.Lease(self.operation.id, 1, 60, time.monotonic(),
                                 models.utcnow())
        self.journal = journal.Journal(self.database.db, self.operation,
                                       self.lease)

    def end_step(self, **values):
        self.journal.end_step(DISK, 'on_main', 'done', models.utcnow(), None,
                              values)

    def end_hooks(self):
        self.journal.end_hooks(self.operation.id)

    def row(self):
        found, = self.read(checkpoints.resources, self.checkpoint)
        return found

    def test_end_is_written_with_the_next(self):
        self.end_step(status='available')
        self.assertEqual('protecting', self.row().status)
        self.journal.intend(DISK, 'backup', environment.Draft())
        self.assertEqual('available', self.row().status)
        self.assertEqual({'on_main'}, {
            hook for _type, _id, hook in self.journal.steps()})

    def test_end_is_written_before_rows_are_read(self):
        self.end_step(status='available')
        self.journal.set_resource(DISK, progress=7)
        row, = self.journal.resources()
        self.assertEqual(('available', 7), (row.status, row.progress))

    def test_end_is_written_before_other_transactions(self):
        self.end_step(status='available')
        self.journal.write(checkpoints.move, self.checkpoint, 'available')
        self.assertEqual('available', self.row().status)

    def test_of_the_same_column_the_last_wins(self):
        for progress in (1, 2, 3):
            self.journal.set_resource(DISK, progress=progress)
        self.journal.settle()
        self.assertEqual(3, self.row().progress)

    def test_what_waits_for_long(self):
        self.end_step(status='available')
        self.journal.settle_overdue()
        self.assertEqual('protecting', self.row().status)
        self.useFixture(fixtures.MonkeyPatch(
            'time.monotonic', lambda real=time.monotonic: real() + 2))
        self.journal.settle_overdue()
        self.assertEqual('available', self.row().status)

    def test_what_waits_for_long_without_a_lease(self):
        self.end_step(status='available')
        self.lease.lose()
        self.useFixture(fixtures.MonkeyPatch(
            'time.monotonic', lambda real=time.monotonic: real() + 2))
        self.journal.settle_overdue()
        self.assertRaises(errors.Fenced, self.end_hooks)
        self.assertEqual('protecting', self.row().status)

    def test_nothing_more_is_taken_from_who_is_late(self):
        row, _known = self.journal.intend(DISK, 'a', environment.Draft())
        self.lease.lose()
        for late in (self.end_step, lambda: self.journal.gone(row),
                     lambda: self.journal.exists(row.id, 'thing')):
            self.assertRaises(errors.Fenced, late)

    def test_what_can_not_be_written_is_told_once(self):
        self.end_step(saved={'at': models.utcnow()})
        for _ in range(2):
            problem = self.assertRaises(errors.Error, self.journal.settle)
            self.assertIn('The end of on_main of OS::Cinder::Volume disk '
                          'could not be written: ', str(problem))
        self.assertTrue(self.journal.is_broken)
        self.assertRaises(errors.Error, self.end_hooks)
        self.assertFalse(self.journal.is_broken)
        self.end_hooks()
        self.assertEqual('protecting', self.row().status)

    def test_what_is_left_by_who_was_fenced_off_is_dropped(self):
        self.end_step(status='available')
        self.write(operations.abandon, self.operation, 'Too late.')
        self.write(operations.hand_back, self.operation.id, 1)
        self.assertRaises(errors.Fenced, self.journal.settle)
        self.assertTrue(self.lease.is_lost)
        self.assertEqual('protecting', self.row().status)

    def test_rows_of_a_first_attempt_need_not_be_read(self):
        rows = self.journal.put_resources([
            small.resource_values(id='other', parameters={'a': 1})])
        self.assertEqual({'a': 1}, rows[small.VOLUME, 'other'].parameters)
        self.assertEqual(['disk', 'other'], [
            row.id for row in self.journal.resources()])

    def test_what_was_looked_at_is_not_read_again(self):
        self.journal.intend(DISK, 'a', environment.Draft())
        self.journal.read(self.journal.look, self.operation.id)
        self.useFixture(fixtures.MockPatchObject(
            self.database.db, 'read', side_effect=AssertionError))
        self.assertEqual(['disk'], [
            row.id for row in self.journal.resources()])
        self.assertEqual(['intended'], [
            row.state for row in self.journal.externals_of(
                self.operation.id)])

    def test_what_was_looked_at_is_read_again_once_it_changes(self):
        row, _known = self.journal.intend(DISK, 'a', environment.Draft())
        self.end_step(progress=1)
        self.end_hooks()
        self.assertEqual(1, self.journal.resources()[0].progress)
        self.journal.set_resource(DISK, progress=2)
        self.assertEqual(2, self.journal.resources()[0].progress)
        self.journal.read(self.journal.look, self.operation.id)
        self.journal.exists(row.id, 'thing')
        found, = self.journal.externals_of(self.operation.id)
        self.assertEqual('exists', found.state)

    def test_of_the_same_thing_the_last_wins(self):
        first, second = (
            self.journal.intend(DISK, label, environment.Draft())[0]
            for label in 'ab')
        self.journal.gone(first)
        self.journal.exists(second.id, 'thing')
        self.journal.gone(second)
        self.assertEqual({('gone', None), ('gone', 'thing')}, {
            (row.state, row.external_id) for row
            in self.journal.externals_of(self.operation.id)})

    def test_a_thing_that_just_came_is_written_before_it_is_asked_for(self):
        row, _known = self.journal.intend(DISK, 'a', environment.Draft())
        self.journal.exists(row.id, 'thing')
        again, known = self.journal.intend(DISK, 'a', environment.Draft())
        self.assertEqual(('thing', True), (again.external_id, known))
        self.assertEqual('exists', self.journal.external(DISK, 'a').state)

    def test_who_has_lost_it_looks_at_what_others_made_of_it(self):
        self.journal.read(self.journal.look, self.operation.id)
        self.write(checkpoints.change_resources, self.checkpoint,
                   {'progress': 5})
        self.assertEqual(0, self.journal.resources()[0].progress)
        self.lease.lose()
        self.assertEqual(5, self.journal.resources()[0].progress)

    def test_what_is_gone_is_not_seen_any_more(self):
        row, _known = self.journal.intend(DISK, 'a', environment.Draft())
        later = journal.Journal(
            self.database.db, self.write(
                operations.create, small.operation_values(
                    checkpoint_id=self.checkpoint, type='delete',
                    state='running', attempt=1)), self.lease)
        found, = later.externals_of(self.operation.id, DISK)
        later.gone(found)
        self.assertEqual(['gone'], [
            one.state for one in later.externals_of(self.operation.id, DISK)])
        later.settle()
        self.assertEqual('gone', self.journal.external(DISK, 'a').state)
        self.assertEqual(row.id, found.id)
