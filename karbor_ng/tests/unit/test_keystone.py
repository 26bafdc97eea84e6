# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Sessions and the words for what Keystone refuses, with the wire mocked."""

import concurrent.futures
import datetime
import json
import logging
import traceback
from unittest import mock

import fixtures
from keystoneauth1 import exceptions
from keystoneauth1 import fixture as keystone_fixture
from keystoneauth1 import loading
from keystoneauth1.access import access
from keystoneauth1.identity import access as access_plugin
from oslo_config import cfg
from oslo_context import fixture as context_fixture
from oslotest import base
import requests
from requests_mock.contrib import fixture as requests_fixture
import webob

from karbor_ng import context
from karbor_ng import errors
from karbor_ng import keystone
from karbor_ng.api import single_user

KEYSTONE = 'http://keystone.test:5000/v3'
CINDER = 'http://cinder.test:8776/v3'
VOLUMES = {'service_type': 'block-storage'}
HOUR = datetime.timedelta(hours=1)


def now():
    return datetime.datetime.now(datetime.UTC)


def token_body(expires_in=HOUR, **kwargs):
    """A token body with a catalog of two regions and two interfaces."""
    body = keystone_fixture.V3Token(expires=now() + expires_in, **kwargs)
    if not kwargs.get('project_id'):
        body.set_project_scope()
    body.add_role(name='member')
    identity = body.add_service('identity')
    identity.add_endpoint('public', KEYSTONE, region='here')
    volumes = body.add_service('block-storage')
    for region in ('here', 'there'):
        for interface in ('public', 'internal'):
            volumes.add_endpoint(interface, f'{CINDER}/{region}/{interface}',
                                 region=region)
    return body


def kept(token, body):
    return json.dumps({'token': token, 'body': body})


class Wired(base.BaseTestCase):
    """A test with a wire that answers what it is told to."""

    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger(level=logging.DEBUG))
        self.wire = self.useFixture(requests_fixture.Fixture())
        self.wire.get(KEYSTONE, json={
            'version': keystone_fixture.V3Discovery(KEYSTONE)})
        self.sleep = self.useFixture(
            fixtures.MockPatch('time.sleep')).mock

    def sent(self, method, url):
        return [request for request in self.wire.request_history
                if request.method == method and request.url.startswith(url)]


class WithCloud(Wired):
    """A test with a Cloud, a Keystone and a Cinder."""

    def setUp(self):
        super().setUp()
        self.own = self.wire.post(
            f'{KEYSTONE}/auth/tokens', json=token_body(),
            headers={'X-Subject-Token': 'our-own-secret'})
        self.check = self.wire.get(f'{KEYSTONE}/auth/tokens',
                                   json=token_body())
        self.volumes = self.wire.get(f'{CINDER}/here/internal/volumes',
                                     json={})
        self.cloud = keystone.Cloud(self.conf())

    def conf(self, **overrides):
        conf = cfg.ConfigOpts()
        conf.register_opts(keystone.OPTS, group=keystone.GROUP)
        conf([])
        values = {'auth_type': 'password', 'auth_url': KEYSTONE,
                  'username': 'karbor', 'password': 'very-secret',
                  'project_name': 'service', 'user_domain_id': 'default',
                  'project_domain_id': 'default', 'region_name': 'here'}
        for name, value in {**values, **overrides}.items():
            conf.set_override(name, value, group=keystone.GROUP)
        return conf

    def user_session(self, body=None):
        return self.cloud.user_session(
            kept('users-secret', body or token_body()))

    def get_volumes(self, session):
        return session.get('/volumes', endpoint_filter=VOLUMES)


class AnswerTest(WithCloud):
    """Whether Keystone answers at all."""

    def test_it_answers(self):
        self.cloud.check()
        self.assertEqual([], self.sent('POST', KEYSTONE))

    def test_it_is_away(self):
        for trouble in ({'status_code': 503},
                        {'exc': requests.exceptions.ConnectTimeout},
                        {'exc': requests.exceptions.ConnectionError}):
            self.wire.get(KEYSTONE, **trouble)
            problem = self.assertRaises(errors.Unavailable, self.cloud.check)
            self.assertIn(KEYSTONE, str(problem))
        self.sleep.assert_not_called()


