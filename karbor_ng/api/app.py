# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The WSGI application: middleware around pecan, from the outside inwards.

Everything that it works with is handed in, so that several can live in one
process: the services', the all-in-one's, and those of tests.
"""

from oslo_config import cfg
from oslo_middleware import http_proxy_to_wsgi
from oslo_middleware import request_id
from oslo_middleware import sizelimit

from karbor_ng import delegation
from karbor_ng import policy
from karbor_ng import triggers
from karbor_ng.api import auth as authentication
from karbor_ng.api import faults
from karbor_ng.api import health
from karbor_ng.api import routing
from karbor_ng.api.v1 import base
from karbor_ng.api.v1 import routes
from karbor_ng.operationengine import client as engine_client

#: Bytes. A plan of some thousand resources does not fit into the 112 KiB
#: that oslo.middleware allows by itself.
_MOST_BODY = 4 * 1024 * 1024


def set_defaults():
    """Change defaults of libraries; what writes the sample file asks too."""
    cfg.set_defaults(sizelimit.OPTS, max_request_body_size=_MOST_BODY)


class _RequestId(request_id.RequestId):
    """Old clients read the id of a request from a header of its own."""

    compat_headers = ['x-compute-request-id']


class _Public:
    """Lets requests for nobody's paths go round the authentication."""

    def __init__(self, private, public):
        self._private = private
        self._public = public

    def __call__(self, environ, start_response):
        app = self._public if routing.is_public(environ) else self._private
        return app(environ, start_response)


def make_app(conf, db, client, cloud, protectables, sealer=None, auth=None,
             broker=None):
    """Return the application.

    :param conf: the configuration
    :param db: a :class:`karbor_ng.store.session.Database`
    :param client: a :class:`karbor_ng.protection.client.ProtectionClient`
    :param cloud: answers ``api_session(context)``; see
        :mod:`karbor_ng.keystone`
    :param protectables: a :class:`karbor_ng.protectables.Protectables`
    :param sealer: a :class:`karbor_ng.credentials.Sealer`; without one
        operations get no credentials of their callers
    :param auth: middleware, app to app, instead of what ``auth_strategy``
        names
    :param broker: a :class:`karbor_ng.rpc.Broker`; None where messages do
        not leave the process
    """
    set_defaults()
    enforcer = policy.Enforcer(conf)
    tools = base.Tools(
        conf=conf, db=db, client=client, cloud=cloud,
        protectables=protectables, enforcer=enforcer, sealer=sealer,
        document=routes.document(),
        health=health.Health(
            conf, db, broker,
            cloud if getattr(cloud, 'auth_url', None) else None),
        engine=engine_client.EngineClient(
            db, delegation.Delegation(cloud, conf.delegation.withheld_roles),
            triggers.load(conf)))
    dispatch = _dispatch(tools)
    wrap = auth or authentication.strategy(conf)
    app = _Public(wrap(authentication.Context(dispatch, enforcer)), dispatch)
    for middleware in (
            lambda inner: sizelimit.RequestBodySizeLimiter(inner, conf),
            routing.WellFormed,
            faults.Faults,
            authentication.Anonymous,
            lambda inner: http_proxy_to_wsgi.HTTPProxyToWSGI(inner, conf),
            lambda inner: _RequestId(inner, conf)):
        app = middleware(app)
    return app


def _dispatch(tools):
    controllers = {noun: kind(tools)
                   for noun, kind in routes.CONTROLLERS.items()}
    return routing.Dispatcher(
        routing.Root(routes.ROUTES, controllers), default_renderer='json',
        force_canonical=False, guess_content_type_from_ext=False,
        request_cls=routing.Request)
