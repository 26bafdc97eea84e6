# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Aborting on a real cloud: a true end, and nothing left behind in it."""

from karbor_ng.tests.functional import base

#: A quarter of a lease until it is heard, and what Cinder takes to end and
#: remove a backup, of which it makes one after the other.
SECONDS = 300


class AbortTest(base.StackTestCase):

    def setUp(self):
        super().setUp()
        self.volume = self.demo.create_volumes(1)[0]
        self.addCleanup(self.demo.delete_volume, self.volume.id)
        self.plan_id = self.create_plan([self.volume])

    def abort(self, path, expect=200):
        return self.request('POST', f'{path}/action', {'abort': {}}, expect)

    def restored(self):
        """Return the volumes that restores have made of ours."""
        return [one.id for one in self.demo.cloud.block_storage.volumes()
                if one.name.endswith(f'@{self.volume.id}')]

    def test_protect_then_restore(self):
        path = self.protect(self.plan_id)
        base.wait(lambda: self.demo.backups_of(self.volume.id), SECONDS,
                  what='a backup in Cinder')
        self.abort(path)
        found = self.ended(path, 'error', SECONDS)
        self.assertEqual(['Aborted on request.'], [
            resource['reason'] for resource in found['resources']])
        self.assertEqual([], self.demo.backups_of(self.volume.id))
        self.assertEqual([], self.demo.snapshots_of(self.volume.id))
        self.abort(path, 409)
        self.delete(path)

        path = self.protect(self.plan_id)
        self.ended(path)
        self.abort(path, 409)
        self.check_restore(path)
        self.delete(path)
        self.assertEqual([], self.demo.backups_of(self.volume.id))

    def check_restore(self, path):
        """A restore that is aborted leaves no volume; the next succeeds."""
        _, _, provider, _, checkpoint_id = path.split('/')
        made = self.request('POST', '/restores', {'restore': {
            'provider_id': provider, 'checkpoint_id': checkpoint_id}})
        restore = f'/restores/{made["restore"]["id"]}'
        base.wait(self.restored, SECONDS, what='a volume of the restore')
        self.abort(restore)
        base.wait(lambda: self.request('GET', restore)['restore'][
            'status'] == 'failed', SECONDS, what='end of the restore')
        self.assertEqual([], self.restored())
        for volume_id in self.restored_ids(self.restore(path)):
            self.demo.delete_volume(volume_id)
