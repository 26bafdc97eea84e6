# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Quotas that operators have set."""

from karbor_ng.store import quotas
from karbor_ng.tests import fixtures

PROJECT = fixtures.PROJECT


class QuotasTest(fixtures.DatabaseTest):

    def limits(self, project_id=PROJECT):
        return self.read(quotas.limits, project_id)

    def test_nothing_is_set(self):
        self.assertEqual({}, self.limits())
        self.assertEqual({}, self.read(quotas.class_limits, 'gold'))
        self.assertIsNone(self.read(quotas.class_of, PROJECT))

    def test_limits_are_set_one_by_one(self):
        self.write(quotas.set_limits, PROJECT, {'plans': 3})
        self.write(quotas.set_limits, PROJECT,
                   {'plans': 4, 'checkpoints': 2 ** 40})
        self.write(quotas.set_limits, PROJECT, {})
        self.assertEqual({'plans': 4, 'checkpoints': 2 ** 40}, self.limits())
        self.assertEqual({}, self.limits(fixtures.OTHER_PROJECT))

    def test_classes(self):
        self.write(quotas.set_class_limits, 'default', {'plans': 1})
        self.write(quotas.set_class_limits, 'gold', {'plans': 2})
        self.write(quotas.set_class_limits, 'Gold', {'plans': 3})
        self.write(quotas.set_class_limits, 'gold', {'plans': 5})
        self.assertEqual({'plans': 5},
                         self.read(quotas.class_limits, 'gold'))
        self.assertEqual({'plans': 1},
                         self.read(quotas.class_limits, 'none'))
        for name in ('gold', 'silver', None):
            self.write(quotas.set_class, PROJECT, name)
            self.assertEqual(name, self.read(quotas.class_of, PROJECT))
            self.assertEqual({'plans': 5 if name == 'gold' else 1},
                             self.limits())

    def test_remove(self):
        self.write(quotas.set_class_limits, 'default', {'plans': 1})
        self.write(quotas.set_class_limits, 'gold', {'plans': 2})
        for project_id in (PROJECT, fixtures.OTHER_PROJECT):
            self.write(quotas.set_class, project_id, 'gold')
            self.write(quotas.set_limits, project_id, {'plans': 3})
        for _ in range(2):
            self.write(quotas.remove, PROJECT)
            self.assertEqual({'plans': 1}, self.limits())
            self.assertIsNone(self.read(quotas.class_of, PROJECT))
        self.assertEqual({'plans': 3}, self.limits(fixtures.OTHER_PROJECT))

    def test_operators_at_once(self):
        ended = fixtures.together(*[
            lambda number=number: self.write(
                quotas.set_class_limits, 'gold',
                {'plans': number, 'checkpoints': number})
            for number in range(10)])
        self.assertEqual([None] * 10, ended)
        found = self.read(quotas.class_limits, 'gold')
        self.assertEqual(found['plans'], found['checkpoints'])

    def test_holding_lets_one_in_after_the_other(self):
        def add_one(session):
            quotas.hold(session, PROJECT)
            have = quotas.limits(session, PROJECT).get('plans', 0)
            quotas.set_limits(session, PROJECT, {'plans': have + 1})

        ended = fixtures.together(*[lambda: self.write(add_one)] * 20)
        self.assertEqual([None] * 20, ended)
        self.assertEqual({'plans': 20}, self.limits())
