# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Presence: heard of while it lives, whatever the database does."""

import time

from karbor_ng import presence
from karbor_ng.store import models
from karbor_ng.store import query
from karbor_ng.store import services
from karbor_ng.tests import fixtures


class PresenceTest(fixtures.DatabaseTest):

    def setUp(self):
        super().setUp()
        conf = self.useFixture(fixtures.ConfFixture())
        conf.set('host', 'node-1')
        conf.set('lease_seconds', 1, 'protection')
        self.presence = presence.Presence(conf.conf, self.db, 'karbor-api')

    def listed(self):
        return self.read(services.list)

    def wait(self, done):
        for _ in range(500):
            if done():
                return
            time.sleep(0.02)
        self.fail('not within ten seconds')

    def start(self):
        self.presence.start()
        self.addCleanup(self.presence.stop)

    def test_from_start_to_stop(self):
        self.start()
        self.wait(self.listed)
        found, = self.listed()
        self.assertEqual(
            (self.presence.id, 'karbor-api', 'node-1'),
            (found.service.id, found.service.binary, found.service.host))
        first = found.service.seen_at
        self.wait(lambda: self.listed()[0].service.seen_at > first)
        self.presence.stop()
        self.assertEqual([], self.listed())
        host, = self.read(services.hosts, query.Page(sort=(('id', 'asc'),)))
        self.assertEqual('node-1', host.row.host)

    def test_is_heard_of_again_when_it_was_forgotten(self):
        self.start()
        self.wait(self.listed)
        self.write(services.clean, -1)
        self.wait(self.listed)

    def test_a_database_that_fails_for_a_while(self):
        table = models.Service.__table__
        with self.db.engine.begin() as connection:
            table.drop(connection)
        self.start()
        time.sleep(0.5)
        with self.db.engine.begin() as connection:
            table.create(connection)
        self.wait(self.listed)
