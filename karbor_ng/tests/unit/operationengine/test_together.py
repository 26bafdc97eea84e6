# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""An engine and a protection service together: from due to the end."""

import fixtures as library

from karbor_ng import errors
from karbor_ng.operationengine import service
from karbor_ng.store import query
from karbor_ng.store import runs
from karbor_ng.store import scheduled_operations
from karbor_ng.store import session as store_session
from karbor_ng.store import trusts
from karbor_ng.tests import fixtures
from karbor_ng.tests.unit.operationengine.environment import Clock
from karbor_ng.tests.unit.operationengine.environment import HOUR
from karbor_ng.tests.unit.operationengine.environment import MINUTE
from karbor_ng.tests.unit.operationengine.environment import START
from karbor_ng.tests.unit.protection import environment

VOLUME = 'OS::Cinder::Volume'


class Cloud:
    """Gives sessions for trusts as long as it likes."""

    has_trusts = True

    def __init__(self):
        self.asked = []
        self.is_revoked = False

    def user_session(self, access):
        self.asked.append(access)
        if self.is_revoked:
            raise errors.TrustError('trust', 'The trust was revoked.')


class TogetherTest(fixtures.DatabaseTest):
    """On each database, with the no-op plugin."""

    def setUp(self):
        super().setUp()
        self.site = self.useFixture(environment.Deployment(db=self.db))
        self.site.registry.put_graph(
            [{'type': VOLUME, 'id': 'v1', 'name': 'root'}])
        self.site.cloud = self.cloud = Cloud()
        self.site.start_worker()
        configuration = self.useFixture(fixtures.ConfFixture())
        self.clock = Clock()
        self.engine = service.OperationEngine(
            configuration.conf, self.db, self.cloud, self.site.sealer,
            self.site.client, clock=self.clock)
        self.write(trusts.add, 'trust', 'user', 'project')
        trigger = self.write(fixtures.add_trigger, project_id='project',
                             next_run_at=START + HOUR)
        plan_id = self.site.plan([(VOLUME, 'v1')])
        self.row = self.write(
            scheduled_operations.create, fixtures.scheduled_operation_values(
                project_id='project', trigger_id=trigger.id,
                plan_id=plan_id, operation_type='retention_protect',
                provider_id=environment.PROVIDER_ID, trust_id='trust',
                created_at=START, definition={
                    'plan_id': plan_id, 'max_backups': 1,
                    'provider_id': environment.PROVIDER_ID}))

    def runs(self):
        return self.read(runs.list, query.Page(sort=(('planned_at', 'asc'),)),
                         self.row.id)

    def run_once(self):
        """Let an hour pass; return the run that it brings, ended."""
        self.clock.now += HOUR
        self.engine.turn()
        self.site.ended(self.runs()[-1].checkpoint_id)
        self.clock.now += MINUTE
        self.engine.turn()
        self.clock.now -= MINUTE
        return self.runs()[-1]

    def test_from_due_to_kept(self):
        first = self.run_once()
        self.assertEqual('succeeded', first.state)
        self.assertEqual({'{"trust_id": "trust"}'}, set(self.cloud.asked))
        operation = self.site.operation(first.checkpoint_id)
        self.assertIsNone(operation.credentials)
        second = self.run_once()
        self.site.ended(first.checkpoint_id, 'deleted')
        self.engine.turn()
        self.assertEqual(['succeeded', 'succeeded'],
                         [run.state for run in self.runs()])
        self.assertEqual('available', self.site.checkpoint(
            second.checkpoint_id).status)
        self.assertEqual(1, len(self.site.registry.objects()))

    def test_a_trust_that_is_revoked(self):
        self.useFixture(library.MockPatchObject(
            store_session, 'now', self.clock))
        self.cloud.is_revoked = True
        run = self.run_once()
        self.assertEqual(('failed', 'The trust was revoked.'),
                         (run.state, run.reason))
        found = self.read(scheduled_operations.get, self.row.id)
        self.assertEqual((False, 'The trust was revoked.'),
                         (found.is_enabled, found.disabled_reason))
        self.clock.now += HOUR
        self.engine.turn()
        self.assertEqual(1, len(self.runs()))
