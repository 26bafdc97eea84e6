# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Checking a bank: what is found, what may go, and what must not."""

import json
import os
import time

from karbor_ng.protection import bank_check
from karbor_ng.protection import journal
from karbor_ng.resource import Resource
from karbor_ng.store import audit
from karbor_ng.store import checkpoints
from karbor_ng.store import externals
from karbor_ng.store import models
from karbor_ng.store import operations
from karbor_ng.store import query
from karbor_ng.tests import fixtures
from karbor_ng.tests.unit.protection import environment
from karbor_ng.tests.unit.protection import test_bank_import

DISK = test_bank_import.DISK
VOLUME = test_bank_import.VOLUME
HOUR = 3600


class CheckTestCase(test_bank_import.ImportTestCase):

    def check(self, grace=0, **kwargs):
        """Return findings; ``grace`` in seconds."""
        return list(bank_check.BankCheck(
            self.site.db, self.provider(), grace, **kwargs).run())

    def one(self, what, **kwargs):
        """Return the only finding."""
        found, = self.check(**kwargs)
        self.assertEqual(what, found.what)
        return found

    def delete(self, checkpoint_id):
        self.site.delete(checkpoint_id)
        self.site.ended(checkpoint_id, 'deleted')

    def stop(self):
        self.site.hints.workers.clear()
        self.worker.stop()

    def put(self, *parts, age=0):
        """Put a file into the bank; ``age`` in seconds."""
        path = self.bank_path(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('x')
        moment = time.time() - age
        os.utime(path, (moment, moment))
        return path


class SoundTest(CheckTestCase):

    def test_empty_bank(self):
        self.assertEqual([], self.check())

    def test_nothing_is_found_where_all_is_well(self):
        self.protect((DISK, 'd1'), (VOLUME, 'v1'))
        self.delete(self.protect((DISK, 'd1')))
        self.disks.broken.add('d2')
        self.protect((DISK, 'd2'), status='error')
        for is_reading in False, True:
            self.assertEqual([], self.check(is_reading=is_reading))

    def test_what_is_being_made_is_no_finding(self):
        self.disks.may_end.clear()
        self.disks.reading.clear()
        checkpoint_id = self.site.protect([(DISK, 'd1')])
        self.assertTrue(self.disks.reading.wait(60))
        self.put('checkpoints', 'project', checkpoint_id, 'data', '1', 'x',
                 age=HOUR)
        self.assertEqual([], self.check())
        self.disks.may_end.set()
        self.assertEqual('available', self.site.ended(checkpoint_id).status)
        self.assertEqual([], self.check())


class CheckpointTest(CheckTestCase):

    def test_without_rows(self):
        checkpoint_id = self.protect((DISK, 'd1'))
        self.lose()
        found = self.one('checkpoint without rows')
        self.assertEqual(checkpoint_id, found.thing)
        self.assertIsNone(found.repair)
        self.run_import()
        self.assertEqual([], self.check())

    def test_without_manifest(self):
        checkpoint_id = self.protect((DISK, 'd1'))
        self.manifest_path(checkpoint_id).unlink()
        found = self.one('checkpoint without manifest')
        self.assertEqual((checkpoint_id, None), (found.thing, found.repair))
        self.delete(checkpoint_id)
        self.assertEqual([], self.check())

    def test_without_anything_in_the_bank(self):
        checkpoint_id = self.protect((VOLUME, 'v1'))
        self.manifest_path(checkpoint_id).unlink()
        self.one('checkpoint without manifest')

    def test_missing_and_damaged_objects(self):
        checkpoint_id = self.protect((DISK, 'd1'))
        part, = self.bank_path('streams').rglob('00000000')
        data = part.read_bytes()
        part.write_bytes(data[:-1] + b'!')
        self.assertEqual([], self.check())
        found = self.one('broken checkpoint', is_reading=True)
        self.assertIn('SHA-256', found.detail)
        part.unlink()
        found = self.one('broken checkpoint')
        self.assertEqual((checkpoint_id, None), (found.thing, found.repair))
        self.assertIn('missing', found.detail)
        part.parent.mkdir(exist_ok=True, parents=True)
        part.write_bytes(data)
        self.assertEqual([], self.check(is_reading=True))

    def test_unreadable_manifest(self):
        checkpoint_id = self.protect((DISK, 'd1'))
        path = self.manifest_path(checkpoint_id)
        kept = path.read_text()
        for text in '{', '{"format": 9}', '{"format": 1}':
            path.write_text(text)
            found = self.one('unreadable manifest')
            self.assertEqual(checkpoint_id, found.thing)
        path.write_text(kept)
        self.assertEqual([], self.check())

    def test_another_bank(self):
        checkpoint_id = self.protect((VOLUME, 'v1'))
        self.site.db.write(self._move, checkpoint_id)
        self.manifest_path(checkpoint_id).unlink()
        self.one('checkpoint in another bank')

    def _move(self, session, checkpoint_id):
        query.change(session, models.Checkpoint,
                     {'bank_uuid': fixtures.new_id()},
                     models.Checkpoint.id == checkpoint_id)

    def test_of_another_provider_are_let_be(self):
        checkpoint_id = self.protect((DISK, 'd1'))
        path = self.manifest_path(checkpoint_id)
        manifest = json.loads(path.read_text())
        path.write_text(json.dumps(dict(manifest,
                                        provider_id=fixtures.PROVIDER)))
        self.lose()
        self.assertEqual([], self.check())


class RestTest(CheckTestCase):
    """Objects that no checkpoint has."""

    def rest(self, checkpoint_id, age=HOUR):
        return self.put('checkpoints', 'project', checkpoint_id, 'data',
                        '1', 'x', age=age)

    def test_of_nobody(self):
        path = self.rest(fixtures.new_id())
        found = self.one('objects of no checkpoint', grace=HOUR / 2)
        found.repair()
        self.assertFalse(path.exists())
        self.assertEqual([], self.check())
        found.repair()

    def test_young_ones_stay(self):
        self.rest(fixtures.new_id())
        found = self.one('objects of no checkpoint', grace=2 * HOUR)
        self.assertIsNone(found.repair)
        self.assertIn('younger', found.detail)

    def test_one_young_object_keeps_all(self):
        checkpoint_id = fixtures.new_id()
        self.rest(checkpoint_id)
        self.put('checkpoints', 'project', checkpoint_id, 'data', '1', 'y')
        self.assertIsNone(self.one('objects of no checkpoint',
                                   grace=HOUR / 2).repair)

    def test_a_bank_without_ages_keeps_all(self):
        self.rest(fixtures.new_id())
        provider = self.provider()
        provider.bank.age = lambda key: None
        found, = bank_check.BankCheck(self.site.db, provider, 0).run()
        self.assertIsNone(found.repair)
        self.assertIn('can not be told', found.detail)

    def test_of_a_deleted_checkpoint(self):
        checkpoint_id = self.protect((VOLUME, 'v1'))
        self.delete(checkpoint_id)
        path = self.rest(checkpoint_id)
        self.assertIsNone(self.one('objects of no checkpoint',
                                   grace=HOUR / 2).repair)
        self.one('objects of no checkpoint').repair()
        self.assertFalse(path.exists())

    def test_of_another_providers_checkpoint_that_is_made(self):
        row = self.site.db.write(checkpoints.create,
                                 fixtures.checkpoint_values())
        self.rest(row.id)
        self.assertEqual([], self.check())


class StreamTest(CheckTestCase):

    def stream(self, age=HOUR):
        return self.put('streams', 'project', fixtures.new_id(), '1.a',
                        '00000000', age=age)

    def test_of_nobody(self):
        path = self.stream()
        self.assertIsNone(self.one('stream of no checkpoint',
                                   grace=2 * HOUR).repair)
        self.one('stream of no checkpoint').repair()
        self.assertFalse(path.exists())

    def test_what_a_manifest_names_stays_without_rows(self):
        self.protect((DISK, 'd1'))
        self.lose()
        self.one('checkpoint without rows')

    def test_nothing_goes_while_a_manifest_can_not_be_read(self):
        checkpoint_id = self.protect((DISK, 'd1'))
        self.lose()
        self.manifest_path(checkpoint_id).write_text('{')
        unreadable, stream = self.check()
        self.assertEqual('unreadable manifest', unreadable.what)
        self.assertIsNone(stream.repair)
        self.assertIn('not all manifests', stream.detail)

    def test_a_removal_that_was_interrupted(self):
        checkpoint_id = self.protect((DISK, 'd1'))
        self.stop()
        self.site.db.write(self._release, checkpoint_id)
        found, = [one for one in self.check()
                  if one.what == 'stream that goes']
        found.repair()
        found.repair()
        self.assertEqual([], list(self.bank_path('streams').rglob('0*')))
        self.assertEqual({}, self.site.db.read(
            audit.streams, self.provider().bank_uuid))

    def _release(self, session, checkpoint_id):
        stream_id, = bank_check.stream_rows.used_by(session, checkpoint_id)
        bank_check.stream_rows.release(session, stream_id, checkpoint_id)


class CloudTest(CheckTestCase):

    def setUp(self):
        super().setUp()
        self.checkpoint_id = self.protect((VOLUME, 'v1'))
        self.protecting = self.site.operation(self.checkpoint_id)
        self.external, = self.site.db.read(externals.of_operation,
                                           self.protecting.id)

    def check(self, grace=0, project_id=None):
        return list(bank_check.CloudCheck(
            self.site.db, self.provider(), None, grace, project_id).run())

    def test_sound(self):
        self.assertEqual([], self.check())
        self.site.restored(self.site.restore(self.checkpoint_id))
        self.assertEqual([], self.check())
        self.delete(self.checkpoint_id)
        self.assertEqual([], self.check())

    def test_missing(self):
        self.site.registry.remove(self.external.external_id)
        found = self.one('missing backup')
        self.assertEqual(
            (self.external.external_id, 'project', None),
            (found.thing, found.project_id, found.repair))
        self.assertEqual([], self.check(project_id='other'))

    def test_made_twice(self):
        other = self.site.registry.create(self.external.tag,
                                          {'label': 'backup'})
        self.assertIsNone(self.one('left over backup', grace=HOUR).repair)
        found = self.one('left over backup')
        self.assertEqual(other, found.thing)
        found.repair()
        self.assertEqual([], self.check())
        self.assertEqual([self.external.external_id],
                         list(self.site.registry.objects()))

    def test_made_after_all_was_removed(self):
        self.delete(self.checkpoint_id)
        self.site.registry.create(self.external.tag, {'label': 'backup'})
        self.one('left over backup').repair()
        self.assertEqual({}, self.site.registry.objects())

    def test_of_somebody_else(self):
        self.site.registry.create(fixtures.new_id(), {'label': 'backup'})
        self.assertIsNone(self.one('backup of somebody').repair)

    def test_of_another_provider(self):
        row = self.site.db.write(checkpoints.create,
                                 fixtures.checkpoint_values())
        operation = self.site.db.write(
            operations.create,
            fixtures.operation_values(checkpoint_id=row.id))
        external = self.site.db.write(externals.put, fixtures.external_values(
            operation.id, checkpoint_id=row.id, service='noop',
            kind='backup'))
        object_id = self.site.registry.create(external.tag,
                                              {'label': 'backup'})
        self.site.db.write(externals.change, external.id, state='exists',
                           external_id=object_id)
        self.assertEqual([], self.check())
        self.site.registry.remove(object_id)
        self.assertEqual([], self.check())

    def test_while_an_operation_goes_on(self):
        self.stop()
        self.site.delete(self.checkpoint_id)
        self.site.registry.create(self.external.tag, {'label': 'backup'})
        found = self.one('left over backup')
        self.assertIsNone(found.repair)
        self.assertIn('goes on', found.detail)

    def test_temporary_things_that_were_left(self):
        draft = environment.DraftProtection.draft
        self.addCleanup(draft.there.clear)
        row = self.site.db.write(externals.put, {
            **fixtures.external_values(
                self.protecting.id, checkpoint_id=self.checkpoint_id,
                label='draft',
                service=draft.service, kind=draft.name),
            'tag': journal.tag_of(self.protecting.id,
                                  Resource(VOLUME, 'v1'), 'draft')})
        draft.there.append(row.tag)
        self.site.db.write(externals.change, row.id, state='exists',
                           external_id=row.tag)
        draft.survey = lambda session: {tag: tag for tag in draft.there}
        self.addCleanup(delattr, draft, 'survey')
        self.one('left over draft').repair()
        self.assertEqual([], draft.there)
        self.assertEqual([], self.check())


class AuditTest(fixtures.DatabaseTest):

    def test_ended_seconds(self):
        row = self.write(checkpoints.create, fixtures.checkpoint_values())
        self.assertEqual(float('inf'), self.seconds(row.id))
        ids = [self.write(operations.create, fixtures.operation_values(
            checkpoint_id=row.id, type=kind)).id
            for kind in ('protect', 'delete')]
        for operation_id in ids:
            self.assertIsNone(self.seconds(row.id))
            self.write(operations.claim, operation_id, 'a', 60)
            self.assertIsNone(self.seconds(row.id))
            self.write(operations.finish, operation_id, 1, 'done')
        self.assertLess(abs(self.seconds(row.id)), 60)
        self.assertIsNone(self.read(audit.checkpoint, 'x'))

    def seconds(self, checkpoint_id):
        return self.read(audit.checkpoint, checkpoint_id).ended_seconds
