# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What a real cloud refuses: the user reads its words, and finds its log."""

import re

from karbor_ng.tests.functional import base
from karbor_ng.tests.functional import tenant


class QuotaTest(base.StackTestCase):

    def setUp(self):
        super().setUp()
        self.demo = tenant.Tenant()
        self.addCleanup(self.demo.remove)
        volumes = self.demo.cloud.block_storage
        made = volumes.create_volume(name='full', size=1)
        self.volume = self.demo.volume_in(made.id, 'available')

    def test_a_full_quota_is_quoted_with_the_request(self):
        base.User('admin').cloud.block_storage.update_quota_set(
            self.demo.project_id, backups=0)
        path = self.protect(self.create_plan([self.volume]))
        resource, = self.ended(path, 'error')['resources']
        self.assertIn("(0) exceeded", resource['reason'])
        self.assertIn('(HTTP 413)', resource['reason'])
        found = re.search(r'\(Request-ID: (req-[0-9a-f-]{36})\)',
                          resource['reason'])
        self.assertIsNotNone(found, resource['reason'])
        log = base.STACK / 'log' / 'cinder-api.log'
        self.assertIn(found.group(1), log.read_text(errors='replace'))
        self.delete(path)
        self.assertEqual([], self.demo.everything()['snapshots'])
