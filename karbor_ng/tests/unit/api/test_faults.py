# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Errors that nobody wanted, and limits: what a caller hears of them."""

import logging

import fixtures
from oslo_db import exception as db_errors
from oslotest import base

from karbor_ng import errors
from karbor_ng.api import faults
from karbor_ng.plugins import api as plugin_api
from karbor_ng.protectables import Protectables
from karbor_ng.tests.unit.api import environment
from karbor_ng.tests.unit.api import test_bad_input as good

SECRET = 'mysql://karbor:secret@db/karbor'


class FailingDatabase:
    """A database where everything fails in one way."""

    def __init__(self, error):
        self._error = error

    def read(self, *args, **kwargs):
        raise self._error

    write = read


class FailureTest(base.BaseTestCase):
    """Failures inside."""

    def setUp(self):
        super().setUp()
        self.api = self.useFixture(environment.Api())
        self.logs = self.useFixture(fixtures.FakeLogger(level=logging.INFO))

    def _call(self, error, path='/plans'):
        app = self.api.make_unchecked_app(db=FailingDatabase(error))
        return self.api.call('GET', path, app=app)

    def test_unexpected(self):
        for error in (ValueError(SECRET), errors.BankError(SECRET),
                      errors.ConfigError(SECRET), RecursionError(SECRET)):
            answer = self._call(error)
            self.assertEqual(500, answer.status_int)
            self.assertEqual(500, answer.json['computeFault']['code'])
            self.assertNotIn('secret', answer.text)
            self.assertIn(SECRET, self.logs.output)
            self.assertIn(answer.headers['x-openstack-request-id'],
                          self.logs.output)

    def test_database_away(self):
        for path in ('/plans', '/restores'):
            answer = self._call(db_errors.DBConnectionError(SECRET), path)
            self.assertEqual(503, answer.status_int)
            self.assertEqual(503, answer.json['serviceUnavailable']['code'])
            self.assertNotIn('secret', answer.text)

    def test_a_database_that_is_really_away(self):
        self.api.db.engine.dispose()
        self.api.set('auth_strategy', 'noauth')
        with open(self.api.db.engine.url.database, 'wb') as file:
            file.write(b'this is no database' * 1000)
        answer = self.api.call('GET', '/plans')
        self.assertEqual(500, answer.status_int)
        self.assertNotIn('sqlite', answer.text.lower())

    def test_long_messages_are_cut(self):
        answer = self._call(errors.Invalid('x' * 100000))
        self.assertLess(len(answer.text), 3000)

    def test_names(self):
        for kind, name in (
                (errors.Invalid, 'badRequest'),
                (errors.Unauthorized, 'unauthorized'),
                (errors.Forbidden, 'forbidden'),
                (errors.NotFound, 'itemNotFound'),
                (errors.Conflict, 'conflictingRequest'),
                (errors.InUse, 'conflictingRequest'),
                (errors.OverQuota, 'overLimit'),
                (errors.UnsupportedMediaType, 'badMediaType'),
                (errors.Unavailable, 'serviceUnavailable')):
            answer = self._call(kind('Because.'))
            fault = {'code': kind.code, 'message': 'Because.'}
            if kind.code == 413:
                fault['retryAfter'] = '0'
            self.assertEqual({name: fault}, answer.json)
            self.assertEqual(kind.code, answer.status_int)


class ForeignTest(base.BaseTestCase):
    """Errors of the middleware between."""

    def _fault(self, body, content_type='text/html', **headers):
        def app(environ, start_response):
            start_response('503 Service Unavailable', [
                ('Content-Type', content_type),
                ('Content-Length', str(len(body))), *headers.items()])
            return [body]
        request = environment.webob.Request.blank('/')
        return request.get_response(faults.Faults(app))

    def test_page(self):
        answer = self._fault(b'<h1>no</h1>', **{'Retry-After': '7'})
        self.assertEqual(503, answer.json['serviceUnavailable']['code'])
        self.assertIn('Keystone does not answer',
                      answer.json['serviceUnavailable']['message'])
        self.assertEqual('7', answer.headers['Retry-After'])

    def test_message(self):
        answer = self._fault(b'{"error": {"message": "Keystone is away."}}',
                             'application/json')
        self.assertEqual('Keystone is away.',
                         answer.json['serviceUnavailable']['message'])

    def test_json_of_another_kind(self):
        for body in (b'[]', b'{"error": "no"}', b'{', b'null'):
            answer = self._fault(body, 'application/json')
            self.assertIn('Keystone does not answer',
                          answer.json['serviceUnavailable']['message'])


