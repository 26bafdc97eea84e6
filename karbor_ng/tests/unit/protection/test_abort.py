# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Aborting: a true end, and nothing left behind, whenever it is asked for."""

import json
import threading
import time

from oslotest import base

from karbor_ng import context
from karbor_ng import errors
from karbor_ng.protection import lease
from karbor_ng.protection import manifest
from karbor_ng.protection import protect
from karbor_ng.protection import verb
from karbor_ng.store import externals
from karbor_ng.store import models
from karbor_ng.store import operations
from karbor_ng.store import restores
from karbor_ng.tests.unit.protection import test_bank_import

DISK = test_bank_import.DISK
SERVER = test_bank_import.SERVER
VOLUME = test_bank_import.VOLUME


class AbortTestCase(test_bank_import.ImportTestCase):
    """Family and disks; ``self.site`` as there."""

    def control(self, **rules):
        self.site.registry.control(rules)

    def abort(self, checkpoint_id):
        self.site.client.abort_checkpoint(self.site.caller, checkpoint_id)

    def made(self, *labels):
        """Wait until things with these labels are in the registry."""
        self.site.wait(lambda: sorted(
            item['label'] for item in self.objects()) == sorted(labels))

    def objects(self):
        return list(self.site.registry.objects().values())

    def files(self):
        return [path.name for path in self.bank_path().rglob('*')
                if path.is_file() and path.name != 'bank.json']

    def check_aborted(self, checkpoint_id):
        """Nothing is left of it but what tells that it was aborted."""
        checkpoint = self.site.ended(checkpoint_id)
        self.assertEqual('error', checkpoint.status)
        operation = self.site.operation(checkpoint_id)
        self.assertEqual('failed', operation.state)
        self.assertIn(verb.ABORTED, operation.error_info)
        self.assertEqual([], self.objects())
        self.assertEqual(['manifest.json'], self.files())
        self.assertEqual({'gone'}, {row.state for row in self.site.db.read(
            externals.of_operation, operation.id)} | {'gone'})
        for row in self.site.resources(checkpoint_id).values():
            self.assertEqual(('error', verb.ABORTED, {}, []), (
                row.status, row.reason, row.saved, row.objects))

    def delete(self, checkpoint_id):
        self.site.delete(checkpoint_id)
        self.assertEqual('deleted',
                         self.site.ended(checkpoint_id, 'deleted').status)
        self.assertEqual([], self.files())

    def take_over(self):
        """Let another worker go on; return it."""
        self.site.hints.workers.clear()
        self.worker.stop()
        self.worker = self.site.start_worker()
        return self.worker


