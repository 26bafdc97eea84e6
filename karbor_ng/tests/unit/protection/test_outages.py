# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Operations whose database or Keystone goes away and comes back."""

import time

import fixtures
from oslotest import base

from karbor_ng import errors
from karbor_ng.store import session as store_session
from karbor_ng.tests import fixtures as small
from karbor_ng.tests import forwarder
from karbor_ng.tests.unit.protection import environment

VOLUME = 'OS::Cinder::Volume'
COUNT = 40
AWAY_SECONDS = 3


class DatabaseOutageTest(small.DatabaseTest):
    """The database is a server, behind something that can be cut."""

    scenarios = [one for one in small.database_scenarios()
                 if one[0] != 'sqlite']

    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger('karbor_ng'))
        self.way = self.useFixture(forwarder.Forwarder(self.database.url))
        db = store_session.Database(self.way.url, max_pool_size=20)
        self.addCleanup(db.dispose)
        self.site = self.useFixture(
            environment.Deployment(db=db, lease_seconds=40))
        self.site.registry.put_graph([
            {'type': VOLUME, 'id': f'v{number}', 'name': 'data'}
            for number in range(COUNT)])
        self.worker = self.site.start_worker()
        self.site.hints.workers.clear()

    def begin(self):
        """Start to protect; return the checkpoint once some is done."""
        checkpoint_id = self.site.protect(
            [(VOLUME, f'v{number}') for number in range(COUNT)])
        self.worker.operation_queued()
        self.site.wait(lambda: self.site.registry.objects())
        return checkpoint_id

    def go_without(self, seconds):
        self.way.cut()
        time.sleep(seconds)
        self.way.mend()

    def test_operation_waits_and_goes_on(self):
        """By the same worker, in the same attempt; nothing is doubled.

        The log tells it, and not over and over.
        """
        checkpoint_id = self.begin()
        before = len(self.log.output.splitlines())
        self.go_without(AWAY_SECONDS)
        self.assertEqual('available', self.site.ended(checkpoint_id).status)
        self.assertEqual(
            1, self.site.operation(checkpoint_id).attempt)
        made = [one['resource'] for one
                in self.site.registry.objects().values()]
        self.assertEqual(COUNT, len(made))
        self.assertEqual(COUNT, len(set(map(str, made))))
        self.check_told(self.log.output.splitlines()[before:])

    def check_told(self, lines):
        told = '\n'.join(lines)
        self.assertIn('The database is away', told)
        self.assertIn('No more, after', told)
        self.assertNotIn('Traceback', told)
        self.assertLess(len(lines), 12, told)

    def test_work_is_found_afterwards(self):
        """No hint comes, and the sweep had no database to look into."""
        self.go_without(AWAY_SECONDS)
        checkpoint_id = self.site.protect([(VOLUME, 'v1')])
        self.assertEqual('available', self.site.ended(checkpoint_id).status)


if not DatabaseOutageTest.scenarios:
    # There are no servers: see tools/testdb.
    del DatabaseOutageTest


class Keystone:
    """Fails as it is told, and then gives what is as good as a session."""

    def __init__(self, *problems):
        self.problems = list(problems)

    def user_session(self, access):
        if self.problems:
            raise self.problems.pop(0)


class KeystoneOutageTest(base.BaseTestCase):

    def protect(self, *problems):
        """Return how protecting something ends."""
        site = self.useFixture(environment.Deployment())
        site.registry.put_graph([{'type': VOLUME, 'id': 'v', 'name': 'data'}])
        site.cloud = Keystone(*problems)
        site.start_worker()
        return site.ended(site.protect([(VOLUME, 'v')])).status

    def test_operation_waits_for_a_keystone_that_starts(self):
        """It is away, and then refuses what it will soon allow."""
        self.assertEqual('available', self.protect(
            errors.Unavailable('Keystone does not answer.'),
            errors.ConfigError('Keystone forbids the service user this.')))

    def test_not_for_ever(self):
        self.useFixture(fixtures.MonkeyPatch(
            'karbor_ng.protection.operations.REFUSAL_PATIENCE', 0))
        self.assertEqual('error', self.protect(
            *[errors.ConfigError('Keystone refuses the service user.')] * 9))

    def test_what_the_user_has_lost_is_lost(self):
        self.assertEqual('error', self.protect(
            errors.CredentialsError('The token was revoked.')))
