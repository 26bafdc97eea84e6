# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Tests of who is asked for which preview, and of failing questions."""

import unittest

from keystoneauth1 import exceptions as keystone_exceptions

from karbor_ng import errors
from karbor_ng import previews
from karbor_ng.plugins import api
from karbor_ng.resource import Resource

HERE = 'karbor_ng.tests.unit.test_previews'
BOOKS = [Resource('Test::Book', f'b{number}') for number in range(3)]
PAGE = Resource('Test::Page', 'p1')
LAMP = Resource('Test::Lamp', 'l1')


class Paper(api.Protection):
    """Knows two types; notes what it is asked."""

    asked = []

    @classmethod
    def preview_protect(cls, session, resources, parameters):
        cls.asked.append((session, list(resources), parameters))
        return {item: api.Preview(f'Copied {parameters[item]["times"]} '
                                  f'times.', size=5) for item in resources}

    @classmethod
    def preview_restore(cls, session, kept, parameters):
        cls.asked.append((session, kept, parameters))
        return {item: api.Preview(f'Printed from {saved["copy"]}.')
                for item, saved in kept.items()}


class Silent(api.Protection):
    """Forgets some of what it is asked for."""

    @classmethod
    def preview_protect(cls, session, resources, parameters):
        return {}


class Broken(api.Protection):
    """Its cloud does not answer."""

    problem = None

    @classmethod
    def preview_protect(cls, session, resources, parameters):
        raise cls.problem


NAMES = {'Test::Book': f'{HERE}.Paper', 'Test::Page': f'{HERE}.Paper',
         'Test::Pen': f'{HERE}.Silent', 'Test::Ink': f'{HERE}.Broken',
         'OS::Cinder::Volume': 'karbor-noop-protection-plugin',
         'Test::Lamp': f'{HERE}.NotThere'}


class PreviewsTest(unittest.TestCase):

    def setUp(self):
        super().setUp()
        self.previews = previews.Previews(NAMES)
        Paper.asked.clear()

    def _protect(self, *resources):
        return self.previews.protect(
            'session', resources, {item: {'times': 2} for item in resources})

    def test_a_plugin_is_asked_once_for_all_its_types(self):
        found = self._protect(*BOOKS, PAGE)
        self.assertEqual(4, len(found))
        self.assertEqual(api.Preview('Copied 2 times.', size=5), found[PAGE])
        (session, asked, parameters), = Paper.asked
        self.assertEqual(('session', [*BOOKS, PAGE]), (session, asked))
        self.assertEqual(set(asked), set(parameters))

    def test_restoring_hands_over_what_was_saved(self):
        found = self.previews.restore(None, {PAGE: {'copy': 'c1'}},
                                      {PAGE: {}})
        self.assertEqual('Printed from c1.', found[PAGE].action)
        self.assertEqual([(None, {PAGE: {'copy': 'c1'}}, {PAGE: {}})],
                         Paper.asked)

    def test_entry_points_are_names_as_well(self):
        volume = Resource('OS::Cinder::Volume', 'v1')
        self.assertEqual('Protected in name only.',
                         self._protect(volume)[volume].action)

    def test_a_plugin_that_is_not_installed_here(self):
        self.assertIsNone(self.previews.get('Test::Lamp'))
        preview = self._protect(LAMP)[LAMP]
        self.assertEqual((), preview.problems)
        self.assertTrue(preview.notes)

    def test_what_a_plugin_forgets_is_there_all_the_same(self):
        pen = Resource('Test::Pen', 'x')
        self.assertTrue(self._protect(pen)[pen].notes)

    def test_a_provider_of_an_older_release_has_no_names(self):
        self.assertIsNone(previews.Previews(None).get('Test::Book'))

    def test_a_failing_cloud_is_told_as_one_of_our_errors(self):
        ink = Resource('Test::Ink', 'i')
        for problem, wanted in (
                (keystone_exceptions.ConnectFailure('away'),
                 errors.Unavailable),
                (keystone_exceptions.Forbidden('no'), errors.Forbidden),
                (errors.NotFound('gone'), errors.NotFound),
                (KeyError('x'), errors.Error)):
            Broken.problem = problem
            with self.assertRaises(wanted) as caught:
                self._protect(ink)
            self.assertIs(wanted, type(caught.exception))
