# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Verifying: whatever is not right is found, and named."""

import hashlib
import json
import pathlib
import threading
import time

import fixtures
from oslo_db import exception as db_exception

from karbor_ng import errors
from karbor_ng.bank import bank
from karbor_ng.plugins import api
from karbor_ng.protection import data_check
from karbor_ng.protection import verb
from karbor_ng.store import externals
from karbor_ng.store import models
from karbor_ng.store import operations
from karbor_ng.store import steps
from karbor_ng.store import verifications
from karbor_ng.tests.unit.protection import environment
from karbor_ng.tests.unit.protection import test_bank_import
from karbor_ng.tests.unit.protection import test_copy
from karbor_ng.tests.unit.protection import test_stream_life

DISK = test_bank_import.DISK
DRAFT = 'OS::Test::Draft'
PROJECT = 'OS::Keystone::Project'
SERVER = test_bank_import.SERVER
VOLUME = test_bank_import.VOLUME
#: Bytes; disks have a dozen parts.
PART = 10_000


class Looked(api.Operation):
    """A plugin's own look at a disk, which may be told what it finds."""

    finds: list = []

    def on_main(self):
        for problem in self.finds:
            raise problem


class VerifyTestCase(test_bank_import.ImportTestCase):
    """Family and disks; ``self.site`` as there."""

    def setUp(self):
        self.useFixture(fixtures.MonkeyPatch(
            'karbor_ng.bank.bank.PART_SIZE', PART))
        super().setUp()

    def verify(self, checkpoint_id, status='success', **kwargs):
        """Verify; return the rows of resources by id."""
        self.verification_id = self.site.verify(checkpoint_id, **kwargs)
        return self.rows_of(self.verification_id, status)

    def rows_of(self, verification_id, status='success'):
        found = self.site.verified(verification_id)
        rows = {row.id: row for row in self.site.db.read(
            verifications.resources, verification_id)}
        self.assertEqual(status, found.status, {
            row.id: row.reason for row in rows.values()})
        self.assertIsNotNone(found.finished_at)
        return rows

    def log(self):
        """Return the operation of the last verification."""
        return self.site.db.read(operations.verify_of, self.verification_id)

    def control(self, **rules):
        self.site.registry.control(rules)

    def parts(self):
        """Return the paths of all parts of streams, in order."""
        return sorted(path for path in self.bank_path('streams').rglob('*')
                      if path.is_file())

    def key(self, path):
        return str(path.relative_to(self.bank_path()))

    def own(self, checkpoint_id):
        """Return the path of the only object of the checkpoint's own."""
        path, = self.bank_path(
            'checkpoints', 'project', checkpoint_id, 'data').rglob('label')
        return path

    def stream_states(self):
        return sorted(self.site.db.read(
            lambda session: session.execute(
                models.sa.select(models.Stream.state)).scalars().all()))

    def change_manifest(self, checkpoint_id, change):
        path = self.manifest_path(checkpoint_id)
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))


def flip(path, place=17):
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    data[place] ^= 4
    path.write_bytes(data)


