# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Delegation: what is asked of Keystone about trusts.

A trust lets the service user act for a user in a project when that user's
token is long gone, which is what scheduled operations need. Apart from
``karbor_ng.keystone``, which knows sessions, and from those who remember
which trusts there are.
"""

import contextlib
import json
import logging

from keystoneauth1 import exceptions
from oslo_config import cfg

from karbor_ng import errors

LOG = logging.getLogger(__name__)

GROUP = 'delegation'
OPTS = [
    cfg.ListOpt('withheld_roles', default=['admin'],
                help='Names of roles that trusts do not delegate. What is '
                     'scheduled runs with the roles that its user had, and '
                     'everybody who may change a plan of the project says '
                     'what it protects: with an administrator among them, '
                     "what is another project's. Empty to delegate all "
                     'roles.'),
]

_IDENTITY = {'service_type': 'identity', 'version': (3, 0)}
_TRUSTS = '/OS-TRUST/trusts'


def access(trust_id):
    """Return what an operation keeps, sealed, to use a trust: JSON text."""
    return json.dumps({'trust_id': trust_id})


class Delegation:
    """Gives, finds and revokes trusts; may be used by any thread.

    :param cloud: one of the clouds of ``karbor_ng.keystone``
    :param withheld: names of roles that trusts do not delegate
    """

    def __init__(self, cloud, withheld=()):
        self._cloud = cloud
        self._withheld = {name.lower() for name in withheld}

    @property
    def is_needed(self):
        """Whether this deployment needs trusts to act for users later."""
        return self._cloud.has_trusts

    def check(self, context):
        """Refuse a token that Keystone makes no trusts for.

        :param context: the :class:`karbor_ng.context.RequestContext` of the
            user's request
        :raises errors.Forbidden: the token itself was delegated, or has no
            role that may be
        """
        token = (context.token_info or {}).get('token', {})
        if 'application_credential' in token:
            raise errors.Forbidden(
                'Scheduled operations go on after a token has ended, with a '
                'trust, and Keystone makes none for application credentials: '
                'use a token of a user who signed in with a password.')
        if 'OS-TRUST:trust' in token or 'OS-OAUTH1' in token:
            raise errors.Forbidden(
                'Scheduled operations need a trust, and this token was given '
                'by one itself: use a token of the user.')
        if token and not self._roles(token):
            raise errors.Forbidden(
                'Scheduled operations need a trust, and this deployment '
                'delegates none of the roles of this token: use that of a '
                'user who has another one in the project, such as member.')

    def _roles(self, token):
        return [role for role in token.get('roles', ())
                if role['name'].lower() not in self._withheld]

    def give(self, context):
        """Make a trust of the caller for our service user; return its id.

        It is for the project and the roles of the token, but for those that
        are withheld, and has no end.

        :raises errors.Forbidden: Keystone refuses; quotes why
        :raises errors.Unavailable: Keystone does not answer
        """
        token = context.token_info['token']
        body = {'trust': {
            'trustor_user_id': token['user']['id'],
            'trustee_user_id': self._own_id(),
            'project_id': token['project']['id'],
            'roles': [{'id': role['id']} for role in self._roles(token)],
            'impersonation': True}}
        with _explained():
            answer = self._cloud.api_session(context).post(
                _TRUSTS, json=body, endpoint_filter=_IDENTITY)
        return answer.json()['trust']['id']

    def find(self, context):
        """Return ids of usable trusts that the caller has given us already.

        :raises errors.Unavailable: Keystone does not answer
        """
        token = context.token_info['token']
        wanted = {'trustee_user_id': self._own_id(), 'impersonation': True,
                  'project_id': token['project']['id'], 'expires_at': None,
                  'remaining_uses': None, 'deleted_at': None}
        with _explained():
            answer = self._cloud.api_session(context).get(
                _TRUSTS, params={'trustor_user_id': token['user']['id']},
                endpoint_filter=_IDENTITY)
        return [trust['id'] for trust in answer.json()['trusts']
                if all(trust.get(name) == value
                       for name, value in wanted.items())
                and len(self._roles(trust)) == len(trust.get('roles', ()))]

    def is_known(self, trust_id):
        """Return whether Keystone knows a trust.

        :raises errors.Unavailable: Keystone does not answer
        """
        with _explained():
            try:
                self._cloud.service_session().get(
                    f'{_TRUSTS}/{trust_id}', endpoint_filter=_IDENTITY)
            except exceptions.NotFound:
                return False
        return True

    def revoke(self, trust_id):
        """Delete a trust; return when it is gone, whoever deleted it.

        :raises errors.Forbidden: neither its user nor we may
        :raises errors.Unavailable: Keystone does not answer
        """
        if not self.is_known(trust_id):
            return
        try:
            session = self._cloud.trust_session(trust_id)
        except errors.TrustError:
            # Nobody can use it, but only an administrator may remove it.
            session = self._cloud.service_session()
        with _explained(), contextlib.suppress(exceptions.NotFound):
            session.delete(f'{_TRUSTS}/{trust_id}', endpoint_filter=_IDENTITY)

    def _own_id(self):
        with _explained():
            return self._cloud.service_session().get_user_id()


@contextlib.contextmanager
def _explained():
    """Tell in our words what Keystone refuses, without its tokens."""
    try:
        yield
    except exceptions.NotFound:
        raise
    except exceptions.HTTPClientError as refusal:
        raise errors.Forbidden(
            'Keystone refuses this about a trust (HTTP '
            f'{refusal.http_status}): {refusal.message}') from None
    except exceptions.ClientException as problem:
        raise errors.Unavailable(
            f'Keystone does not answer about a trust: {problem}') from None