class CloudTest(WithCloud):

    def test_threads_that_meet_the_end_of_our_token_together(self):
        session = self.user_session()
        answers = [{'status_code': 401}, {'json': {}}]
        self.wire.get(f'{CINDER}/here/internal/volumes', answers)
        # Another thread has dropped it, and has not got a new one yet.
        session.auth.service_auth.invalidate()
        real = session.auth.get_headers
        self.useFixture(fixtures.MockPatchObject(
            session.auth, 'get_headers', side_effect=lambda used: (
                real(used), session.auth.service_auth.invalidate())[0]))
        self.assertEqual(200, self.get_volumes(session).status_code)

    def test_service_session_is_made_once_by_many_threads(self):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(self.cloud.service_session)
                     for _ in range(40)]
            sessions = {id(one.result()) for one in asked}
            list(pool.map(lambda _: self.get_volumes(
                self.cloud.service_session()), range(40)))
        self.assertEqual(1, len(sessions))
        self.assertEqual(1, self.own.call_count)

    def test_application_credential_as_service_user(self):
        conf = self.conf(auth_type='v3applicationcredential')
        conf.register_opts(
            [cfg.StrOpt('application_credential_id'),
             cfg.StrOpt('application_credential_secret')],
            group=keystone.GROUP)
        conf.set_override('application_credential_id', 'abc',
                          group=keystone.GROUP)
        conf.set_override('application_credential_secret', 'def',
                          group=keystone.GROUP)
        self.get_volumes(keystone.Cloud(conf).service_session())
        self.assertEqual(
            ['application_credential'],
            self.own.last_request.json()['auth']['identity']['methods'])

    def test_credentials_in_another_section(self):
        conf = self.conf(auth_type=None, auth_section='keystone_authtoken',
                         username=None, password=None)
        loading.register_auth_conf_options(conf, 'keystone_authtoken')
        conf.set_override('auth_type', 'password', group='keystone_authtoken')
        keystone.Cloud(conf)._register(
            loading.get_auth_plugin_conf_options('password'),
            'keystone_authtoken')
        for name, value in (('auth_url', KEYSTONE), ('username', 'other'),
                            ('password', 'secret')):
            conf.set_override(name, value, group='keystone_authtoken')
        self.get_volumes(keystone.Cloud(conf).service_session())
        self.assertEqual('other', self.own.last_request.json()[
            'auth']['identity']['password']['user']['name'])

    def test_service_role(self):
        problem = self.assertRaises(errors.ConfigError,
                                    self.cloud.check_service_user)
        self.assertIn('has no role "service"', str(problem))
        body = token_body()
        body.add_role(name='service')
        self.wire.post(f'{KEYSTONE}/auth/tokens', json=body,
                       headers={'X-Subject-Token': 'our-own-secret'})
        keystone.Cloud(self.conf()).check_service_user()

    def test_service_roles_of_other_names(self):
        keystone.Cloud(self.conf(
            service_roles=['expert', 'member'])).check_service_user()

    def test_service_user_that_is_refused(self):
        self.wire.post(f'{KEYSTONE}/auth/tokens', status_code=401)
        problem = self.assertRaises(errors.ConfigError,
                                    self.cloud.check_service_user)
        self.assertIn('HTTP 401', str(problem))

    def test_service_user_of_a_keystone_that_is_away(self):
        self.wire.post(f'{KEYSTONE}/auth/tokens', status_code=503)
        self.cloud.check_service_user()
        self.assertIn('Whether it has its role is not known',
                      self.log.output)

    def test_clouds_are_told_which_request_it_is_for(self):
        self.useFixture(context_fixture.ClearRequestContext())
        session = self.user_session()
        for known, sent in ((None, None), ('req-1', 'req-1'), ('x', None)):
            if known:
                context.RequestContext(request_id=known)
            self.get_volumes(session)
            self.assertEqual(sent, self.volumes.last_request.headers.get(
                'X-OpenStack-Request-ID'))
        context.RequestContext(request_id='req-1',
                               global_request_id='req-2')
        self.get_volumes(session)
        self.assertEqual('req-2', self.volumes.last_request.headers[
            'X-OpenStack-Request-ID'])

    def test_user_session_costs_one_question(self):
        self.cloud.service_session().get_token()
        before = len(self.wire.request_history)
        self.user_session()
        after = self.wire.request_history[before:]
        self.assertEqual(1, len(after))
        self.assertEqual('allow_expired=1', after[0].query)
        self.assertEqual('users-secret', after[0].headers['X-Subject-Token'])
        self.assertEqual('our-own-secret', after[0].headers['X-Auth-Token'])

    def test_an_expired_token_travels_with_the_service_token(self):
        session = self.user_session(token_body(expires_in=-HOUR))
        self.get_volumes(session)
        sent = self.volumes.last_request.headers
        self.assertEqual('users-secret', sent['X-Auth-Token'])
        self.assertEqual('our-own-secret', sent['X-Service-Token'])
        self.assertTrue(sent['User-Agent'].startswith('karbor-protection'))

    def test_the_fresh_body_counts(self):
        fresh = token_body(project_id='renamed', project_name='p')
        self.wire.get(f'{KEYSTONE}/auth/tokens', json=fresh)
        self.assertEqual('renamed', self.user_session().get_project_id())

    def test_a_revoked_token_is_called_revoked(self):
        exc = self._refused_at_the_check(404, body=token_body())
        self.assertIsInstance(exc, errors.CredentialsError)
        self.assertIn('was revoked', str(exc))
        self.assertNotIn('expired', str(exc))

    def test_a_token_expired_too_long_ago_names_the_window(self):
        exc = self._refused_at_the_check(404,
                                         body=token_body(expires_in=-HOUR))
        self.assertIsInstance(exc, errors.CredentialsError)
        self.assertIn('allow_expired_window', str(exc))
        self.assertIn(f'{now() - HOUR:%Y-%m-%d}'[:8], str(exc))

    def test_a_service_user_without_its_role(self):
        exc = self._refused_at_the_check(403)
        self.assertIsInstance(exc, errors.ConfigError)
        self.assertIn('role "service"', str(exc))

    def test_keystone_out_of_order(self):
        exc = self._refused_at_the_check(503)
        self.assertIsInstance(exc, errors.Unavailable)

    def _refused_at_the_check(self, status, body=None):
        quoted = {'error': {'code': status,
                            'message': 'Could not find token: users-secret'}}
        self.wire.get(f'{KEYSTONE}/auth/tokens', status_code=status,
                      json=quoted)
        exc = self.assertRaises(errors.Error, self.user_session, body)
        self.assertNotIn('users-secret',
                         ''.join(traceback.format_exception(exc)))
        return exc

    def test_keystone_out_of_reach(self):
        self.wire.get(f'{KEYSTONE}/auth/tokens',
                      exc=requests.exceptions.ConnectionError('no route'))
        exc = self.assertRaises(errors.Unavailable, self.user_session)
        self.assertIn('no route', str(exc))

    def test_a_wrong_password_of_the_service_user(self):
        self.wire.post(f'{KEYSTONE}/auth/tokens', status_code=401)
        exc = self.assertRaises(errors.ConfigError, self.user_session)
        self.assertIn('[service_user]', str(exc))

    def test_no_service_user(self):
        cloud = keystone.Cloud(self.conf(auth_type=None))
        exc = self.assertRaises(errors.ConfigError, cloud.service_session)
        self.assertIn('auth_type', str(exc))

    def test_an_incomplete_service_user(self):
        cloud = keystone.Cloud(self.conf(auth_url=None))
        exc = self.assertRaises(errors.ConfigError, cloud.service_session)
        self.assertIn('auth_url', str(exc))

    def test_an_unknown_way_to_authenticate(self):
        cloud = keystone.Cloud(self.conf(auth_type='paswort'))
        exc = self.assertRaises(errors.ConfigError, cloud.service_session)
        self.assertIn('paswort', str(exc))

    def test_an_operation_without_credentials(self):
        self.assertRaises(errors.CredentialsError,
                          self.cloud.user_session, None)

    def test_a_service_that_refuses_an_operations_token(self):
        self._refuse_volumes()
        exc = self.assertRaises(errors.CredentialsError, self.get_volumes,
                                self.user_session())
        self.assertIn('was revoked', str(exc))
        self.assertIn(f'{CINDER}/here/internal/volumes', str(exc))

    def test_clients_that_look_at_the_status_themselves(self):
        self._refuse_volumes()
        self.assertRaises(
            errors.CredentialsError, self.user_session().get, '/volumes',
            endpoint_filter=VOLUMES, raise_exc=False)

    def test_a_service_that_refuses_the_service_user(self):
        self._refuse_volumes()
        self.assertRaises(exceptions.Unauthorized, self.get_volumes,
                          self.cloud.service_session())

    def test_version_discovery_may_be_refused(self):
        # keystoneauth then goes on with the catalog's own URL.
        self.wire.get(f'{CINDER}/here/internal', status_code=401)
        self.user_session().get(
            '/volumes', endpoint_filter={**VOLUMES, 'min_version': '3'})
        self.assertTrue(self.volumes.called)

    def _refuse_volumes(self):
        self.wire.get(f'{CINDER}/here/internal/volumes', status_code=401)

    def test_the_service_users_end_amid_an_operation(self):
        session = self.user_session()
        self.wire.post(f'{KEYSTONE}/auth/tokens', status_code=401)
        self._refuse_volumes()
        exc = self.assertRaises(errors.ConfigError, self.get_volumes, session)
        self.assertIn('[service_user]', str(exc))

    def test_api_session_asks_keystone_nothing_about_the_caller(self):
        caller = context.RequestContext(auth_token='callers-secret',
                                        token_info=token_body())
        self.get_volumes(self.cloud.api_session(caller))
        self.assertFalse(self.check.called)
        sent = self.volumes.last_request.headers
        self.assertEqual('callers-secret', sent['X-Auth-Token'])
        self.assertEqual('our-own-secret', sent['X-Service-Token'])

    def test_api_session_refused(self):
        self._refuse_volumes()
        caller = context.RequestContext(auth_token='callers-secret',
                                        token_info=token_body())
        self.assertRaises(errors.Unauthorized, self.get_volumes,
                          self.cloud.api_session(caller))

    def test_api_session_without_a_token(self):
        self.assertRaises(errors.Unauthorized, self.cloud.api_session,
                          context.RequestContext())

    def test_region_and_interface(self):
        self.assertEqual(f'{CINDER}/here/internal',
                         self.user_session().get_endpoint(**VOLUMES))
        self.assertEqual(f'{CINDER}/here/public',
                         self.user_session().get_endpoint(
                             interface='public', **VOLUMES))
        there = keystone.Cloud(self.conf(region_name='there',
                                         valid_interfaces=['public']))
        session = there.api_session(context.RequestContext(
            auth_token='callers-secret', token_info=token_body()))
        self.assertEqual(f'{CINDER}/there/public',
                         session.get_endpoint(**VOLUMES))
        self.assertEqual(
            f'{CINDER}/there/public',
            session.get_endpoint_data(discover_versions=False,
                                      **VOLUMES).url)

    def test_secrets_never_reach_the_log(self):
        self._refuse_volumes()
        self.assertRaises(errors.CredentialsError, self.get_volumes,
                          self.user_session())
        self._refused_at_the_check(404)
        # Proof that the log was listening.
        self.assertIn(f'{CINDER}/here/internal/volumes', self.log.output)
        for secret in ('users-secret', 'our-own-secret', 'very-secret'):
            self.assertNotIn(secret, self.log.output)