class SoundTest(VerifyTestCase):

    def test_all_is_right(self):
        checkpoint_id = self.protect((DISK, 'd1'), (SERVER, 's1'))
        rows = self.verify(checkpoint_id)
        self.assertEqual({'d1', 's1', 'v1', 'v2'}, set(rows))
        for row in rows.values():
            self.assertEqual(('available', None, 100),
                             (row.status, row.reason, row.progress))
        self.assertEqual(('done', None),
                         (self.log().state, self.log().error_info))
        self.assertEqual('available',
                         self.site.checkpoint(checkpoint_id).status)
        self.assertEqual([], self.site.db.read(externals.of_operation,
                                               self.log().id))

    def test_every_object_is_read_once(self):
        checkpoint_id = self.protect((DISK, 'd1'))
        read = []
        real = bank.Bank.examine

        def examine(this, info):
            read.append(info.key)
            return real(this, info)
        self.useFixture(fixtures.MonkeyPatch(
            'karbor_ng.bank.bank.Bank.examine', examine))
        self.verify(checkpoint_id)
        wanted = [self.key(path) for path
                  in (self.own(checkpoint_id), *self.parts())]
        self.assertEqual(11, len(wanted))
        self.assertEqual(sorted(wanted), sorted(read))

    def test_again_and_again(self):
        checkpoint_id = self.protect((VOLUME, 'v1'))
        for _ in range(2):
            self.verify(checkpoint_id)

    def test_what_was_skipped_stays_so(self):
        self.site.registry.put_graph([
            {'type': PROJECT, 'id': 'p', 'name': 'p',
             'children': [[VOLUME, 'v1'], [VOLUME, 'v2']]},
            *test_bank_import.FAMILY])
        self.control(skip={'v2': ['on_main']})
        checkpoint_id = self.protect((PROJECT, 'p'))
        self.control()
        rows = self.verify(checkpoint_id)
        self.assertEqual('skipped', rows['v2'].status)
        self.assertIn('told to be skipped', rows['v2'].reason)
        self.assertEqual(('available', 100),
                         (rows['p'].status, rows['p'].progress))

    def test_what_restores_do_without_is_no_failure(self):
        checkpoint_id = self.protect((SERVER, 's1'))
        self.control(skip={'v2': ['on_main']})
        rows = self.verify(checkpoint_id)
        self.assertEqual('skipped', rows['v2'].status)
        self.assertIn('told to be skipped', rows['v2'].reason)
        self.control(skip={'s1': ['on_main']})
        rows = self.verify(checkpoint_id, 'failed')
        self.assertEqual('error', rows['s1'].status)

    def test_what_nobody_looks_at_is_told(self):
        environment.DraftProtection.draft.temporary = False
        self.addCleanup(setattr, environment.DraftProtection.draft,
                        'temporary', True)
        checkpoint_id = self.protect((DRAFT, 'good'))
        made, = environment.DraftProtection.draft.there
        self.addCleanup(environment.DraftProtection.draft.there.clear)
        reason = self.verify(checkpoint_id)['good'].reason
        self.assertIn(f'draft {made}', reason)
        self.assertIn('can verify it', reason)

    def test_an_imported_checkpoint(self):
        checkpoint_id = self.protect((DISK, 'd1'), (VOLUME, 'v1'))
        self.lose()
        self.run_import()
        self.worker = self.site.start_worker()
        self.verify(checkpoint_id)
        flip(self.parts()[3])
        self.verify(checkpoint_id, 'failed')


class DamageTest(VerifyTestCase):
    """Bytes that are not what they were."""

    def setUp(self):
        super().setUp()
        self.checkpoint_id = self.protect((DISK, 'd1'), (VOLUME, 'v1'))

    def check_named(self, *texts):
        """Only the disk is wrong, and its reason has these texts."""
        rows = self.verify(self.checkpoint_id, 'failed')
        self.assertEqual({'d1': 'error', 'v1': 'available'}, {
            number: row.status for number, row in rows.items()})
        for text in texts:
            self.assertIn(text, rows['d1'].reason)
            self.assertIn(text, self.log().error_info)

    def test_a_bit_in_a_part(self):
        flip(self.parts()[3])
        self.check_named(f'"{self.key(self.parts()[3])}" is damaged: its '
                         f'SHA-256 is not')

    def test_a_part_that_is_shorter(self):
        part = self.parts()[0]
        part.write_bytes(part.read_bytes()[:-1])
        self.check_named('it has 9999 bytes instead of 10000')

    def test_a_missing_part(self):
        part = self.parts()[-1]
        part.unlink()
        self.check_named(f'"{self.key(part)}" is missing')

    def test_all_parts(self):
        parts = self.parts()
        for part in parts:
            flip(part)
        self.check_named(*[self.key(part) for part
                           in parts[:data_check.MOST_NAMED]],
                         'So are 5 more of its objects')

    def test_an_object_of_its_own(self):
        flip(self.own(self.checkpoint_id), 0)
        self.check_named('/label" is damaged')

    def test_both(self):
        self.own(self.checkpoint_id).unlink()
        flip(self.parts()[1])
        self.check_named('/label" is missing', self.key(self.parts()[1]))

    def test_a_plugin_that_finds_something_as_well(self):
        self.useFixture(fixtures.MonkeyPatch(
            f'{test_stream_life.NAME}.Verify', Looked))
        self.useFixture(fixtures.MonkeyPatch(
            f'{__name__}.Looked.finds', [ValueError('no such cloud')]))
        self.check_named('ValueError: no such cloud')
        flip(self.parts()[1])
        self.check_named('ValueError: no such cloud',
                         self.key(self.parts()[1]))

    def test_a_damaged_stream_is_not_shared_any_more(self):
        flip(self.parts()[3])
        self.verify(self.checkpoint_id, 'failed')
        self.assertEqual(['damaged'], self.stream_states())
        second = self.protect((DISK, 'd1'))
        self.assertEqual(['complete', 'damaged'], self.stream_states())
        self.verify(second)
        self.site.delete(self.checkpoint_id)
        self.site.ended(self.checkpoint_id, 'deleted')
        self.assertEqual(['complete'], self.stream_states())
        self.verify(second)

    def test_a_bank_that_does_not_answer_damages_nothing(self):
        def unreachable(this, info):
            raise errors.BankError('The bank does not answer.')
        self.useFixture(fixtures.MonkeyPatch(
            'karbor_ng.bank.bank.Bank.examine', unreachable))
        self.check_named('The bank does not answer.')
        self.assertEqual(['complete'], self.stream_states())


