# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Deleting and resetting checkpoints that nobody works on any more."""

import sqlalchemy as sa

from karbor_ng import errors
from karbor_ng.protection import client
from karbor_ng.store import checkpoints
from karbor_ng.store import models
from karbor_ng.store import operations
from karbor_ng.store import providers
from karbor_ng.store import query
from karbor_ng.store import restores
from karbor_ng.store import verifications
from karbor_ng.tests import fixtures
from karbor_ng.tests.unit.protection import test_service

VOLUME = test_service.VOLUME


class DoorTest(fixtures.DatabaseTest):
    """The front door, and no service that would work."""

    def setUp(self):
        super().setUp()
        conf = self.useFixture(fixtures.ConfFixture(
            owners=('karbor_ng.quota',)))
        self.hints = fixtures.Hints()
        self.door = client.ProtectionClient(conf.conf, self.db, self.hints)

    def checkpoint(self, status, kind, state, resources=('available',),
                   seconds=60, attempts=1):
        """Return the id of a checkpoint with what is at work on it.

        :param seconds: of the lease, if the operation is running
        """
        made = self.write(checkpoints.create,
                          fixtures.checkpoint_values(status=status))
        self.write(checkpoints.put_resources, made.id, [
            fixtures.resource_values(status=one) for one in resources])
        if kind not in operations.MAKING:
            self.operation(made, 'protect', 'done', 60, 1)
        self.operation(made, kind, state, seconds, attempts)
        return made.id

    def operation(self, checkpoint, kind, state, seconds, attempts):
        one = self.write(operations.create, fixtures.operation_values(
            checkpoint_id=checkpoint.id, type=kind, credentials='sealed'))
        for attempt in range(1, attempts + 1):
            self.write(operations.claim, one.id, 'node-1:a',
                       seconds if attempt == attempts else -1)
        if state == 'queued' and attempts:
            self.write(operations.hand_back, one.id, attempts)
        elif state in ('done', 'failed'):
            self.write(operations.finish, one.id, attempts, state)

    def last(self, checkpoint_id, kind):
        found = self.read(operations.list, query.Page(),
                          checkpoint_id=checkpoint_id, type=kind)
        return found[0] if found else None

    def status(self, checkpoint_id):
        return self.read(checkpoints.get, checkpoint_id).status

    def reset(self, checkpoint_id, state):
        self.door.reset_state(fixtures.caller(), checkpoint_id, state)

    def refused(self, function, *args):
        return str(self.assertRaises(errors.Conflict, function, *args))


