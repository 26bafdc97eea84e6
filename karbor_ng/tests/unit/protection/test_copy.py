# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Copies through a worker: from one bank to another, and their lives."""

import dataclasses
import datetime
import json
import pathlib
import threading

from oslotest import base
import sqlalchemy as sa

from karbor_ng import errors
from karbor_ng.bank import bank as bank_module
from karbor_ng.bank import wrap
from karbor_ng.protection import bank_check
from karbor_ng.protection import bank_import
from karbor_ng.protection import copy
from karbor_ng.protection import journal
from karbor_ng.protection import providers
from karbor_ng.protection import streams
from karbor_ng.protection import verb
from karbor_ng.store import checkpoints
from karbor_ng.store import models
from karbor_ng.store import operations
from karbor_ng.store import plans
from karbor_ng.store import streams as stream_rows
from karbor_ng.store import verifications
from karbor_ng.tests.unit.protection import environment
from karbor_ng.tests.unit.protection import test_stream_life as life

TARGET_ID = '0b2f5f0e-3c1c-4d0e-9d1b-7c7a5d1c9a11'
#: Small, so that little data has many parts.
PART_SIZE = 30_000


class Deployment(life.Deployment):
    """One with a second provider, whose bank is another directory."""

    def _write_provider(self):
        super()._write_provider()
        folder = pathlib.Path(self.provider_directory)
        text = (folder / 'noop.conf').read_text()
        self.target_file = folder / 'target.conf'
        self.target_file.write_text(
            text.replace(environment.PROVIDER_ID, TARGET_ID)
            .replace(f'{self.path}/bank', f'{self.path}/target'))

    def start_worker(self):
        worker = super().start_worker()
        self.wait(lambda: self.db.read(
            lambda session: session.get(models.Provider, TARGET_ID)))
        return worker

    def provider(self, provider_id):
        """Return a provider as operators' tools have it."""
        found = providers.load_all(self.provider_directory)[provider_id]
        found.open()
        return found

    def copy(self, plan_id, **kwargs):
        """Copy a plan's checkpoints; return {source id: copy's id}."""
        pairs, _parameters = self.client.copy(
            self.caller, plan_id, environment.PROVIDER_ID, TARGET_ID,
            **kwargs)
        return dict(pairs)


class CopyTestCase(base.BaseTestCase):

    options: dict = {}

    def setUp(self):
        super().setUp()
        self.patch_object(bank_module, 'PART_SIZE', PART_SIZE)
        self.site = self.useFixture(Deployment(**self.options))
        self.disks = life.DiskProtection
        self.disks.disks['d1'] = life.DATA
        self.disks.reading.clear()
        self.disks.may_end.set()
        for kept in (self.disks.disks, self.disks.restored,
                     self.disks.broken):
            self.addCleanup(kept.clear)

    def patch_object(self, owner, name, value):
        before = getattr(owner, name)
        setattr(owner, name, value)
        self.addCleanup(setattr, owner, name, before)

    def protected(self, *ids, plan_id=None, status='available'):
        """Protect disks; return plan and checkpoint once it has ended."""
        plan_id = plan_id or self.site.plan(
            [(life.DISK, disk_id) for disk_id in ids or ('d1',)])
        checkpoint_id = self.site.client.protect(
            self.site.caller, plan_id).id
        self.assertEqual(status, self.site.ended(checkpoint_id).status)
        return plan_id, checkpoint_id

    def copied(self, plan_id, status='available'):
        """Copy the only checkpoint of a plan; return the copy's row."""
        copy_id, = self.site.copy(plan_id).values()
        found = self.site.ended(copy_id)
        self.assertEqual(status, found.status,
                         self.site.operation(copy_id, 'copy').error_info)
        return found

    def delete(self, checkpoint_id):
        self.site.delete(checkpoint_id)
        self.site.ended(checkpoint_id, 'deleted')

    def files(self, name='target', below=''):
        """Return the objects in a bank but for its marker."""
        bank = pathlib.Path(self.site.path, name, 'karbor')
        return sorted(str(path.relative_to(bank))
                      for path in (bank / below).rglob('*')
                      if path.is_file() and path.name != 'bank.json')

    def restored(self, checkpoint_id):
        return life.StreamLifeTest.restored(self, checkpoint_id)

    def manifest(self, checkpoint_id):
        return json.loads(self._manifest_path(checkpoint_id).read_text())

    def change_manifest(self, checkpoint_id, change):
        """Let something happen to a manifest in its bank."""
        found = self.manifest(checkpoint_id)
        change(found)
        self._manifest_path(checkpoint_id).write_text(json.dumps(found))

    def _manifest_path(self, checkpoint_id):
        path, = pathlib.Path(self.site.path).rglob(
            f'{checkpoint_id}/manifest.json')
        return path


