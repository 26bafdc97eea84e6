# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Clients: what a user reads when a cloud refuses something.

What else they do is tested with the plugins that use them.
"""

from cinderclient import exceptions as cinder_exceptions
from glanceclient import exc as glance_exceptions
from keystoneauth1 import exceptions as keystone_exceptions
from novaclient import exceptions as nova_exceptions
from oslotest import base
import testscenarios

from karbor_ng import clients
from karbor_ng import patience
from karbor_ng.protection import hooks
from karbor_ng.tests import fixtures_cloud
from karbor_ng.tests import fixtures_glance
from karbor_ng.tests import fixtures_neutron
from karbor_ng.tests import fixtures_nova
from karbor_ng.tests import fixtures_service

REQUEST_ID = 'req-0b7c4f51-5d3e-4f0a-9d0a-6c6f2f1f8e11'
WORDS = 'Quota exceeded: 10 of 10 are used.'

REFUSALS = (cinder_exceptions.ClientException,
            glance_exceptions.HTTPException,
            keystone_exceptions.HttpError,
            nova_exceptions.ClientException)


def _asks(make, service, ask):
    return {'make': staticmethod(make), 'service': service,
            'ask': staticmethod(ask)}


class RefusalTest(testscenarios.WithScenarios, base.BaseTestCase):
    """Quotas and policies are the cloud's: its words and ids are passed on."""

    scenarios = [
        ('cinder', _asks(clients.cinder, fixtures_cloud.Cinder,
                         lambda cinder: cinder.volumes.create(1))),
        ('nova', _asks(clients.nova, fixtures_nova.Nova,
                       lambda nova: nova.servers.get('some'))),
        ('glance', _asks(clients.glance, fixtures_glance.Glance,
                         lambda glance: glance.images.get('some'))),
        ('neutron', _asks(clients.neutron, fixtures_neutron.Neutron,
                          lambda neutron: neutron.get('/ports'))),
    ]

    def setUp(self):
        super().setUp()
        self.cloud = self.service()
        self.client = self.make(self.cloud.session())

    def reason(self, code, request_id):
        def refuse(method, path, body):
            raise fixtures_service.Refused(code, WORDS, request_id)
        self.cloud.intercept = refuse
        try:
            self.ask(self.client)
        except REFUSALS as refusal:
            return hooks.describe(refusal)
        self.fail('it was not refused')

    def test_words_and_request_are_quoted(self):
        for code in (403, 409, 413):
            reason = self.reason(code, REQUEST_ID)
            self.assertIn(WORDS, reason)
            self.assertEqual(1, reason.count(REQUEST_ID), reason)
            self.assertEqual(1, reason.count('Request-ID'), reason)

    def test_a_service_that_tells_no_id(self):
        reason = self.reason(403, None)
        self.assertIn(WORDS, reason)
        self.assertNotIn('Request-ID', reason)


class GlanceTest(base.BaseTestCase):

    def test_refusals_tell_code_and_headers(self):
        """Glance's client has no class for some, and headers for none."""
        glance = fixtures_glance.Glance()
        client = clients.glance(glance.session())

        def refuse(method, path, body):
            refusal = fixtures_service.Refused(429, WORDS)
            refusal.headers['Retry-After'] = '7'
            raise refusal
        glance.intercept = refuse
        problem = self.assertRaises(glance_exceptions.HTTPException,
                                    client.images.get, 'some')
        self.assertEqual(429, problem.code)
        self.assertEqual(7, patience.retry_after(problem.response.headers))


class NeutronTest(base.BaseTestCase):

    def test_a_refusal_that_is_not_neutrons(self):
        """Something between may answer, in words of its own."""
        neutron = fixtures_neutron.Neutron()
        client = clients.neutron(neutron.session())
        neutron.words = lambda refusal: {'error': {'message': 'Not today.'}}
        neutron.intercept = self._refuse
        problem = self.assertRaises(keystone_exceptions.Forbidden,
                                    client.get, '/ports')
        self.assertIn('Not today. (HTTP 403)', str(problem))

    @staticmethod
    def _refuse(method, path, body):
        raise fixtures_service.Refused(403, WORDS)
