# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Copies through a worker: from one bank to another, and their lives."""

import json
import pathlib

from oslotest import base
import sqlalchemy as sa

from karbor_ng.bank import bank as bank_module
from karbor_ng.protection import providers
from karbor_ng.store import checkpoints
from karbor_ng.store import models
from karbor_ng.store import operations
from karbor_ng.store import streams as stream_rows
from karbor_ng.tests.unit.protection import environment
from karbor_ng.tests.unit.protection import test_stream_life as life

TARGET_ID = '0b2f5f0e-3c1c-4d0e-9d1b-7c7a5d1c9a11'
#: Small, so that little data has many parts.
PART_SIZE = 30_000
SERVER = 'OS::Nova::Server'


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

    def setUp(self):
        super().setUp()
        self.patch_object(bank_module, 'PART_SIZE', PART_SIZE)
        self.site = self.useFixture(Deployment())
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
        path, = [found for found in pathlib.Path(self.site.path).rglob(
            f'{checkpoint_id}/manifest.json')]
        return json.loads(path.read_text())


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
        self.site.db.write(
            checkpoints.change_resource, source_id, life.DISK, 'd1',
            {'reason': 'A note.'})
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
