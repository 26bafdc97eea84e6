# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Sessions that lead into other clouds and projects, with the wire mocked."""

import datetime
import json
import traceback

from keystoneauth1 import exceptions
from keystoneauth1 import fixture as keystone_fixture
import requests
import requests_mock
import testscenarios

from karbor_ng import credentials
from karbor_ng import errors
from karbor_ng import keystone
from karbor_ng import restore_targets
from karbor_ng.tests.unit import test_keystone
from karbor_ng.tests.unit.test_keystone import KEYSTONE

THERE = 'https://there.test/identity'
IMAGES = 'https://images.there.test'
FILTER = {'service_type': 'image'}
SECRET = 'open-sesame'
PASSWORD = {'type': 'password', 'username': 'demo', 'password': SECRET}
TOKEN = {'type': 'token', 'token': SECRET}
CREDENTIAL = {'type': 'application_credential',
              'application_credential_id': 'ac',
              'application_credential_secret': SECRET}
HOUR = test_keystone.HOUR


def body(project_id='their-project', expires_in=HOUR):
    """What the other Keystone says: two regions, one of them reachable."""
    token = keystone_fixture.V3Token(expires=test_keystone.now() + expires_in)
    if project_id:
        token.set_project_scope(id=project_id)
        images = token.add_service('image')
        for interface, region in (('internal', 'south'), ('public', 'south'),
                                  ('public', 'north')):
            images.add_endpoint(interface, f'{IMAGES}/{interface}/{region}',
                                region=region)
    return token


class TargetTestCase(test_keystone.WithCloud):
    """A test with our own cloud, and a Keystone and a Glance elsewhere."""

    def setUp(self):
        super().setUp()
        self.set(allowed=[THERE])
        self.signing_in = self.sign_in(body())
        self.reading = self.wire.get(f'{THERE}/v3/auth/tokens', json=body())
        self.listing = self.wire.get(f'{THERE}/v3/auth/projects',
                                     json={'projects': [{'id': 'only'}]})
        for path in ('public/south', 'public/north', 'internal/south'):
            self.wire.get(f'{IMAGES}/{path}/images', json={})
        self.targets = restore_targets.Targets(self._conf, self.cloud)

    def conf(self, **overrides):
        self._conf = super().conf(**overrides)
        self._conf.register_opts(restore_targets.OPTS,
                                 group=restore_targets.GROUP)
        return self._conf

    def set(self, **values):
        for name, value in values.items():
            self._conf.set_override(name, value, restore_targets.GROUP)

    def sign_in(self, answer, status_code=201):
        return self.wire.post(f'{THERE}/v3/auth/tokens', json=answer,
                              status_code=status_code,
                              headers={'X-Subject-Token': 'their-token'})

    def open(self, auth=PASSWORD, url=f'{THERE}/', **more):
        return self.targets.session(
            restore_targets.Target(url, {**auth, **more}))

    def images(self, session):
        """Ask for images; return the request as it was sent."""
        return session.get('/images', endpoint_filter=FILTER).request

    def asked(self):
        """Return what was sent to sign in there last."""
        return self.signing_in.last_request.json()['auth']

    def refused(self, kind=errors.CredentialsError, **kwargs):
        problem = self.assertRaises(kind, self.open, **kwargs)
        self.assertNotIn(SECRET, ''.join(
            traceback.format_exception(problem)))
        self.assertNotIn(SECRET, self.log.output)
        return str(problem)


