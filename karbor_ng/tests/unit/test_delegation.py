# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Trusts as Keystone is asked for them, with the wire mocked."""

import json

from karbor_ng import context
from karbor_ng import delegation
from karbor_ng import errors
from karbor_ng import keystone
from karbor_ng.tests.unit import test_keystone
from karbor_ng.tests.unit.test_keystone import KEYSTONE

TRUSTS = f'{KEYSTONE}/OS-TRUST/trusts'
TRUST = 'b2a1c9d8e7f64a5b9c0d1e2f3a4b5c6d'
OWN = 'karbor-user-id'


class WithTrusts(test_keystone.WithCloud):
    """A Keystone that knows trusts, and a user who asks."""

    def setUp(self):
        super().setUp()
        self.service_body = test_keystone.token_body(user_id=OWN)
        self.own = self.wire.post(
            f'{KEYSTONE}/auth/tokens', json=self.service_body,
            headers={'X-Subject-Token': 'our-own-secret'})
        self.body = test_keystone.token_body()
        self.delegation = delegation.Delegation(self.cloud)

    def asking(self, **more):
        token = dict(self.body['token'], **more)
        return context.RequestContext(
            auth_token='users-secret', token_info={'token': token},
            user_id=self.body.user_id, project_id=self.body.project_id)

    def trust(self, **values):
        return {'id': TRUST, 'trustor_user_id': self.body.user_id,
                'trustee_user_id': OWN, 'impersonation': True,
                'project_id': self.body.project_id, 'expires_at': None,
                'remaining_uses': None, 'deleted_at': None, **values}


