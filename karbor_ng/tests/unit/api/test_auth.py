# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Tokens: what the two strategies make of them."""

import datetime
import logging
import uuid

import fixtures
from keystonemiddleware import fixture as keystone_fixture
from keystonemiddleware import opts
from oslo_context import context
from oslotest import base

from karbor_ng import credentials
from karbor_ng import errors
from karbor_ng.api import auth
from karbor_ng.store import operations
from karbor_ng.tests.unit.api import environment
from karbor_ng.tests.unit.api import test_bad_input as good
from karbor_ng.tests.unit.api.environment import OTHER_PROJECT
from karbor_ng.tests.unit.api.environment import OWNER
from karbor_ng.tests.unit.api.environment import PROJECT


class NoAuthTest(base.BaseTestCase):
    """X-Auth-Token says who calls, and is believed."""

    def setUp(self):
        super().setUp()
        self.api = self.useFixture(environment.Api())

    def _status(self, token, **headers):
        return self.api.call('GET', f'/v1/{PROJECT}/plans', token=token,
                             **headers).status_int

    def test_user_and_project(self):
        self.assertEqual(200, self._status(OWNER))
        self.assertEqual(403, self._status(f'demo:{OTHER_PROJECT}'))

    def test_admin_by_name(self):
        self.assertEqual(200, self._status(f'admin:{OTHER_PROJECT}'))

    def test_roles(self):
        self.assertEqual(200, self._status(f'a:{OTHER_PROJECT}:admin'))
        self.assertEqual(200, self._status(f'a:{PROJECT}:x,reader'))
        self.assertEqual(403, self._status(f'admin:{PROJECT}:'))
        self.assertEqual(403, self._status(f'admin:{OTHER_PROJECT}:reader'))

    def test_malformed_tokens(self):
        for token in ('', 'a', 'a:', ':b', 'a:b:c:d', 'a b:c', 'a:b/c',
                      'a:' + 'b' * 256, 'a:b:ROLE'):
            self.assertEqual(401, self._status(token), token)

    def test_other_headers_say_nothing(self):
        self.assertEqual(403, self._status(
            f'demo:{OTHER_PROJECT}', **{
                'X-Roles': 'admin', 'X-Project-Id': PROJECT,
                'X-Identity-Status': 'Confirmed', 'X-Is-Admin': 'True',
                'OpenStack-System-Scope': 'all'}))
        self.assertEqual(200, self._status(
            OWNER, **{'OpenStack-System-Scope': 'all'}))
        self.assertEqual(401, self._status('', **{
            'X-Roles': 'admin', 'X-Project-Id': PROJECT, 'X-User-Id': 'a',
            'X-Identity-Status': 'Confirmed'}))

    def test_operations_get_no_credentials(self):
        self.api.add_history()
        self.api.call('POST', good.CHECKPOINTS,
                      {'checkpoint': good.CHECKPOINT})
        operation = self.api.db.read(
            operations.get, self.api.hints.queued[0])
        self.assertIsNone(operation.credentials)
        self.assertEqual('demo', operation.user_id)


