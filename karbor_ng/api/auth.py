# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Who calls: from a token to a request context.

Each strategy is a middleware that leaves the same headers behind, so that
nothing after it knows which one it was.
"""

import re

from keystonemiddleware import auth_token
from keystonemiddleware import opts as auth_token_opts
from oslo_middleware import request_id

from karbor_ng import context as request_context
from karbor_ng import errors

_NAME = '[A-Za-z0-9._@-]{1,255}'
_NOAUTH_TOKEN = re.compile(
    f'(?P<user>{_NAME}):(?P<project>{_NAME})(?::(?P<roles>[a-z_,-]*))?')

#: How long a Keystone that checks tokens may be silent. keystonemiddleware
#: itself would wait for ever; its option http_connect_timeout says otherwise.
KEYSTONE_SECONDS = 10
#: Where the rest of a request finds who calls.
CONTEXT = 'karbor.context'


def strategy(conf):
    """Return the middleware that ``auth_strategy`` names: app to app."""
    if conf.auth_strategy == 'noauth':
        return NoAuth
    _limit_patience(conf)
    return lambda app: auth_token.AuthProtocol(
        app, {'oslo_config_config': conf})


def _limit_patience(conf):
    """Let no Keystone hold up all threads by saying nothing."""
    for group, options in auth_token_opts.list_auth_token_opts():
        conf.register_opts(options, group=group)
        conf.set_default('http_connect_timeout', KEYSTONE_SECONDS,
                         group=group)


class NoAuth:
    """Believes the caller: the token is ``user:project`` or, with roles,
    ``user:project:role,role``.

    Without roles a user called ``admin`` has all, others those of a member.
    """

    def __init__(self, app):
        self._app = app

    def __call__(self, environ, start_response):
        match = _NOAUTH_TOKEN.fullmatch(environ.get('HTTP_X_AUTH_TOKEN', ''))
        if not match:
            raise errors.Unauthorized(
                'The header X-Auth-Token must be USER:PROJECT or '
                'USER:PROJECT:ROLE,ROLE.')
        for name in list(environ):
            if name.startswith(('HTTP_X_', 'HTTP_OPENSTACK_')):
                del environ[name]
        environ.update(_headers(**match.groupdict()))
        return self._app(environ, start_response)


def _headers(user, project, roles):
    if roles is None:
        roles = 'admin,member,reader' if user == 'admin' else 'member,reader'
    return {'HTTP_X_IDENTITY_STATUS': 'Confirmed', 'HTTP_X_USER_ID': user,
            'HTTP_X_PROJECT_ID': project, 'HTTP_X_ROLES': roles}


class Anonymous:
    """Middleware for the time until somebody has authenticated.

    What is logged meanwhile carries the id of this request, and not the
    user of the last one that the thread worked on.
    """

    def __init__(self, app):
        self._app = app

    def __call__(self, environ, start_response):
        request_context.RequestContext(
            request_id=environ.get(request_id.ENV_REQUEST_ID))
        return self._app(environ, start_response)


class Context:
    """Middleware that makes the context from the headers of a strategy."""

    def __init__(self, app, enforcer):
        self._app = app
        self._enforcer = enforcer

    def __call__(self, environ, start_response):
        if environ.get('HTTP_X_IDENTITY_STATUS') != 'Confirmed':
            raise errors.Unauthorized('The request carries no valid token.')
        context = request_context.RequestContext.from_environ(environ)
        context.is_admin = self._enforcer.is_admin(context)
        environ[CONTEXT] = context
        return self._app(environ, start_response)
