# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""An application of two servers: protected, destroyed, restored twice."""

import json

import testscenarios

from karbor_ng.tests.functional import application
from karbor_ng.tests.functional import base


class ServersTest(testscenarios.WithScenarios, application.ApplicationTestCase):

    scenarios = [
        ('swift', {'provider': base.SWIFT_PROVIDER}),
        ('filesystem', {'provider': base.FILESYSTEM_PROVIDER}),
    ]

    def test_beside_the_originals_and_after_their_end(self):
        """One checkpoint, restored twice."""
        before = self.tenant.everything()
        path, checkpoint = self.checkpoint_of((application.SERVER, self.web),
                                              (application.SERVER, self.db))
        self.check_checkpoint(checkpoint, before)
        beside = self.check_beside_the_originals(path)
        self.destroy()
        after = self.new_ids(self.restore(path))
        self.check_servers(after)
        self.assertEqual(self.addresses, {
            server: self.tenant.addresses(after[server])
            for server in self.addresses})
        self.check_image(after[self.image.id])
        self.remove_restored(beside)
        self.remove_restored(after)
        self.check_nothing_left(path)

    def check_checkpoint(self, checkpoint, before):
        """All is in it, and nothing temporary is left in the cloud."""
        found = {one['id']: one for one in checkpoint['resources']}
        self.assertEqual({
            self.web, self.db, self.image.id, self.boot.id, self.db_data.id,
            self.web_data.id}, set(found))
        nodes, edges = json.loads(checkpoint['resource_graph'])
        children = {nodes[parent][1]: {nodes[child][1] for child in inner}
                    for parent, inner in edges}
        self.assertEqual({self.image.id, self.web_data.id},
                         children[self.web])
        self.assertEqual({self.boot.id, self.db_data.id}, children[self.db])
        for server in (self.web, self.db):
            self.assertIn('memory', ' '.join(found[server]['not_included']))
        after = self.tenant.everything()
        self.assertEqual(3, len(after.pop('backups')))
        self.assertEqual({**before, 'backups': []}, {**after, 'backups': []})

    def check_beside_the_originals(self, path):
        """Two of each, with addresses that nobody had."""
        restore = self.restore(path)
        ids = self.new_ids(restore)
        self.check_servers(ids)
        told = {one['id']: one for one in restore['resources']}
        for server, (address,) in self.addresses.items():
            self.assertNotIn(address, self.tenant.addresses(ids[server]))
            self.assertIn(address, told[server]['reason'])
            self.assertIn('memory', ' '.join(told[server]['not_included']))
            self.assertEqual([address], self.tenant.addresses(server))
        # The living image is the one that would be made.
        self.assertEqual(self.image.id, ids.pop(self.image.id))
        self.assertEqual(set(), set(ids) & set(ids.values()))
        return ids

    def check_image(self, image_id):
        image = self.tenant.cloud.image.get_image(image_id)
        self.assertNotEqual(self.image.id, image_id)
        for name in ('name', 'disk_format', 'min_disk', 'os_distro', 'size',
                     'hash_value'):
            self.assertEqual(getattr(self.image, name), getattr(image, name))
