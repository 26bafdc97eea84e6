# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Due runs become checkpoints, and end as these do."""

import json
from unittest import mock

from oslo_db import exception as db_exception
from sqlalchemy import exc

from karbor_ng import credentials
from karbor_ng.operationengine import runner
from karbor_ng.protection import client
from karbor_ng.store import operations
from karbor_ng.store import plans
from karbor_ng.store import scheduled_operations
from karbor_ng.store import triggers
from karbor_ng.store import trusts
from karbor_ng.tests import fixtures
from karbor_ng.tests.unit.operationengine import environment
from karbor_ng.tests.unit.operationengine.environment import HOUR
from karbor_ng.tests.unit.operationengine.environment import MINUTE
from karbor_ng.tests.unit.operationengine.environment import START


class StartTest(environment.EngineTest):

    def turn(self, after=HOUR):
        self.schedules.turn(after)

    def outcomes(self, row):
        return [(run.state, run.reason) for run in self.schedules.runs(row)]

    def refused(self, row, state, words):
        (found, reason), = self.outcomes(row)
        self.assertEqual(state, found)
        self.assertIn(words, reason)
        self.assertEqual([], self.schedules.operations())
        self.assertIsNotNone(self.schedules.runs(row)[0].ended_at)

    def test_a_due_run_makes_a_checkpoint(self):
        row = self.schedules.add()
        self.turn()
        run, = self.schedules.runs(row)
        operation, = self.schedules.operations()
        checkpoint = self.schedules.checkpoint(run.checkpoint_id)
        self.assertEqual(
            ('protecting', row.plan_id, row.project_id, {
                'created_by': 'operation-engine',
                'scheduled_operation_id': row.id,
                'trigger_id': row.trigger_id}),
            (checkpoint.status, checkpoint.plan_id, checkpoint.project_id,
             checkpoint.extra_info))
        self.assertEqual(
            ('queued', row.id, run.id, 'user', f'req-{run.id}', None),
            (operation.state, operation.scheduled_operation_id,
             operation.scheduled_run_id, operation.user_id,
             operation.request_id, operation.credentials))
        self.assertEqual(('started', None), (run.state, run.ended_at))
        self.assertEqual([operation.id], self.schedules.hints.queued)

    def test_many_are_announced_once(self):
        for _number in range(5):
            self.schedules.add()
        self.turn()
        self.assertEqual(5, len(self.schedules.operations()))
        self.assertEqual(1, len(self.schedules.hints.queued))

    def test_the_trust_goes_with_it_sealed(self):
        self.write(trusts.add, 'trust', 'user', fixtures.PROJECT)
        self.schedules.add(trust_id='trust')
        sealer = credentials.Sealer([credentials.new_key()])
        self.schedules.clock.now += HOUR
        self.schedules.engine(sealer=sealer).turn()
        operation, = self.schedules.operations()
        self.assertNotIn('trust', operation.credentials)
        self.assertEqual({'trust_id': 'trust'},
                         json.loads(sealer.open(operation.credentials)))

    def test_after_its_window_it_is_missed(self):
        row = self.schedules.add()
        self.turn(HOUR + 15 * MINUTE + MINUTE)
        self.refused(row, 'missed', 'within 900 seconds')

    def test_in_its_window_it_is_late_but_done(self):
        row = self.schedules.add()
        self.turn(HOUR + 14 * MINUTE)
        self.assertEqual([(1, 'started')], self.schedules.states(row))

    def test_after_a_long_pause_all_but_the_last_are_missed(self):
        row = self.schedules.add()
        self.turn(5 * HOUR)
        self.assertEqual(['missed'] * 4 + ['started'], [
            state for _hour, state in self.schedules.states(row)])

    def test_it_is_skipped_while_the_one_before_goes_on(self):
        row = self.schedules.add()
        self.turn()
        self.turn()
        first, second = self.schedules.runs(row)
        self.assertEqual(('started', 'skipped'), (first.state, second.state))
        self.assertIn(first.checkpoint_id, second.reason)
        self.schedules.end(first.checkpoint_id)
        self.turn()
        self.assertEqual(['succeeded', 'skipped', 'started'], [
            state for _hour, state in self.schedules.states(row)])

    def test_without_its_plan_it_fails(self):
        row = self.schedules.add()
        self.write(lambda session: session.delete(
            plans.get(session, row.plan_id)))
        self.turn()
        self.refused(row, 'failed', f'There is no plan {row.plan_id}')

    def test_over_the_quota_it_fails(self):
        self.schedules.set('quota_checkpoints', 0)
        row = self.schedules.add()
        self.turn()
        self.refused(row, 'failed', 'which is its limit')

    def test_the_quota_holds_within_one_transaction(self):
        self.schedules.set('quota_checkpoints', 2)
        for _number in range(4):
            self.schedules.add()
        self.turn()
        self.assertEqual(2, len(self.schedules.operations()))
        self.assertEqual(['failed', 'failed', 'started', 'started'], sorted(
            run.state for run in self.schedules.runs()))

    def _due(self):
        row = self.schedules.add()
        self.schedules.clock.now += HOUR
        engine = self.schedules.engine()
        engine._scheduler.tick()
        self.assertEqual([(1, 'due')], self.schedules.states(row))
        return row, engine

    def test_what_was_deleted_meanwhile_is_skipped(self):
        row, engine = self._due()
        self.write(scheduled_operations.delete, row.id)
        engine.turn()
        self.assertEqual([], self.schedules.operations())

    def test_what_was_disabled_meanwhile_is_skipped(self):
        row, engine = self._due()
        self.write(scheduled_operations.update, row.id, fixtures.PROJECT,
                   {'is_enabled': False})
        engine.turn()
        self.refused(row, 'skipped', 'disabled meanwhile.')

    def test_what_has_no_trust_any_more_fails(self):
        row, engine = self._due()
        self.write(scheduled_operations.update, row.id, fixtures.PROJECT,
                   {'is_enabled': False, 'disabled_reason': 'No trust.'})
        engine.turn()
        self.refused(row, 'failed', 'No trust.')

    def test_engines_at_once_start_each_once(self):
        for number in range(10):
            self.schedules.add(project_id=(
                fixtures.PROJECT, fixtures.OTHER_PROJECT)[number % 2])
        self.schedules.clock.now += HOUR
        with mock.patch.object(runner, 'BATCH', 3):
            fixtures.together(*[self.schedules.another().turn
                                for _ in range(4)])
        self.assertEqual(10, len(self.schedules.operations()))
        self.assertEqual({'started'},
                         {run.state for run in self.schedules.runs()})

    def test_death_before_the_commit_changes_nothing(self):
        row, engine = self._due()
        with mock.patch.object(client.ProtectionClient, '_queue',
                               side_effect=KeyboardInterrupt):
            self.assertRaises(KeyboardInterrupt, engine.turn)
        self.assertEqual([(1, 'due')], self.schedules.states(row))
        self.assertEqual([], self.schedules.operations())
        self.schedules.engine().turn()
        self.assertEqual([(1, 'started')], self.schedules.states(row))

    def test_a_broken_one_hinders_nobody(self):
        rows = [self.schedules.add() for _ in range(3)]
        real, bad = client.ProtectionClient.protect_within, rows[1].plan_id

        def protect(this, session, caller, plan_id, *args, **kwargs):
            if plan_id == bad:
                raise ZeroDivisionError
            return real(this, session, caller, plan_id, *args, **kwargs)
        with mock.patch.object(client.ProtectionClient, 'protect_within',
                               protect):
            self.turn()
        self.assertEqual(['started', 'failed', 'started'], [
            self.schedules.runs(row)[0].state for row in rows])
        self.assertIn('its log says why',
                      self.schedules.runs(rows[1])[0].reason)

    def test_a_database_that_is_away_is_no_fault_of_the_run(self):
        row, engine = self._due()
        for problem in (db_exception.DBError, exc.TimeoutError,
                        db_exception.DBConnectionError):
            # Connections are tried again, with pauses.
            with (mock.patch('time.sleep'),
                  mock.patch.object(client.ProtectionClient,
                                    'protect_within', side_effect=problem)):
                engine.turn()
            self.assertEqual([(1, 'due')], self.schedules.states(row))
        engine.turn()
        self.assertEqual([(1, 'started')], self.schedules.states(row))

    def test_the_window_is_that_of_the_trigger_now(self):
        row, engine = self._due()
        properties = dict(self.schedules.trigger.properties, window='60')
        self.write(triggers.update, row.trigger_id, fixtures.PROJECT,
                   {'properties': properties})
        self.schedules.clock.now += 2 * MINUTE
        engine.turn()
        self.refused(row, 'missed', 'within 60 seconds')