class LimitTest(base.BaseTestCase):
    """Quotas and the size of bodies."""

    def setUp(self):
        super().setUp()
        self.api = self.useFixture(environment.Api())
        self.api.add_history()

    def test_plans(self):
        self.api.set('quota_plans', 2)
        statuses = [self.api.call('POST', '/plans', {'plan': good.PLAN})
                    for _number in range(2)]
        self.assertEqual([200, 413],
                         [answer.status_int for answer in statuses])
        self.assertEqual('0', statuses[1].json['overLimit']['retryAfter'])
        self.assertEqual('0', statuses[1].headers['Retry-After'])
        other = self.api.call('POST', '/plans', {'plan': good.PLAN},
                              token=environment.STRANGER)
        self.assertEqual(200, other.status_int)

    def test_checkpoints(self):
        self.api.set('quota_checkpoints', 2)
        answer = self.api.call('POST', good.CHECKPOINTS,
                               {'checkpoint': good.CHECKPOINT})
        self.assertEqual(413, answer.status_int)
        self.assertEqual([], self.api.hints.queued)

    def test_body(self):
        limit = 4 * 1024 * 1024
        frame = len('{"plan":""}')
        for size, status in ((limit, 400), (limit + 1, 413)):
            body = b'{"plan":"%s"}' % (b'x' * (size - frame))
            answer = self.api.call('POST', '/plans', body)
            self.assertEqual(status, answer.status_int, answer.text)
        self.assertEqual(413, answer.json['overLimit']['code'])

    def test_body_of_unknown_length(self):
        request = environment.webob.Request.blank(
            f'/v1/{environment.PROJECT}/plans', method='POST',
            headers={'X-Auth-Token': environment.OWNER,
                     'Content-Type': 'application/json'})
        request.body = b' ' * (4 * 1024 * 1024 + 1)
        request.environ['wsgi.input_terminated'] = True
        del request.environ['CONTENT_LENGTH']
        answer = request.get_response(self.api.app)
        self.assertEqual(413, answer.status_int, answer.text)


class BrokenCloud(plugin_api.Protectable):
    """Whose cloud fails as it is told."""

    resource_type = 'OS::Test::Broken'

    def __init__(self, error):
        self._error = error

    def list(self, session, **kwargs):
        raise self._error

    def show(self, session, resource_id, parameters=None):
        raise self._error

    def children(self, session, parents):
        return {}


class SomeCloud:
    """A cloud with sessions, whatever they are good for."""

    def api_session(self, context):
        return object()


class CloudTest(base.BaseTestCase):
    """What clouds answer when they are asked for resources."""

    def _statuses(self, error, **make):
        api = self.useFixture(environment.Api())
        app = api.make_app(
            protectables=Protectables(extra=[BrokenCloud(error)]), **make)
        path = f'/protectables/{BrokenCloud.resource_type}/instances'
        answers = [api.call('GET', each, app=app)
                   for each in (path, f'{path}/1')]
        return {answer.status_int for answer in answers}, answers[0].text

    def test_failure(self):
        self.useFixture(fixtures.FakeLogger())
        statuses, text = self._statuses(RuntimeError('It rains.'),
                                        cloud=SomeCloud())
        self.assertEqual({503}, statuses)
        self.assertIn('It rains.', text)

    def test_refusals(self):
        for error in (errors.Unauthorized, errors.Forbidden, errors.Invalid,
                      errors.Unavailable):
            statuses, text = self._statuses(error('No.'), cloud=SomeCloud())
            self.assertEqual({error.code}, statuses)
            self.assertIn('No.', text)

    def test_no_cloud(self):
        statuses, text = self._statuses(AttributeError('None.get'))
        self.assertEqual({503}, statuses)
        self.assertIn('no access to a cloud', text)
        self.assertNotIn('None.get', text)
