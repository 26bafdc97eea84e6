# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Each rule in an operator's file, and each of its routes.

``test_tenancy`` holds the rules' defaults; here a rule is changed, and
exactly what its description names must open or close.
"""

import os

import fixtures
from oslo_serialization import jsonutils
from oslotest import base

from karbor_ng import context
from karbor_ng import errors
from karbor_ng import policies
from karbor_ng import policy
from karbor_ng.tests import fixtures as small
from karbor_ng.tests.unit.api import environment
from karbor_ng.tests.unit.api import test_tenancy as tenancy

#: Requests by method and path; a star is an id.
REQUESTS = {row[0]: row[1:3] for row in tenancy.ANSWERS}
RULES = [rule for rule in policies.list_rules()
         if getattr(rule, 'operations', ())]
#: Of services, not of users; it has no right to anything by itself.
SERVICE = f'nova:{environment.PROJECT}:service'


def routes_of(rule):
    """Return what a rule guards, as ``'GET plans/*'``."""
    return ['{} {}'.format(operation['method'], '/'.join(
        '*' if part.startswith('{') else part
        for part in operation['path'].split('/')[3:]))
        for operation in rule.operations]


class RoutesTest(base.BaseTestCase):
    """Requests to an application that reads its policy file each time."""

    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.MonkeyPatch(
            'karbor_ng.policy._LOOK_AGAIN_SECONDS', 0))
        self.path = os.path.join(self.useFixture(fixtures.TempDir()).path,
                                 'policy.yaml')
        #: files are told apart by the time of their last change
        self.moment = 1e9
        self.write()
        self.api = self.useFixture(environment.Api())
        self.api.add_history()
        self.api.add_running()
        self.api.add_schedule()
        self.api.set('policy_file', self.path, 'oslo_policy')
        self.api.app = self.api.make_app()

    def write(self, **rules):
        with open(self.path, 'w') as file:
            file.write(jsonutils.dumps(rules))
        self.moment += 10
        os.utime(self.path, (self.moment, self.moment))

    def ask(self, route, token):
        path, body = REQUESTS[route]
        return self.api.call(
            route.partition(' ')[0],
            f'/v1/{environment.PROJECT}{path}', body, token=token)

    def test_each_closes_its_routes(self):
        """Even to administrators; no request changes anything."""
        before, asked = self.api.rows(), set()
        for rule in RULES:
            self.write(**{rule.name: '!'})
            for route in routes_of(rule):
                answer = self.ask(route, environment.ADMIN)
                self.assertEqual(403, answer.status_int,
                                 (rule.name, route, answer.text))
                self.assertIn(f'(rule {rule.name})', answer.text)
                asked.add(route)
        self.assertEqual(set(REQUESTS), asked)
        self.assertEqual(before, self.api.rows())
        self.assertEqual([], self.api.hints.queued)

    def test_each_opens_its_routes_and_no_others(self):
        """To somebody who may nothing by default."""
        routed = [(rule, route) for rule in RULES
                  for route in routes_of(rule)]
        for rule, route in sorted(routed, key=lambda pair: (
                'GET POST PUT DELETE'.split().index(
                    pair[1].partition(' ')[0]))):
            self.write(**{rule.name: 'role:guest'})
            for other in REQUESTS:
                # Reading is enough to tell, and leaves things as they are.
                if other.startswith('GET') and other not in routes_of(rule):
                    self.assertEqual(
                        403, self.ask(other, tenancy.NOBODY).status_int,
                        (rule.name, other))
            answer = self.ask(route, tenancy.NOBODY)
            self.assertNotEqual(403, answer.status_int,
                                (rule.name, route, answer.text))

    def test_a_service_is_nobody(self):
        for route in REQUESTS:
            self.assertEqual(403, self.ask(route, SERVICE).status_int, route)

    def test_everybody_else_is_seen_by_administrators_alone(self):
        for route in REQUESTS:
            path, _body = REQUESTS[route]
            if not route.startswith('GET') or '*' in route:
                continue
            for token in (environment.STRANGER, SERVICE):
                answer = self.api.call('GET', f'{path}?all_tenants=true',
                                       token=token)
                for secret in tenancy.SECRETS:
                    self.assertNotIn(
                        secret, answer.text.replace(
                            f'/v1/{environment.PROJECT}', ''),
                        (route, token))


class ScopesTest(base.BaseTestCase):
    """Tokens that are for no project, asked by one rule after the other."""

    def test_they_open_nothing(self):
        enforcer = policy.Enforcer(self.useFixture(small.ConfFixture()).conf)
        for scope in ({'system_scope': 'all'}, {'domain_id': 'default'}):
            asking = context.RequestContext(
                user_id='u', project_id=None, overwrite=False,
                roles=['admin', 'member', 'reader'], **scope)
            for rule in RULES:
                self.assertRaises(errors.Forbidden, enforcer.require, asking,
                                  rule.name, None)
                self.assertRaises(errors.Forbidden, enforcer.require, asking,
                                  rule.name, 'p')

    def test_no_rule_is_renamed(self):
        """Names in operators' files stay; old ones would be declared."""
        self.assertEqual([], [rule.name for rule in policies.list_rules()
                              if rule.deprecated_rule
                              or rule.deprecated_for_removal])
