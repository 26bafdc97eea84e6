# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Parameters of plans and restores."""

import copy

from oslotest import base

from karbor_ng import errors
from karbor_ng import parameters
from karbor_ng import resource

VOLUME = 'OS::Cinder::Volume'
SCHEMA = {
    'type': 'object',
    'properties': {
        'backup_mode': {'type': 'string',
                        'enum': ['full', 'incremental', 'auto'],
                        'default': 'auto'},
        'force': {'type': 'boolean', 'default': False},
        'size': {'type': 'integer', 'minimum': 1},
        'ratio': {'type': 'number'},
        'limit': {'type': ['integer', 'null'], 'default': None},
        'zones': {'type': 'array', 'items': {'type': 'string'},
                  'default': ['nova']},
    },
    'required': ['size'],
}
SCHEMAS = {VOLUME: SCHEMA, 'OS::Glance::Image': {'properties': {}}}


class CheckTest(base.BaseTestCase):

    def check(self, key=VOLUME, **options):
        return parameters.check({key: options}, SCHEMAS)[key]

    def refused(self, given, **kwargs):
        return str(self.assertRaises(errors.Invalid, parameters.check, given,
                                     SCHEMAS, **kwargs))

    def test_nothing(self):
        self.assertEqual({}, parameters.check({}, SCHEMAS))
        self.assertEqual({}, self.check())

    def test_keys(self):
        given = {VOLUME: {'force': True}, f'{VOLUME}#abc': {'size': 3}}
        self.assertEqual(given, parameters.check(given, SCHEMAS))

    def test_wrong_keys(self):
        for key in ('OS::Nova::Server', 'OS::Nova::Server#abc', '', '#abc',
                    f'{VOLUME}#', f' {VOLUME}'):
            self.assertIn(f'"{key}"', self.refused({key: {}}))

    def test_id_with_a_hash(self):
        self.assertEqual({'size': 3}, self.check(f'{VOLUME}#a#b', size=3))

    def test_text_of_old_clients(self):
        for given, wanted in (('True', True), ('false', False)):
            self.assertIs(wanted, self.check(force=given)['force'])
        self.assertEqual({'size': 5, 'ratio': 0.5, 'limit': 7},
                         self.check(size='5', ratio='0.5', limit='7'))

    def test_text_that_is_meant_as_text(self):
        self.assertEqual({'backup_mode': 'full'},
                         self.check(backup_mode='full'))

    def test_values_in_their_types(self):
        given = {'force': False, 'size': 5, 'ratio': 1.5, 'limit': None,
                 'zones': ['a', 'b'], 'backup_mode': 'auto'}
        self.assertEqual(given, self.check(**given))

    def test_wrong_values(self):
        for name, value in (('backup_mode', 'sometimes'), ('force', 'maybe'),
                            ('force', 1), ('size', 0), ('size', '0'),
                            ('size', 'five'), ('size', True), ('ratio', 'x'),
                            ('ratio', 'nan'), ('ratio', '-inf'),
                            ('zones', 'nova'), ('zones', [1]),
                            ('backup_mode', None)):
            said = self.refused({VOLUME: {name: value}})
            self.assertIn(f'parameters: {VOLUME}.{name}', said)

    def test_unknown_option(self):
        said = self.refused({VOLUME: {'colour': 'red'}})
        self.assertIn('colour', said)
        self.assertIn('backup_mode', said)
        self.assertIn('there are: none',
                      self.refused({'OS::Glance::Image': {'colour': 1}}))

    def test_name_of_the_field(self):
        said = self.refused({'nonsense': {}}, what='restore parameters')
        self.assertTrue(said.startswith('restore parameters:'), said)

    def test_required_options_may_come_from_elsewhere(self):
        self.assertEqual({'force': True}, self.check(force=True))

    def test_options_that_are_none(self):
        for options in (None, [], 'text', 5):
            self.assertIn(VOLUME, self.refused({VOLUME: options}))

    def test_what_is_given_stays_as_it_is(self):
        given = {VOLUME: {'size': '5', 'zones': ['a']}}
        before = copy.deepcopy(given)
        parameters.check(given, SCHEMAS)
        self.assertEqual(before, given)


class EffectiveTest(base.BaseTestCase):

    def effective(self, given, resource_id='abc', schema=SCHEMA):
        return parameters.effective(
            resource.Resource(type=VOLUME, id=resource_id, name='data'),
            given, schema)

    def test_defaults(self):
        self.assertEqual(
            {'backup_mode': 'auto', 'force': False, 'limit': None,
             'zones': ['nova']}, self.effective({}))
        self.assertEqual({}, self.effective({}, schema={}))

    def test_order(self):
        given = {VOLUME: {'force': True, 'size': 1},
                 f'{VOLUME}#abc': {'size': 2},
                 'OS::Nova::Server': {'size': 3}}
        mine, other = self.effective(given), self.effective(given, 'xyz')
        self.assertEqual((True, 2, 'auto'), (
            mine['force'], mine['size'], mine['backup_mode']))
        self.assertEqual((True, 1), (other['force'], other['size']))

    def test_defaults_are_not_shared(self):
        self.effective({})['zones'].append('mine')
        self.assertEqual(['nova'], self.effective({})['zones'])
