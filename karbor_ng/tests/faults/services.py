# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Services of clouds that fail: what is between a client and a service.

Around any service that is a transport of requests; what happens is what a
client sees when servers, proxies and networks fail.
"""

import email.utils
import http.client
import threading
import time

import requests
import urllib3

from karbor_ng.tests import fixtures_service
from karbor_ng.tests.faults import kinds

SLOW_SECONDS = 0.2
#: Seconds that a request hangs whose client would wait longer.
HANG_SECONDS = 0.1
#: What is in the place of a deadline, where a client has none.
FOR_EVER = 3600
_SORTS = {'GET': 'read', 'HEAD': 'read', 'DELETE': 'remove'}
_TOKENS = ('X-Auth-Token', 'X-Service-Token')


class FaultyService(requests.adapters.BaseAdapter):
    """A service, some calls of which fail.

    :param inner: the service
    :param injection: see :class:`injection.Injection`
    :param expired: texts of tokens that no service accepts any more; shared
        by the services of a cloud
    """

    def __init__(self, inner, injection, expired):
        super().__init__()
        self.url = inner.url
        self._inner = inner
        self._injection = injection
        self._expired = expired

    def send(self, request, **kwargs):
        what = f'{request.method} {request.url.partition("?")[0]}'
        kind = self._injection.meet(sort_of(request), what)
        if self._expired & _tokens(request):
            return _refusal(request, 401)
        if kind is None:
            return self._inner.send(request, **kwargs)
        if kind == 'token expired':
            self._expired.update(_renewable(request))
            return _refusal(request, 401)
        if kind.startswith('429,'):
            self._injection.owe_pause(what, kinds.RETRY_AFTER)
        return _FAILURES[kind](self._inner, request, kwargs)

    def close(self):
        pass


def sort_of(request):
    """Return which sort of calls a request is; see :mod:`kinds`."""
    path = request.url.partition('?')[0]
    if path.endswith('/auth/tokens') and request.method == 'POST':
        return 'token'
    if path.endswith('/file'):
        return 'download' if request.method == 'GET' else 'upload'
    return _SORTS.get(request.method, 'change')


def _tokens(request):
    return {request.headers.get(name) for name in _TOKENS} - {None}


def _renewable(request):
    """Return the tokens of a request that its sender can renew.

    Those of users live as long as there is one of the service beside them.
    """
    return {request.headers.get('X-Service-Token')
            or request.headers.get('X-Auth-Token')}


def _refusal(request, status, **headers):
    answer = fixtures_service.response(
        request, status, {'error': {'code': status, 'message':
                                    http.client.responses[status]}})
    answer.headers.update(headers)
    return answer


def _refused(status, is_done=False, **headers):
    """Return what answers with a status."""
    def fail(inner, request, kwargs):
        if is_done:
            inner.send(request, **kwargs)
        else:
            _take(request)
        made = {name.replace('_', '-'): value() if callable(value) else value
                for name, value in headers.items()}
        return _refusal(request, status, **made)
    return fail


def _take(request):
    """Take what a server takes before it answers: the whole body."""
    if request.body is not None and not isinstance(
            request.body, (bytes, str)):
        b''.join(request.body)


def _no_connection(inner, request, kwargs):
    raise requests.exceptions.ConnectionError(
        urllib3.exceptions.NewConnectionError(
            None, 'Connection refused'), request=request)


def _lost_answer(inner, request, kwargs):
    inner.send(request, **kwargs)
    raise requests.exceptions.ConnectionError(
        urllib3.exceptions.ProtocolError(
            'Connection aborted.', ConnectionResetError(
                104, 'Connection reset by peer')), request=request)


def _hang(inner, request, kwargs, is_done=False):
    """Say nothing until the client gives up; for ever, if it does not."""
    if is_done:
        inner.send(request, **kwargs)
    limit = kwargs.get('timeout')
    limit = limit[-1] if isinstance(limit, tuple) else limit
    threading.Event().wait(
        FOR_EVER if limit is None else min(HANG_SECONDS, limit))
    raise requests.exceptions.ReadTimeout(
        f'Read timed out. (read timeout={limit})', request=request)


def _hang_after(inner, request, kwargs):
    return _hang(inner, request, kwargs, is_done=True)


def _slow(inner, request, kwargs):
    threading.Event().wait(SLOW_SECONDS)
    return inner.send(request, **kwargs)


def _half(inner, request, kwargs):
    answer = inner.send(request, **kwargs)
    data = answer.content
    torn = fixtures_service.response(
        request, answer.status_code,
        fixtures_service.Broken(data[:len(data) // 2]))
    torn.headers.update(answer.headers)
    return torn


def _date():
    # Dates have whole seconds: the one that has begun does not count.
    return email.utils.formatdate(time.time() + kinds.RETRY_AFTER + 1,
                                  usegmt=True)


#: What happens: ``(service, request, what its transport is told) -> answer``.
_FAILURES = {
    'refused connection': _no_connection,
    'no connection for a while': _no_connection,
    'lost answer': _lost_answer,
    'hang': _hang,
    'hang after': _hang_after,
    'slow': _slow,
    'half an answer': _half,
    '429': _refused(429),
    '429, seconds': _refused(429, Retry_After=str(kinds.RETRY_AFTER)),
    '429, date': _refused(429, Retry_After=_date),
    '500': _refused(500),
    '500 after': _refused(500, is_done=True),
    '502': _refused(502),
    '503': _refused(503),
    '503 for a while': _refused(503),
}