class WaysTest(testscenarios.WithScenarios, TargetTestCase):
    """Each kind of credentials, as it reaches the other Keystone."""

    _DEFAULT = {'id': 'default'}
    _USER = {'name': 'demo', 'domain': _DEFAULT, 'password': SECRET}

    scenarios = [(name, {'auth': auth, 'identity': identity, 'scope': scope})
                 for name, auth, identity, scope in (
        ('as Karbor sends it', PASSWORD,
         {'methods': ['password'], 'password': {'user': _USER}}, None),
        ('project by name', {**PASSWORD, 'project_name': 'p'},
         {'methods': ['password'], 'password': {'user': _USER}},
         {'project': {'name': 'p', 'domain': _DEFAULT}}),
        ('project by id', {**PASSWORD, 'project_id': 'p'},
         {'methods': ['password'], 'password': {'user': _USER}},
         {'project': {'id': 'p'}}),
        ('project in the domain of the user',
         {**PASSWORD, 'user_domain_name': 'd', 'project_name': 'p'},
         {'methods': ['password'], 'password': {
             'user': {**_USER, 'domain': {'name': 'd'}}}},
         {'project': {'name': 'p', 'domain': {'name': 'd'}}}),
        ('two domains',
         {**PASSWORD, 'user_domain_id': 'd', 'project_name': 'p',
          'project_domain_name': 'e'},
         {'methods': ['password'], 'password': {
             'user': {**_USER, 'domain': {'id': 'd'}}}},
         {'project': {'name': 'p', 'domain': {'name': 'e'}}}),
        ('user by id', {'type': 'password', 'user_id': 'u',
                        'password': SECRET},
         {'methods': ['password'], 'password': {
             'user': {'id': 'u', 'password': SECRET}}}, None),
        ('application credential', CREDENTIAL,
         {'methods': ['application_credential'],
          'application_credential': {'id': 'ac', 'secret': SECRET}}, None),
        ('application credential by name',
         {'type': 'application_credential', 'username': 'demo',
          'application_credential_name': 'backups',
          'application_credential_secret': SECRET},
         {'methods': ['application_credential'],
          'application_credential': {
              'name': 'backups', 'secret': SECRET,
              'user': {'name': 'demo', 'domain': _DEFAULT}}}, None),
        ('token for another project', {**TOKEN, 'project_id': 'p'},
         {'methods': ['token'], 'token': {'id': SECRET}},
         {'project': {'id': 'p'}}),
    )]

    def test_signs_in(self):
        session = self.open(self.auth)
        self.assertEqual('their-project', session.get_project_id())
        self.assertEqual(self.identity, self.asked()['identity'])
        self.assertEqual(self.scope, self.asked().get('scope'))
        sent = self.images(session)
        self.assertEqual('their-token', sent.headers['X-Auth-Token'])
        self.assertNotIn(SECRET, self.log.output)


class ElsewhereTest(TargetTestCase):

    def test_a_token_is_used_as_it_is(self):
        sent = self.images(self.open(TOKEN))
        self.assertEqual(SECRET, sent.headers['X-Auth-Token'])
        self.assertFalse(self.signing_in.called)
        self.assertEqual(SECRET,
                         self.reading.last_request.headers['X-Auth-Token'])

    def test_our_own_token_stays_at_home(self):
        for auth in (PASSWORD, TOKEN, CREDENTIAL):
            self.images(self.open(auth))
        for request in self.wire.request_history:
            self.assertNotIn('X-Service-Token', request.headers)
            self.assertNotIn('our-own-secret', request.headers.values())
        self.assertEqual([], self.sent('GET', KEYSTONE))

    def test_public_endpoints_of_the_first_region(self):
        self.assertEqual(f'{IMAGES}/public/south/images',
                         self.images(self.open()).url)

    def test_another_region(self):
        session = self.open(region_name='north')
        self.assertEqual(f'{IMAGES}/public/north/images',
                         self.images(session).url)

    def test_other_interfaces(self):
        self.set(valid_interfaces=['internal', 'public'])
        self.assertEqual(f'{IMAGES}/internal/south/images',
                         self.images(self.open()).url)

    def test_tokens_are_renewed(self):
        answers = [{'json': body(expires_in=left), 'headers': {
            'X-Subject-Token': name}} for name, left in (
                ('first', datetime.timedelta(seconds=1)), ('second', HOUR))]
        for auth in (PASSWORD, CREDENTIAL):
            self.wire.post(f'{THERE}/v3/auth/tokens', answers)
            session = self.open(auth)
            self.assertEqual('second',
                             self.images(session).headers['X-Auth-Token'])

    def test_the_one_project_of_a_user_without_a_default(self):
        self.wire.post(f'{THERE}/v3/auth/tokens', [
            {'json': body(None), 'headers': {'X-Subject-Token': 'none'}},
            {'json': body('only'), 'headers': {'X-Subject-Token': 'scoped'}}])
        session = self.open()
        self.assertEqual('only', session.get_project_id())
        last = self.sent('POST', THERE)[-1].json()['auth']
        self.assertEqual({'project': {'id': 'only'}}, last['scope'])
        self.assertEqual('scoped',
                         self.images(session).headers['X-Auth-Token'])

    def test_a_token_for_no_project(self):
        self.wire.get(f'{THERE}/v3/auth/tokens', json=body(None))
        self.sign_in(body('only'))
        self.assertEqual('only', self.open(TOKEN).get_project_id())

    def test_several_projects_to_choose_from(self):
        self.sign_in(body(None))
        for found in ([], [{'id': 'a'}, {'id': 'b'}]):
            self.wire.get(f'{THERE}/v3/auth/projects',
                          json={'projects': found})
            self.assertIn(f'roles in {len(found)}: name one', self.refused())

    def test_what_allows_nothing_is_told(self):
        self.set(allowed=['*', THERE, 'there.test'])
        restore_targets.Targets(self._conf, self.cloud)
        self.assertEqual(1, self.log.output.count('allows nothing'))
        self.assertIn('"there.test"', self.log.output)

    def test_certificates_are_checked(self):
        self.assertIs(True, self.open().verify)
        self.set(cafile='/etc/ssl/there.pem')
        self.assertEqual('/etc/ssl/there.pem', self.open().verify)
        self.set(insecure=True)
        self.assertIs(False, self.open().verify)

    def test_a_silent_server_is_given_up(self):
        self.set(timeout=7)
        self.images(self.open())
        for request in self.wire.request_history:
            self.assertEqual(7, request.timeout)


