# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Triggers that time or an operator has overtaken."""

import datetime

from oslotest import base

from karbor_ng.store import models
from karbor_ng.store import runs
from karbor_ng.store import session as store_session
from karbor_ng.store import triggers
from karbor_ng.tests import fixtures
from karbor_ng.tests.unit.api import environment
from karbor_ng.tests.unit.api.environment import SCHEDULED_OPERATION_ID
from karbor_ng.tests.unit.api.environment import TRIGGER_ID

PATH = f'/triggers/{TRIGGER_ID}'
MINUTELY = {'format': 'crontab', 'pattern': '* * * * *', 'window': '900',
            'start_time': '2026-01-01T00:00:00'}


class OvertakenTest(base.BaseTestCase):

    def setUp(self):
        super().setUp()
        self.api = self.useFixture(environment.Api())
        self.api.add_history()

    def shown(self):
        return self.api.call('GET', PATH).json['trigger_info']

    def stored(self, **values):
        self.api.db.write(triggers.update, TRIGGER_ID, None, values)

    def change(self, **values):
        return self.api.call('PUT', PATH, {'trigger_info': values})

    def test_another_name_leaves_the_schedule_as_it_is(self):
        before = self.shown()
        self.assertEqual(200, self.change(name='new').status_int)
        self.assertEqual(before['next_run_at'], self.shown()['next_run_at'])

    def test_what_was_due_before_fires_as_it_was(self):
        self.api.add_schedule()
        now = self.api.db.read(store_session.now).replace(microsecond=0)
        due = now - datetime.timedelta(seconds=90)
        self.stored(next_run_at=due, properties=MINUTELY)
        self.api.db.write(_make_older)
        answer = self.change(properties=environment.TRIGGER)
        self.assertEqual('2030-01-01T09:00:00.000000+00:00',
                         answer.json['trigger_info']['next_run_at'])
        found = self.api.db.read(runs.in_state, 'due', 10)
        self.assertEqual(due, found[0].planned_at)
        self.assertIn(len(found), (2, 3))
        self.assertEqual({0}, {run.planned_at.second for run in found[1:]})

    def test_what_is_due_and_can_not_be_read_fires_when_it_can(self):
        due = self.api.db.read(store_session.now) - datetime.timedelta(
            seconds=1)
        self.stored(next_run_at=due, properties={
            **environment.TRIGGER, 'timezone': 'Europe/Atlantis'})
        answer = self.change(properties=environment.TRIGGER)
        self.assertEqual(due, self.api.db.read(
            triggers.get, TRIGGER_ID).next_run_at)
        self.assertEqual('2030-01-01T09:00:00.000000+00:00',
                         answer.json['trigger_info']['next_runs'][0])

    def test_a_type_that_is_not_installed_any_more(self):
        trigger_id = fixtures.new_id()
        self.api.db.write(triggers.create, {
            'id': trigger_id, 'project_id': environment.PROJECT,
            'name': 'gone', 'type': 'tide',
            'properties': environment.TRIGGER})
        path = f'/triggers/{trigger_id}'
        shown = self.api.call('GET', path).json['trigger_info']
        self.assertEqual(('tide', []), (shown['type'], shown['next_runs']))
        answer = self.api.call('PUT', path, {'trigger_info': {'name': 'n'}})
        self.assertEqual(409, answer.status_int)
        self.assertIn('tide', answer.json['conflictingRequest']['message'])
        self.assertEqual(200, self.api.call('DELETE', path).status_int)

    def test_a_zone_that_is_not_there_any_more(self):
        self.stored(properties={**environment.TRIGGER,
                                'timezone': 'Europe/Atlantis'})
        self.assertEqual([], self.shown()['next_runs'])
        self.assertEqual(200, self.change(name='new').status_int)


def _make_older(session):
    """Let the schedule be there before what is due."""
    session.get(models.ScheduledOperation, SCHEDULED_OPERATION_ID
                ).created_at = environment.MOMENT
