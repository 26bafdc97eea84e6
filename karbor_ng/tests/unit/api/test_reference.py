# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The API reference, held against what the API says about itself.

Apart from the samples, which are held against what it answers.
"""

import pathlib
import re

from oslotest import base
import testscenarios
import yaml

from karbor_ng.api.v1 import routes

SOURCE = pathlib.Path(__file__).parents[4] / 'api-ref' / 'source'
PARAMETERS = yaml.safe_load((SOURCE / 'parameters.yaml').read_text())
_ITEM = re.compile(r'^   - ([\w-]+): (\w+)$', re.MULTILINE)
_STATUS = re.compile(r'^   - (\d+)', re.MULTILINE)


def sections():
    """Yield request and text of each section about one."""
    for page in sorted((SOURCE / 'v1').glob('*.inc')):
        for text in page.read_text().split('.. rest_method:: ')[1:]:
            yield text.partition('\n')[0], text


class SectionTest(testscenarios.WithScenarios, base.BaseTestCase):
    """Each section names what the description has, and nothing else."""

    scenarios = [(request, {'request': request, 'text': text})
                 for request, text in sections()]

    def setUp(self):
        super().setUp()
        self.document = routes.document()
        method, _space, path = self.request.partition(' ')
        path, _mark, self.query = path.partition('?')
        self.assertIn(path, self.document['paths'])
        self.operation = self.document['paths'][path][method.lower()]
        about, _rubric, self.answer = self.text.partition(
            '.. rubric:: Response')
        self.statuses, _rubric, self.asked = about.partition(
            '.. rubric:: Request')

    def _parameters(self, place):
        return {parameter['name']
                for parameter in self.operation['parameters']
                if parameter['in'] == place}

    def _written(self, text, *places):
        return {name for name, key in _ITEM.findall(text)
                if PARAMETERS[key]['in'] in places}

    def test_statuses(self):
        # The database can be away for everybody: the first page says it.
        self.assertEqual(set(self.operation['responses']) - {'503'},
                         set(_STATUS.findall(self.statuses)) - {'503'})

    def test_parameters_in_the_path(self):
        self.assertEqual(self._parameters('path'),
                         self._written(self.asked, 'path'))

    def test_parameters_in_the_query(self):
        self.assertEqual(self._parameters('query'),
                         self._written(self.asked, 'query'))

    def test_fields_of_bodies(self):
        body = self.operation.get('requestBody')
        self.assertEqual(self._fields(body) if body else set(),
                         self._written(self.asked, 'body'))

    def test_fields_of_answers(self):
        answer = next(response for status, response
                      in self.operation['responses'].items()
                      if status < '400')
        self.assertEqual(
            self._fields(answer) if 'content' in answer else set(),
            self._written(self.answer, 'body'))

    def _fields(self, described):
        """Return the names of fields: of the whole, and of its thing."""
        schema = described['content']['application/json']['schema']
        forms = schema.get('anyOf', [schema])
        if len(forms) > 1 and 'dry_run' in self._all_fields(forms):
            is_dry_run = self.query == 'dry_run=true'
            forms = [form for form in forms
                     if ('dry_run' in form['properties']) == is_dry_run]
        return self._all_fields(forms)

    def _all_fields(self, forms):
        found = set()
        for form in forms:
            for name, value in form.get('properties', {}).items():
                found |= {name, *self._properties(value)}
        return found

    def _properties(self, schema):
        schema = schema.get('items', schema)
        if '$ref' in schema:
            name = schema['$ref'].rpartition('/')[2]
            schema = self.document['components']['schemas'][name]
            if name in ('Link', 'Version'):
                return ()
        return schema.get('properties', ())
