# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The description of the API: it leaves nothing out, and it is true."""

import json
import re
import sys

import jsonschema
from oslotest import base
import testscenarios

from karbor_ng.api import declaration
from karbor_ng.api import listing
from karbor_ng.api import openapi
from karbor_ng.api import validation
from karbor_ng.api.schemas import base as schemas
from karbor_ng.api.v1 import routes
from karbor_ng.tests import conformance
from karbor_ng.tests.unit.api import environment

VERBS = {name: getattr(routes.CONTROLLERS[noun], word)
         for verbs in routes.ROUTES.values() for name in verbs.values()
         for noun, _dot, word in [name.partition('.')]}
READERS = (validation.Body, validation.Query, listing.Query)


class DeclarationTest(testscenarios.WithScenarios, base.BaseTestCase):
    """Every verb declares the objects that it reads requests with."""

    scenarios = [(name, {'verb': verb}) for name, verb in VERBS.items()]

    def test_it_declares_what_it_reads_with(self):
        declared = declaration.of(self.verb)
        self.assertIsNotNone(declared, 'See api/declaration.py.')
        known = vars(sys.modules[self.verb.__module__])
        for name in self.verb.__code__.co_names:
            if isinstance(known.get(name), READERS):
                self.assertIn(known[name], [*declared.bodies, declared.query],
                              name)

    def test_everything_that_reads_is_declared(self):
        module = self.verb.__module__
        declared = [thing for verb in VERBS.values()
                    if verb.__module__ == module
                    for thing in (*declaration.of(verb).bodies,
                                  declaration.of(verb).query)]
        for name, value in vars(sys.modules[module]).items():
            if isinstance(value, READERS):
                self.assertIn(value, declared, name)


class DocumentTest(base.BaseTestCase):
    """The document as a whole."""

    def setUp(self):
        super().setUp()
        self.document = routes.document()

    def _operations(self):
        for path, verbs in self.document['paths'].items():
            for method, operation in verbs.items():
                yield path, method, operation

    def test_every_route_is_in_it(self):
        described = {
            (re.sub(r'\{\w+\}', '*', path).strip('/'), method.upper())
            for path, method, _operation in self._operations()}
        self.assertEqual({(path, method) for path, verbs
                          in routes.ROUTES.items() for method in verbs},
                         described)

    def test_it_has_the_schema_that_validates(self):
        components = openapi.Components()
        for _path, _method, operation in self._operations():
            bodies = declaration.of(VERBS[
                operation['operationId'].removesuffix('.v1')]).bodies
            if not bodies:
                self.assertNotIn('requestBody', operation)
                continue
            found = operation['requestBody']['content'][
                'application/json']['schema']
            self.assertEqual(
                [components.put(body.schema) for body in bodies],
                found.get('anyOf', [found]))

    def test_schemas_are_schemas(self):
        for schema in self.document['components']['schemas'].values():
            jsonschema.Draft202012Validator.check_schema(schema)

    def test_answers_have_no_unknown_fields(self):
        """Otherwise nothing would notice a field that nobody described."""
        for name, schema in self.document['components']['schemas'].items():
            self.assertIs(False, schema['additionalProperties'], name)

    def test_operations_have_names_of_their_own(self):
        names = [operation['operationId']
                 for _path, _method, operation in self._operations()]
        self.assertEqual(sorted(set(names)), sorted(names))

    def _links(self, method, path):
        return self.document['paths'][f'/v1/{{project_id}}/{path}'][method][
            'responses']['200'].get('links', {})

    def test_links_lead_from_a_plan_to_it(self):
        links = self._links('post', 'plans')
        self.assertEqual({'plans.show', 'plans.update', 'plans.delete'},
                         set(links))
        self.assertEqual({'project_id': '$request.path.project_id',
                          'plan_id': '$response.body#/plan/id'},
                         links['plans.show']['parameters'])

    def test_links_lead_from_lists_to_all_below(self):
        links = self._links('get', 'providers')
        self.assertEqual({
            'project_id': '$request.path.project_id',
            'provider_id': '$response.body#/providers/0/id'},
            links['checkpoints.create']['parameters'])

    def test_links_find_the_id_whatever_the_envelope_is_called(self):
        links = self._links('post', 'triggers')
        self.assertEqual('$response.body#/trigger_info/id',
                         links['triggers.show']['parameters']['trigger_id'])
        self.assertEqual(set(links), set(self._links('get', 'triggers')))

    def test_every_link_leads_somewhere(self):
        known = {operation['operationId']: path
                 for path, _method, operation in self._operations()}
        for path, _method, operation in self._operations():
            for response in operation['responses'].values():
                for link in response.get('links', {}).values():
                    target = known[link['operationId']]
                    self.assertEqual(set(re.findall(r'{(\w+)}', target)),
                                     set(link['parameters']), path)

    def test_every_noun_that_is_made_is_linked(self):
        for path, method, operation in self._operations():
            if method == 'post' and f'{path}/{{' in '\n'.join(
                    self.document['paths']):
                self.assertIn('links', operation['responses']['200'], path)

    def test_two_schemas_of_one_name_are_refused(self):
        components = openapi.Components()
        components.put(schemas.thing('Ship', {'id': schemas.UUID}))
        self.assertRaises(ValueError, components.put, schemas.thing(
            'Ship', {'name': schemas.TEXT}))

    def test_a_verb_that_declares_nothing_is_refused(self):
        class Ships:
            def list(self, req, resp):
                return {}
        self.assertRaises(ValueError, openapi.build, {
            'v1/*/ships': {'GET': 'ships.list'}}, {'ships': Ships})


