# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What the services of a cloud in memory share: requests, refusals, faults.

Each service is behind a real session, as a transport of its own: clients,
catalog and discovery are those of the product.
"""

import io
import json
import re
import threading
import urllib.parse

from keystoneauth1 import fixture
from keystoneauth1 import session
from keystoneauth1.access import access
from keystoneauth1.identity import access as access_plugin
import requests
import urllib3

PROJECT = '24f7f1f5cb044d3ba4ab1b4d3b8a8e3c'


class Refused(Exception):
    """An answer that is an error.

    :param request_id: what the cloud's service calls the request
    """

    def __init__(self, code, text, request_id=None):
        super().__init__(text)
        self.code = code
        # Nova and Cinder have another name of their own for it.
        self.headers = {name: request_id for name in (
            'X-Openstack-Request-Id', 'X-Compute-Request-Id') if request_id}


class Service(requests.adapters.BaseAdapter):
    """A service; tests use its heirs.

    :cvar type: as the catalog calls it
    :cvar url: where it is; what comes before the paths of requests
    :cvar routes: ``(method, pattern of the path, handler)``; handlers get
        the service, the groups of the pattern, ``body`` (decoded JSON, or
        bytes) and ``filters`` (of the query), and return what becomes JSON,
        None, or bytes
    :ivar requests: ``(method, path)`` of all requests
    :ivar intercept: called with method, path and body before a request is
        served; may raise :class:`Refused` or what a connection raises
    :ivar after: the same, after it was served and before the answer
    """

    type: str
    url: str
    routes: tuple = ()

    def __init__(self):
        super().__init__()
        self.requests = []
        self.intercept = lambda method, path, body: None
        self.after = lambda method, path, body: None
        self._lock = threading.RLock()

    def session(self):
        """Return a session that ends here."""
        return session_of(self)

    def versions(self):
        """Return what discovery is told."""
        raise NotImplementedError

    def check(self, request):
        """Refuse what no route may see."""

    def words(self, refusal):
        """Return how this service tells a refusal."""
        return {'badRequest': {'message': str(refusal),
                               'code': refusal.code}}

    def filters(self, query):
        """Return what the query of a URL asks for."""
        return dict(urllib.parse.parse_qsl(query))

    # Transport

    def send(self, request, **kwargs):
        path, _, query = request.path_url.partition('?')
        path = path.removeprefix(urllib.parse.urlsplit(self.url).path)
        with self._lock:
            self.requests.append((request.method, path))
            try:
                body = self.read(request, path)
                self.intercept(request.method, path, body)
                answer = self._serve(request, path, query, body)
                self.after(request.method, path, body)
                return response(request, 200, answer)
            except Refused as refusal:
                answer = response(request, refusal.code,
                                  self.words(refusal))
                answer.headers.update(refusal.headers)
                return answer

    def close(self):
        pass

    def read(self, request, path):
        """Return the body of a request."""
        if not request.body:
            return None
        if 'json' in request.headers.get('Content-Type', ''):
            return json.loads(request.body)
        return b''.join(request.body)

    def _serve(self, request, path, query, body):
        path = path.strip('/')
        if not path:
            return self.versions()
        self.check(request)
        filters = self.filters(query)
        for method, pattern, handler in self.routes:
            match = re.fullmatch(pattern, path)
            if match and method == request.method:
                return handler(self, *match.groups(), body=body,
                               filters=filters)
        raise Refused(404, f'no route for {request.method} {path}')


def session_of(*services, project_id=PROJECT):
    """Return a session of a user of these services."""
    token = fixture.V3Token(project_id=project_id)
    for service in services:
        token.add_service(service.type).add_standard_endpoints(
            public=service.url)
    made = session.Session(access_plugin.AccessInfoPlugin(
        access.create(body=token, auth_token='token')))
    for service in services:
        made.session.mount(service.url, service)
    return made


class Broken(bytes):
    """Data after which the connection breaks."""


class _Raw(io.BytesIO):
    """What requests reads a body of bytes from."""

    def __init__(self, data):
        super().__init__(data)
        self._is_broken = isinstance(data, Broken)

    def stream(self, size, decode_content=True):
        while piece := self.read(size):
            yield piece
        if self._is_broken:
            raise urllib3.exceptions.ProtocolError('the connection broke')


def response(request, code, body):
    """Return an answer: bytes as they are, None as nothing, else JSON."""
    made = requests.Response()
    made.status_code = code if body is not None else 204
    made.request = request
    made.url = request.url
    if isinstance(body, bytes):
        made.headers['Content-Type'] = 'application/octet-stream'
    elif body is not None:
        made.headers['Content-Type'] = 'application/json'
        body = json.dumps(body).encode()
    made.raw = _Raw(body or b'')
    return made