class LifeTest(CopyTestCase):

    def test_it_outlives_its_source(self):
        self.site.start_worker()
        plan_id, source_id = self.protected()
        found = self.copied(plan_id)
        source = self.site.checkpoint(source_id)
        self.assertEqual(
            (source_id, TARGET_ID, source.created_at, source.graph,
             source.size, plan_id),
            (found.copied_from, found.provider_id, found.data_time,
             found.graph, found.size, found.plan_id))
        self.delete(source_id)
        self.assertEqual([], self.files('bank'))
        self.assertEqual(life.DATA, self.restored(found.id))
        self.delete(found.id)
        self.assertEqual([], self.files())

    def test_its_source_outlives_it(self):
        self.site.start_worker()
        plan_id, source_id = self.protected()
        self.delete(self.copied(plan_id).id)
        self.assertEqual([], self.files())
        self.assertEqual(life.DATA, self.restored(source_id))

    def test_it_can_be_verified(self):
        self.site.start_worker()
        plan_id, source_id = self.protected()
        found = self.copied(plan_id)
        self.delete(source_id)
        verification = self.site.client.verify(self.site.caller, found.id)
        self.assertEqual('success', self.site.wait(
            lambda: self._verified(verification.id)))

    def _verified(self, verification_id):
        status = self.site.db.read(verifications.get, verification_id).status
        return status if status != 'started' else None

    def test_its_manifest_tells_what_it_is(self):
        self.site.start_worker()
        plan_id, source_id = self.protected()
        found = self.copied(plan_id)
        source, made = map(self.manifest, (source_id, found.id))
        self.assertEqual((source_id, source['created_at']),
                         (made['copied_from'], made['data_time']))
        self.assertNotIn('copied_from', source)
        item, = made['resources']
        self.assertEqual(self.files(), sorted(
            [key['key'] for key in item['objects']]
            + [f'checkpoints/project/{found.id}/manifest.json']))
        self.assertEqual(
            [(key['size'], key['sha256'])
             for key in source['resources'][0]['objects']],
            [(key['size'], key['sha256']) for key in item['objects']])

    def test_nothing_is_copied_twice(self):
        self.site.start_worker()
        plan_id, first = self.protected()
        _, second = self.protected(plan_id=plan_id)
        made = self.site.copy(plan_id)
        self.assertEqual([first, second], list(made))
        self.assertEqual({}, self.site.copy(plan_id))
        for copy_id in made.values():
            self.assertEqual('available', self.site.ended(copy_id).status)
        self.assertEqual({}, self.site.copy(plan_id))
        self.delete(made[first])
        self.assertEqual([first], list(self.site.copy(plan_id)))

    def test_what_is_the_same_is_stored_once(self):
        self.site.start_worker()
        plan_id, _first = self.protected()
        self.protected(plan_id=plan_id)
        made = list(self.site.copy(plan_id).values())
        for copy_id in made:
            self.site.ended(copy_id)
        self.assertEqual(4, len(self.files(below='streams')))
        self.delete(made[0])
        self.assertEqual(life.DATA, self.restored(made[1]))
        self.delete(made[1])
        self.assertEqual([], self.files())

    def test_a_stream_of_unknown_identity_is_shared_by_its_bytes(self):
        self.site.start_worker()
        plan_id, _first = self.protected()
        self.protected(plan_id=plan_id)
        self.site.db.write(lambda session: session.execute(
            sa.update(models.Stream).values(identity=None)))
        for copy_id in self.site.copy(plan_id).values():
            self.assertEqual('available', self.site.ended(copy_id).status)
        self.assertEqual(4, len(self.files(below='streams')))

    def test_a_wrong_identity_shares_nothing(self):
        self.site.start_worker()
        plan_id, _first = self.protected()
        found = self.copied(plan_id)
        identity = self.site.db.read(
            stream_rows.identity_of,
            self.manifest(found.id)['resources'][0]['saved']['streams'][
                'data']['id'])
        self.disks.disks['d1'] = life.DATA[::-1]
        self.protected(plan_id=plan_id)
        self.site.db.write(lambda session: session.execute(
            sa.update(models.Stream).values(identity=identity)))
        other = self.copied(plan_id)
        self.assertEqual(life.DATA[::-1], self.restored(other.id))
        self.assertEqual(life.DATA, self.restored(found.id))

    def test_what_was_left_out_is_left_out(self):
        self.site.start_worker()
        plan_id, source_id = self.protected()
        self.site.db.write(checkpoints.change_each, source_id, {
            (life.DISK, 'd1'): {'reason': 'A note.'}})
        found = self.copied(plan_id)
        row = self.site.resources(found.id)['d1']
        self.assertEqual(('available', 100, True),
                         (row.status, row.progress, row.in_plan))

    def test_the_log(self):
        self.site.start_worker()
        plan_id, source_id = self.protected()
        found = self.copied(plan_id)
        operation = self.site.operation(found.id, 'copy')
        self.assertEqual(
            ('available', source_id, TARGET_ID, plan_id, None),
            (operations.log_status(operation),
             operation.source_checkpoint_id, operation.provider_id,
             operation.plan_id, operation.credentials))

    def test_notes_and_what_needs_no_data(self):
        self.site.start_worker()
        plan_id = self.site.plan([('OS::Test::Noted', 'n'),
                                  ('OS::Test::Draft', 'd')])
        _, source_id = self.protected(plan_id=plan_id)
        found = self.copied(plan_id)
        for source, made in zip(self.site.resources(source_id).values(),
                                self.site.resources(found.id).values(),
                                strict=True):
            for name in ('type', 'id', 'status', 'reason', 'saved', 'size',
                         'plugin', 'plugin_version', 'in_plan', 'progress'):
                self.assertEqual(getattr(source, name), getattr(made, name))
        self.delete(found.id)

    def test_what_two_attempts_wrote_stays_apart(self):
        self.site.start_worker()
        plan_id, source_id = self.protected()
        item, = self.manifest(source_id)['resources']
        own, = [one for one in item['objects']
                if not one['key'].startswith('streams/')]
        bank = self.site.provider(environment.PROVIDER_ID).bank
        older = bank.put(own['key'].replace('/data/1/', '/data/0/'),
                         b'of an earlier attempt')
        self.change_manifest(source_id, lambda found: found['resources'][0][
            'objects'].insert(0, dataclasses.asdict(older)))
        found = self.copied(plan_id)
        names = [name for name in self.files(below='checkpoints')
                 if name.endswith('/label')]
        self.assertEqual(
            [f'checkpoints/project/{found.id}/data/1.{attempt}/'
             f'OS.Test.Disk/d1/label' for attempt in (0, 1)], names)
        self.assertEqual(life.DATA, self.restored(found.id))