class RetriesTest(WithCloud):
    """That sessions send through what knows about patience; see there."""

    def setUp(self):
        super().setUp()
        self.url = f'{CINDER}/here/internal/volumes'

    def tries(self, session, method, **answer):
        self.wire.request(method, self.url, **answer)
        self.assertRaises(exceptions.ClientException, session.request,
                          '/volumes', method, endpoint_filter=VOLUMES)
        return len(self.sent(method, self.url))

    def test_each_kind_of_failure_has_its_option(self):
        cloud = keystone.Cloud(self.conf(connect_retries=1,
                                         status_code_retries=2))
        session = cloud.service_session()
        self.assertEqual(3, self.tries(session, 'GET', status_code=500))
        self.assertEqual(2, self.tries(
            session, 'DELETE', exc=requests.exceptions.ReadTimeout))

    def test_what_a_service_asks_for_is_cut_off(self):
        cloud = keystone.Cloud(self.conf(retry_after_max=7))
        self.tries(cloud.service_session(), 'GET', status_code=429,
                   headers={'Retry-After': '3600'})
        # Threads of other tests may sleep as well, for less than a second.
        pauses = [seconds for (seconds,), _named
                  in self.sleep.call_args_list if seconds > 1]
        self.assertEqual(3, len(pauses))
        for seconds in pauses:
            self.assertTrue(7 <= seconds < 9, seconds)

    def test_a_clients_wish_to_repeat_creating_is_not_heard(self):
        self.wire.post(self.url, status_code=500)
        self.assertRaises(
            exceptions.InternalServerError, self.user_session().post,
            '/volumes', endpoint_filter=VOLUMES, status_code_retries=5,
            retriable_status_codes=[500], connect_retries=5)
        self.assertEqual(1, len(self.sent('POST', self.url)))

    def test_a_token_that_is_lost_on_its_way_is_fetched_again(self):
        self.wire.post(f'{KEYSTONE}/auth/tokens', [
            {'exc': requests.exceptions.ConnectionError},
            {'json': token_body(),
             'headers': {'X-Subject-Token': 'our-own-secret'}}])
        session = keystone.Cloud(self.conf()).service_session()
        self.assertEqual('our-own-secret', session.get_token())

    def test_no_repetition_repeats_those_below_it(self):
        """What fetches a token inside of a request counts for itself."""
        self.wire.post(f'{KEYSTONE}/auth/tokens', status_code=500)
        self.assertRaises(exceptions.InternalServerError, self.get_volumes,
                          keystone.Cloud(self.conf()).service_session())
        self.assertEqual(4, len(self.sent('POST', KEYSTONE)))

    def test_callers_of_the_api_do_not_wait_for_ever(self):
        cloud = keystone.Cloud(self.conf(timeout=5))
        caller = context.RequestContext(
            auth_token='users-secret', token_info=token_body())
        self.assertEqual(1, self.tries(
            cloud.api_session(caller), 'GET', status_code=503,
            headers={'Retry-After': '30'}))
        self.sleep.assert_not_called()


