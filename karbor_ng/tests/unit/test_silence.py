# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""That no client waits for ever for a server that says nothing (any more).

Real servers: whether a time limit arrives at the socket is only seen there.
Those of databases are with the store, those of Swift with its driver.
"""

import json
import time

import fixtures
from keystoneauth1 import exceptions
from keystoneauth1 import fixture as keystone_fixture
from keystoneauth1.access import access
from keystoneauth1.identity import access as access_plugin
from keystonemiddleware import opts
from oslo_config import cfg
from oslotest import base
import requests
import testscenarios
import webob

from karbor_ng import clients
from karbor_ng import errors
from karbor_ng import keystone
from karbor_ng.api import auth
from karbor_ng.protection import work
from karbor_ng.tests import fixtures_cloud
from karbor_ng.tests import fixtures_glance
from karbor_ng.tests import fixtures_neutron
from karbor_ng.tests import fixtures_nova
from karbor_ng.tests import fixtures_rude
from karbor_ng.tests.unit import test_keystone

#: Seconds that clients have, and those after which they have failed.
LIMIT = 0.3
TOO_LONG = 20
GIVING_UP = (errors.Error, exceptions.ClientException,
             requests.exceptions.RequestException)

HEAD = (b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n'
        b'Content-Length: %d\r\nConnection: close\r\n\r\n')
STALLED = HEAD % 1000 + b'{"half of it": '


def _asks(make, service, ask):
    return {'make': staticmethod(make), 'service': service,
            'ask': staticmethod(ask)}


class CloudTest(testscenarios.WithScenarios, base.BaseTestCase):

    scenarios = testscenarios.multiply_scenarios([
        ('cinder', _asks(clients.cinder, fixtures_cloud.Cinder,
                         lambda cinder: cinder.volumes.get('some'))),
        ('nova', _asks(clients.nova, fixtures_nova.Nova,
                       lambda nova: nova.servers.delete('some'))),
        ('glance', _asks(clients.glance, fixtures_glance.Glance,
                         lambda glance: glance.images.get('some'))),
        ('glance-data', _asks(
            clients.glance, fixtures_glance.Glance,
            lambda glance: list(glance.images.data('some')))),
        ('neutron', _asks(clients.neutron, fixtures_neutron.Neutron,
                          lambda neutron: neutron.post('/ports', json={}))),
    ], [('silent', {'words': b''}), ('stalled', {'words': STALLED})])

    def test_it_gives_up(self):
        server = self.useFixture(fixtures_rude.SilentServer(self.answer))
        self.url = server.url + '/'
        client = self.make(self.session())
        self.check(self.ask, client)

    def test_discovery_gives_up(self):
        server = self.useFixture(fixtures_rude.SilentServer(self.words))
        self.url = server.url
        self.check(lambda: self.ask(self.make(self.session())))

    def check(self, call, *args):
        began = time.monotonic()
        problem = self.assertRaises(GIVING_UP, call, *args)
        self.assertLess(time.monotonic() - began, TOO_LONG)
        # Whoever polls, asks again.
        self.assertTrue(work.is_passing(problem), repr(problem))

    def answer(self, request):
        """Tell the version of the service, and nothing more."""
        if request.split()[1] != b'/':
            return self.words
        service = self.service()
        told = json.dumps(service.versions()).replace(
            service.url, self.url).encode()
        return HEAD % len(told) + told

    def session(self):
        token = keystone_fixture.V3Token(project_id='project')
        token.add_service(self.service.type).add_standard_endpoints(
            public=self.url)
        made = keystone.Session(
            auth=access_plugin.AccessInfoPlugin(
                access.create(body=token, auth_token='token')),
            timeout=LIMIT, connect_retries=0)
        self.addCleanup(made.session.close)
        return made


class KeystoneTest(test_keystone.WithCloud):
    """The one who gives tokens, and checks those of users."""

    def setUp(self):
        super().setUp()
        # Only the configuration of the test above it is wanted.
        self.wire.stop()
        self.server = self.useFixture(fixtures_rude.SilentServer(STALLED))
        self.limited = {'auth_url': f'{self.server.url}/v3',
                        'timeout': 1, 'connect_retries': 1}

    def test_our_own_token(self):
        cloud = keystone.Cloud(self.conf(**self.limited))
        began = time.monotonic()
        self.assertRaises(errors.Unavailable, cloud.user_session,
                          test_keystone.kept('token', {}))
        self.assertLess(time.monotonic() - began, TOO_LONG)

    def test_the_token_of_a_caller(self):
        conf = cfg.ConfigOpts()
        conf.register_opt(cfg.StrOpt('auth_strategy', default='keystone'))
        folder = self.useFixture(fixtures.TempDir()).path
        with open(f'{folder}/karbor.conf', 'w') as file:
            file.write('[keystone_authtoken]\nauth_type = password\n'
                       f'auth_url = {self.server.url}/v3\n'
                       'username = karbor\npassword = secret\n'
                       'http_connect_timeout = 1\n'
                       'http_request_max_retries = 0\n')
        conf([], default_config_files=[f'{folder}/karbor.conf'])
        protected = auth.strategy(conf)(webob.Response())
        began = time.monotonic()
        answer = webob.Request.blank('/v1/x/plans', headers={
            'X-Auth-Token': 'token'}).get_response(protected)
        self.assertLess(time.monotonic() - began, TOO_LONG)
        self.assertEqual(503, answer.status_int)

    def test_nobody_has_to_set_that_limit(self):
        conf = cfg.ConfigOpts()
        conf.register_opt(cfg.StrOpt('auth_strategy', default='keystone'))
        conf([])
        auth.strategy(conf)
        self.assertEqual(auth.KEYSTONE_SECONDS,
                         conf.keystone_authtoken.http_connect_timeout)
        # What the option was made of stays as it is.
        (_group, options), = opts.list_auth_token_opts()
        self.assertIsNone(next(
            option for option in options
            if option.dest == 'http_connect_timeout').default)


class SilenceTest(base.BaseTestCase):

    def test_without_a_limit_it_would_last(self):
        """The servers above do what they are for."""
        server = self.useFixture(fixtures_rude.SilentServer(STALLED))
        self.assertRaises(requests.exceptions.ConnectionError, requests.get,
                          server.url, timeout=3)