class Gate:
    """Holds a copy up after so many parts were recorded."""

    def __init__(self, test, parts):
        self.reached, self.is_open = threading.Event(), threading.Event()
        self._left = parts
        real = streams._Parts.record

        def record(recorded, part):
            real(recorded, part)
            self._left -= 1
            if self._left == 0:
                self.reached.set()
                self.is_open.wait(60)

        test.patch_object(streams._Parts, 'record', record)
        test.addCleanup(self.is_open.set)


class InterruptionTest(CopyTestCase):

    def begun(self, parts=2):
        """Protect and begin to copy; return the copy's id, worker, gate."""
        worker = self.site.start_worker()
        plan_id, _source_id = self.protected()
        gate = Gate(self, parts)
        copy_id, = self.site.copy(plan_id).values()
        self.assertTrue(gate.reached.wait(60))
        return copy_id, worker, gate

    def test_another_worker_goes_on(self):
        copy_id, first, gate = self.begun()
        before = self.files(below='streams')
        self.site.hints.workers.clear()
        stopping = threading.Thread(target=first.stop)
        stopping.start()
        self.site.wait(lambda: first._stopping.is_set())
        gate.is_open.set()
        stopping.join()
        self.assertEqual('queued',
                         self.site.operation(copy_id, 'copy').state)
        # They are not read again.
        for path in self.source_parts()[:len(before)]:
            path.write_bytes(b'damaged meanwhile')
        self.site.start_worker()
        self.assertEqual('available', self.site.ended(copy_id).status)
        self.assertLessEqual(set(before), set(self.files(below='streams')))
        self.assertEqual(4, len(self.files(below='streams')))
        self.assertEqual(life.DATA, self.restored(copy_id))
        self.delete(copy_id)
        self.assertEqual([], self.files())

    def source_parts(self):
        bank = pathlib.Path(self.site.path, 'bank', 'karbor')
        return [bank / name for name in self.files('bank', 'streams')]

    def test_a_worker_that_was_given_up(self):
        """It wakes up after another one has finished, and changes nothing."""
        copy_id, first, gate = self.begun()
        operation = self.site.operation(copy_id, 'copy')
        self.site.db.write(lambda session: session.execute(
            sa.update(models.Operation)
            .where(models.Operation.id == operation.id)
            .values(attempt=operation.attempt + 1, owner='another')))
        gate.is_open.set()
        self.site.wait(lambda: not first._running)
        self.site.db.write(operations.hand_back, operation.id,
                           operation.attempt + 1)
        self.assertEqual('available', self.site.ended(copy_id).status)
        self.assertEqual(4, len(self.files(below='streams')))
        self.assertEqual(life.DATA, self.restored(copy_id))

    def test_an_end_that_was_not_written(self):
        """The manifest is there, and the worker dies."""
        real = copy.Copy._write_end
        calls = []

        def dies_once(verb, *args):
            calls.append(verb)
            if len(calls) == 1:
                raise RuntimeError('killed')
            return real(verb, *args)

        self.patch_object(copy.Copy, '_write_end', dies_once)
        self.site.start_worker()
        plan_id, _source_id = self.protected()
        found = self.copied(plan_id)
        self.assertEqual(2, len(calls))
        self.assertEqual(2, self.site.operation(found.id, 'copy').attempt)
        self.assertEqual(1, self.manifest(found.id)['operation']['attempt'])
        self.assertEqual(life.DATA, self.restored(found.id))

    def test_abort(self):
        copy_id, _worker, gate = self.begun()
        self.site.client.abort_checkpoint(self.site.caller, copy_id)
        gate.is_open.set()
        self.assertEqual('error', self.site.ended(copy_id).status)
        self.assertEqual([f'checkpoints/project/{copy_id}/manifest.json'],
                         self.files())
        self.assertIn(verb.ABORTED,
                      self.site.operation(copy_id, 'copy').error_info)
        self.delete(copy_id)
        self.assertEqual([], self.files())

    def test_abort_before_anybody_has_begun(self):
        worker = self.site.start_worker()
        plan_id, _source_id = self.protected()
        self.site.hints.workers.clear()
        worker.stop()
        copy_id, = self.site.copy(plan_id).values()
        self.site.client.abort_checkpoint(self.site.caller, copy_id)
        self.site.start_worker()
        self.assertEqual('error', self.site.ended(copy_id).status)
        self.delete(copy_id)
        self.assertEqual([], self.files())

    def test_its_source_is_not_deleted_meanwhile(self):
        copy_id, _worker, gate = self.begun()
        source_id = self.site.checkpoint(copy_id).copied_from
        problem = self.assertRaises(errors.InUse, self.site.delete,
                                    source_id)
        self.assertIn(copy_id, str(problem))
        self.assertRaises(errors.Conflict, self.site.delete, copy_id)
        gate.is_open.set()
        self.site.ended(copy_id)
        self.delete(source_id)
        self.assertEqual(life.DATA, self.restored(copy_id))

    def test_one_stream_at_once_is_enough(self):
        """A copy that reads while it writes does not wait for itself."""
        self.site.conf.set_override('max_parallel_streams', 1, 'protection')
        self.site.start_worker()
        plan_id, _source_id = self.protected()
        self.copied(plan_id)


