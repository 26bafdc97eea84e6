# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What an error looks like to a caller of the API.

All errors, whoever found them, take their form here: our own, those of the
middleware between, and those that nobody expected.
"""

import logging

from oslo_db import exception as db_errors
from oslo_middleware import request_id
from sqlalchemy import exc as sqlalchemy_errors
import webob
import webob.dec
import webob.request

from karbor_ng import errors

LOG = logging.getLogger(__name__)

NAMES = {
    400: 'badRequest', 401: 'unauthorized', 403: 'forbidden',
    404: 'itemNotFound', 405: 'badMethod', 409: 'conflictingRequest',
    413: 'overLimit', 415: 'badMediaType', 501: 'notImplemented',
    503: 'serviceUnavailable',
}

_DATABASE_AWAY = (db_errors.DBConnectionError, db_errors.DBDeadlock,
                  db_errors.CantStartEngineError,
                  sqlalchemy_errors.TimeoutError)
_DATABASE_WORDS = 'The database does not answer; try again later.'
#: The only thing of ours that somebody between us and the caller measures.
_LARGE_WORDS = ('The body is larger than [oslo_middleware] '
                'max_request_body_size allows.')
#: Nobody else between us and the caller needs a service.
_KEYSTONE_WORDS = ('Keystone does not answer, so that the token can not be '
                   'checked; try again later.')
_UNEXPECTED_WORDS = ('An unexpected error happened. The log of the service '
                     'has more, under the id of this request.')

#: Set in a request's environment by a verb whose answer keeps its form
#: although its status is that of an error.
IS_FORMED = 'karbor.is_formed'

#: Headers of the middleware between that callers need.
_KEPT_HEADERS = ('WWW-Authenticate', 'Retry-After')
_LONGEST_MESSAGE = 2000


class MethodNotAllowed(errors.Error):
    """The path is right, the method is not."""

    code = 405

    def __init__(self, method, allowed):
        """:param allowed: the methods that this path has"""
        self.allowed = sorted(allowed)
        super().__init__(f'{method} is not possible here, only '
                         f'{", ".join(self.allowed)}.')


class Faults:
    """WSGI middleware that gives errors their form."""

    def __init__(self, app):
        self._app = app

    @webob.dec.wsgify
    def __call__(self, req):
        try:
            response = req.get_response(self._app)
        except errors.Error as exc:
            return _from_error(exc, req)
        except _DATABASE_AWAY as exc:
            LOG.error('%s %s %s: %s', *_which(req), exc)
            return _fault(503, _DATABASE_WORDS)
        except webob.request.DisconnectionError:
            return _fault(400, 'The body ended before its announced length.')
        except Exception:
            LOG.exception('%s %s %s failed.', *_which(req))
            return _fault(500, _UNEXPECTED_WORDS)
        if response.status_int >= 400 and IS_FORMED not in req.environ:
            # We raise errors, so this one is somebody else's.
            return _from_response(response)
        if response.status_int == 204:
            # Every success of this API is a 200, bodies or not, while pecan
            # has its own opinion of empty ones.
            response.status_int = 200
        return response


def schema(status):
    """Return the JSON schema of an error with this status."""
    name = NAMES.get(status, 'computeFault')
    fault = {'code': {'const': status}, 'message': {'type': 'string'}}
    if status == 413:
        fault['retryAfter'] = {'type': 'string'}
    return {
        'title': name if status in NAMES else f'{name}{status}',
        'type': 'object', 'required': [name], 'additionalProperties': False,
        'properties': {name: {
            'type': 'object', 'required': list(fault),
            'additionalProperties': False, 'properties': fault}}}


def _which(req):
    """Return what tells one request from others in the log."""
    return req.environ.get(request_id.ENV_REQUEST_ID), req.method, req.path


def _from_error(exc, req):
    if exc.code >= 500 and exc.code != 503:
        LOG.error('%s %s %s failed.', *_which(req), exc_info=exc)
        return _fault(500, _UNEXPECTED_WORDS)
    headers = {}
    if isinstance(exc, MethodNotAllowed):
        headers['Allow'] = ', '.join(exc.allowed)
    return _fault(exc.code, str(exc), headers)


def _from_response(response):
    return _fault(response.status_int, _words(response),
                  {name: response.headers[name] for name in _KEPT_HEADERS
                   if name in response.headers})


def _words(response):
    """Return what the other's error says, or at least its title."""
    if response.status_int == 413:
        return _LARGE_WORDS
    if response.content_type == 'application/json':
        try:
            return response.json['error']['message']
        except (ValueError, TypeError, KeyError):
            pass
    if response.status_int == 503:
        return _KEYSTONE_WORDS
    return f'{response.status.partition(" ")[2]}.'


def _fault(code, message, headers=None):
    if len(message) > _LONGEST_MESSAGE:
        message = message[:_LONGEST_MESSAGE] + '...'
    fault = {'code': code, 'message': message}
    headers = dict(headers or {})
    if code == 413:
        fault['retryAfter'] = '0'
        headers['Retry-After'] = '0'
    response = webob.Response(
        status=code, content_type='application/json',
        json={NAMES.get(code, 'computeFault'): fault})
    response.headers.update(headers)
    return response
