# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Plans in rows."""

from karbor_ng import errors
from karbor_ng.store import checkpoints
from karbor_ng.store import models
from karbor_ng.store import plans
from karbor_ng.store import query
from karbor_ng.store import scheduled_operations
from karbor_ng.tests import fixtures


class PlansTest(fixtures.DatabaseTest):

    def plan(self, **values):
        return self.write(plans.create, fixtures.plan_values(**values))

    def listed(self, **filters):
        return {plan.name for plan in self.read(
            plans.list, query.Page(), **filters)}

    def test_get_has_all_that_was_created(self):
        values = fixtures.plan_values(
            parameters={fixtures.VOLUME: {'backup_mode': 'full'}},
            created_at=fixtures.MOMENT)
        self.write(plans.create, values)
        plan = self.read(plans.get, values['id'], fixtures.PROJECT)
        self.assertEqual(values, {name: getattr(plan, name)
                                  for name in values})

    def test_get_of_another_project(self):
        plan = self.plan()
        problem = self.assertRaises(errors.NotFound, self.read, plans.get,
                                    plan.id, fixtures.OTHER_PROJECT)
        self.assertIn(plan.id, str(problem))
        self.assertEqual(plan.id, self.read(plans.get, plan.id).id)

    def test_get_unknown(self):
        self.assertRaises(errors.NotFound, self.read, plans.get, 'nothing')

    def test_list_filters(self):
        other = fixtures.new_id()
        self.plan(name='shop')
        self.plan(name='workshop', status='started', description='of Ann')
        self.plan(name='hidden', project_id=fixtures.OTHER_PROJECT)
        self.plan(name='far', provider_id=other)
        self.assertEqual({'shop', 'workshop', 'far'},
                         self.listed(project_id=fixtures.PROJECT))
        self.assertEqual({'shop', 'workshop'}, self.listed(name='SHOP'))
        self.assertEqual({'workshop'}, self.listed(description='ann'))
        self.assertEqual({'workshop'}, self.listed(status='started'))
        self.assertEqual({'far'}, self.listed(provider_id=other))
        self.assertEqual(set(), self.listed(name='shop',
                                            provider_id=other))
        self.assertEqual({'shop', 'workshop', 'far', 'hidden'},
                         self.listed())

    def test_update(self):
        plan = self.plan()
        self.assertIsNone(plan.updated_at)
        changed = self.write(plans.update, plan.id, fixtures.PROJECT,
                             {'name': 'new', 'status': 'started'})
        again = self.read(plans.get, plan.id)
        for row in (changed, again):
            self.assertEqual(('new', 'started'), (row.name, row.status))
            self.assertGreaterEqual(row.updated_at, row.created_at)
        self.assertEqual(plan.resources, again.resources)

    def test_update_of_another_project(self):
        plan = self.plan(name='mine')
        self.assertRaises(errors.NotFound, self.write, plans.update, plan.id,
                          fixtures.OTHER_PROJECT, {'name': 'theirs'})
        self.assertEqual('mine', self.read(plans.get, plan.id).name)

    def test_delete(self):
        plan, kept = self.plan(), self.plan()
        self.write(plans.delete, plan.id, fixtures.PROJECT)
        self.assertRaises(errors.NotFound, self.read, plans.get, plan.id)
        self.assertRaises(errors.NotFound, self.write, plans.delete, plan.id,
                          fixtures.PROJECT)
        self.assertEqual(kept.id, self.read(plans.get, kept.id).id)

    def test_delete_of_another_project(self):
        plan = self.plan()
        self.assertRaises(errors.NotFound, self.write, plans.delete, plan.id,
                          fixtures.OTHER_PROJECT)
        self.assertEqual(plan.id, self.read(plans.get, plan.id).id)

    def test_delete_with_checkpoints(self):
        plan = self.plan()
        made = self.write(checkpoints.create,
                          fixtures.checkpoint_values(plan_id=plan.id))
        self.write(plans.delete, plan.id)
        self.assertEqual(plan.id, self.read(checkpoints.get, made.id).plan_id)


class UsedTest(fixtures.DatabaseTest):
    """Plans that scheduled operations use."""

    def setUp(self):
        super().setUp()
        self.plan = self.write(plans.create, fixtures.plan_values())
        self.trigger_id = fixtures.new_id()
        self.write(lambda session: session.add(models.Trigger(
            id=self.trigger_id, project_id=fixtures.PROJECT, name='nightly',
            type='time', properties={})))

    def schedule(self):
        def insert(session):
            plan = plans.hold(session, self.plan.id, fixtures.PROJECT)
            return scheduled_operations.create(session, {
                'id': fixtures.new_id(), 'project_id': fixtures.PROJECT,
                'name': 'nightly', 'operation_type': 'protect',
                'trigger_id': self.trigger_id, 'plan_id': plan.id,
                'provider_id': plan.provider_id, 'definition': {}}).id
        return self.write(insert)

    def test_they_stay_until_nobody_uses_them(self):
        users = [self.schedule() for _ in range(2)]
        problem = self.assertRaises(errors.InUse, self.write, plans.delete,
                                    self.plan.id)
        for user in users:
            self.assertIn(user, str(problem))
            self.write(scheduled_operations.delete, user)
        self.write(plans.delete, self.plan.id)

    def test_another_plan_goes(self):
        self.schedule()
        other = self.write(plans.create, fixtures.plan_values())
        self.write(plans.delete, other.id)

    def test_either_is_first(self):
        """Nothing is ever scheduled for a plan that is gone."""
        for _ in range(10):
            self.plan = self.write(plans.create, fixtures.plan_values())
            made, gone = fixtures.together(
                self.schedule,
                lambda: self.write(plans.delete, self.plan.id))
            if gone is None:
                self.assertIsInstance(made, errors.NotFound)
            else:
                self.assertIsInstance(gone, errors.InUse)
                self.assertIn(made, str(gone))
