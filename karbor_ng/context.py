# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Who asks: the user, the project and the roles behind one request."""

import contextlib
import copy
import dataclasses
import functools
import json
import time

from oslo_context import context as oslo_context

from karbor_ng import logs


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

    ``operation_id``, ``operation_type`` and ``resource`` say what a worker
    is doing; they are None in a request. ``sleep`` is how it sleeps: not
    beyond its right to go on.
    """

    def __init__(self, token_info=None, operation_id=None,
                 operation_type=None, resource=None, sleep=None, **kwargs):
        super().__init__(**kwargs)
        self.token_info = token_info
        self.operation_id = operation_id
        self.operation_type = operation_type
        self.resource = resource
        self.sleep = sleep

    @classmethod
    def from_environ(cls, environ, **kwargs):
        """Read what keystonemiddleware put into a WSGI environment."""
        context = super().from_environ(environ, **kwargs)
        context.token_info = environ.get('keystone.token_info')
        return context

    @classmethod
    def of_operation(cls, operation, sleep=None):
        """Return the context of the request that asked for an operation.

        It is this thread's from now on, so that what is logged, and what is
        asked of clouds, carries the same ids.

        :param operation: its row
        :param sleep: see :func:`sleep`
        """
        return cls(user_id=operation.user_id, project_id=operation.project_id,
                   request_id=operation.request_id,
                   operation_id=operation.id, operation_type=operation.type,
                   sleep=sleep)

    def get_logging_values(self):
        """Return what formats of log lines can name.

        ``resource`` is ready for a line: empty, or in brackets with a space
        behind. oslo.log knows this name, so it is empty as well where there
        is no context of ours.
        """
        values = super().get_logging_values()
        words = [self.operation_type, self.operation_id]
        if self.resource is not None:
            words += [logs.one_line(self.resource.type),
                      logs.one_line(self.resource.id)]
        values.update(
            operation_id=self.operation_id,
            operation_type=self.operation_type,
            resource=f'[{" ".join(words)}] ' if self.operation_id else '')
        return values

    def access(self):
        """Return token and token body as JSON text, or None without a token.

        This is the secret that an operation keeps, sealed, until its end.
        """
        if not self.auth_token or not self.token_info:
            return None
        return json.dumps({'token': self.auth_token,
                           'body': self.token_info})


def carried(function):
    """Return the function, to be called by another thread on our behalf.

    It then has the context that this thread has now.
    """
    context = oslo_context.get_current()
    if context is None:
        return function

    @functools.wraps(function)
    def call(*args, **kwargs):
        context.update_store()
        return function(*args, **kwargs)
    return call


def is_operation():
    """Return whether this thread works for an operation that can wait."""
    return getattr(oslo_context.get_current(), 'sleep', None) is not None


def sleep(seconds):
    """Sleep; raise when the operation that is worked for must end.

    :raises errors.Error: whatever ends it
    """
    own = getattr(oslo_context.get_current(), 'sleep', None)
    (own or time.sleep)(seconds)


def about(resource):
    """Let what this thread logs meanwhile name a resource as well.

    Without a context of an operation nothing changes.

    :param resource: has ``type`` and ``id``
    """
    return _changed(resource=resource)


def undisturbed():
    """Let this thread sleep whatever becomes of its operation.

    For who removes what came too late, when the operation is lost already.
    """
    return _changed(sleep=None)


@contextlib.contextmanager
def _changed(**values):
    context = oslo_context.get_current()
    if getattr(context, 'operation_id', None) is None:
        yield
        return
    # Many threads share the context of an operation.
    inner = copy.copy(context)
    for name, value in values.items():
        setattr(inner, name, value)
    inner.update_store()
    try:
        yield
    finally:
        context.update_store()