class ServedTest(base.BaseTestCase):
    """Everybody can read the document."""

    def setUp(self):
        super().setUp()
        self.api = self.useFixture(environment.Api())

    def test_without_a_token(self):
        answer = self.api.call('GET', '/v1/openapi.json', token='')
        self.assertEqual(200, answer.status_int)
        self.assertEqual({**routes.document(), 'servers': [
            {'url': 'http://localhost'}]}, answer.json)

    def test_it_names_the_address_that_users_know(self):
        self.api.set('osapi_karbor_base_URL', 'https://cloud.example/data')
        answer = self.api.call('GET', '/v1/openapi.json', token='')
        self.assertEqual([{'url': 'https://cloud.example/data'}],
                         answer.json['servers'])

    def test_it_can_not_be_changed(self):
        answer = self.api.call('PUT', '/v1/openapi.json', {}, token='')
        self.assertEqual(405, answer.status_int)


class ConformanceTest(base.BaseTestCase):
    """What checks all other tests sees what is wrong."""

    def setUp(self):
        super().setUp()
        self.description = conformance.Description(routes.document())
        self.plan = {
            'id': environment.PLAN_ID, 'name': 'n', 'description': None,
            'resources': [], 'provider_id': environment.PROVIDER_ID,
            'status': 'started', 'parameters': {}}
        self.path = f'/v1/p/plans/{environment.PLAN_ID}'

    def _check(self, status, body, headers=('x-openstack-request-id',)):
        self.description.check('GET', self.path, status, headers,
                               json.dumps(body).encode())

    def _refused(self, words, *answer, **kwargs):
        error = self.assertRaises(AssertionError, self._check, *answer,
                                  **kwargs)
        self.assertIn(words, str(error))

    def test_right(self):
        self._check(200, {'plan': self.plan})

    def test_new_field(self):
        self._refused('colour', 200, {'plan': {**self.plan, 'colour': 1}})

    def test_missing_field(self):
        self.plan.pop('status')
        self._refused('status', 200, {'plan': self.plan})

    def test_wrong_type(self):
        self._refused('plan.name', 200, {'plan': {**self.plan, 'name': 5}})

    def test_malformed_id(self):
        self._refused('plan.id', 200, {'plan': {**self.plan, 'id': 'x'}})

    def test_undescribed_status(self):
        self._refused('not described', 409, {
            'conflictingRequest': {'code': 409, 'message': 'm'}})

    def test_an_error_in_another_form(self):
        self._refused('404', 404, {'error': 'm'})

    def test_an_error_of_another_kind(self):
        self._refused('404', 404, {'badRequest': {'code': 400,
                                                  'message': 'm'}})

    def test_no_request_id(self):
        self._refused('id of the request', 200, {'plan': self.plan},
                      headers=())

    def test_a_body_where_none_should_be(self):
        error = self.assertRaises(
            AssertionError, self.description.check, 'DELETE', self.path, 200,
            ['x-openstack-request-id'], b'{}')
        self.assertIn('has a body', str(error))
