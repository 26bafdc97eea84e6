# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What is held against the tests of the old clients, when they have ended.

Separate because it is read by no test of theirs: what it overlooks, nobody
would miss.
"""

import pathlib

import fixtures
from oslotest import base

from karbor_ng.tests.functional import said

LIST = 'data protection plan list'
BROKEN = 'data protection trigger create'


class ComplaintsTest(base.BaseTestCase):

    def complaints(self, command, options, *runs, venv='osc'):
        """Return what is said of ``(words, exit code)`` by the last word."""
        runs = [(f'{command} {words}'.split(), code) for words, code in runs]
        return [line.rpartition(': ')[2] for line in said.complaints(
            venv, {command: options}, runs)]

    def test_all_is_said(self):
        self.assertEqual([], self.complaints(
            LIST, [['--limit'], ['-n', '--name']], ('--limit 1', 0),
            ('-n x', 1)))

    def test_command_that_nobody_says(self):
        self.assertEqual(['no test says it'], self.complaints(LIST, []))
        self.assertFalse(said.is_of('plan-list', ['plan-list-all']))

    def test_option_that_nobody_says(self):
        runs = ('--limit 1', 0), ('--marker x', 0)
        options = [['--limit'], ['-n', '--name'], ['--marker']]
        self.assertEqual(['no test says -n'],
                         self.complaints(LIST, options, *runs))
        self.assertEqual([], self.complaints(LIST, options, *runs,
                                             venv='osc-newest'))

    def test_command_that_fails(self):
        self.assertEqual(['it never worked'],
                         self.complaints(LIST, [], ('', 1)))
        self.assertEqual([], self.complaints(BROKEN, [], ('x time y', 1)))

    def test_broken_command_that_works(self):
        self.assertEqual(
            ['it works, which nobody believes'],
            self.complaints(BROKEN, [], ('x time y', 1), ('x time z', 0)))

    def test_noted_is_read(self):
        file = self.useFixture(fixtures.TempDir()).join('said')
        self.useFixture(fixtures.EnvironmentVariable(said.VARIABLE, file))
        said.note('osc', ['plan', 'list'], 1)
        said.note('client', ['plan-list'], 0)
        self.assertEqual(
            {'osc': [(['plan', 'list'], 1)], 'client': [(['plan-list'], 0)],
             'osc-newest': []}, said.read(pathlib.Path(file)))
