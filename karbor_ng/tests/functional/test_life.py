# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The life of checkpoints on a real cloud, in both kinds of bank."""

import os

import openstack
import testscenarios

from karbor_ng.tests.functional import base


class LifeTest(testscenarios.WithScenarios, base.StackTestCase):

    scenarios = [
        ('swift', {'provider': base.SWIFT_PROVIDER}),
        ('filesystem', {'provider': base.FILESYSTEM_PROVIDER}),
    ]

    def bank_keys(self, path):
        """Return the keys below a checkpoint, read past karbor."""
        prefix = (f'checkpoints/{self.demo.project_id}/'
                  f'{path.rpartition("/")[2]}')
        if self.provider == base.FILESYSTEM_PROVIDER:
            bank = base.STACK / 'bank'
            return [str(found) for found in bank.rglob('*')
                    if prefix in str(found)]
        os.environ['OS_CLIENT_CONFIG_FILE'] = str(
            base.STACK / 'clouds.yaml')
        swift = openstack.connect(cloud='karbor').object_store
        return [found.name for found in swift.objects('karbor',
                                                      prefix=prefix)]

    def test_chain(self):
        """Two checkpoints, the second incremental: both restore."""
        volume = self.demo.create_volumes(1)[0]
        self.addCleanup(self.demo.delete_volume, volume.id)
        plan_id = self.create_plan([volume], self.provider)
        first_bytes = base.volume_digest(volume.id)
        first = self.protect(plan_id, self.provider)
        self.ended(first)
        self.demo.overwrite_volume(volume, os.urandom(base.MIB))
        second_bytes = base.volume_digest(volume.id)
        self.assertNotEqual(first_bytes, second_bytes)
        second = self.protect(plan_id, self.provider)
        self.ended(second)
        self.assertEqual([False, True], sorted(
            backup.is_incremental
            for backup in self.demo.backups_of(volume.id)))
        self.check_restore(first, first_bytes)
        self.check_restore(second, second_bytes)
        self.check_delete(volume, first, second)

    def check_restore(self, path, digest):
        restore = self.restore(path)
        restored = self.restored_ids(restore)
        self.assertEqual(1, len(restored))
        self.assertEqual(digest, base.volume_digest(restored[0]))
        self.demo.delete_volume(restored[0])

    def check_delete(self, volume, first, second):
        refused = self.request('DELETE', first, expect=409)
        self.assertIn(second.rpartition('/')[2],
                      refused['conflictingRequest']['message'])
        self.assertNotEqual([], self.bank_keys(first))
        self.delete(second)
        self.delete(first)
        self.assertEqual([], self.demo.backups_of(volume.id))
        self.assertEqual([], self.demo.snapshots_of(volume.id))
        self.assertEqual([], self.bank_keys(first))
        self.assertEqual([], self.bank_keys(second))

    def test_failed_checkpoint_leaves_nothing_when_deleted(self):
        good, gone = self.demo.create_volumes(2, mib=1)
        self.addCleanup(self.demo.delete_volume, good.id)
        plan_id = self.create_plan([good, gone], self.provider)
        self.demo.delete_volume(gone.id)
        path = self.protect(plan_id, self.provider)
        checkpoint = self.ended(path, 'error')
        reasons = {item['id']: item['reason']
                   for item in checkpoint['resources']}
        self.assertIsNone(reasons[good.id])
        self.assertIn(gone.id, reasons[gone.id])
        self.assertEqual(1, len(self.demo.backups_of(good.id)))
        self.delete(path)
        self.assertEqual([], self.demo.backups_of(good.id))
        self.assertEqual([], self.demo.snapshots_of(good.id))
        self.assertEqual([], self.bank_keys(path))


class TwiceTest(base.StackTestCase):

    def test_restored_beside_the_original_twice(self):
        volume = self.demo.create_volumes(1)[0]
        self.addCleanup(self.demo.delete_volume, volume.id)
        digest = base.volume_digest(volume.id)
        path = self.protect(self.create_plan([volume]))
        self.ended(path)
        ids = set()
        for name in ('one', 'other'):
            restore = self.restore(path, parameters={
                base.VOLUME: {'restore_name': name}})
            ids.update(self.restored_ids(restore))
        self.assertEqual(2, len(ids - {volume.id}))
        self.assertEqual({'one', 'other'}, {
            self.demo.cloud.block_storage.get_volume(found).name
            for found in ids})
        for found in ids:
            self.assertEqual(digest, base.volume_digest(found))
            self.demo.delete_volume(found)
        self.delete(path)


class TenantTest(base.StackTestCase):
    """Who may see and do what, with real tokens."""

    def setUp(self):
        super().setUp()
        volume = self.demo.create_volumes(1, mib=1)[0]
        self.addCleanup(self.demo.delete_volume, volume.id)
        self.plan_id = self.create_plan([volume])
        self.path = self.protect(self.plan_id)
        self.addCleanup(self.delete, self.path)
        self.ended(self.path)

    def test_others_see_nothing(self):
        other = base.User('demo2')
        self.request('GET', self.path, expect=404, user=other)
        self.request('DELETE', self.path, expect=404, user=other)
        self.request('GET', f'/plans/{self.plan_id}', expect=404, user=other)
        self.request('POST', '/restores', {'restore': {
            'provider_id': base.FILESYSTEM_PROVIDER, 'parameters': {},
            'checkpoint_id': self.path.rpartition('/')[2]}},
            expect=404, user=other)

    def test_reader_reads_only(self):
        reader = base.User('demo_reader')
        self.request('GET', self.path, user=reader)
        self.request('GET', f'/plans/{self.plan_id}', user=reader)
        self.request('DELETE', self.path, expect=403, user=reader)
        self.request('DELETE', f'/plans/{self.plan_id}', expect=403,
                     user=reader)
        self.request('POST', '/restores', {'restore': {
            'provider_id': base.FILESYSTEM_PROVIDER, 'parameters': {},
            'checkpoint_id': self.path.rpartition('/')[2]}},
            expect=403, user=reader)