class EndTest(environment.EngineTest):

    def _ended(self, status, **values):
        row = self.schedules.add(**values)
        self.schedules.turn(HOUR)
        run, = self.schedules.runs(row)
        if status is not None:
            self.schedules.end(run.checkpoint_id, status)
        self.schedules.turn(MINUTE)
        return self.schedules.runs(row)[0]

    def test_it_goes_on_as_long_as_the_checkpoint(self):
        run = self._ended(None)
        self.assertEqual(('started', None), (run.state, run.ended_at))

    def test_it_succeeds_with_its_checkpoint(self):
        run = self._ended('available')
        operation, = self.schedules.operations()
        self.assertEqual(('succeeded', None, operation.ended_at),
                         (run.state, run.reason, run.ended_at))

    def test_it_fails_with_its_checkpoint(self):
        run = self._ended('error')
        self.assertEqual(('failed', 'Cinder has failed.'),
                         (run.state, run.reason))

    def test_it_fails_when_the_record_is_gone(self):
        row = self.schedules.add()
        self.schedules.turn(HOUR)
        self.write(lambda session: session.delete(operations.list(
            session, environment.query.Page())[0]))
        self.schedules.turn(MINUTE)
        run, = self.schedules.runs(row)
        self.assertEqual(('failed', 'The record of its operation is gone.'),
                         (run.state, run.reason))
        self.assertEqual(START + HOUR + MINUTE, run.ended_at)

    def test_many_end_in_pages(self):
        for _number in range(5):
            self.schedules.add()
        self.schedules.turn(HOUR)
        for run in self.schedules.runs():
            self.schedules.end(run.checkpoint_id)
        with mock.patch.object(runner, 'BATCH', 2):
            self.schedules.turn(MINUTE)
        self.assertEqual(['succeeded'] * 5,
                         [run.state for run in self.schedules.runs()])