class NoCloudTest(base.BaseTestCase):

    def test_there_are_no_sessions(self):
        cloud = keystone.NoCloud()
        self.assertIsNone(cloud.service_session())
        self.assertIsNone(cloud.user_session(kept('t', {})))
        self.assertIsNone(cloud.api_session(context.RequestContext()))


class SingleUser(Wired):
    """A single user 'u' in project 'p', from a clouds.yaml."""

    def setUp(self):
        super().setUp()
        self._clouds_yaml()
        self.wire.post(f'{KEYSTONE}/auth/tokens', json=self.body(),
                       headers={'X-Subject-Token': 'sessions-secret'})
        self.check = self.wire.get(f'{KEYSTONE}/auth/tokens',
                                   json=self.body())
        self.cloud = keystone.SingleUserCloud('mine')

    def _clouds_yaml(self):
        path = self.useFixture(fixtures.TempDir()).join('clouds.yaml')
        clouds = {'mine': {'region_name': 'here', 'auth': {
            'auth_url': KEYSTONE, 'username': 'u', 'password': 'very-secret',
            'project_name': 'p', 'user_domain_id': 'default',
            'project_domain_id': 'default'}}, 'half': {'auth': {}}}
        with open(path, 'w') as stream:
            json.dump({'clouds': clouds}, stream)
        self.useFixture(
            fixtures.EnvironmentVariable('OS_CLIENT_CONFIG_FILE', path))

    def body(self, user_id='u', project_id='p', **kwargs):
        return token_body(user_id=user_id, user_name='User',
                          project_id=project_id, project_name='Project',
                          **kwargs)

    def answer(self, **kwargs):
        self.check = self.wire.get(f'{KEYSTONE}/auth/tokens', **kwargs)


