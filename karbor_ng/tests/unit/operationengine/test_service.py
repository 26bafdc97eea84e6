# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The engine's loop: it turns, whatever happens, until it is told to stop."""

import time
from unittest import mock

from karbor_ng.operationengine import firing
from karbor_ng.operationengine import runner
from karbor_ng.operationengine import scheduler
from karbor_ng.operationengine import service
from karbor_ng.operationengine import trusts
from karbor_ng.store import query
from karbor_ng.store import services
from karbor_ng.store import session as store_session
from karbor_ng.tests import fixtures
from karbor_ng.tests.unit.operationengine import environment
from karbor_ng.tests.unit.operationengine.environment import HOUR


class ServiceTest(environment.EngineTest):

    def setUp(self):
        super().setUp()
        self.schedules.set('poll_interval', 0.1, 'operationengine')

    def start(self):
        engine = self.schedules.engine()
        engine.start()
        self.addCleanup(engine.stop)
        engine.wait_until_ready()
        return engine

    def wait(self, done):
        end = time.monotonic() + 30
        while not done():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.02)

    def hosts(self):
        return [(row.row.binary, row.row.host) for row in self.read(
            services.hosts, query.Page(sort=(('id', 'asc'),)))]

    def test_from_due_to_the_end(self):
        row = self.schedules.add()
        engine = self.start()
        self.assertEqual([], self.schedules.runs(row))
        self.schedules.clock.now += HOUR
        self.wait(lambda: self.schedules.states(row) == [(1, 'started')])
        self.schedules.end(self.schedules.runs(row)[0].checkpoint_id)
        self.wait(lambda: self.schedules.states(row) == [(1, 'succeeded')])
        self.assertTrue(engine.is_alive())
        self.assertIn('due triggers', engine.describe())

    def test_it_is_seen_while_it_lives(self):
        engine = self.start()
        self.wait(lambda: self.read(services.list))
        self.assertEqual(
            [(service.BINARY, self.schedules.conf.host)], self.hosts())
        engine.stop()
        self.assertEqual([], self.read(services.list))

    def test_a_failing_part_stops_no_other(self):
        row = self.schedules.add()
        self.schedules.clock.now += HOUR
        engine = self.schedules.engine()
        with mock.patch.object(runner.Runner, 'settle',
                               side_effect=ZeroDivisionError):
            engine.turn()
        self.assertEqual([(1, 'started')], self.schedules.states(row))

    def test_a_database_that_is_away_is_waited_for(self):
        row = self.schedules.add()
        self.schedules.clock.now += HOUR
        engine = self.schedules.engine()
        with mock.patch.object(store_session.Database, 'read',
                               side_effect=ConnectionError):
            engine.turn()
        self.assertEqual([], self.schedules.states(row))
        engine.turn()
        self.assertEqual([(1, 'started')], self.schedules.states(row))

    def test_disabled_it_begins_nothing_and_ends_what_goes_on(self):
        row = self.schedules.add()
        self.schedules.turn(HOUR)
        self.write(services.seen, {
            'id': 'engine', 'binary': service.BINARY, 'version': '1',
            'host': self.schedules.conf.host,
            'started_at': environment.START})
        host, = self.read(services.hosts, query.Page(sort=(('id', 'asc'),)))
        self.write(services.disable, host.id)
        self.schedules.end(self.schedules.runs(row)[0].checkpoint_id)
        self.schedules.turn(HOUR)
        self.assertEqual([(1, 'succeeded')], self.schedules.states(row))
        self.write(services.enable, host.id)
        self.schedules.turn()
        self.assertEqual([(1, 'succeeded'), (2, 'started')],
                         self.schedules.states(row))

    def test_it_stops_between_transactions(self):
        self.schedules.add()
        for _number in range(3):
            self.schedules.add(trigger_id=self.schedules.add_trigger().id)
        self.schedules.clock.now += HOUR
        engine = self.schedules.engine()
        real = firing.take

        def take(session, steps):
            engine._stopping.set()
            return real(session, steps)
        with (mock.patch.object(scheduler, 'BATCH', 2),
              mock.patch.object(firing, 'take', take)):
            engine.turn()
        self.assertEqual(2, len(self.schedules.runs()))
        self.assertEqual([], self.schedules.operations())
        self.assertTrue(engine.is_alive())

    def test_trusts_are_swept_at_first_and_then_seldom(self):
        engine = self.schedules.engine()
        with mock.patch.object(trusts.Trusts, 'sweep') as sweep:
            engine.turn()
            engine.turn()
            self.assertEqual(1, sweep.call_count)
            engine._sweep_at -= service.TRUSTS_SECONDS
            engine.turn()
        self.assertEqual(2, sweep.call_count)

    def test_one_that_hangs_is_not_alive(self):
        engine = self.schedules.engine()
        self.assertTrue(engine.is_alive())
        engine._turned_at -= 400
        self.assertFalse(engine.is_alive())

    def test_engines_together(self):
        rows = [self.schedules.add(trigger_id=self.schedules.add_trigger().id)
                for _ in range(6)]
        for _number in range(3):
            engine = self.schedules.another()
            engine.start()
            self.addCleanup(engine.stop)
        self.schedules.clock.now += HOUR
        self.wait(lambda: {run.state for run in self.schedules.runs()}
                  == {'started'} and len(self.schedules.runs()) == 6)
        self.assertEqual(6, len(self.schedules.operations()))
        self.assertEqual([1] * 6, [len(self.schedules.runs(row))
                                   for row in rows])
        self.assertEqual({fixtures.PROJECT}, {
            one.project_id for one in self.schedules.operations()})
