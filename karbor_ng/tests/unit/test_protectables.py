# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Tests of who is asked what, and of what a failing question becomes."""

import pathlib
import sys
import tempfile
import unittest
from unittest import mock

from keystoneauth1 import exceptions as keystone_exceptions
from stevedore import extension

from karbor_ng import errors
from karbor_ng import installed
from karbor_ng import protectables
from karbor_ng.plugins import api
from karbor_ng.plugins import volume


class Rooms(api.Protectable):
    """A small real type, with children of houses and of other rooms."""

    resource_type = 'Room'
    parent_types = ('House', 'Room')

    def __init__(self, problem=None):
        self.problem = problem
        self.asked = []

    def list(self, session, *, project_id, marker=None, limit=None,
             filters=None):
        self._answer(project_id, marker, limit, filters)
        return [api.Resource('Room', 'r1')]

    def show(self, session, resource_id, parameters=None):
        self._answer(resource_id, parameters)
        return api.Resource('Room', resource_id)

    def children(self, session, parents):
        self._answer(*parents)
        return {parent: [api.Resource('Room', parent.id + 'x')]
                if parent.type == 'House' else [] for parent in parents}

    def _answer(self, *asked):
        if self.problem:
            raise self.problem
        self.asked.append(asked)


class Houses(Rooms):
    resource_type = 'House'
    parent_types = ()


class ProtectablesTest(unittest.TestCase):

    def setUp(self):
        super().setUp()
        self.rooms = Rooms()
        self.houses = Houses()
        self.all = protectables.Protectables([self.rooms, self.houses])

    def test_installed_types_are_there(self):
        self.assertLessEqual({'OS::Keystone::Project', 'OS::Cinder::Volume',
                              'Room', 'House'}, set(self.all.types()))
        self.assertIsInstance(self.all.get('OS::Cinder::Volume'),
                              volume.VolumeProtectable)

    def test_extra_ones_take_the_place_of_installed_ones(self):
        self.houses.resource_type = 'OS::Cinder::Volume'
        known = protectables.Protectables([self.houses])
        self.assertIs(self.houses, known.get('OS::Cinder::Volume'))

    def test_an_unknown_type_is_named(self):
        for ask in (self.all.get, self.all.dependent_types):
            with self.assertRaisesRegex(errors.NotFound, '"Cellar"'):
                ask('Cellar')

    def test_dependent_types(self):
        self.assertEqual(['Room'], self.all.dependent_types('House'))
        self.assertEqual([], self.all.dependent_types('Room'))

    def test_list_and_show(self):
        found = self.all.list(None, 'Room', project_id='p', marker='m',
                              limit=3, filters={'name': 'n'})
        self.assertEqual([api.Resource('Room', 'r1')], found)
        self.assertEqual('r7', self.all.show(None, 'Room', 'r7', {}).id)
        self.assertEqual([('p', 'm', 3, {'name': 'n'}), ('r7', {})],
                         self.rooms.asked)

    def test_unknown_filters_are_named(self):
        with self.assertRaisesRegex(errors.Invalid, 'colour'):
            self.all.list(None, 'Room', project_id='p',
                          filters={'colour': 'red'})

    def test_children_are_asked_for_together(self):
        houses = [api.Resource('House', f'h{n}') for n in range(3)]
        room = api.Resource('Room', 'r1')
        found = self.all.children_of(None, [*houses, room])
        self.assertEqual({house: [api.Resource('Room', house.id + 'x')]
                          for house in houses}, found)
        self.assertEqual([(*houses, room)], self.rooms.asked)
        self.assertEqual([], self.houses.asked)

    def test_a_failing_listing_is_never_an_empty_one(self):
        house = api.Resource('House', 'h')
        for problem, expected in (
                (ValueError('bad answer'), errors.Error),
                (keystone_exceptions.ConnectFailure('no'),
                 errors.Unavailable),
                (keystone_exceptions.Forbidden('no'), errors.Forbidden),
                (keystone_exceptions.ServiceUnavailable('no'),
                 errors.Unavailable),
                (keystone_exceptions.InternalServerError('no'),
                 errors.Error)):
            self.rooms.problem = problem
            with self.subTest(problem=problem):
                with self.assertRaisesRegex(errors.Error, 'Room') as caught:
                    self.all.children_of(None, [house])
                self.assertIs(expected, type(caught.exception))

    def test_a_deployment_without_a_cloud_says_so(self):
        for resource_type in ('OS::Keystone::Project', 'OS::Cinder::Volume'):
            with self.assertRaisesRegex(errors.Unavailable, 'noauth'):
                self.all.show(None, resource_type, 'id')
        with self.assertRaisesRegex(errors.Unavailable, 'noauth'):
            self.all.children_of(None, [api.Resource(
                'OS::Keystone::Project', 'id')])

    def test_our_own_errors_pass(self):
        self.rooms.problem = errors.CredentialsError('revoked')
        self.assertRaises(errors.CredentialsError, self.all.show, None,
                          'Room', 'r')

    def test_a_plugin_that_can_not_be_loaded_stops_the_start(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        info = pathlib.Path(folder.name) / 'broken-1.0.dist-info'
        info.mkdir()
        (info / 'METADATA').write_text('Name: broken\nVersion: 1.0\n')
        (info / 'entry_points.txt').write_text(
            f'[{installed.PROTECTABLES}]\n'
            'broken = karbor_ng.nowhere:Nothing\n')
        with (mock.patch.object(sys, 'path', [folder.name, *sys.path]),
              mock.patch.object(extension.ExtensionManager,
                                'ENTRY_POINT_CACHE', {}),
              self.assertRaisesRegex(errors.ConfigError,
                                     '"broken" .*karbor_ng.nowhere')):
            protectables.Protectables()
