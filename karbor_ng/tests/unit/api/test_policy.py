# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Rules: the defaults, and what an operator makes of them."""

import logging
import os

import fixtures
from oslotest import base

from karbor_ng import context
from karbor_ng import errors
from karbor_ng import policies
from karbor_ng import policy
from karbor_ng.api.v1 import routes
from karbor_ng.tests import fixtures as small


class EnforcerTest(base.BaseTestCase):
    """Asking for one rule."""

    def setUp(self):
        super().setUp()
        configuration = self.useFixture(small.ConfFixture())
        self.conf, self.set = configuration.conf, configuration.set
        self.enforcer = policy.Enforcer(self.conf)
        self.path = os.path.join(self.useFixture(fixtures.TempDir()).path,
                                 'policy.yaml')

    def _context(self, *roles, project_id='p', **kwargs):
        return context.RequestContext(
            user_id='u', project_id=project_id, roles=roles,
            auth_token='token-that-nobody-reads', overwrite=False, **kwargs)

    def _may(self, context_, rule='plan:create', project_id='p'):
        try:
            self.enforcer.require(context_, rule, project_id)
        except errors.Forbidden:
            return False
        return True

    def test_roles_and_projects(self):
        for roles, project_id, read, write in (
                (('member',), 'p', True, True),
                (('reader',), 'p', True, False),
                (('admin',), 'p', True, True),
                (('admin',), 'q', True, True),
                (('member',), 'q', False, False),
                (('reader',), 'q', False, False),
                (('other',), 'p', False, False),
                ((), 'p', False, False)):
            asking = self._context(*roles)
            self.assertEqual(
                (read, write), (self._may(asking, 'plan:get', project_id),
                                self._may(asking, 'plan:create', project_id)),
                (roles, project_id))

    def test_tokens_for_the_system(self):
        asking = self._context('admin', project_id=None, system_scope='all')
        self.assertFalse(self._may(asking))

    def test_the_same_rule_is_looked_through_once(self):
        asked = self._listen()
        for _ in range(2):
            for roles, project_id in ((['member'], 'p'), (['reader'], 'p'),
                                      (['member'], 'q')):
                self._may(self._context(*roles), project_id=project_id)
        self.assertEqual(3, len(asked))
        self._pass_time()
        self._may(self._context('member'))
        self.assertEqual(4, len(asked))

    def test_rules_that_ask_others_are_asked_each_time(self):
        self._write_rule('role:planner or not http://127.0.0.1:1/may')
        self.set('policy_file', self.path, 'oslo_policy')
        self.enforcer = policy.Enforcer(self.conf)
        asked = self._listen()
        for _ in range(2):
            self.assertTrue(self._may(self._context('planner')))
        self.assertEqual(2, len(asked))

    def test_answers_do_not_fill_the_memory(self):
        self.useFixture(fixtures.MonkeyPatch(
            'karbor_ng.policy._MOST_ANSWERS', 2))
        for project_id in 'pqrs':
            asking = self._context('member', project_id=project_id)
            for _ in range(2):
                self.assertTrue(self._may(asking, project_id=project_id))
        self.assertEqual(2, len(self.enforcer._answers))

    def _listen(self):
        """Return what collects the questions that reach oslo.policy."""
        asked, real = [], self.enforcer._enforcer.enforce

        def enforce(*args):
            asked.append(args)
            return real(*args)
        self.enforcer._enforcer.enforce = enforce
        return asked

    def test_unknown_rule(self):
        self.assertFalse(self._may(self._context('admin'), 'plan:paint'))

    def test_refusal_is_logged_without_the_token(self):
        logs = self.useFixture(fixtures.FakeLogger(level=logging.DEBUG))
        self._may(self._context('reader'))
        self.assertIn('plan:create refuses user u of project p', logs.output)
        self.assertNotIn('token-that-nobody-reads', logs.output)

    def test_operators_file(self):
        self._write_rule('role:planner')
        self.set('policy_file', self.path, 'oslo_policy')
        self.enforcer = policy.Enforcer(self.conf)
        self.assertFalse(self._may(self._context('member')))
        self.assertTrue(self._may(self._context('planner')))
        self.assertTrue(self._may(self._context('member'), 'plan:delete'))
        self._write_rule('role:gardener')
        os.utime(self.path, (2e9, 2e9))
        self._pass_time()
        self.assertTrue(self._may(self._context('gardener')))
        self.assertFalse(self._may(self._context('planner')))

    def _write_rule(self, rule):
        with open(self.path, 'w') as file:
            file.write(f'"plan:create": "{rule}"\n')

    def _pass_time(self):
        then = self.enforcer._look_at + 1
        self.useFixture(fixtures.MonkeyPatch('time.monotonic', lambda: then))


class RulesTest(base.BaseTestCase):
    """All rules together."""

    def test_names_are_unique(self):
        names = [rule.name for rule in policies.list_rules()]
        self.assertEqual(sorted(set(names)), sorted(names))

    def test_every_route_has_one(self):
        ruled = {(operation['method'], _shape(operation['path']))
                 for rule in policies.list_rules()
                 for operation in getattr(rule, 'operations', ())}
        routed = {(method, path) for path, verbs in routes.ROUTES.items()
                  for method in verbs if path.startswith('v1/*')}
        self.assertEqual(routed, ruled)

    def test_tools_find_them(self):
        self.useFixture(fixtures.MonkeyPatch(
            'sys.argv', ['tool', '--namespace', 'karbor_ng']))
        enforcer = policy.get_enforcer()
        self.assertIn('plan:create', enforcer.registered_rules)


def _shape(path):
    return '/'.join('*' if part.startswith('{') else part
                    for part in path.strip('/').split('/'))