class ResetTest(DoorTest):

    #: Status, operation and its state, resources, lease, attempts; then
    #: whether it can become error, and available.
    TABLE = (
        ('available', 'protect', 'done', ('available', 'skipped'), 60, 1,
         True, True),
        ('error', 'protect', 'failed', ('available', 'error'), 60, 1,
         True, False),
        ('error', 'protect', 'failed', ('available',), 60, 1, True, False),
        ('error', 'protect', 'done', ('available',), 60, 1, True, True),
        ('error', 'protect', 'done', (), 60, 1, True, False),
        ('error', 'delete', 'failed', ('available',), 60, 1, True, True),
        ('protecting', 'protect', 'queued', (), 60, 0, True, False),
        ('protecting', 'protect', 'queued', ('protecting',), 60, 1,
         True, False),
        ('protecting', 'protect', 'running', ('available',), -1, 1,
         True, False),
        ('protecting', 'protect', 'running', ('available',), 60, 1,
         False, False),
        ('wait_copying', 'copy', 'queued', (), 60, 0, True, False),
        ('copying', 'copy', 'queued', ('copying',), 60, 1, True, False),
        ('copying', 'copy', 'running', ('available',), -1, 1, True, False),
        ('copying', 'copy', 'running', ('copying',), 60, 1, False, False),
        ('deleting', 'delete', 'queued', ('available',), 60, 0, True, True),
        ('deleting', 'delete', 'queued', ('available', 'error'), 60, 0,
         True, False),
        ('deleting', 'delete', 'queued', ('available',), 60, 1, True, False),
        ('deleting', 'delete', 'running', ('available',), -1, 1,
         True, False),
        ('deleting', 'delete', 'running', ('available',), 60, 1,
         False, False),
        ('error-deleting', 'delete', 'failed', ('available',), 60, 1,
         True, False),
        ('error-deleting', 'delete', 'failed', ('deleted',), 60, 1,
         True, False),
        ('deleted', 'delete', 'done', ('deleted',), 60, 1, False, False),
    )

    def test_the_table_has_all_statuses(self):
        self.assertEqual(set(checkpoints.TRANSITIONS),
                         {row[0] for row in self.TABLE})

    def test_all(self):
        for *given, to_error, to_available in self.TABLE:
            for state, may in (('error', to_error),
                               ('available', to_available)):
                self.check(given, state, may)

    def check(self, given, state, may):
        checkpoint_id = self.checkpoint(*given)
        if may:
            self.reset(checkpoint_id, state)
            self.assertEqual(state, self.status(checkpoint_id), given)
            self.check_nobody_can_claim(checkpoint_id)
        else:
            said = self.refused(self.reset, checkpoint_id, state)
            self.assertIn(checkpoint_id, said)
            self.assertEqual(given[0], self.status(checkpoint_id), given)

    def check_nobody_can_claim(self, checkpoint_id):
        for kind in (*operations.MAKING, 'delete'):
            found = self.last(checkpoint_id, kind)
            if found is not None:
                self.assertIn(found.state, ('done', 'failed'))
                self.assertIsNone(found.credentials)
                self.assertIsNone(self.write(
                    operations.claim, found.id, 'node-2:b', 60))

    def test_what_is_left_is_no_backup_for_ever(self):
        """Not by way of error either."""
        for given in (
                ('error-deleting', 'delete', 'failed', ('available',)),
                ('deleting', 'delete', 'running', ('available',), -1),
                ('protecting', 'protect', 'running', ('available',), -1)):
            checkpoint_id = self.checkpoint(*given)
            self.reset(checkpoint_id, 'error')
            said = self.refused(self.reset, checkpoint_id, 'available')
            self.assertIn('can not be available', said)
            row, = self.read(checkpoints.resources, checkpoint_id)
            self.assertEqual('error', row.status)
            self.assertTrue(row.reason)

    def test_there_and_back(self):
        checkpoint_id = self.checkpoint('available', 'protect', 'done')
        for state in ('error', 'error', 'available', 'available'):
            self.reset(checkpoint_id, state)
            self.assertEqual(state, self.status(checkpoint_id))

    def test_the_reason_is_in_the_log(self):
        checkpoint_id = self.checkpoint('deleting', 'delete', 'queued',
                                        attempts=0)
        self.reset(checkpoint_id, 'available')
        self.assertIn('was reset',
                      self.last(checkpoint_id, 'delete').error_info)

    def test_a_worker_that_wakes_up_is_fenced_off(self):
        checkpoint_id = self.checkpoint('protecting', 'protect', 'running',
                                        seconds=-1)
        self.reset(checkpoint_id, 'error')
        found = self.last(checkpoint_id, 'protect')
        self.assertRaises(errors.Fenced, self.write, operations.guard,
                          found.id, found.attempt)

    def test_whoever_claims_at_that_moment_wins_or_loses(self):
        for _ in range(5):
            checkpoint_id = self.checkpoint('protecting', 'protect',
                                            'queued', attempts=0)
            operation_id = self.last(checkpoint_id, 'protect').id
            claimed, reset = fixtures.together(
                lambda number=operation_id: self.write(
                    operations.claim, number, 'node-1:a', 60),
                lambda number=checkpoint_id: self.reset(number, 'error'))
            if claimed is None:
                self.assertIsNone(reset)
                self.assertEqual('error', self.status(checkpoint_id))
            else:
                self.assertIsInstance(reset, errors.Conflict)
                self.assertEqual('protecting', self.status(checkpoint_id))

    def test_other_projects(self):
        checkpoint_id = self.checkpoint('available', 'protect', 'done')
        self.assertRaises(
            errors.NotFound, self.door.reset_state,
            fixtures.caller(fixtures.OTHER_PROJECT), checkpoint_id, 'error')
        self.assertRaises(
            errors.NotFound, self.door.reset_state, fixtures.caller(),
            checkpoint_id, 'error', fixtures.new_id())


