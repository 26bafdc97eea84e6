# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""An application of two servers and their disks, for tests to protect.

Separate because tests in several modules begin with it: modules run side by
side, the tests of one do not.
"""

import concurrent.futures
import os

from karbor_ng.tests.functional import base
from karbor_ng.tests.functional import tenant

SERVER = 'OS::Nova::Server'
WEB_ADDRESS, DB_ADDRESS = '10.30.0.10', '10.30.0.20'


class ApplicationTestCase(base.StackTestCase):
    """Two servers in a project of their own.

    Web boots from the tenant's image and has a volume with data; db boots
    from a volume and has another one.
    """

    provider = base.FILESYSTEM_PROVIDER

    def setUp(self):
        super().setUp()
        self.tenant = self.demo = tenant.Tenant()
        self.addCleanup(self.tenant.remove)
        self.image = self.upload('the-image')
        self.images = [self.image]
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            self.boot, self.db_data, self.web_data = pool.map(
                lambda name: self.tenant.create_volume(
                    os.urandom(base.MIB), name=name),
                ('db-disk', 'db-data', 'web-data'))
        self.volumes = [self.boot, self.db_data, self.web_data]
        self.web = self.tenant.create_server(
            'web', [self.web_data.id], self.image.id, WEB_ADDRESS)
        self.db = self.tenant.create_server(
            'db', [self.boot.id, self.db_data.id], fixed_ip=DB_ADDRESS)
        self.tenant.write_as_guest(self.web)
        self.portraits = {server: self.tenant.portrait(server)
                          for server in (self.web, self.db)}
        self.addresses = {self.web: [WEB_ADDRESS], self.db: [DB_ADDRESS]}

    def upload(self, name):
        images = self.tenant.cloud.image
        return images.get_image(images.create_image(
            name=name, data=os.urandom(2 * base.MIB), disk_format='raw',
            container_format='bare', validate_checksum=False, min_disk=1,
            os_distro='none'))

    def plan_of(self, *resources):
        """Make a plan of ``(type, id)``; return its id."""
        return self.request('POST', '/plans', {'plan': {
            'name': 'application', 'provider_id': self.provider,
            'parameters': {}, 'resources': [
                {'type': kind, 'id': thing_id, 'name': thing_id}
                for kind, thing_id in resources]}})['plan']['id']

    def checkpoint_of(self, *resources):
        """Protect a plan; return the checkpoint's path and itself."""
        path = self.protect(self.plan_of(*resources), self.provider)
        return path, self.ended(path)

    def new_ids(self, restore):
        return {one['id']: one['new_id'] for one in restore['resources']
                if one['new_id']}

    def check_servers(self, ids):
        """The restored servers are like the originals, byte for byte."""
        for server, portrait in self.portraits.items():
            self.assertEqual(portrait, self.tenant.portrait(ids[server]))

    def remove_restored(self, ids):
        """Remove everything that a restore has made."""
        for server in self.tenant.cloud.compute.servers():
            if server.id in ids.values():
                self.tenant.delete_server(server.id)
        volumes = self.tenant.cloud.block_storage.volumes()
        for volume in list(volumes):
            if volume.id in ids.values():
                self.tenant.delete_volume(volume.id)

    def destroy(self):
        """Delete the originals: servers, volumes and images."""
        for server in self.portraits:
            self.tenant.delete_server(server)
        for volume in self.volumes:
            self.tenant.delete_volume(volume.id)
        for image in self.images:
            self.tenant.cloud.image.delete_image(image)

    def check_nothing_left(self, path):
        """Once its checkpoint is gone, so is everything of the project."""
        self.assertNotEqual([], self.tenant.bank_keys(self.provider))
        self.delete(path)
        self.assertEqual([], self.tenant.bank_keys(self.provider))
        for image in self.tenant.images():
            self.tenant.cloud.image.delete_image(image)
        self.assertEqual({}, {kind: found for kind, found
                              in self.tenant.everything().items() if found})