class ManifestTest(VerifyTestCase):
    """A manifest that is not the one that was written."""

    def setUp(self):
        super().setUp()
        self.checkpoint_id = self.protect((DISK, 'd1'), (VOLUME, 'v1'))

    def check_refused(self, text):
        self.assertEqual({}, self.verify(self.checkpoint_id, 'failed'))
        self.assertIn(text, self.log().error_info)

    def test_none(self):
        self.manifest_path(self.checkpoint_id).unlink()
        self.check_refused('manifest.json", the manifest, is missing')

    def test_no_json(self):
        flip(self.manifest_path(self.checkpoint_id), 0)
        self.check_refused('is damaged, it holds no JSON')

    def test_of_another_checkpoint(self):
        other = self.protect((VOLUME, 'v2'))
        self.manifest_path(self.checkpoint_id).write_text(
            self.manifest_path(other).read_text())
        self.check_refused(other)

    def test_a_resource_less(self):
        self.change_manifest(self.checkpoint_id, self._forget_volume)
        self.check_refused(f'it lacks {VOLUME} v1')

    def _forget_volume(self, content):
        content['resources'] = [item for item in content['resources']
                                if item['id'] != 'v1']
        nodes, edges = json.loads(content['graph'])
        content['graph'] = json.dumps([
            {key: node for key, node in nodes.items() if node[1] != 'v1'},
            edges])

    def test_fewer_objects(self):
        def forget(content):
            disk, = [item for item in content['resources']
                     if item['id'] == 'd1']
            disk['objects'].pop()
        self.change_manifest(self.checkpoint_id, forget)
        rows = self.verify(self.checkpoint_id, 'failed')
        self.assertIn('differ about its objects', rows['d1'].reason)
        self.assertIn('is not complete in the list', rows['d1'].reason)
        self.assertEqual('available', rows['v1'].status)


class CloudTest(VerifyTestCase):
    """Things in clouds that are gone."""

    def test_a_backup_that_vanished(self):
        checkpoint_id = self.protect((SERVER, 's1'))
        backup_id = self.site.resources(checkpoint_id)['v1'].backup_id
        self.site.registry.remove(backup_id)
        rows = self.verify(checkpoint_id, 'failed')
        self.assertIn(backup_id, rows['v1'].reason)
        # Each resource has its own result.
        self.assertEqual('available', rows['s1'].status)
        self.assertEqual('available', rows['v2'].status)

    def test_containers_end_as_what_they_contain(self):
        self.site.registry.put_graph([
            {'type': PROJECT, 'id': 'p', 'name': 'p',
             'children': [[SERVER, 's1']]}, *test_bank_import.FAMILY])
        checkpoint_id = self.protect((PROJECT, 'p'))
        self.site.registry.remove(
            self.site.resources(checkpoint_id)['v2'].backup_id)
        rows = self.verify(checkpoint_id, 'failed')
        self.assertEqual('error', rows['p'].status)
        self.assertIn('s1 failed', rows['p'].reason)

    def test_what_a_plugin_makes_is_removed(self):
        class Trying(api.Operation):
            def on_main(self):
                self.once('draft', self._make, self.plugin.draft)

            def _make(self, tag):
                self.plugin.draft.there.append(tag)
                return tag
        self.useFixture(fixtures.MonkeyPatch(
            'karbor_ng.tests.unit.protection.environment.DraftProtection'
            '.Verify', Trying))
        checkpoint_id = self.protect((DRAFT, 'good'))
        self.verify(checkpoint_id)
        self.assertEqual([], environment.DraftProtection.draft.there)
        self.assertEqual(['gone'], [row.state for row in self.site.db.read(
            externals.of_operation, self.log().id)])