class DeleteTest(DoorTest):

    def delete(self, checkpoint_id):
        self.door.delete(fixtures.caller(), checkpoint_id)

    def test_what_never_began_is_deleted_at_once(self):
        checkpoint_id = self.checkpoint('protecting', 'protect', 'queued',
                                        (), attempts=0)
        self.delete(checkpoint_id)
        self.assertEqual('deleted', self.status(checkpoint_id))
        self.assertIsNotNone(
            self.read(checkpoints.get, checkpoint_id).deleted_at)
        dropped = self.last(checkpoint_id, 'protect')
        self.assertEqual('failed', dropped.state)
        self.assertIn('was deleted', dropped.error_info)
        deleted = self.last(checkpoint_id, 'delete')
        self.assertEqual(('done', None),
                         (deleted.state, deleted.credentials))
        self.assertIsNotNone(deleted.ended_at)
        self.assertEqual([], self.hints.queued)

    def test_what_had_begun_is_work(self):
        for given in (('protecting', 'protect', 'queued'),
                      ('protecting', 'protect', 'running',
                       ('available',), -1)):
            checkpoint_id = self.checkpoint(*given)
            self.delete(checkpoint_id)
            self.assertEqual('deleting', self.status(checkpoint_id))
            self.assertEqual('failed',
                             self.last(checkpoint_id, 'protect').state)
            queued = self.last(checkpoint_id, 'delete')
            self.assertEqual('queued', queued.state)
            self.assertEqual(queued.id, self.hints.queued[-1])

    def test_every_status_that_it_can_end_in(self):
        for given in (('available', 'protect', 'done'),
                      ('error', 'protect', 'failed'),
                      ('error-deleting', 'delete', 'failed')):
            checkpoint_id = self.checkpoint(*given)
            self.delete(checkpoint_id)
            self.assertEqual('deleting', self.status(checkpoint_id))
            self.delete(checkpoint_id)
            self.assertEqual('queued',
                             self.last(checkpoint_id, 'delete').state)

    def test_what_is_being_made_stays(self):
        checkpoint_id = self.checkpoint('protecting', 'protect', 'running')
        self.assertIn('is protecting',
                      self.refused(self.delete, checkpoint_id))
        self.assertEqual('running',
                         self.last(checkpoint_id, 'protect').state)

    def test_two_at_once(self):
        for attempts in (0, 1):
            checkpoint_id = self.checkpoint('protecting', 'protect',
                                            'queued', attempts=attempts)
            ended = fixtures.together(
                *[lambda number=checkpoint_id: self.delete(number)] * 6)
            self.assertEqual([None] * 6, ended)
            self.assertEqual(1, len(self.read(
                operations.list, query.Page(), type='delete',
                checkpoint_id=checkpoint_id)))