class ProtectTest(AbortTestCase):

    def test_amid_the_work(self):
        self.control(hang={'v2': ['backup']})
        checkpoint_id = self.site.protect([(SERVER, 's1')])
        self.made('backup', 'backup', 'backup')
        self.abort(checkpoint_id)
        self.check_aborted(checkpoint_id)
        self.delete(checkpoint_id)

    def test_amid_the_preparation(self):
        self.control(hang={'v1': ['on_prepare_finish']})
        checkpoint_id = self.site.protect([(SERVER, 's1')])
        self.site.wait(lambda: len(self.site.resources(checkpoint_id)) == 3)
        self.abort(checkpoint_id)
        self.check_aborted(checkpoint_id)

    def test_amid_a_stream(self):
        self.disks.may_end.clear()
        self.disks.reading.clear()
        checkpoint_id = self.site.protect([(DISK, 'd1'), (VOLUME, 'v1')])
        self.assertTrue(self.disks.reading.wait(60))
        self.made('backup')
        self.abort(checkpoint_id)
        self.site.wait(lambda: self.running().abort_requested)
        # A source that hangs is waited for as ever.
        time.sleep(1)
        self.disks.may_end.set()
        self.check_aborted(checkpoint_id)

    def running(self):
        return self.site.db.read(operations.in_states, ['running'],
                                 test_bank_import.query.Page())[0]

    def test_before_anybody_has_begun(self):
        self.site.hints.workers.clear()
        self.worker.stop()
        checkpoint_id = self.site.protect([(VOLUME, 'v1')])
        self.abort(checkpoint_id)
        self.abort(checkpoint_id)
        self.worker = self.site.start_worker()
        self.assertEqual('error', self.site.ended(checkpoint_id).status)
        self.assertEqual([], self.objects())
        self.delete(checkpoint_id)

    def test_what_failed_before_keeps_its_reason(self):
        self.control(fail={'v1': ['on_main']}, hang={'v2': ['on_main']})
        checkpoint_id = self.site.protect([(VOLUME, 'v1'), (VOLUME, 'v2')])
        self.site.wait(lambda: 'error' in {
            row.status for row in self.site.resources(
                checkpoint_id).values()})
        self.abort(checkpoint_id)
        self.site.ended(checkpoint_id)
        rows = self.site.resources(checkpoint_id)
        self.assertIn('told to fail', rows['v1'].reason)
        self.assertEqual(verb.ABORTED, rows['v2'].reason)

    def test_the_next_worker_hears_of_it(self):
        self.control(hang={'v1': ['backup', 'on_complete']})
        checkpoint_id = self.site.protect([(VOLUME, 'v1')])
        self.made('backup')
        self.take_over()
        self.abort(checkpoint_id)
        self.check_aborted(checkpoint_id)

    def test_a_worker_that_stops_amid_the_removal(self):
        """Another one goes on with it."""
        reached, may_go_on = threading.Event(), threading.Event()
        real = protect.Protect._empty_bank

        def slow(this):
            reached.set()
            may_go_on.wait(60)
            this.journal.lease.check()
            real(this)
        self.patch_object(protect.Protect, '_empty_bank', slow)
        self.control(hang={'d2': ['on_main'], 'v1': ['backup']})
        checkpoint_id = self.site.protect([(VOLUME, 'v1'), (DISK, 'd1')])
        self.made('backup')
        self.abort(checkpoint_id)
        self.assertTrue(reached.wait(60))
        threading.Timer(1, may_go_on.set).start()
        self.take_over()
        self.check_aborted(checkpoint_id)

    def patch_object(self, owner, name, value):
        real = getattr(owner, name)
        setattr(owner, name, value)
        self.addCleanup(setattr, owner, name, real)

    def test_too_late(self):
        """The manifest is written: the checkpoint is there."""
        written, may_end = threading.Event(), threading.Event()
        real = protect.Protect._write_end

        def slow(this, *args):
            written.set()
            may_end.wait(60)
            return real(this, *args)
        self.patch_object(protect.Protect, '_write_end', slow)
        checkpoint_id = self.site.protect([(VOLUME, 'v1')])
        self.assertTrue(written.wait(60))
        if self.database_url is None:
            # SQLite has one writer, and we are inside its transaction.
            may_end.set()
            self.site.ended(checkpoint_id)
            self.assertRaises(errors.Conflict, self.abort, checkpoint_id)
        else:
            threading.Timer(1, may_end.set).start()
            self.assertRaises(errors.Conflict, self.abort, checkpoint_id)
        self.assertEqual('available', self.site.ended(checkpoint_id).status)
        self.made('backup')

    def test_a_worker_that_was_given_up_commits_meanwhile(self):
        """Its manifest names what is removed: it must not hold."""
        real = manifest.write

        def late(bank, made):
            real(bank, dict(made, status='available'))
            manifest.write = real
            return real(bank, made)
        self.control(hang={'v1': ['backup']})
        checkpoint_id = self.site.protect([(VOLUME, 'v1')])
        self.made('backup')
        self.patch_object(manifest, 'write', late)
        self.abort(checkpoint_id)
        self.check_aborted(checkpoint_id)
        found = json.loads(self.manifest_path(checkpoint_id).read_text())
        self.assertEqual('error', found['status'])

    def test_what_a_cloud_does_not_let_go_stays_recorded(self):
        kind = self.worker._tools.providers[
            self.site.checkpoint(self.protect((VOLUME, 'v1'))).provider_id
        ].protections[VOLUME].kind('backup')
        self.control(hang={'v2': ['backup']})
        checkpoint_id = self.site.protect([(VOLUME, 'v2')])
        self.made('backup', 'backup')

        def refuse(session, external_id):
            raise errors.ResourceError('the cloud refuses')
        real, kind.remove = kind.remove, refuse
        self.abort(checkpoint_id)
        self.site.ended(checkpoint_id)
        row = self.site.resources(checkpoint_id)['v2']
        self.assertIn('Still there: backup', row.reason)
        kind.remove = real
        self.control()
        self.site.delete(checkpoint_id)
        self.site.ended(checkpoint_id, 'deleted')
        self.made('backup')


