# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Weeks of schedules in seconds: each due time has one run, whatever happens.

10,000 due times on all databases together. ``tox -e schedules`` has ten times
as many, and brings a world with a given seed back.
"""

import logging

import fixtures
from oslotest import base
import testscenarios

from karbor_ng.operationengine import firing
from karbor_ng.store import query
from karbor_ng.store import session as store_session
from karbor_ng.store import triggers
from karbor_ng.tests import fixtures as small
from karbor_ng.tests.schedules import proof

#: Seeds of worlds, and due windows in each.
WORLDS = {'sqlite': ((1, 2, 3, 4), 2000), 'mysql': ((5,), 1000),
          'postgresql': ((6,), 1000)}


def _worlds():
    for name, values in small.database_scenarios():
        seeds, count = WORLDS[name]
        for seed in seeds:
            yield f'{name}-{seed}', dict(values, seed=seed, count=count)


class Quiet(base.BaseTestCase):
    """A test that does not keep what is logged of things it breaks."""

    def setUp(self):
        super().setUp()
        logging.disable(logging.CRITICAL)
        self.addCleanup(logging.disable, logging.NOTSET)


class SchedulesTest(testscenarios.WithScenarios, Quiet):

    scenarios = tuple(_worlds())

    def test_each_due_time_has_one_run(self):
        told = proof.prove(self.seed, self.count, self.database_url)
        print(f'seed {self.seed}: {told}')
        self.assertEqual([], told.problems, f'seed {self.seed}: {told}')
        self.assertGreaterEqual(told.windows, self.count)
        self.assertGreater(min(told.killed, told.paused), 0)
        for state in ('succeeded', 'failed', 'missed', 'skipped'):
            self.assertGreater(told.outcomes[state], 0, told)


class BrokenTest(Quiet):
    """What is broken is found: without this all of it proves nothing."""

    def broken(self, module, name, function, seed, count):
        """Return what is found when a function is another."""
        self.useFixture(fixtures.MockPatchObject(module, name, function))
        return '\n'.join(proof.prove(seed, count).problems)

    def test_moving_on_without_comparing(self):
        def advance(session, trigger, next_run_at):
            return query.change(
                session, triggers.Trigger, {'next_run_at': next_run_at},
                triggers.Trigger.id == trigger.id)
        # It fires what a change has just moved away, and loses what is moved
        # twice: which of both comes first is the seed's.
        self.assertRegex(self.broken(triggers, 'advance', advance, 6, 800),
                         'lost|was not due')

    def test_changing_what_is_due(self):
        def catch_up(session, types, trigger_id):
            return store_session.now(session)
        self.assertIn('lost', self.broken(
            firing, 'catch_up', catch_up, 1, 500))