class Killed(BaseException):
    """Nobody catches the end of a process."""


class EveryLineTest(CopyTestCase):
    """A worker that dies after any write leaves nothing undone."""

    options = {'lease_seconds': 1, 'sweep_seconds': 0.1}
    #: Far more than a copy makes.
    MOST = 100

    def setUp(self):
        super().setUp()
        #: writes until the worker dies; None while it does not
        self.left = None
        self._kill_after(journal.Journal, 'write', self._is_of_copy)
        self._kill_after(wrap.Retrying, 'put', lambda driver, key, *rest: True)

    def _kill_after(self, owner, name, is_meant):
        real = getattr(owner, name)

        def killed(this, *args, **kwargs):
            result = real(this, *args, **kwargs)
            if self.left is not None and is_meant(this, *args):
                self.left -= 1
                if self.left < 0:
                    self.left = None
                    self.site.db.write(self._let_leases_run_out)
                    raise Killed
            return result
        self.patch_object(owner, name, killed)

    def _let_leases_run_out(self, session):
        session.execute(sa.update(models.Operation).values(
            lease_until=models.utcnow() - datetime.timedelta(minutes=1)))

    def _is_of_copy(self, one, *args):
        return one.operation.type == 'copy'

    def test_all(self):
        self.patch_object(bank_module, 'PART_SIZE', 60_000)
        self.site.start_worker()
        plan_id, _source_id = self.protected()
        attempts = []
        for number in range(self.MOST):
            self.left = number
            found = self.copied(plan_id)
            was_killed, self.left = self.left is None, None
            attempts.append(self.site.operation(found.id, 'copy').attempt)
            self.assertEqual(life.DATA, self.restored(found.id))
            self.delete(found.id)
            self.assertEqual([], self.files(), number)
            if not was_killed:
                break
        # Who dies after the very last write has ended it.
        self.assertEqual([1, 1], attempts[-2:])
        self.assertEqual({2}, set(attempts[:-2]))
        # Two parts and an object, and what is written of them.
        self.assertGreater(len(attempts), 10)