class RequestTest(VerifyTestCase):
    """What is refused at once."""

    def check_refused(self, error, text, *args, **kwargs):
        problem = self.assertRaises(error, self.site.verify, *args, **kwargs)
        self.assertIn(text, str(problem))

    def test_of_another_project(self):
        checkpoint_id = self.protect((VOLUME, 'v1'))
        self.site.caller = environment.context.Caller('other', 'u', 'req')
        self.check_refused(errors.NotFound, checkpoint_id, checkpoint_id)

    def test_of_another_provider(self):
        checkpoint_id = self.protect((VOLUME, 'v1'))
        self.check_refused(errors.NotFound, checkpoint_id, checkpoint_id,
                           provider_id=checkpoint_id)

    def test_not_available(self):
        self.control(fail={'v1': ['on_main']})
        checkpoint_id = self.protect((VOLUME, 'v1'), status='error')
        self.check_refused(errors.Conflict, 'is error: only an available',
                           checkpoint_id)

    def test_parameters(self):
        checkpoint_id = self.protect((VOLUME, 'v1'))
        self.check_refused(errors.Invalid, 'colour', checkpoint_id,
                           parameters={VOLUME: {'colour': 'red'}})
        self.verify(checkpoint_id, parameters={VOLUME: {}})

    def test_no_deletion_meanwhile(self):
        self.control(hang={'v1': ['on_complete']})
        checkpoint_id = self.site.protect([(VOLUME, 'v2')])
        self.site.ended(checkpoint_id)
        self.control(hang={'v2': ['on_main']})
        verification_id = self.site.verify(checkpoint_id)
        problem = self.assertRaises(errors.InUse, self.site.delete,
                                    checkpoint_id)
        self.assertIn(f'verified by {verification_id}', str(problem))
        self.control()
        self.rows_of(verification_id)
        self.site.delete(checkpoint_id)
        self.site.ended(checkpoint_id, 'deleted')


class AbortTest(VerifyTestCase):

    def test_amid_the_work(self):
        checkpoint_id = self.protect((VOLUME, 'v1'), (VOLUME, 'v2'))
        self.control(hang={'v1': ['on_main']})
        verification_id = self.site.verify(checkpoint_id)
        self.site.wait(lambda: self._status(verification_id, 'v2')
                       == 'available')
        for _ in range(2):
            self.site.client.abort_verification(self.site.caller,
                                                verification_id)
        rows = self.rows_of(verification_id, 'failed')
        self.assertEqual((verb.ABORTED, None),
                         (rows['v1'].reason, rows['v2'].reason))
        self.assertRaises(errors.Conflict,
                          self.site.client.abort_verification,
                          self.site.caller, verification_id)
        self.assertEqual('available',
                         self.site.checkpoint(checkpoint_id).status)

    def _status(self, verification_id, resource_id):
        rows = self.site.db.read(verifications.resources, verification_id)
        return {row.id: row.status for row in rows}.get(resource_id)

    def test_of_another_project(self):
        checkpoint_id = self.protect((VOLUME, 'v1'))
        self.verify(checkpoint_id)
        stranger = environment.context.Caller('other', 'u', 'req')
        self.assertRaises(
            errors.NotFound, self.site.client.abort_verification, stranger,
            self.verification_id)


