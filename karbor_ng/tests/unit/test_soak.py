# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The yardsticks of the soak: they must see what is wrong.

Only those that need no cloud; the others have a soak to be tried in.
"""

import datetime

from oslotest import base

from karbor_ng.tests.soak import due_times
from karbor_ng.tests.soak import options

BEGIN = datetime.datetime(2026, 1, 1, 10, 0, 3, 500000,
                          datetime.timezone.utc)


def at(seconds):
    return BEGIN.replace(second=0, microsecond=0) + datetime.timedelta(
        seconds=seconds)


class DueTimesTest(base.BaseTestCase):
    """Every 10 seconds from 10:00:03, every 15 from about a minute later,
    nothing any more from about two minutes later."""

    def setUp(self):
        super().setUp()
        self.history = due_times.History()
        for second, late, step in ((3, 4, 10), (62, 71, 15),
                                   (118, 125, None)):
            self.history.add(at(second), at(late), step)

    def test_required(self):
        self.assertEqual(
            {at(second) for second in (10, 20, 30, 40, 50, 60, 75, 90, 105)},
            self.history.required())

    def test_allowed(self):
        """Where nobody knows, either may be."""
        self.assertEqual(
            {at(second) for second in (70, 120)},
            self.history.allowed() - self.history.required())

    def test_what_holds(self):
        runs = sorted(self.history.required())
        self.assertEqual([], list(self.history.problems(runs)))
        self.assertEqual([], list(self.history.problems([*runs, at(70)])))

    def test_what_does_not(self):
        runs = sorted(self.history.required())
        missing, added, doubled = (
            list(self.history.problems(own)) for own in (
                runs[1:], [*runs, at(100)], [*runs, runs[0]]))
        self.assertEqual([f'no run of {at(10)}'], missing)
        self.assertEqual([f'a run of {at(100)}, which was not due'], added)
        self.assertEqual([f'2 runs of {at(10)}'], doubled)


class OptionsTest(base.BaseTestCase):

    def test_defaults(self):
        found = options.parse(['--seed', '7'])
        self.assertEqual((15, 7), (found.minutes, found.seed))

    def test_refusals(self):
        for words in (['--minutes', '0'], ['--minutes', 'x'], ['more']):
            self.assertRaises(SystemExit, options.parse, words)
