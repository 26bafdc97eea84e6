# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Quotas: what exists is counted, whoever else counts at that moment."""

from karbor_ng import errors
from karbor_ng import quota
from karbor_ng.protection import client
from karbor_ng.store import checkpoints
from karbor_ng.store import operations
from karbor_ng.store import plans
from karbor_ng.store import providers
from karbor_ng.store import query
from karbor_ng.store import quotas
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

    def test_what_comes_before_what(self):
        """Project, its class, the class of all, the configuration."""
        self.conf.set('quota_checkpoints', 9)

        def limits(project_id=fixtures.PROJECT):
            found = self.read(quota.limits, self.conf.conf, project_id)
            return found['plans'], found['checkpoints']

        self.assertEqual((50, 9), limits())
        self.write(quotas.set_class_limits, 'default', {'plans': 40})
        self.assertEqual((40, 9), limits())
        self.write(quotas.set_class_limits, 'gold', {'checkpoints': 30})
        self.assertEqual((40, 9), limits())
        self.write(quotas.set_class, fixtures.PROJECT, 'gold')
        self.assertEqual((40, 30), limits())
        self.write(quotas.set_class_limits, 'gold', {'plans': 41})
        self.assertEqual((41, 30), limits())
        self.write(quotas.set_limits, fixtures.PROJECT, {'plans': -1})
        self.assertEqual((-1, 30), limits())
        self.assertEqual((40, 9), limits(fixtures.OTHER_PROJECT))
        self.assertEqual({'plans': 40, 'checkpoints': 9}, self.read(
            quota.default_limits, self.conf.conf))

    def test_a_project_has_its_own_limit(self):
        self.write(quotas.set_limits, fixtures.PROJECT, {'plans': 0})
        self.assertIn('0 plans', self.refuses(quota.check_plans))
        self.check(quota.check_plans, fixtures.OTHER_PROJECT)

    def test_usage(self):
        self.write(plans.create, fixtures.plan_values())
        for status in ('available', 'deleted', 'error'):
            self.write(checkpoints.create,
                       fixtures.checkpoint_values(status=status))
        self.assertEqual({'plans': 1, 'checkpoints': 2},
                         self.read(quota.usage, fixtures.PROJECT))
        self.assertEqual({'plans': 0, 'checkpoints': 0},
                         self.read(quota.usage, fixtures.OTHER_PROJECT))


class RaceTest(fixtures.DatabaseTest):
    """Many at once never get more than there is."""

    PARALLEL = 50
    LIMIT = 7

    def setUp(self):
        super().setUp()
        self.conf = self.useFixture(fixtures.ConfFixture(
            owners=('karbor_ng.quota',)))

    def race(self, *functions):
        """Return how many of them succeeded; others must be over quota."""
        ended = fixtures.together(*functions)
        refused = [one for one in ended if isinstance(one, Exception)]
        self.assertEqual({errors.OverQuota},
                         {type(one) for one in refused}, refused)
        return len(ended) - len(refused)

    def test_plans(self):
        self.conf.set('quota_plans', self.LIMIT)

        def create(session, values):
            quota.hold(session, values['project_id'])
            quota.check_plans(session, self.conf.conf, values['project_id'])
            return plans.create(session, values)

        self.assertEqual(self.LIMIT, self.race(*[
            lambda: self.write(create, fixtures.plan_values())
            for _ in range(self.PARALLEL)]))
        self.assertEqual(self.LIMIT, len(self.read(
            plans.list, query.Page(), fixtures.PROJECT)))

    def test_checkpoints_of_two_projects(self):
        """Through the front door; limits are set by operators meanwhile."""
        self.write(providers.publish, fixtures.provider_values())
        door = client.ProtectionClient(self.conf.conf, self.db,
                                       fixtures.Hints())
        asked = []
        for project_id in (fixtures.PROJECT, fixtures.OTHER_PROJECT):
            plan = self.write(plans.create, fixtures.plan_values(
                project_id=project_id))
            self.write(quotas.set_limits, project_id,
                       {'checkpoints': self.LIMIT})
            asked += [(fixtures.caller(project_id), plan.id)] * (
                self.PARALLEL // 2)
        self.assertEqual(2 * self.LIMIT, self.race(*[
            lambda caller=caller, plan_id=plan_id:
            door.protect(caller, plan_id) for caller, plan_id in asked]))
        for project_id in (fixtures.PROJECT, fixtures.OTHER_PROJECT):
            self.assertEqual(self.LIMIT, self.read(
                quota.usage, project_id)['checkpoints'])
            self.assertEqual(self.LIMIT, len(self.read(
                operations.list, query.Page(), project_id)))