class TakeOverTest(VerifyTestCase):
    """Workers that stop or die."""

    def setUp(self):
        super().setUp()
        self.read = []
        self.reached, self.may_go_on = threading.Event(), threading.Event()
        self.addCleanup(self.may_go_on.set)
        self.hangs_at = None
        real = bank.Bank.examine

        def examine(this, info):
            self.read.append(info.key)
            if info.key == self.hangs_at:
                self.reached.set()
                self.may_go_on.wait(60)
            return real(this, info)
        self.useFixture(fixtures.MonkeyPatch(
            'karbor_ng.bank.bank.Bank.examine', examine))

    def take_over(self):
        """Let another worker go on."""
        self.site.hints.workers.clear()
        self.hangs_at = None
        stopping = threading.Thread(target=self.worker.stop)
        stopping.start()
        # The service tells its operations first, then waits for them.
        time.sleep(0.3)
        self.may_go_on.set()
        stopping.join(60)
        self.worker = self.site.start_worker()

    def test_what_was_read_is_not_read_again(self):
        checkpoint_id = self.protect((DISK, 'd1'))
        label = self.key(self.own(checkpoint_id))
        parts = [self.key(path) for path in self.parts()]
        self.hangs_at = parts[2]
        verification_id = self.site.verify(checkpoint_id)
        self.assertTrue(self.reached.wait(60))
        self.take_over()
        self.rows_of(verification_id)
        self.assertEqual(1, self.read.count(label))
        self.assertEqual(2, self.read.count(parts[0]))
        self.assertEqual(1, self.read.count(parts[-1]))

    def test_damage_is_remembered(self):
        checkpoint_id = self.protect((DISK, 'd1'))
        flip(self.own(checkpoint_id), 0)
        self.hangs_at = self.key(self.parts()[2])
        verification_id = self.site.verify(checkpoint_id)
        self.assertTrue(self.reached.wait(60))
        self.own(checkpoint_id).write_bytes(b'a disk')
        self.take_over()
        rows = self.rows_of(verification_id, 'failed')
        self.assertIn('/label" is damaged', rows['d1'].reason)

    def test_resources_that_have_ended_are_left_alone(self):
        checkpoint_id = self.protect((DISK, 'd1'), (DISK, 'd2'))
        kept = self.site.resources(checkpoint_id)['d2'].objects
        last = [item['key'] for item in kept][-1]
        self.hangs_at = last
        verification_id = self.site.verify(checkpoint_id)
        self.assertTrue(self.reached.wait(60))
        self.verification_id = verification_id
        self.site.wait(lambda: (DISK, 'd1', 'on_main') in self.site.db.read(
            steps.ended, self.log().id))
        self.take_over()
        self.rows_of(verification_id)
        for key in [item['key'] for item in
                    self.site.resources(checkpoint_id)['d1'].objects]:
            self.assertEqual(1, self.read.count(key))

    def test_a_worker_whose_lease_ran_out_writes_nothing(self):
        """It was paused for longer than its lease; another one went on."""
        checkpoint_id = self.protect((DISK, 'd1'))
        self.hangs_at = self.key(self.parts()[2])
        verification_id = self.site.verify(checkpoint_id)
        self.assertTrue(self.reached.wait(60))
        # As if this process had slept: it renews no lease.
        self.worker._db = self.worker._renewals = Asleep()
        self.hangs_at = None
        self.site.hints.workers.clear()
        self.site.start_worker()
        self.rows_of(verification_id)
        self.verification_id = verification_id
        self.assertEqual(2, self.log().attempt)
        flip(self.parts()[5])
        self.may_go_on.set()
        self.site.wait(lambda: self.read.count(self.key(self.parts()[2]))
                       == 2)
        self.assertEqual(['complete'], self.stream_states())
        self.rows_of(verification_id)


class Asleep:
    """A database that this worker does not reach."""

    def read(self, *args, **kwargs):
        raise db_exception.DBError('asleep')

    write = read


class HashTest(VerifyTestCase):

    def test_parts_that_do_not_make_the_whole(self):
        """Each part is what the list says; restoring would fail."""
        checkpoint_id = self.protect((DISK, 'd1'))

        def rename(content):
            item, = content['resources']
            item['saved']['streams']['data']['sha256'] = hashlib.sha256(
                b'').hexdigest()
        self.change_manifest(checkpoint_id, rename)
        rows = self.verify(checkpoint_id, 'failed')
        self.assertIn('is damaged: its SHA-256', rows['d1'].reason)
        self.assertIn('differ about its saved', rows['d1'].reason)


class CopyTest(test_copy.CopyTestCase):
    """A copy stands for itself."""

    def verify(self, checkpoint_id):
        return self.site.verified(self.site.verify(checkpoint_id)).status

    def test_original_and_copy(self):
        self.site.start_worker()
        plan_id, original = self.protected()
        copied = self.copied(plan_id).id
        self.assertEqual(['success'] * 2, [
            self.verify(original), self.verify(copied)])
        part = pathlib.Path(self.site.path, 'target', 'karbor',
                            self.files(below='streams')[-1])
        flip(part)
        self.assertEqual(['success', 'failed'], [
            self.verify(original), self.verify(copied)])
