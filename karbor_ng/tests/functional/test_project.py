# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""A whole project by one resource: protected, destroyed, restored."""

import os

from karbor_ng.tests.functional import application
from karbor_ng.tests.functional import base


class ProjectTest(application.ApplicationTestCase):

    def test_a_project_is_everything_in_it(self):
        alone = self.tenant.create_volume(os.urandom(base.MIB), name='alone')
        digest = base.volume_digest(alone.id)
        self.volumes.append(alone)
        other_image = self.upload('the-other-image')
        self.images.append(other_image)
        broken = self.tenant.create_server('broken', [], self.image.id)
        self.tenant.break_server(broken)
        path, checkpoint = self.checkpoint_of(
            (base.PROJECT, self.tenant.project_id))
        self.check_checkpoint(checkpoint, broken, alone, other_image)
        self.tenant.delete_server(broken)
        self.destroy()
        ids = self.new_ids(self.restore(path))
        self.check_servers(ids)
        self.assertEqual(digest, base.volume_digest(ids[alone.id]))
        self.assertNotIn(broken, ids)
        restored = self.tenant.cloud.image.get_image(ids[other_image.id])
        self.assertEqual('the-other-image', restored.name)
        self.assertEqual(other_image.hash_value, restored.hash_value)
        self.remove_restored(ids)
        self.check_nothing_left(path)

    def check_checkpoint(self, checkpoint, broken, *more):
        found = {one['id']: one for one in checkpoint['resources']}
        self.assertEqual({
            self.tenant.project_id, self.web, self.db, broken, self.image.id,
            self.boot.id, self.db_data.id, self.web_data.id,
            *(one.id for one in more)}, set(found))
        skipped = found.pop(broken)
        self.assertEqual('skipped', skipped['status'])
        self.assertIn('ERROR', skipped['reason'])
        self.assertEqual({'available'},
                         {one['status'] for one in found.values()})
        self.assertNotEqual([], found[self.tenant.project_id]['not_included'])
