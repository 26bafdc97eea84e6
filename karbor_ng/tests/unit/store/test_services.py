# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Services: who is heard of, and who is forgotten."""

import time

from karbor_ng.store import operations
from karbor_ng.store import services
from karbor_ng.tests import fixtures


class ServicesTest(fixtures.DatabaseTest):

    def seen(self, service_id, **values):
        self.write(services.seen, {
            'id': service_id, 'binary': 'karbor-protection',
            'host': service_id.partition(':')[0], 'version': '1.0',
            'started_at': fixtures.MOMENT, **values})

    def listed(self):
        return {found.service.id: found for found
                in self.read(services.list)}

    def test_seen_again_and_again(self):
        self.seen('node-1:a')
        first = self.listed()['node-1:a']
        self.assertEqual(fixtures.MOMENT, first.service.started_at)
        time.sleep(0.01)
        self.seen('node-1:a', version='1.1')
        again = self.listed()['node-1:a']
        self.assertEqual('1.1', again.service.version)
        self.assertLess(first.service.seen_at, again.service.seen_at)
        self.assertGreaterEqual(again.silent_seconds, 0)

    def test_in_order_of_hosts(self):
        for one in ('node-2:a', 'node-1:b'):
            self.seen(one)
        self.assertEqual(['node-1:b', 'node-2:a'], list(self.listed()))

    def test_counts_what_they_work_on(self):
        for one in ('node-1:a', 'node-1:b'):
            self.seen(one)
        for _ in range(2):
            operation = self.write(operations.create,
                                   fixtures.operation_values())
            self.write(operations.claim, operation.id, 'node-1:a', 60)
        self.write(operations.finish, operation.id, 1, 'done')
        found = self.listed()
        self.assertEqual((1, 0), (found['node-1:a'].operations,
                                  found['node-1:b'].operations))

    def test_gone(self):
        self.seen('node-1:a')
        self.seen('node-1:b')
        self.write(services.gone, 'node-1:a')
        self.write(services.gone, 'node-1:a')
        self.assertEqual(['node-1:b'], list(self.listed()))

    def test_clean(self):
        self.seen('node-1:a')
        time.sleep(0.3)
        self.seen('node-1:b')
        self.assertEqual([], self.write(services.clean, 60))
        self.assertEqual(['node-1:a'], self.write(services.clean, 0.2))
        self.assertEqual(['node-1:b'], list(self.listed()))
