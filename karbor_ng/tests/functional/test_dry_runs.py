# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Dry runs over a real cloud: what is foretold is what comes."""

import os
import uuid

from karbor_ng.tests.functional import base

GIB = 1024 * base.MIB
CHECKPOINTS = f'/providers/{base.FILESYSTEM_PROVIDER}/checkpoints'


class DryRunTest(base.StackTestCase):

    def setUp(self):
        super().setUp()
        self.volumes = self.demo.cloud.block_storage
        self.volume = self.demo.create_volume(os.urandom(base.MIB))
        self.addCleanup(self._remove)

    def _remove(self):
        for thing in (*self.demo.snapshots_of(self.volume.id),
                      *self.demo.backups_of(self.volume.id)):
            thing.delete(self.volumes)
        base.wait(lambda: not self.demo.snapshots_of(self.volume.id)
                  and not self.demo.backups_of(self.volume.id),
                  what='snapshots and backups gone')
        self.demo.delete_volume(self.volume.id)

    def _try_protect(self, plan_id):
        return self.request('POST', f'{CHECKPOINTS}?dry_run=true', {
            'checkpoint': {'plan_id': plan_id}})['dry_run']

    def _try_restore(self, path, parameters=None):
        return self.request('POST', '/restores?dry_run=true', {'restore': {
            'provider_id': base.FILESYSTEM_PROVIDER,
            'checkpoint_id': path.rpartition('/')[2],
            'parameters': parameters or {}}})['dry_run']

    def _checkpoints_of(self, plan_id):
        return self.request(
            'GET', f'{CHECKPOINTS}?plan_id={plan_id}')['checkpoints']

    def test_what_is_foretold_comes(self):
        snapshot = self.volumes.create_snapshot(
            volume_id=self.volume.id, name='mine')
        self.volumes.wait_for_status(snapshot, 'available')
        plan_id = self.create_plan([self.volume])
        told = self._try_protect(plan_id)
        item, = told['resources']
        self.assertEqual((True, GIB, GIB, []), (
            told['possible'], told['size'], item['size'], item['problems']))
        self.assertIn('full backup', item['action'])
        self.assertEqual([], self._checkpoints_of(plan_id))
        self.assertEqual([], self.demo.backups_of(self.volume.id))

        path = self.protect(plan_id)
        kept, = self.ended(path)['resources']
        self.assertEqual(1, len(item['not_included']))
        self.assertEqual((item['not_included'], item['size']),
                         (kept['not_included'], kept['size']))
        again, = self._try_protect(plan_id)['resources']
        self.assertIn('incremental', again['action'])
        self._check_restore(path, kept)

    def _check_restore(self, path, kept):
        name = f'restored-{uuid.uuid4().hex[:8]}'
        parameters = {base.VOLUME: {'restore_name': name}}
        told = self._try_restore(path, parameters)
        item, = told['resources']
        self.assertEqual((True, GIB, [], []), (
            told['possible'], told['size'], item['problems'],
            item['notes']))
        self.assertIn(name, item['action'])
        self.assertEqual(kept['not_included'], item['not_included'])
        self.assertEqual([], list(self.volumes.volumes(name=name)))
        restore = self.restore(path, parameters=parameters)
        made, = restore['resources']
        self.addCleanup(self.demo.delete_volume, made['new_id'])
        self.assertEqual((None, kept['not_included']),
                         (made['reason'], made['not_included']))
        self.assertEqual(name, self.volumes.get_volume(made['new_id']).name)

    def test_a_lost_backup_is_a_problem(self):
        path = self.protect(self.create_plan([self.volume]))
        self.ended(path)
        backup, = self.demo.backups_of(self.volume.id)
        backup.delete(self.volumes)
        base.wait(lambda: not self.demo.backups_of(self.volume.id),
                  what='backup gone')
        told = self._try_restore(path)
        self.assertFalse(told['possible'])
        self.assertIn(backup.id, told['resources'][0]['problems'][0])
        self.delete(path)

    def test_a_broken_volume_is_a_problem(self):
        plan_id = self.create_plan([self.volume])
        admin = base.User('admin').cloud.block_storage
        admin.reset_volume_status(self.volume.id, status='error')
        self.addCleanup(admin.reset_volume_status, self.volume.id,
                        status='available')
        told = self._try_protect(plan_id)
        self.assertFalse(told['possible'])
        self.assertIn('"error"', told['resources'][0]['problems'][0])
        path = self.protect(plan_id)
        ended = self.ended(path, 'error')
        self.assertIn('"error"', ended['resources'][0]['reason'])
        self.delete(path)

    def test_a_volume_that_is_gone_is_a_problem(self):
        gone = self.demo.create_volume(os.urandom(base.MIB))
        plan_id = self.create_plan([self.volume, gone])
        self.demo.delete_volume(gone.id)
        told = self._try_protect(plan_id)
        self.assertFalse(told['possible'])
        problems = {item['id']: item['problems']
                    for item in told['resources']}
        self.assertEqual([], problems[self.volume.id])
        self.assertIn(gone.id, problems[gone.id][0])
