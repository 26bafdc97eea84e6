# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""How often trouble that lasts is told."""

import logging
from unittest import mock

import fixtures
from oslotest import base

from karbor_ng import trouble


class TroubleTest(base.BaseTestCase):

    def setUp(self):
        super().setUp()
        self.now = 1000.0
        self.useFixture(fixtures.MonkeyPatch(
            'karbor_ng.trouble.time', mock.Mock(monotonic=lambda: self.now)))
        self.log = self.useFixture(fixtures.FakeLogger('trouble'))
        self.trouble = trouble.Trouble(logging.getLogger('trouble'),
                                       'The broker is away')

    def lines(self):
        return self.log.output.splitlines()

    def test_once_a_minute(self):
        for _second in range(960):
            self.trouble.meet(OSError('refused'))
            self.now += 0.125
        self.assertEqual(2, len(self.lines()))
        self.assertEqual(
            ['The broker is away: refused',
             'The broker is away (480 times since this was said): refused'],
            self.lines())

    def test_that_it_is_over_is_told_once(self):
        self.trouble.end()
        self.assertEqual([], self.lines())
        self.trouble.meet(OSError('refused'))
        self.now += 90
        self.trouble.end()
        self.trouble.end()
        self.assertEqual('No more, after 90 seconds: The broker is away',
                         self.lines()[-1])
        self.assertEqual(2, len(self.lines()))

    def test_it_is_told_when_it_comes_back(self):
        for _time in range(3):
            self.trouble.meet(OSError('refused'))
            self.trouble.end()
        self.assertEqual(6, len(self.lines()))

    def test_one_line_of_many(self):
        self.trouble.meet(OSError('refused\n[SQL: SELECT secrets]'))
        self.trouble.meet(OSError())
        self.assertNotIn('SQL', self.log.output)
        self.assertEqual('OSError', trouble.first_line(OSError()))