class SingleUserCloudTest(SingleUser):

    def test_one_session_for_everything(self):
        session = self.cloud.service_session()
        self.assertIs(session, self.cloud.user_session(None))
        self.assertIs(session,
                      self.cloud.api_session(context.RequestContext()))
        self.assertEqual('sessions-secret', session.get_token())
        self.assertEqual(f'{CINDER}/here/public',
                         session.get_endpoint(**VOLUMES))

    def test_who_it_is(self):
        self.assertEqual(('u', 'p'),
                         (self.cloud.user_id, self.cloud.project_id))

    def test_credentials_from_variables(self):
        for name, value in (('AUTH_URL', KEYSTONE), ('USERNAME', 'u'),
                            ('PASSWORD', 'x'), ('PROJECT_NAME', 'p')):
            self.useFixture(
                fixtures.EnvironmentVariable(f'OS_{name}', value))
        self.assertEqual('p', keystone.SingleUserCloud().project_id)

    def test_no_such_cloud(self):
        exc = self.assertRaises(errors.ConfigError,
                                keystone.SingleUserCloud, 'yours')
        self.assertIn('yours', str(exc))

    def test_an_incomplete_cloud(self):
        exc = self.assertRaises(errors.ConfigError,
                                keystone.SingleUserCloud, 'half')
        self.assertIn('auth_url', str(exc))

    def test_wrong_password(self):
        self.wire.post(f'{KEYSTONE}/auth/tokens', status_code=401)
        exc = self.assertRaises(errors.ConfigError,
                                lambda: self.cloud.project_id)
        self.assertIn('"mine"', str(exc))

    def test_no_project(self):
        body = keystone_fixture.V3Token()
        self.wire.post(f'{KEYSTONE}/auth/tokens', json=body,
                       headers={'X-Subject-Token': 'sessions-secret'})
        exc = self.assertRaises(errors.ConfigError,
                                lambda: self.cloud.project_id)
        self.assertIn('OS_PROJECT_NAME', str(exc))

    def test_a_token_is_checked_with_itself_and_believed_for_a_while(self):
        with mock.patch('time.monotonic', return_value=1000.0) as clock:
            for _ in range(3):
                body = self.cloud.check_token('an-own-secret')
            self.assertEqual('u', body['token']['user']['id'])
            self.assertEqual(1, self.check.call_count)
            sent = self.check.last_request.headers
            self.assertEqual('an-own-secret', sent['X-Auth-Token'])
            self.assertEqual('an-own-secret', sent['X-Subject-Token'])
            clock.return_value = 1301.0
            self.cloud.check_token('an-own-secret')
        self.assertEqual(2, self.check.call_count)

    def test_the_memory_is_bounded(self):
        for number in range(300):
            self.cloud.check_token(f'an-own-secret-{number}')
        self.cloud.check_token('an-own-secret-299')
        self.assertEqual(300, self.check.call_count)
        self.cloud.check_token('an-own-secret-0')
        self.assertEqual(301, self.check.call_count)

    def test_an_invalid_token_is_asked_about_each_time(self):
        for status in (401, 404):
            self.answer(status_code=status)
            for _ in range(2):
                self.assertRaises(errors.Unauthorized,
                                  self.cloud.check_token, 'wrong')
            self.assertEqual(2, self.check.call_count)

    def test_another_user(self):
        self.answer(json=self.body(user_id='v'))
        exc = self.assertRaises(errors.Forbidden,
                                self.cloud.check_token, 'wrong')
        self.assertIn('"mine"', str(exc))

    def test_another_project(self):
        self.answer(json=self.body(project_id='q'))
        exc = self.assertRaises(errors.Forbidden,
                                self.cloud.check_token, 'wrong')
        self.assertIn('project p', str(exc))

    def test_no_project_in_the_token(self):
        self.answer(json=keystone_fixture.V3Token(user_id='u'))
        self.assertRaises(errors.Forbidden, self.cloud.check_token, 'wrong')

    def test_keystone_out_of_order(self):
        self.answer(status_code=503)
        self.assertRaises(errors.Unavailable, self.cloud.check_token, 'good')

    def test_secrets_never_reach_the_log(self):
        self.cloud.check_token('an-own-secret')
        self.answer(status_code=404, json={'error': {
            'message': 'Could not find token: another-secret'}})
        self.assertRaises(errors.Unauthorized, self.cloud.check_token,
                          'another-secret')
        self.assertIn(KEYSTONE, self.log.output)
        self.assertNotIn('secret', self.log.output)