class HintTest(AbortTestCase):
    """With leases that are renewed every minute."""

    options = {'lease_seconds': 240}

    def test_a_hint_is_heard_at_once(self):
        self.control(hang={'v1': ['backup']})
        checkpoint_id = self.site.protect([(VOLUME, 'v1')])
        self.made('backup')
        started = time.monotonic()
        self.abort(checkpoint_id)
        self.check_aborted(checkpoint_id)
        self.assertLess(time.monotonic() - started, 30)


class RestoreTest(AbortTestCase):

    def test_amid_the_work(self):
        checkpoint_id = self.protect((SERVER, 's1'), (DISK, 'd1'))
        self.control(hang={'v2': ['restored']})
        restore_id = self.site.restore(checkpoint_id)
        self.made(*['backup'] * 3, *['restored'] * 3)
        self.site.client.abort_restore(self.site.caller, restore_id)
        self.assertEqual('failed', self.site.restored(restore_id).status)
        self.made(*['backup'] * 3)
        for row in self.site.db.read(restores.resources, restore_id):
            self.assertEqual(('error', verb.ABORTED, None),
                             (row.status, row.reason, row.new_id))
        self.control()
        again = self.site.restored(self.site.restore(checkpoint_id))
        self.assertEqual('success', again.status)

    def test_after_its_end(self):
        checkpoint_id = self.protect((VOLUME, 'v1'))
        restore_id = self.site.restore(checkpoint_id)
        self.site.restored(restore_id)
        problem = self.assertRaises(
            errors.Conflict, self.site.client.abort_restore,
            self.site.caller, restore_id)
        self.assertIn('is success', str(problem))
        self.made('backup', 'restored')


class RefusalTest(AbortTestCase):

    def test_ended_and_deleting_checkpoints(self):
        checkpoint_id = self.protect((VOLUME, 'v1'))
        self.assertRaises(errors.Conflict, self.abort, checkpoint_id)
        self.control(hang={'v1': ['on_main']})
        self.site.delete(checkpoint_id)
        self.assertRaises(errors.Conflict, self.abort, checkpoint_id)
        operation = self.site.operation(checkpoint_id, 'delete')
        self.assertFalse(self.site.db.write(operations.request_abort,
                                            operation.id))
        self.control()
        self.assertEqual('deleted',
                         self.site.ended(checkpoint_id, 'deleted').status)

    def test_other_projects(self):
        checkpoint_id = self.protect((VOLUME, 'v1'))
        restore_id = self.site.restore(checkpoint_id)
        stranger = context.Caller('other', 'user', 'req-2')
        for function, thing_id in (
                (self.site.client.abort_checkpoint, checkpoint_id),
                (self.site.client.abort_restore, restore_id)):
            self.assertRaises(errors.NotFound, function, stranger, thing_id)


class LeaseTest(base.BaseTestCase):

    def setUp(self):
        super().setUp()
        self.lease = lease.Lease('o', 1, 60, time.monotonic(),
                                 models.utcnow())

    def test_an_abort_interrupts_until_it_is_dealt_with(self):
        self.lease.abort()
        self.assertRaises(errors.Aborted, self.lease.check)
        self.assertRaises(errors.Aborted, self.lease.sleep, 60)
        self.lease.check_owned()
        self.lease.check(is_ending=True)
        self.assertTrue(self.lease.stop_hearing_aborts())
        self.lease.check()
        started = time.monotonic()
        self.lease.sleep(0.1)
        self.assertGreater(time.monotonic() - started, 0.09)
        self.lease.abort()
        self.lease.check()

    def test_none_is_heard_behind_the_work(self):
        self.assertFalse(self.lease.stop_hearing_aborts())
        self.lease.abort()
        self.lease.check()

    def test_the_weightier_reason_counts(self):
        kinds = [(self.lease.abort, errors.Aborted),
                 (self.lease.stop, errors.Stopping),
                 (self.lease.lose, errors.Fenced)]
        for function, error in kinds:
            function()
            self.assertRaises(error, self.lease.check)
            for weaker, _ in kinds:
                weaker()
                if weaker is function:
                    break
            self.assertRaises(error, self.lease.check)
        self.assertFalse(self.lease.stop_hearing_aborts())
        self.assertRaises(errors.Fenced, self.lease.check, is_ending=True)