class UnbegunTest(DoorTest):
    """What no service has begun keeps nobody from deleting a checkpoint."""

    def setUp(self):
        super().setUp()
        self.write(providers.publish, fixtures.provider_values())
        self.checkpoint_id = self.checkpoint('available', 'protect', 'done')

    def begin(self, noun):
        verb = {restores: self.door.restore,
                verifications: self.door.verify}[noun]
        return verb(fixtures.caller(), self.checkpoint_id).id

    def abort(self, noun, thing_id):
        verb = {restores: self.door.abort_restore,
                verifications: self.door.abort_verification}[noun]
        verb(fixtures.caller(), thing_id)

    def test_aborted_at_once(self):
        for noun, kind in ((restores, 'restore'), (verifications, 'verify')):
            thing_id = self.begin(noun)
            self.assertIn(thing_id, self.refused(
                self.door.delete, fixtures.caller(), self.checkpoint_id))
            self.abort(noun, thing_id)
            found = self.read(noun.get, thing_id)
            self.assertEqual('failed', found.status)
            self.assertIsNotNone(found.finished_at)
            operation = self.last(self.checkpoint_id, kind)
            self.assertEqual('failed', operation.state)
            self.assertIsNone(operation.credentials)
            self.assertIn('has ended', self.refused(
                self.abort, noun, thing_id))
        self.door.delete(fixtures.caller(), self.checkpoint_id)
        self.assertEqual('deleting', self.status(self.checkpoint_id))

    def test_what_a_service_has_begun_is_its_own_to_end(self):
        for noun, kind in ((restores, 'restore'), (verifications, 'verify')):
            thing_id = self.begin(noun)
            operation = self.last(self.checkpoint_id, kind)
            self.write(operations.claim, operation.id, 'node-1:a', 60)
            for _ in range(2):
                self.abort(noun, thing_id)
                self.assertEqual('started',
                                 self.read(noun.get, thing_id).status)
            self.assertTrue(
                self.last(self.checkpoint_id, kind).abort_requested)


class LateTest(DoorTest):
    """A transaction that has read before others wrote."""

    def late(self, meanwhile, function, *args):
        """Call a function that others overtake; return what it returns."""
        def run(session):
            session.execute(sa.select(models.Checkpoint.id)).all()
            if self.database_url is not None:
                meanwhile()
            return function(session, *args)
        if self.database_url is None:
            # One transaction that writes at a time: nobody overtakes it.
            meanwhile()
        return self.write(run)

    def test_what_is_begun_is_seen(self):
        checkpoint_id = self.checkpoint('available', 'protect', 'done')
        for noun, values in (
                (restores, fixtures.restore_values()),
                (verifications, fixtures.restore_values())):
            values['checkpoint_id'] = checkpoint_id
            found = self.late(lambda noun=noun, values=values: self.write(
                noun.create, values), noun.running_of, checkpoint_id)
            self.assertEqual([values['id']], found)

    def test_what_is_spoilt_is_seen(self):
        checkpoint_id = self.checkpoint('error-deleting', 'delete', 'failed')
        self.assertFalse(self.late(
            lambda: self.reset(checkpoint_id, 'error'),
            checkpoints.is_whole, checkpoint_id))


class WorkerTest(test_service.ProtectionTestCase):
    """What a reset left behind goes with the checkpoint."""

    options = {'lease_seconds': 1}

    def test_reset_then_deleted(self):
        worker = self.site.start_worker()
        self.site.registry.control({'hang': {'v2': ['on_main']}})
        checkpoint_id = self.site.protect([(test_service.SERVER, 's1')])
        self.site.wait(lambda: len(self.site.registry.objects()) == 2)
        worker.stop()
        self.assertEqual('queued', self.site.operation(checkpoint_id).state)
        self.site.client.reset_state(self.site.caller, checkpoint_id,
                                     'error')
        self.site.registry.control({})
        self.site.start_worker()
        self.site.delete(checkpoint_id)
        self.assertEqual('deleted', self.site.ended(
            checkpoint_id, 'deleted', 'error-deleting').status)
        self.assertEqual({}, self.site.registry.objects())
        self.assertEqual([], self.bank_files())

    def test_error_and_available_again_can_be_restored(self):
        self.site.start_worker()
        checkpoint_id = self.site.protect([(VOLUME, 'v1')])
        self.site.ended(checkpoint_id)
        for state in ('error', 'available'):
            self.site.client.reset_state(self.site.caller, checkpoint_id,
                                         state)
        restore = self.site.restored(self.site.restore(checkpoint_id))
        self.assertEqual('success', restore.status)