class RefusedTest(TargetTestCase):

    def test_wrong_credentials(self):
        for status in (401, 404):
            self.sign_in({'error': {'message': f'no {SECRET}'}}, status)
            self.assertIn('refuses the credentials in restore_auth',
                          self.refused())

    def test_a_token_that_nobody_knows(self):
        self.wire.get(f'{THERE}/v3/auth/tokens', status_code=404, json={
            'error': {'message': f'Could not find token: {SECRET}'}})
        self.assertIn('whether a token has expired', self.refused(auth=TOKEN))

    def test_other_refusals(self):
        self.sign_in({'error': {'message': f'no {SECRET}'}}, 403)
        self.assertIn('(HTTP 403)', self.refused())

    def test_what_may_pass(self):
        self.sign_in({}, 503)
        self.assertIn('(HTTP 503)', self.refused(errors.Unavailable))
        self.wire.post(f'{THERE}/v3/auth/tokens',
                       exc=requests.exceptions.ConnectTimeout)
        self.assertIn('does not answer', self.refused(errors.Unavailable))

    def test_a_certificate_that_is_not_trusted(self):
        self.wire.post(f'{THERE}/v3/auth/tokens',
                       exc=requests.exceptions.SSLError('self-signed'))
        self.assertIn('not to be trusted', self.refused())

    def test_what_is_no_keystone(self):
        for answer in ({'text': 'It works!'}, {'json': {}}, {'json': []}):
            self.wire.post(f'{THERE}/v3/auth/tokens', **answer)
            self.wire.get(f'{THERE}/v3/auth/tokens', **answer)
            for auth in (PASSWORD, TOKEN):
                self.assertIn('it is no Keystone', self.refused(auth=auth))
        self.sign_in(body(None))
        for answer in ({'text': 'It works!'}, {'json': {}}, {'json': []},
                       {'json': {'projects': [{}]}}):
            self.wire.get(f'{THERE}/v3/auth/projects', **answer)
            self.assertIn('it is no Keystone', self.refused())

    def test_secrets_are_not_sent_on(self):
        elsewhere = self.wire.register_uri(
            requests_mock.ANY, 'https://evil.test/')
        for status in (301, 302, 303, 307, 308):
            self.wire.post(f'{THERE}/v3/auth/tokens', status_code=status,
                           headers={'Location': 'https://evil.test/'})
            self.refused()
        session = self.open_well()
        self.wire.get(f'{IMAGES}/public/south/images', status_code=302,
                      headers={'Location': 'https://evil.test/'})
        self.images(session)
        self.assertFalse(elsewhere.called)

    def open_well(self):
        self.sign_in(body())
        return self.open()

    def test_what_was_allowed_once(self):
        self.set(allowed=[])
        self.assertIn('does not restore into', self.refused(errors.Invalid))
        self.assertEqual([], self.sent('POST', THERE))

    def test_the_user_is_locked_out_amid_the_restore(self):
        session = self.open()
        self.wire.get(f'{IMAGES}/public/south/images', status_code=401)
        self.sign_in({}, 401)
        problem = self.assertRaises(errors.CredentialsError, self.images,
                                    session)
        self.assertIn('any more (HTTP 401)', str(problem))
        self.assertIn(THERE, str(problem))


