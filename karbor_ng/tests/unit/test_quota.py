# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Quotas: what exists is counted."""

from karbor_ng import errors
from karbor_ng import quota
from karbor_ng.store import checkpoints
from karbor_ng.store import plans
from karbor_ng.tests import fixtures


class QuotaTest(fixtures.DatabaseTest):

    def setUp(self):
        super().setUp()
        self.conf = self.useFixture(fixtures.ConfFixture(
            owners=('karbor_ng.quota',)))

    def check(self, function, project_id=fixtures.PROJECT):
        self.read(function, self.conf.conf, project_id)

    def refuses(self, function):
        return str(self.assertRaises(errors.OverQuota, self.check, function))

    def test_plans(self):
        self.conf.set('quota_plans', 2)
        for _ in range(2):
            self.check(quota.check_plans)
            plan = self.write(plans.create, fixtures.plan_values())
        self.assertIn('2 plans', self.refuses(quota.check_plans))
        self.check(quota.check_plans, fixtures.OTHER_PROJECT)
        self.write(plans.delete, plan.id)
        self.check(quota.check_plans)

    def test_checkpoints(self):
        self.conf.set('quota_checkpoints', 2)
        for status in ('available', 'error'):
            self.check(quota.check_checkpoints)
            checkpoint = self.write(
                checkpoints.create, fixtures.checkpoint_values(status=status))
        self.assertIn('2 checkpoints', self.refuses(quota.check_checkpoints))
        self.check(quota.check_checkpoints, fixtures.OTHER_PROJECT)
        self.write(checkpoints.move, checkpoint.id, 'deleting')
        self.refuses(quota.check_checkpoints)
        self.write(checkpoints.move, checkpoint.id, 'deleted')
        self.check(quota.check_checkpoints)

    def test_zero_is_none(self):
        for name in ('plans', 'checkpoints'):
            self.conf.set(f'quota_{name}', 0)
            self.refuses(getattr(quota, f'check_{name}'))

    def test_no_limit(self):
        self.conf.set('quota_plans', -1)
        for _ in range(3):
            self.write(plans.create, fixtures.plan_values())
        self.check(quota.check_plans)

    def test_defaults(self):
        """Fifty plans, and as many checkpoints as there is room for."""
        def insert(session):
            for _ in range(50):
                plans.create(session, fixtures.plan_values())
                checkpoints.create(session, fixtures.checkpoint_values())

        self.write(insert)
        self.assertIn('50 plans', self.refuses(quota.check_plans))
        self.check(quota.check_checkpoints)
