# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Who asks: the user, the project and the roles behind one request."""

import dataclasses
import json

from oslo_context import context as oslo_context


@dataclasses.dataclass(frozen=True)
class Caller:
    """What an accepted request leaves behind for the worker.

    ``credentials`` is sealed text (see ``karbor_ng.credentials``) or None
    where a deployment has a single user.
    """

    project_id: str
    user_id: str | None
    request_id: str | None
    credentials: str | None = None


class RequestContext(oslo_context.RequestContext):
    """oslo.context's request context, and nothing but what we add to it.

    ``token_info`` is the decoded body of the caller's token (keystone's
    ``{"token": {...}}``): plugins' sessions are made from it without asking
    Keystone once more. It never leaves the process unsealed.
    """

    def __init__(self, token_info=None, **kwargs):
        super().__init__(**kwargs)
        self.token_info = token_info

    @classmethod
    def from_environ(cls, environ, **kwargs):
        """Read what keystonemiddleware put into a WSGI environment."""
        context = super().from_environ(environ, **kwargs)
        context.token_info = environ.get('keystone.token_info')
        return context

    def access(self):
        """Return token and token body as JSON text, or None without a token.

        This is the secret that an operation keeps, sealed, until its end.
        """
        if not self.auth_token or not self.token_info:
            return None
        return json.dumps({'token': self.auth_token,
                           'body': self.token_info})