class SingleUserAuthTest(SingleUser):

    def setUp(self):
        super().setUp()
        self.seen = []
        self.app = single_user.SingleUserAuth(self._app, self.cloud)

    def _app(self, environ, start_response):
        self.seen.append(context.RequestContext.from_environ(environ))
        start_response('200 OK', [])
        return [b'']

    def get(self, **headers):
        request = webob.Request.blank('/v1', headers={
            name.replace('_', '-'): value for name, value in headers.items()})
        return request.get_response(self.app)

    def assertRefused(self, status, response):
        self.assertEqual(status, response.status_int)
        self.assertEqual(status, response.json['error']['code'])
        self.assertTrue(response.json['error']['message'])
        self.assertEqual([], self.seen)

    def test_the_user_passes(self):
        self.assertEqual(200, self.get(X_Auth_Token='good').status_int)
        caller, = self.seen
        self.assertEqual(('u', 'p', ['member']), (
            caller.user_id, caller.project_id, caller.roles))
        self.assertEqual('good', caller.auth_token)
        self.assertEqual('u', caller.token_info['token']['user']['id'])

    def test_claims_of_the_client_are_not_believed(self):
        self.get(X_Auth_Token='good', X_User_Id='root', X_Roles='admin',
                 X_Project_Id='other', X_Service_Token='x',
                 X_Identity_Status='Confirmed')
        caller, = self.seen
        self.assertEqual(('u', 'p', ['member']), (
            caller.user_id, caller.project_id, caller.roles))

    def test_without_a_token(self):
        self.assertRefused(401, self.get(X_Identity_Status='Confirmed'))

    def test_with_an_invalid_token(self):
        self.answer(status_code=404)
        self.assertRefused(401, self.get(X_Auth_Token='wrong'))

    def test_with_an_expired_token_that_was_good_before(self):
        self.answer(json=self.body(expires_in=-HOUR))
        self.assertRefused(401, self.get(X_Auth_Token='old'))

    def test_as_another_user(self):
        self.answer(json=self.body(user_id='v'))
        self.assertRefused(403, self.get(X_Auth_Token='other'))

    def test_without_keystone(self):
        self.answer(status_code=503)
        self.assertRefused(503, self.get(X_Auth_Token='good'))


class SeenProjectTest(base.BaseTestCase):
    """Whose things an operator's session sees."""

    def session(self, *roles):
        body = token_body(project_id='p')
        for role in roles:
            body.add_role(name=role)
        return keystone.Session(auth=access_plugin.AccessInfoPlugin(
            access.create(body=body, auth_token='token')))

    def test_admins_see_all(self):
        self.assertIsNone(keystone.seen_project(self.session('admin')))

    def test_others_see_their_own(self):
        self.assertEqual('p', keystone.seen_project(self.session()))
