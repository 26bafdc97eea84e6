# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Authentication for a server with a single user.

Does what keystonemiddleware's ``auth_token`` does, with the user's own
credentials: that one needs a service user, which somebody who only uses a
cloud does not have.
"""

import json

from keystonemiddleware import auth_token
from keystonemiddleware.auth_token import InvalidToken
import webob.exc

from karbor_ng import errors

_ANSWERS = {
    403: webob.exc.HTTPForbidden,
    503: webob.exc.HTTPServiceUnavailable,
}


class SingleUserAuth(auth_token.BaseAuthProtocol):
    """WSGI middleware that lets the cloud's single user pass.

    The wrapped application finds the same headers and the same
    ``keystone.token_info`` as behind ``auth_token``.
    """

    def __init__(self, app, cloud):
        """:param cloud: a ``karbor_ng.keystone.SingleUserCloud``"""
        super().__init__(app)
        self._cloud = cloud

    def process_request(self, request):
        request.remove_auth_headers()
        request.headers.pop('X-Service-Token', None)
        super().process_request(request)
        if not (request.user_token and request.user_token_valid):
            raise _answer(webob.exc.HTTPUnauthorized,
                          'The request needs a valid token in X-Auth-Token.')
        request.set_user_headers(request.token_auth.user)

    def fetch_token(self, token, **kwargs):
        try:
            return self._cloud.check_token(token)
        except errors.Unauthorized as exc:
            raise InvalidToken(str(exc)) from None
        except errors.Error as exc:
            raise _answer(
                _ANSWERS.get(exc.code, webob.exc.HTTPInternalServerError),
                str(exc)) from None


def _answer(kind, message):
    body = {'error': {'code': kind.code, 'title': kind.title,
                      'message': message}}
    return kind(body=json.dumps(body).encode(), charset='UTF-8',
                content_type='application/json')
