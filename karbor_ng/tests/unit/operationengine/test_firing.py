# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What is due by a change happens, and nothing happens twice."""

from unittest import mock

import fixtures as library

from karbor_ng import context
from karbor_ng import delegation
from karbor_ng import keystone
from karbor_ng import triggers
from karbor_ng.operationengine import client
from karbor_ng.store import runs
from karbor_ng.store import session as store_session
from karbor_ng.store import triggers as rows
from karbor_ng.store import trusts
from karbor_ng.tests import fixtures
from karbor_ng.tests.unit.operationengine import environment
from karbor_ng.tests.unit.operationengine.environment import HOUR
from karbor_ng.tests.unit.operationengine.environment import MINUTE
from karbor_ng.tests.unit.operationengine.environment import START

ASKING = context.RequestContext(user_id='user', project_id=fixtures.PROJECT)


class FiringTest(environment.EngineTest):

    def setUp(self):
        super().setUp()
        self.client = client.EngineClient(
            self.db, delegation.Delegation(keystone.NoCloud()),
            triggers.load(self.schedules.conf))
        self.useFixture(library.MockPatchObject(
            store_session, 'now', self.schedules.clock))
        self.row = self.schedules.add()

    def pass_by(self, after):
        """Let time pass, and no engine look."""
        self.schedules.clock.now += after

    def planned(self, row=None):
        return [hour for hour, _state
                in self.schedules.states(row or self.row)]

    def update(self, row=None, **values):
        return self.client.update(ASKING, row or self.row, values)

    def test_what_was_due_is_due_for_what_is_disabled(self):
        self.pass_by(2 * HOUR + MINUTE)
        row = self.update(is_enabled=False)
        self.assertEqual([1, 2], self.planned())
        self.schedules.turn(HOUR)
        self.update(row, is_enabled=True)
        self.schedules.turn(HOUR)
        self.assertEqual([1, 2, 4], self.planned())

    def test_nothing_was_due_for_what_was_disabled(self):
        row = self.update(is_enabled=False)
        self.pass_by(2 * HOUR + MINUTE)
        self.update(row, is_enabled=True)
        self.schedules.turn(HOUR)
        self.assertEqual([3], self.planned())

    def test_what_was_due_fails_when_its_trust_has_ended(self):
        row = self._with_trust()
        self.pass_by(2 * HOUR + MINUTE)
        self.write(trusts.give_up, 'trust', 'The trust was revoked.')
        self.schedules.turn(HOUR)
        found = self.schedules.runs(row)
        self.assertEqual(
            [(START + HOUR, 'failed', 'The trust was revoked.'),
             (START + 2 * HOUR, 'failed', 'The trust was revoked.')],
            [(run.planned_at, run.state, run.reason) for run in found])
        self.update(row, is_enabled=True)
        self.schedules.turn(HOUR)
        self.assertEqual([1, 2, 4], self.planned(row))

    def test_enabling_finds_what_was_due_before_the_trust_ended(self):
        row = self._with_trust()
        self.pass_by(HOUR)
        self.write(trusts.give_up, 'trust', 'The trust was revoked.')
        self.pass_by(HOUR)
        self.update(row, is_enabled=True)
        self.schedules.turn(HOUR)
        self.assertEqual([1, 3], self.planned(row))

    def _with_trust(self):
        self.write(trusts.add, 'trust', 'user', fixtures.PROJECT)
        return self.schedules.add(trust_id='trust')

    def test_what_is_deleted_was_due(self):
        self.pass_by(2 * HOUR)
        self.client.delete(self.row.id, fixtures.PROJECT)
        found = self.read(runs.in_state, 'due', 10)
        self.assertEqual([START + HOUR, START + 2 * HOUR],
                         [run.planned_at for run in found])

    def test_another_trigger_counts_from_now_on(self):
        other = self.schedules.add_trigger(
            next_run_at=START + HOUR + 30 * MINUTE, properties={
                **self.schedules.trigger.properties,
                'pattern': '30 * * * *'})
        self.pass_by(2 * HOUR + MINUTE)
        self.update(trigger_id=other.id)
        self.schedules.turn(HOUR)
        self.assertEqual([1, 2, 2.5], self.planned())

    def test_a_time_that_two_triggers_share_has_one_run(self):
        other = self.schedules.add_trigger()
        self.pass_by(HOUR)
        engine, step = self.schedules.engine(), rows.advance

        def advance(session, trigger, following):
            return (trigger.id != other.id
                    and step(session, trigger, following))
        with mock.patch.object(rows, 'advance', advance):
            engine.turn()
        self.update(trigger_id=other.id)
        neighbour = self.schedules.add(trigger_id=other.id)
        self.schedules.turn(HOUR)
        self.assertEqual([1, 2], self.planned())
        self.assertEqual([2], self.planned(neighbour))

    def test_a_clock_that_goes_back_fires_nothing_twice(self):
        self.schedules.turn(HOUR)
        self.write(rows.update, self.schedules.trigger.id, None,
                   {'next_run_at': START + HOUR}, START)
        self.schedules.turn(HOUR)
        self.assertEqual([1, 2], self.planned())

    def test_one_that_can_not_be_read_can_be_changed(self):
        trigger = self.schedules.add_trigger(
            type='tide', next_run_at=START + HOUR)
        row = self.schedules.add(trigger_id=trigger.id)
        self.pass_by(2 * HOUR)
        self.update(row, is_enabled=False)
        self.assertEqual([], self.planned(row))

    def test_changes_while_engines_look(self):
        others = [self.schedules.add_trigger() for _ in range(5)]
        self.pass_by(2 * HOUR)

        def change():
            for other in others:
                self.client.update(ASKING, self.row,
                                   {'trigger_id': other.id})
        outcomes = fixtures.together(
            change, change, *[self.schedules.another().turn
                              for _ in range(3)])
        self.assertEqual([None] * 5, outcomes)
        self.assertEqual([1, 2], self.planned())