class OwnCloudTest(TargetTestCase):
    """Another project of the cloud that the service user belongs to."""

    def setUp(self):
        super().setUp()
        self.own = self.wire.post(
            f'{KEYSTONE}/auth/tokens', json=test_keystone.token_body(
                project_id='second', project_name='second'),
            headers={'X-Subject-Token': 'their-token'})

    def test_our_settings_count(self):
        session = self.open(url=None)
        test_keystone.WithCloud.get_volumes(self, session)
        sent = self.volumes.last_request
        self.assertEqual('their-token', sent.headers['X-Auth-Token'])
        self.assertEqual('second', session.get_project_id())
        self.assertEqual('demo', self.own.last_request.json()['auth'][
            'identity']['password']['user']['name'])

    def test_our_settings_count_by_whatever_name(self):
        for url in ('http://KEYSTONE.test:5000', f'{KEYSTONE}/'):
            session = self.open(url=url)
            self.assertEqual('here', session.region_name)
            self.assertEqual(30, session.redirect)

    def test_a_token_may_expire(self):
        session = self.open(TOKEN, url=None)
        test_keystone.WithCloud.get_volumes(self, session)
        self.assertEqual('allow_expired=1', self.check.last_request.query)
        sent = self.volumes.last_request.headers
        self.assertEqual(SECRET, sent['X-Auth-Token'])
        self.assertEqual('their-token', sent['X-Service-Token'])

    def test_a_token_for_no_project(self):
        self.wire.get(f'{KEYSTONE}/auth/tokens', json=body(None))
        self.wire.get(f'{KEYSTONE}/auth/projects',
                      json={'projects': [{'id': 'second'}]})
        session = self.open(TOKEN, url=None)
        self.assertEqual('second', session.get_project_id())
        self.assertEqual({'id': SECRET}, self.own.last_request.json()[
            'auth']['identity']['token'])

    def test_a_revoked_token(self):
        self.wire.get(f'{KEYSTONE}/auth/tokens', status_code=404)
        problem = self.refused(auth=TOKEN, url=None)
        self.assertIn('was revoked', problem)

    def test_no_cloud(self):
        self.targets = restore_targets.Targets(
            self._conf, keystone.NoCloud())
        for auth in (PASSWORD, TOKEN):
            self.assertIn('no cloud to restore into',
                          self.refused(auth=auth, url=None))


class KeptTest(TargetTestCase):

    def test_sealed_and_opened(self):
        sealer = credentials.Sealer([credentials.new_key()])
        target = restore_targets.Target.wanted(THERE, PASSWORD)
        kept = target.keep(sealer)
        self.assertEqual(target, restore_targets.Target.opened(
            sealer, kept.credentials))
        self.assertNotIn(SECRET, json.dumps(
            [kept.url, kept.auth, kept.credentials]))

    def test_another_key(self):
        old, new = (credentials.Sealer([credentials.new_key()])
                    for _ in range(2))
        kept = restore_targets.Target(THERE, PASSWORD).keep(old)
        self.assertRaises(errors.CredentialsError,
                          restore_targets.Target.opened, new,
                          kept.credentials)

    def test_services_that_refuse_are_not_explained_away(self):
        session = self.open()
        self.wire.get(f'{IMAGES}/public/south/images', status_code=403)
        self.assertRaises(exceptions.Forbidden, self.images, session)