class FailureTest(CopyTestCase):

    def setUp(self):
        super().setUp()
        self.disks.disks['d2'] = life.DATA[::-1]
        self.site.start_worker()
        self.plan_id, self.source_id = self.protected('d1', 'd2')

    def failed(self):
        """Copy; return the copy's id and why it failed."""
        found = self.copied(self.plan_id, 'error')
        operation = self.site.operation(found.id, 'copy')
        self.assertEqual('failed', operation.state)
        return found.id, operation.error_info

    def check_can_be_mended(self, copy_id, mend):
        """What failed can be deleted, and copying be asked for again."""
        mend()
        again = self.copied(self.plan_id)
        self.delete(copy_id)
        self.delete(self.source_id)
        self.delete(again.id)
        self.assertEqual([], self.files())

    def path(self, key):
        return pathlib.Path(self.site.path, 'bank', 'karbor', key)

    def objects(self, disk_id='d2'):
        """Return the paths of a disk's own object, and of its parts."""
        item, = [item for item in self.manifest(self.source_id)['resources']
                 if item['id'] == disk_id]
        return [self.path(one['key']) for one in item['objects']]

    def check_bad_object(self, path):
        data = path.read_bytes()
        path.write_bytes(data[:-1] + b'?')
        copy_id, reason = self.failed()
        self.assertIn(path.name, reason)
        self.assertIn('OS::Test::Disk d2', reason)
        rows = self.site.resources(copy_id)
        self.assertEqual(('available', 'error'),
                         (rows['d1'].status, rows['d2'].status))
        self.assertIn('damaged', rows['d2'].reason)
        self.check_can_be_mended(copy_id, lambda: path.write_bytes(data))

    def test_a_damaged_part(self):
        self.check_bad_object(self.objects()[-2])

    def test_a_damaged_object(self):
        self.check_bad_object(self.objects()[0])

    def test_a_missing_part(self):
        path = self.objects()[-1]
        data = path.read_bytes()
        path.unlink()
        copy_id, reason = self.failed()
        self.assertIn('missing', reason)
        self.check_can_be_mended(copy_id, lambda: path.write_bytes(data))

    def test_no_manifest(self):
        path = self.path(f'checkpoints/project/{self.source_id}/'
                         f'manifest.json')
        data = path.read_bytes()
        path.unlink()
        copy_id, reason = self.failed()
        self.assertIn('has no manifest', reason)
        self.check_can_be_mended(copy_id, lambda: path.write_bytes(data))

    def test_a_manifest_that_says_error(self):
        path = self.path(f'checkpoints/project/{self.source_id}/'
                         f'manifest.json')
        data = path.read_bytes()
        self.change_manifest(self.source_id,
                             lambda found: found.update(status='error'))
        copy_id, reason = self.failed()
        self.assertIn('says error', reason)
        self.check_can_be_mended(copy_id, lambda: path.write_bytes(data))

    def test_an_object_that_lies_elsewhere(self):
        """A manifest from elsewhere leads to nothing of others."""
        path = self.path(f'checkpoints/project/{self.source_id}/'
                         f'manifest.json')
        data = path.read_bytes()

        def move(found):
            for item in found['resources']:
                item['objects'][0]['key'] = 'checkpoints/other/x/data/1/y'
        self.change_manifest(self.source_id, move)
        copy_id, reason = self.failed()
        self.assertIn('which is not where its objects belong', reason)
        self.check_can_be_mended(copy_id, lambda: path.write_bytes(data))