class KeystoneTest(base.BaseTestCase):
    """The real middleware; only what Keystone would answer is made up."""

    def setUp(self):
        super().setUp()
        self.keystone = self.useFixture(keystone_fixture.AuthTokenFixture())
        self.api = self.useFixture(environment.Api())
        self.api.add_history()
        self.api.set('auth_strategy', 'keystone')
        for group, options in opts.list_auth_token_opts():
            self.api.conf.register_opts(options, group)
        self.api.set('www_authenticate_uri', 'http://keystone/v3',
                     'keystone_authtoken')
        self.sealer = credentials.Sealer([credentials.new_key()])
        self.app = self.api.make_app(sealer=self.sealer)

    def _token(self, project=PROJECT, roles=('member', 'reader'), **kwargs):
        token = uuid.uuid4().hex
        self.keystone.add_token_data(
            token, user_id='demo', project_id=project,
            role_list=list(roles), **kwargs)
        return token

    def _call(self, token, method='GET', path='/plans', body=None):
        return self.api.call(method, f'/v1/{PROJECT}{path}', body,
                             token=token, app=self.app)

    def test_member(self):
        answer = self._call(self._token())
        self.assertEqual(1, len(answer.json['plans']))

    def test_roles_count(self):
        body = {'plan': good.PLAN}
        for roles, status in ((['member'], 200), (['reader'], 403),
                              (['admin'], 200), (['other'], 403)):
            answer = self._call(self._token(roles=roles), 'POST', '/plans',
                                body)
            self.assertEqual(status, answer.status_int, roles)

    def test_log_names_nobody_for_a_token_of_nobody(self):
        seen = []

        class Handler(logging.Handler):
            def emit(self, record):
                seen.append(context.get_current())
        self.useFixture(fixtures.LogHandler(Handler()))
        self._call(self._token())
        answer = self._call(uuid.uuid4().hex)
        self.assertIsNone(seen[-1].user_id)
        self.assertEqual(answer.headers['x-openstack-request-id'],
                         seen[-1].request_id)

    def test_other_project(self):
        answer = self._call(self._token(OTHER_PROJECT))
        self.assertEqual(403, answer.status_int)

    def test_admin_of_other_project(self):
        answer = self._call(self._token(OTHER_PROJECT, ['admin']))
        self.assertEqual(200, answer.status_int)

    def test_no_token(self):
        answer = self._call('')
        self.assertEqual(401, answer.status_int)
        self.assertEqual(401, answer.json['unauthorized']['code'])
        self.assertEqual('Keystone uri="http://keystone/v3"',
                         answer.headers['WWW-Authenticate'])

    def test_unknown_token(self):
        answer = self._call(uuid.uuid4().hex)
        self.assertEqual(401, answer.json['unauthorized']['code'])

    def test_expired_token(self):
        expired = self._token(expires=datetime.datetime(2020, 1, 1))
        self.assertEqual(401, self._call(expired).status_int)

    def test_public_paths_need_none(self):
        for path, status in (('/', 300), ('/v1', 300), ('/healthcheck', 200)):
            answer = self.api.call('GET', path, token='', app=self.app)
            self.assertEqual(status, answer.status_int)

    def test_forged_headers(self):
        answer = self.api.call(
            'GET', f'/v1/{PROJECT}/plans', token='', app=self.app, **{
                'X-Identity-Status': 'Confirmed', 'X-Roles': 'admin',
                'X-Project-Id': PROJECT, 'X-User-Id': 'demo'})
        self.assertEqual(401, answer.status_int)

    def test_operations_keep_the_token_sealed(self):
        token = self._token()
        logs = self.useFixture(fixtures.FakeLogger(level=logging.DEBUG))
        self._call(token, 'POST', good.CHECKPOINTS,
                   {'checkpoint': good.CHECKPOINT})
        operation = self.api.db.read(
            operations.get, self.api.hints.queued[0])
        self.assertNotIn(token, operation.credentials)
        self.assertIn(token, self.sealer.open(operation.credentials))
        self.assertNotIn(token, logs.output)


class OtherStrategyTest(base.BaseTestCase):
    """A strategy that is handed in, as the all-in-one does."""

    def test_it_is_asked(self):
        class Closed:
            def __init__(self, app):
                self._app = app

            def __call__(self, environ, start_response):
                raise errors.Unauthorized('Nobody is in.')

        api = self.useFixture(environment.Api(auth=Closed))
        answer = api.call('GET', '/plans')
        self.assertEqual('Nobody is in.',
                         answer.json['unauthorized']['message'])
        self.assertEqual(300, api.call('GET', '/').status_int)

    def test_one_that_confirms_nothing(self):
        api = self.useFixture(environment.Api(auth=lambda app: app))
        self.assertEqual(401, api.call('GET', '/plans').status_int)

    def test_strategies_by_name(self):
        api = self.useFixture(environment.Api())
        self.assertIs(auth.NoAuth, auth.strategy(api.conf))