class DelegationTest(WithTrusts):

    def test_who_needs_trusts(self):
        self.assertTrue(self.delegation.is_needed)
        self.assertFalse(
            delegation.Delegation(keystone.NoCloud()).is_needed)

    def test_giving(self):
        made = self.wire.post(TRUSTS, json={'trust': self.trust()})
        self.assertEqual(TRUST, self.delegation.give(self.asking()))
        self.assertEqual({
            'trustor_user_id': self.body.user_id, 'trustee_user_id': OWN,
            'project_id': self.body.project_id, 'impersonation': True,
            'roles': [{'id': self.body['token']['roles'][0]['id']}]},
            made.last_request.json()['trust'])
        self.assertEqual('users-secret',
                         made.last_request.headers['X-Auth-Token'])

    def test_administrators_delegate_what_members_may(self):
        """Or whoever changes their plans would be an administrator, too."""
        made = self.wire.post(TRUSTS, json={'trust': self.trust()})
        roles = [{'id': name.lower(), 'name': name}
                 for name in ('Admin', 'member', 'reader')]
        careful = delegation.Delegation(self.cloud, ['admin'])
        asking = self.asking(roles=roles)
        careful.check(asking)
        careful.give(asking)
        self.assertEqual([{'id': 'member'}, {'id': 'reader'}],
                         made.last_request.json()['trust']['roles'])
        problem = self.assertRaises(errors.Forbidden, careful.check,
                                    self.asking(roles=roles[:1]))
        self.assertIn('none of the roles', str(problem))
        self.delegation.check(self.asking(roles=roles[:1]))

    def test_trusts_of_administrators_are_not_adopted(self):
        self.wire.get(TRUSTS, json={'trusts': [
            self.trust(id='strong', roles=[{'id': '1', 'name': 'admin'}]),
            self.trust(roles=[{'id': '2', 'name': 'member'}])]})
        self.assertEqual([TRUST], delegation.Delegation(
            self.cloud, ['admin']).find(self.asking()))

    def test_giving_is_refused(self):
        self.wire.post(TRUSTS, status_code=403, json={'error': {
            'code': 403, 'title': 'Forbidden',
            'message': 'Delegated tokens cannot manage trusts.'}},
            headers={'Content-Type': 'application/json'})
        problem = self.assertRaises(errors.Forbidden, self.delegation.give,
                                    self.asking())
        self.assertIn('Delegated tokens cannot', str(problem))
        self.assertNotIn('secret', str(problem))

    def test_keystone_does_not_answer(self):
        for status in (500, 503):
            self.wire.post(TRUSTS, status_code=status)
            self.assertRaises(errors.Unavailable, self.delegation.give,
                              self.asking())

    def test_tokens_that_can_not_be_delegated(self):
        for more in ({'application_credential': {'id': 'a'}},
                     {'OS-TRUST:trust': {'id': 'b'}}, {'OS-OAUTH1': {}}):
            self.assertRaises(errors.Forbidden, self.delegation.check,
                              self.asking(**more))
        self.delegation.check(self.asking())

    def test_finding_what_fits(self):
        self.wire.get(TRUSTS, json={'trusts': [
            self.trust(id='of others', trustee_user_id='nova'),
            self.trust(id='elsewhere', project_id='x'),
            self.trust(id='ends', expires_at='2030-01-01T00:00:00Z'),
            self.trust(id='once', remaining_uses=1),
            self.trust(id='weak', impersonation=False),
            self.trust()]})
        self.assertEqual([TRUST], self.delegation.find(self.asking()))
        asked, = self.sent('GET', TRUSTS)
        self.assertEqual([self.body.user_id.lower()],
                         asked.qs['trustor_user_id'])

    def test_knowing(self):
        self.wire.get(f'{TRUSTS}/{TRUST}', json={'trust': self.trust()})
        self.wire.get(f'{TRUSTS}/gone', status_code=404)
        self.assertTrue(self.delegation.is_known(TRUST))
        self.assertFalse(self.delegation.is_known('gone'))

    def test_revoking_acts_for_the_user(self):
        self.wire.get(f'{TRUSTS}/{TRUST}', json={'trust': self.trust()})
        gone = self.wire.delete(f'{TRUSTS}/{TRUST}', status_code=204)
        self.delegation.revoke(TRUST)
        self.assertTrue(gone.called_once)
        self.assertEqual(
            {'OS-TRUST:trust': {'id': TRUST}},
            self.own.request_history[-1].json()['auth']['scope'])

    def test_revoking_what_is_gone(self):
        self.wire.get(f'{TRUSTS}/{TRUST}', status_code=404)
        self.delegation.revoke(TRUST)
        self.assertEqual([], self.sent('DELETE', TRUSTS))

    def test_revoking_what_nobody_can_use(self):
        self.wire.get(f'{TRUSTS}/{TRUST}', json={'trust': self.trust()})
        self._refuse_trust(403)
        gone = self.wire.delete(f'{TRUSTS}/{TRUST}', status_code=403)
        self.assertRaises(errors.Forbidden, self.delegation.revoke, TRUST)
        self.assertTrue(gone.called_once)

    def _refuse_trust(self, status):
        """Let Keystone give us tokens, but none for a trust."""
        def answer(request, answered):
            if 'OS-TRUST:trust' in request.json()['auth'].get('scope', {}):
                answered.status_code = status
                return {'error': {'message': 'No.', 'code': status,
                                  'title': 'No'}}
            answered.headers['X-Subject-Token'] = 'our-own-secret'
            return self.service_body
        self.wire.post(f'{KEYSTONE}/auth/tokens', json=answer)

    def test_sessions_of_trusts(self):
        session = self.cloud.user_session(delegation.access(TRUST))
        self.get_volumes(session)
        sent, = self.sent('GET', test_keystone.CINDER)
        self.assertEqual(
            ('our-own-secret', 'our-own-secret'),
            (sent.headers['X-Auth-Token'], sent.headers['X-Service-Token']))
        asked = [one.json()['auth'].get('scope')
                 for one in self.own.request_history]
        self.assertIn({'OS-TRUST:trust': {'id': TRUST}}, asked)

    def test_a_trust_that_is_refused(self):
        for status in (401, 403, 404):
            self._refuse_trust(status)
            problem = self.assertRaises(
                errors.TrustError, self.cloud.trust_session, TRUST)
            self.assertEqual(TRUST, problem.trust_id)
            self.assertIn('Enable the scheduled operation again',
                          str(problem))

    def test_it_is_we_who_are_refused(self):
        self.wire.post(f'{KEYSTONE}/auth/tokens', status_code=401)
        problem = self.assertRaises(
            errors.ConfigError, self.cloud.trust_session, TRUST)
        self.assertIn('[service_user]', str(problem))

    def test_a_trust_that_ends_meanwhile(self):
        session = self.cloud.trust_session(TRUST)
        session.auth.user_auth.invalidate()
        self._refuse_trust(404)
        self.assertRaises(errors.TrustError, self.get_volumes, session)

    def test_a_method_without_trusts(self):
        conf = self.conf(auth_type='v3applicationcredential')
        for name in ('application_credential_id',
                     'application_credential_secret'):
            conf.register_opt(test_keystone.cfg.StrOpt(name),
                              group=keystone.GROUP)
            conf.set_override(name, 'abc', group=keystone.GROUP)
        problem = self.assertRaises(
            errors.ConfigError, keystone.Cloud(conf).trust_session, TRUST)
        self.assertIn('use password', str(problem))

    def test_what_is_kept_is_json(self):
        self.assertEqual({'trust_id': TRUST},
                         json.loads(delegation.access(TRUST)))