class OperatorTest(CopyTestCase):
    """What operators do with banks knows copies."""

    def setUp(self):
        super().setUp()
        self.worker = self.site.start_worker()
        self.plan_id, self.source_id = self.protected()
        self.copy_id = self.copied(self.plan_id).id

    def check(self, provider_id):
        return list(bank_check.BankCheck(
            self.site.db, self.site.provider(provider_id), 0,
            is_reading=True).run())

    def test_both_banks_are_sound(self):
        for provider_id in (environment.PROVIDER_ID, TARGET_ID):
            self.assertEqual([], self.check(provider_id))

    def rows(self):
        """Return what is known of the copy, but times that can differ."""
        checkpoint = self.site.checkpoint(self.copy_id)
        operation = self.site.operation(self.copy_id, 'copy')
        resource, = self.site.resources(self.copy_id).values()
        return [{name: getattr(row, name) for name in names}
                for row, names in (
                    (checkpoint, ('id', 'plan_id', 'status', 'copied_from',
                                  'data_time', 'extra_info', 'size',
                                  'provider_id', 'plan', 'graph')),
                    (operation, ('id', 'type', 'state', 'checkpoint_id',
                                 'source_checkpoint_id', 'provider_id')),
                    (resource, ('type', 'id', 'status', 'saved', 'objects',
                                'size', 'progress', 'in_plan')))]

    def test_a_lost_database(self):
        before = self.rows()
        self.site.hints.workers.clear()
        self.worker.stop()
        with self.site.db.engine.begin() as connection:
            for table in reversed(models.Base.metadata.sorted_tables):
                connection.execute(sa.delete(table))
        target = self.site.provider(TARGET_ID)
        outcome, = bank_import.import_all(self.site.db, target)
        self.assertEqual('imported', outcome.what)
        self.assertEqual(before, self.rows())
        self.assertEqual(1, bank_import.import_plans(self.site.db, target))
        self.assertEqual(environment.PROVIDER_ID, self.site.db.read(
            plans.get, self.plan_id).provider_id)
        self.site.start_worker()
        self.assertEqual(life.DATA, self.restored(self.copy_id))
        self.delete(self.copy_id)
        self.assertEqual([], self.files())

    def test_a_copy_without_a_time_is_damaged(self):
        self.change_manifest(self.copy_id,
                             lambda found: found.pop('data_time'))
        finding, = self.check(TARGET_ID)
        self.assertEqual('unreadable manifest', finding.what)
        self.assertIn('data_time', finding.detail)
