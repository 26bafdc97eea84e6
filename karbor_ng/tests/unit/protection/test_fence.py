# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The fence: silence after the lease, but for what removes."""

import datetime
import time

from oslotest import base

from karbor_ng import clients
from karbor_ng import errors
from karbor_ng.protection import fence
from karbor_ng.store import externals
from karbor_ng.store import models
from karbor_ng.store import query
from karbor_ng.tests import fixtures_cloud
from karbor_ng.tests.unit.protection import environment
from karbor_ng.tests.unit.protection import test_lease

LONG_AGO = datetime.timedelta(hours=1)


class Journal:
    """Knows the lease, and counts how often nothing must be left."""

    def __init__(self, lease):
        self.lease = lease
        self.settled = 0

    def settle(self):
        self.settled += 1


class FenceTest(base.BaseTestCase):

    def setUp(self):
        super().setUp()
        self.cinder = fixtures_cloud.Cinder()
        self.cinder.add('volumes', id='data')
        self.lease = test_lease.LeaseTest.make(self)
        self.journal = Journal(self.lease)
        self.session = fence.fenced(self.cinder.session(), self.journal)

    def test_all_is_written_before_anything_changes(self):
        volumes = clients.cinder(self.session).volumes
        volumes.get('data')
        self.assertEqual(0, self.journal.settled)
        volumes.delete('data')
        self.assertEqual(1, self.journal.settled)

    def test_nothing_is_sent_without_a_lease(self):
        volumes = clients.cinder(self.session).volumes
        self.assertEqual('data', volumes.get('data').id)
        self.lease.lose()
        sent = len(self.cinder.requests)
        self.assertRaises(errors.Fenced, volumes.get, 'data')
        self.assertRaises(errors.Fenced, volumes.delete, 'data')
        self.assertEqual(sent, len(self.cinder.requests))

    def test_nobody_is_looked_for_without_a_lease(self):
        self.lease.lose()
        sent = len(self.cinder.requests)
        self.assertRaises(errors.Fenced, clients.cinder, self.session)
        self.assertRaises(errors.Fenced, lambda: self.session.get_token())
        self.assertEqual(sent, len(self.cinder.requests))

    def test_what_ends_may_still_send(self):
        self.lease.abort()
        clients.cinder(self.session).volumes.get('data')

    def test_the_session_within(self):
        self.lease.lose()
        clients.cinder(fence.unfenced(self.session)).volumes.get('data')

    def test_no_cloud(self):
        self.assertIsNone(fence.fenced(None, self.journal))
        self.assertIsNone(fence.unfenced(None))


class Drafts(list):
    """What there is of drafts; tells when one is made."""

    def __init__(self, made):
        super().__init__()
        self._made = made

    def append(self, tag):
        super().append(tag)
        self._made()


class LateTest(base.BaseTestCase):
    """What somebody made whose operation was given up meanwhile."""

    def setUp(self):
        super().setUp()
        self.site = self.useFixture(environment.Deployment())
        draft = environment.DraftProtection.draft
        self.addCleanup(setattr, draft, 'there', draft.there)
        draft.there = self.there = Drafts(self.give_up)
        self.checkpoint_id = None
        self.site.start_worker()

    def test_it_is_removed(self):
        self.checkpoint_id = self.site.protect([('OS::Test::Draft', 'one')])
        self.site.wait(lambda: self.site.operation(
            self.checkpoint_id).state == 'failed' and not self.there)
        self.assertEqual('error',
                         self.site.checkpoint(self.checkpoint_id).status)
        self.assertEqual('intended', self.external().state)

    def give_up(self):
        """Let a user lose patience with a worker that is not heard of."""
        self.site.wait(lambda: self.checkpoint_id)
        for _attempt in range(100):
            self.site.db.write(
                query.change, models.Operation,
                {'lease_until': models.utcnow() - LONG_AGO},
                models.Operation.checkpoint_id == self.checkpoint_id)
            try:
                return self.site.client.reset_state(
                    self.site.caller, self.checkpoint_id, 'error')
            except errors.Conflict:
                # It was heard of in between.
                time.sleep(0.01)

    def external(self):
        found, = self.site.db.read(
            externals.of_operation,
            self.site.operation(self.checkpoint_id).id)
        return found
