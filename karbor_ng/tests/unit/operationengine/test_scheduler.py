# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Due triggers become runs: each due time one, whoever looks."""

import datetime
from unittest import mock

from karbor_ng import triggers as trigger_types
from karbor_ng.operationengine import firing
from karbor_ng.operationengine import scheduler
from karbor_ng.store import scheduled_operations
from karbor_ng.store import triggers
from karbor_ng.tests import fixtures
from karbor_ng.tests.unit.operationengine import environment
from karbor_ng.tests.unit.operationengine.environment import HOUR
from karbor_ng.tests.unit.operationengine.environment import MINUTE
from karbor_ng.tests.unit.operationengine.environment import START


class SchedulerTest(environment.EngineTest):

    def setUp(self):
        super().setUp()
        self.types = trigger_types.load(self.schedules.conf)

    def tick(self, now=None, db=None):
        clock = environment.Clock(now) if now else self.schedules.clock
        return scheduler.Scheduler(db or self.db, self.types, clock).tick()

    def test_nothing_before_it_is_due(self):
        self.schedules.add()
        self.assertEqual(0, self.tick(START + HOUR - MINUTE))
        self.assertEqual([], self.schedules.runs())
        self.assertEqual(START + HOUR, self.schedules.next_run())

    def test_each_enabled_one_has_a_run(self):
        enabled = [self.schedules.add(), self.schedules.add(
            project_id=fixtures.OTHER_PROJECT)]
        self.schedules.add(is_enabled=False)
        self.schedules.add(trigger_id=self.schedules.add_trigger(
            next_run_at=START + 3 * HOUR).id)
        self.assertEqual(2, self.tick(START + HOUR))
        self.assertEqual(0, self.tick(START + HOUR))
        found = self.schedules.runs()
        self.assertEqual(
            {(row.id, row.project_id, START + HOUR, 'due')
             for row in enabled},
            {(run.scheduled_operation_id, run.project_id, run.planned_at,
              run.state) for run in found})
        self.assertEqual(START + 2 * HOUR, self.schedules.next_run())

    def test_what_came_later_was_not_there(self):
        self.schedules.add(created_at=START + HOUR + MINUTE)
        self.assertEqual(0, self.tick(START + HOUR + 2 * MINUTE))
        self.assertEqual(1, self.tick(START + 2 * HOUR))

    def test_each_time_is_made_up_for(self):
        row = self.schedules.add()
        hours = 3 * firing.MOST_TIMES
        self.assertEqual(hours, self.tick(START + hours * HOUR))
        self.assertEqual([(number + 1, 'due') for number in range(hours)],
                         self.schedules.states(row)[:hours])

    def test_pages(self):
        rows = [self.schedules.add(trigger_id=self.schedules.add_trigger(
            next_run_at=START + HOUR + number % 3 * MINUTE).id)
            for number in range(7)]
        with mock.patch.object(scheduler, 'BATCH', 2):
            self.assertEqual(7, self.tick(START + HOUR + 3 * MINUTE))
        self.assertEqual([1] * 7, [len(self.schedules.runs(row))
                                   for row in rows])

    def test_one_that_can_not_be_read_hinders_nobody(self):
        bad = self.schedules.add_trigger(
            next_run_at=START, properties={'format': 'crontab'})
        unknown = self.schedules.add_trigger(next_run_at=START, type='event')
        row = self.schedules.add()
        with mock.patch.object(scheduler, 'BATCH', 1):
            self.assertEqual(1, self.tick(START + HOUR))
        self.assertEqual(1, len(self.schedules.runs(row)))
        for trigger in (bad, unknown):
            self.assertEqual(START, self.schedules.next_run(trigger))

    def test_the_end(self):
        trigger = self.schedules.add_trigger(properties={
            'format': 'crontab', 'pattern': '0 * * * *', 'window': '900',
            'start_time': '2026-01-01 00:00:00',
            'end_time': '2026-03-01 14:00:00'})
        row = self.schedules.add(trigger_id=trigger.id)
        self.assertEqual(2, self.tick(START + 9 * HOUR))
        self.assertIsNone(self.schedules.next_run(trigger))
        self.assertEqual([(1, 'due'), (2, 'due')],
                         self.schedules.states(row))

    def test_one_that_was_changed_meanwhile_is_left(self):
        self.schedules.add()
        old = self.read(triggers.get, self.schedules.trigger.id)
        self.write(triggers.update, old.id, fixtures.PROJECT,
                   {'name': 'other'})
        self.assertFalse(self.write(triggers.advance, old, START))
        new = self.read(triggers.get, old.id)
        self.assertTrue(self.write(triggers.advance, new, START + 5 * HOUR))
        self.assertFalse(self.write(triggers.advance, new, START))

    def test_several_engines_at_once(self):
        for number in range(20):
            self.schedules.add(trigger_id=self.schedules.add_trigger(
                next_run_at=START + number * MINUTE).id)
        now = START + datetime.timedelta(hours=30)

        def engine(db):
            return lambda: self.tick(now, db)
        with mock.patch.object(scheduler, 'BATCH', 7):
            made = fixtures.together(*[
                engine(self.database.another()) for _ in range(4)])
        found = self.schedules.runs()
        self.assertEqual(len(found), sum(made), made)
        keys = {(run.scheduled_operation_id, run.planned_at)
                for run in found}
        self.assertEqual(len(found), len(keys))
        self.assertEqual(
            20, len({key for key in keys if key[1] == max(
                run.planned_at for run in found)}))

    def test_death_before_the_commit_changes_nothing(self):
        row = self.schedules.add()
        with mock.patch.object(scheduled_operations, 'firing_of',
                               side_effect=KeyboardInterrupt):
            self.assertRaises(KeyboardInterrupt, self.tick, START + HOUR)
        self.assertEqual(START + HOUR, self.schedules.next_run())
        self.assertEqual(1, self.tick(START + HOUR))
        self.assertEqual([(1, 'due')], self.schedules.states(row))

    def test_due_rows_come_from_an_index(self):
        if self.db.engine.dialect.name != 'sqlite':
            return
        with self.db.engine.connect() as connection:
            plan = connection.exec_driver_sql(
                'EXPLAIN QUERY PLAN SELECT * FROM triggers WHERE '
                "next_run_at <= '2026' ORDER BY next_run_at, id LIMIT 100")
            self.assertIn('triggers_due', str(plan.all()))
