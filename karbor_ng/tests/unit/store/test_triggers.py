# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Triggers in rows."""

import datetime

from karbor_ng import errors
from karbor_ng.store import query
from karbor_ng.store import scheduled_operations
from karbor_ng.store import session as store_session
from karbor_ng.store import triggers
from karbor_ng.tests import fixtures

HOUR = datetime.timedelta(hours=1)


def trigger_values(**values):
    return {'id': fixtures.new_id(), 'project_id': fixtures.PROJECT,
            'user_id': 'demo', 'name': 'nightly', 'type': 'time',
            'properties': {'format': 'crontab', 'pattern': '0 9 * * *'},
            'next_run_at': fixtures.MOMENT, **values}


def user_of(trigger):
    """Return values of a scheduled operation."""
    return {'id': fixtures.new_id(), 'project_id': trigger.project_id,
            'name': 'user', 'operation_type': 'protect',
            'trigger_id': trigger.id, 'provider_id': fixtures.new_id(),
            'plan_id': fixtures.new_id(), 'definition': {}}


class TriggersTest(fixtures.DatabaseTest):

    def trigger(self, **values):
        return self.write(triggers.create, trigger_values(**values))

    def listed(self, **filters):
        return {trigger.name for trigger in self.read(
            triggers.list, query.Page(), **filters)}

    def used(self, trigger):
        return self.write(scheduled_operations.create, user_of(trigger))

    def test_get_has_all_that_was_created(self):
        values = trigger_values(created_at=fixtures.MOMENT)
        self.write(triggers.create, values)
        trigger = self.read(triggers.get, values['id'], fixtures.PROJECT)
        self.assertEqual(values, {name: getattr(trigger, name)
                                  for name in values})

    def test_get_of_another_project(self):
        trigger = self.trigger()
        problem = self.assertRaises(
            errors.NotFound, self.read, triggers.get, trigger.id,
            fixtures.OTHER_PROJECT)
        self.assertIn(trigger.id, str(problem))
        self.assertEqual(trigger.id,
                         self.read(triggers.get, trigger.id).id)

    def test_list_filters(self):
        self.trigger(name='Nightly')
        self.trigger(name='weekly', properties={
            'format': 'calendar', 'pattern': 'RRULE:FREQ=WEEKLY'})
        self.trigger(name='event', type='other')
        self.trigger(name='hidden', project_id=fixtures.OTHER_PROJECT)
        self.assertEqual({'Nightly', 'weekly', 'event'},
                         self.listed(project_id=fixtures.PROJECT))
        self.assertEqual({'Nightly'}, self.listed(name='NIGHT'))
        self.assertEqual({'event'}, self.listed(type='other'))
        self.assertEqual({'weekly'}, self.listed(properties='freq=weekly'))
        self.assertEqual({'weekly'},
                         self.listed(properties='"format": "calendar"'))
        self.assertEqual(set(), self.listed(properties='freq=%'))
        self.assertEqual(set(), self.listed(name='weekly', type='other'))

    def test_update(self):
        trigger = self.trigger(next_run_at=None)
        later = self.read(store_session.now) + HOUR
        self.write(triggers.update, trigger.id, fixtures.PROJECT,
                   {'name': 'new', 'next_run_at': later})
        again = self.read(triggers.get, trigger.id)
        self.assertEqual(('new', later), (again.name, again.next_run_at))
        self.assertGreaterEqual(again.updated_at, again.created_at)
        self.write(triggers.update, trigger.id, None, {'next_run_at': None})
        self.assertIsNone(self.read(triggers.get, trigger.id).next_run_at)

    def test_what_is_due_stays_due(self):
        due = self.read(store_session.now)
        trigger = self.trigger(next_run_at=due)
        self.write(triggers.update, trigger.id, fixtures.PROJECT,
                   {'properties': {'a': 1}, 'next_run_at': due + HOUR})
        again = self.read(triggers.get, trigger.id)
        self.assertEqual(({'a': 1}, due),
                         (again.properties, again.next_run_at))

    def test_update_of_another_project(self):
        trigger = self.trigger()
        self.assertRaises(errors.NotFound, self.write, triggers.update,
                          trigger.id, fixtures.OTHER_PROJECT, {'name': 'x'})
        self.assertEqual('nightly', self.read(triggers.get, trigger.id).name)

    def test_delete(self):
        trigger, kept = self.trigger(), self.trigger()
        self.write(triggers.delete, trigger.id, fixtures.PROJECT)
        self.assertRaises(errors.NotFound, self.read, triggers.get,
                          trigger.id)
        self.assertRaises(errors.NotFound, self.write, triggers.delete,
                          trigger.id)
        self.assertEqual(kept.id, self.read(triggers.get, kept.id).id)

    def test_what_is_in_use_is_not_deleted(self):
        trigger = self.trigger()
        users = [self.used(trigger) for _number in range(12)]
        problem = self.assertRaises(
            errors.TriggerInUse, self.write, triggers.delete, trigger.id)
        self.assertEqual(424, problem.code)
        self.assertEqual([user.id in str(problem) for user in users],
                         [True] * 10 + [False] * 2)
        for user in users:
            self.write(scheduled_operations.delete, user.id)
        self.write(triggers.delete, trigger.id)

    def test_use_and_deletion_at_once(self):
        for _round in range(5):
            trigger = self.trigger()
            self._race(trigger)
            is_there = bool(self.listed(project_id=trigger.project_id))
            used = self.read(scheduled_operations.of_trigger, trigger.id)
            self.assertEqual(is_there, bool(used))
            for user in used:
                self.write(scheduled_operations.delete, user.id)
                self.write(triggers.delete, trigger.id)

    def _race(self, trigger):
        def use(session):
            triggers.get(session, trigger.id, with_for_update=True)
            scheduled_operations.create(session, user_of(trigger))

        outcomes = fixtures.together(
            lambda: self.write(use),
            lambda: self.write(triggers.delete, trigger.id))
        refused = [outcome for outcome in outcomes
                   if isinstance(outcome, Exception)]
        self.assertIsInstance(*refused,
                              (errors.NotFound, errors.TriggerInUse))
