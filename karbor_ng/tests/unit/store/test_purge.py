# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Purging: what goes, and what stays although it is old."""

import collections
import datetime

import sqlalchemy as sa

from karbor_ng.store import checkpoints
from karbor_ng.store import externals
from karbor_ng.store import models
from karbor_ng.store import operations
from karbor_ng.store import purge
from karbor_ng.store import restores
from karbor_ng.store import runs
from karbor_ng.store import steps
from karbor_ng.store import verifications
from karbor_ng.tests import fixtures

DAY = datetime.timedelta(days=1)
NOW = fixtures.MOMENT
OLD, YOUNG = NOW - 2 * DAY, NOW
BEFORE = NOW - DAY


class PurgeTest(fixtures.DatabaseTest):

    def checkpoint(self, deleted_at=None, **values):
        """Make a checkpoint with a resource; return its id."""
        if deleted_at is not None:
            values.update(status='deleted', deleted_at=deleted_at)
        row = self.write(checkpoints.create, fixtures.checkpoint_values(
            **{'status': 'available', **values}))
        self.write(checkpoints.put_resources, row.id,
                   [fixtures.resource_values()])
        return row.id

    def operation(self, checkpoint_id, ended_at=OLD, **values):
        """Make an ended operation with a step and an external."""
        row = self.write(operations.create, fixtures.operation_values(
            checkpoint_id=checkpoint_id, **values))
        if ended_at is not None:
            self.write(self._end, row.id, ended_at)
        self.write(steps.put, {
            'operation_id': row.id, 'resource_type': fixtures.VOLUME,
            'resource_id': 'v', 'hook': 'on_main', 'state': 'done',
            'attempt': 1, 'started_at': OLD, 'ended_at': OLD})
        self.write(externals.put, fixtures.external_values(
            row.id, checkpoint_id=checkpoint_id))
        return row.id

    def _end(self, session, operation_id, ended_at):
        row = session.get(models.Operation, operation_id)
        row.state, row.ended_at = 'done', ended_at

    def run_of(self, planned_at, state='succeeded', ended_at=OLD):
        """Make a run of something that is scheduled; return its id."""
        def make(session):
            run = models.ScheduledOperationRun(
                id=fixtures.new_id(), project_id=fixtures.PROJECT,
                scheduled_operation_id=fixtures.new_id(),
                trigger_id=fixtures.new_id(), planned_at=planned_at,
                state=state, ended_at=ended_at)
            session.add(run)
            session.flush()
            return run.id
        return self.write(make)

    def test_runs(self):
        for state in ('succeeded', 'failed', 'missed', 'skipped'):
            self.run_of(OLD, state)
        kept = {self.run_of(OLD, 'due', None),
                self.run_of(OLD, 'started', None),
                self.run_of(OLD, 'retaining'),
                self.run_of(OLD, 'failed', YOUNG), self.run_of(YOUNG)}
        self.assertEqual({'scheduled_operation_runs': 4},
                         self.read(purge.count, BEFORE))
        self.assertEqual({'scheduled_operation_runs': 3},
                         self.write(purge.remove, BEFORE, 3))
        self.assertEqual({'scheduled_operation_runs': 1},
                         self.write(purge.remove, BEFORE, 3))
        self.assertEqual({}, self.write(purge.remove, BEFORE, 3))
        self.assertEqual(kept, set(self.read(
            lambda session: session.execute(
                sa.select(runs.Run.id)).scalars().all())))

    def restore(self, checkpoint_id, finished_at):
        """Make a restore with its operation; return its id."""
        row = self.write(restores.create, fixtures.restore_values(
            checkpoint_id=checkpoint_id, finished_at=finished_at,
            status='success' if finished_at else 'started'))
        self.write(restores.put_resources, row.id, [{
            'type': fixtures.VOLUME, 'id': 'v', 'name': '', 'saved': {},
            'status': 'available', 'parameters': {}}])
        self.operation(checkpoint_id, finished_at, type='restore',
                       restore_id=row.id)
        return row.id

    def verification(self, checkpoint_id, finished_at):
        """Make a verification with its operation; return its id."""
        row = self.write(
            verifications.create, fixtures.verification_values(
                checkpoint_id=checkpoint_id, finished_at=finished_at,
                status='failed' if finished_at else 'started'))
        self.write(verifications.put_resources, row.id, [{
            'type': fixtures.VOLUME, 'id': 'v', 'name': '', 'saved': {},
            'status': 'error', 'parameters': {}}])
        self.operation(checkpoint_id, finished_at, type='verify',
                       verification_id=row.id)
        return row.id

    def purge(self, limit=100):
        """Purge; return what was removed, which was counted before."""
        counted = self.read(purge.count, BEFORE)
        total = collections.Counter()
        while removed := self.write(purge.remove, BEFORE, limit):
            total.update(removed)
        self.assertEqual(counted, dict(total))
        self.assertEqual({}, self.read(purge.count, BEFORE))
        return dict(total)

    def ids(self, model):
        return set(self.read(lambda session: session.execute(
            sa.select(model.id)).scalars().all()))

    def test_nothing(self):
        self.assertEqual({}, self.purge())

    def test_old_deleted_checkpoint_goes_with_all_it_has(self):
        gone = self.checkpoint(deleted_at=OLD)
        self.operation(gone)
        self.operation(gone, type='delete')
        self.restore(gone, OLD)
        self.verification(gone, OLD)
        self.assertEqual({
            'checkpoints': 1, 'checkpoint_resources': 1, 'operations': 4,
            'steps': 4, 'externals': 4, 'restores': 1,
            'restore_resources': 1, 'verifications': 1,
            'verification_resources': 1}, self.purge())
        for model in (models.Checkpoint, models.Operation, models.Restore,
                      models.Verification, models.External,
                      models.CheckpointResource):
            self.assertEqual(set(), self.ids(model))

    def test_small_batches_lead_to_the_same(self):
        for _ in range(3):
            gone = self.checkpoint(deleted_at=OLD)
            self.operation(gone)
            self.restore(gone, OLD)
        self.assertEqual(6, self.purge(limit=1)['operations'])
        self.assertEqual(set(), self.ids(models.Checkpoint))

    def test_a_young_deletion_stays(self):
        kept = self.checkpoint(deleted_at=YOUNG)
        self.operation(kept, type='delete', ended_at=YOUNG)
        self.assertEqual({}, self.purge())

    def test_living_checkpoints_stay_deletable(self):
        kept = self.checkpoint()
        protect = self.operation(kept)
        self.assertEqual({'steps': 1}, self.purge())
        self.assertEqual(protect, self.read(operations.making_of, kept).id)
        self.assertEqual(1, len(self.read(externals.of_operation, protect)))
        self.assertEqual(1, len(self.read(checkpoints.resources, kept)))

    def test_living_copies_stay_deletable(self):
        kept = self.checkpoint()
        made = self.operation(kept, type='copy')
        self.assertEqual({'steps': 1}, self.purge())
        self.assertEqual(made, self.read(operations.making_of, kept).id)

    def test_deleted_copies_go(self):
        gone = self.checkpoint(deleted_at=OLD)
        self.operation(gone, type='copy')
        self.operation(gone, type='delete')
        self.assertEqual(2, self.purge()['operations'])
        self.assertEqual(set(), self.ids(models.Checkpoint))

    def test_refused_deletions_of_living_checkpoints_go(self):
        kept = self.checkpoint()
        self.operation(kept, type='delete')
        self.assertEqual({'operations': 1, 'steps': 1, 'externals': 1},
                         self.purge())
        self.assertEqual({kept}, self.ids(models.Checkpoint))

    def test_what_tells_why_a_deletion_failed_stays(self):
        kept = self.checkpoint(status='error-deleting')
        self.operation(kept, type='delete')
        self.assertEqual({}, self.purge())

    def test_running_operations_keep_all(self):
        deleting = self.checkpoint(status='deleting')
        self.operation(deleting, type='delete', ended_at=None)
        restoring = self.checkpoint()
        self.restore(restoring, None)
        self.assertEqual({}, self.purge())

    def test_a_restore_goes_and_its_checkpoint_stays(self):
        kept = self.checkpoint()
        self.restore(kept, OLD)
        young = self.restore(kept, YOUNG)
        self.assertEqual({
            'operations': 1, 'steps': 1, 'externals': 1, 'restores': 1,
            'restore_resources': 1}, self.purge())
        self.assertEqual({young}, self.ids(models.Restore))

    def test_a_young_restore_keeps_its_deleted_checkpoint(self):
        kept = self.checkpoint(deleted_at=OLD)
        self.restore(kept, YOUNG)
        self.assertEqual({}, self.purge())

    def test_a_verification_goes_and_its_checkpoint_stays(self):
        kept = self.checkpoint()
        self.verification(kept, OLD)
        left = {self.verification(kept, YOUNG),
                self.verification(kept, None)}
        self.assertEqual({
            'operations': 1, 'steps': 1, 'externals': 1, 'verifications': 1,
            'verification_resources': 1}, self.purge())
        self.assertEqual(left, self.ids(models.Verification))
        self.assertEqual({kept}, self.ids(models.Checkpoint))

    def test_a_young_verification_keeps_its_deleted_checkpoint(self):
        kept = self.checkpoint(deleted_at=OLD)
        self.verification(kept, YOUNG)
        self.assertEqual({}, self.purge())

    def test_a_used_stream_keeps_its_deleted_checkpoint(self):
        kept = self.checkpoint(deleted_at=OLD)
        self.write(self._use_stream, kept)
        self.assertEqual({}, self.purge())

    def _use_stream(self, session, checkpoint_id):
        stream = models.Stream(
            id=fixtures.new_id(), bank_uuid=fixtures.new_id(),
            project_id=fixtures.PROJECT, resource_type=fixtures.VOLUME,
            resource_id='v', state='complete')
        session.add(stream)
        session.flush()
        session.add(models.StreamUse(
            checkpoint_id=checkpoint_id, resource_type=fixtures.VOLUME,
            resource_id='v', label='data', stream_id=stream.id))
