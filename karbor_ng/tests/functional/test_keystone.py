# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Sessions against a real Keystone, and the services that take its tokens."""

import logging
import traceback

from cinderclient import client as cinder_client
import fixtures
from keystoneauth1 import exceptions
from keystoneauth1 import session as keystone_session
from keystoneauth1.identity import v3
from oslo_config import cfg
from oslotest import base as test_base

from karbor_ng import errors
from karbor_ng import keystone
from karbor_ng.tests.functional import base
from karbor_ng.tests.functional import short_tokens

TOKEN_SECONDS = 10
SERVICES = {
    'block-storage': '/volumes', 'compute': '/servers', 'image': '/v2/images',
    'network': '/v2.0/networks', 'object-store': ''}


def stacks_conf():
    """Return the configuration that the stack's services have."""
    conf = cfg.ConfigOpts()
    conf.register_opts(keystone.OPTS, group=keystone.GROUP)
    path = base.STACK / 'etc' / 'karbor' / 'karbor.conf'
    conf([], default_config_files=[str(path)])
    return conf


class CloudTest(test_base.BaseTestCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.keystone = short_tokens.ShortTokens(TOKEN_SECONDS)
        cls.keystone.setUp()
        cls.addClassCleanup(cls.keystone.cleanUp)

    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger(level=logging.DEBUG))
        self.cloud = keystone.Cloud(stacks_conf())

    def test_all_services_take_an_expired_token(self):
        token = self.keystone.token('demo')
        token.sleep_until(2)
        self._assert_nobody_takes_it_alone(token)
        session = self.cloud.user_session(token.kept())
        for service, path in SERVICES.items():
            answer = session.get(path,
                                 endpoint_filter={'service_type': service})
            self.assertIn(answer.status_code, (200, 204), service)
        cinder = cinder_client.Client('3.70', session=session,
                                      endpoint_type=session.interface,
                                      region_name=session.region_name)
        self.assertIsInstance(cinder.backups.list(), list)

    def _assert_nobody_takes_it_alone(self, token):
        for service, path in SERVICES.items():
            self.assertRaises(
                exceptions.Unauthorized, token.session().get, path,
                endpoint_filter={'service_type': service})

    def test_a_service_user_without_the_role_can_not_check_tokens(self):
        conf = stacks_conf()
        for option, value in short_tokens.credentials('demo2').items():
            conf.set_override(option, value, group=keystone.GROUP)
        token = self.keystone.token('demo')
        exc = self.assertRaises(errors.ConfigError,
                                keystone.Cloud(conf).user_session,
                                token.kept())
        self.assertIn('role "service"', str(exc))

    def test_a_revoked_token(self):
        token = self.keystone.token('demo')
        self.cloud.user_session(token.kept())
        token.revoke()
        exc = self.assertRaises(errors.CredentialsError,
                                self.cloud.user_session, token.kept())
        self.assertIn('revoked', str(exc))
        self.assertNotIn(token.text,
                         ''.join(traceback.format_exception(exc)))

    def test_a_token_revoked_amid_an_operation(self):
        token = self.keystone.token('demo')
        session = self.cloud.user_session(token.kept())
        token.revoke()
        exc = self.assertRaises(
            errors.CredentialsError, session.get, '/volumes',
            endpoint_filter={'service_type': 'block-storage'})
        self.assertIn('revoked', str(exc))

    def test_no_token_reaches_the_log(self):
        token = self.keystone.token('demo')
        self.cloud.user_session(token.kept()).get(
            '/volumes', endpoint_filter={'service_type': 'block-storage'})
        own = self.cloud.service_session().get_token()
        self.assertIn('/volumes', self.log.output)
        for secret in (token.text, own):
            self.assertNotIn(secret, self.log.output)


class SingleUserCloudTest(test_base.BaseTestCase):

    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.EnvironmentVariable(
            'OS_CLIENT_CONFIG_FILE', str(base.STACK / 'clouds.yaml')))
        self.cloud = keystone.SingleUserCloud('demo')

    def token(self, **options):
        return keystone_session.Session(v3.Password(
            **{**short_tokens.credentials('demo'), **options})).get_token()

    def test_the_user_may_check_own_tokens(self):
        body = self.cloud.check_token(self.token())
        self.assertEqual('demo', body['token']['user']['name'])
        self.assertEqual(self.cloud.project_id, body['token']['project']['id'])
        self.assertTrue(body['token']['catalog'])

    def test_other_users_are_refused(self):
        for user in ('admin', 'demo2', 'demo_reader'):
            token = self.token(**short_tokens.credentials(user))
            self.assertRaises(errors.Forbidden, self.cloud.check_token, token)

    def test_a_token_for_no_project_is_refused(self):
        token = self.token(project_name=None, project_domain_id=None,
                           unscoped=True)
        self.assertRaises(errors.Forbidden, self.cloud.check_token, token)

    def test_what_is_no_token_is_refused(self):
        for text in ('', 'nonsense', self.token()[:-4]):
            self.assertRaises(errors.Unauthorized, self.cloud.check_token,
                              text)

    def test_work_goes_on_with_the_same_rights(self):
        answer = self.cloud.user_session(None).get(
            '/volumes', endpoint_filter={'service_type': 'block-storage'})
        self.assertEqual(200, answer.status_code)
