# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What controllers are built with and share."""

import contextlib
import dataclasses
import typing

import pecan
import webob

from karbor_ng import context
from karbor_ng import errors
from karbor_ng.api import declaration

_expose = pecan.expose('json')


def verb(answer=None, **declared):
    """Make a method a verb: its dict becomes a JSON body.

    :param answer: JSON schema of that body; None where it is empty
    :param declared: the rest of a
        :class:`karbor_ng.api.declaration.Declaration`
    """
    def mark(method):
        method.declaration = declaration.Declaration(answer, **declared)
        return _expose(method)
    return mark


@dataclasses.dataclass(frozen=True)
class Tools:
    """What controllers work with.

    :ivar conf: the configuration
    :ivar db: a :class:`karbor_ng.store.session.Database`
    :ivar client: a :class:`karbor_ng.protection.client.ProtectionClient`
    :ivar cloud: answers ``api_session(context)``
    :ivar protectables: a :class:`karbor_ng.protectables.Protectables`
    :ivar enforcer: a :class:`karbor_ng.policy.Enforcer`
    :ivar health: a :class:`karbor_ng.api.health.Health`
    :ivar document: the description of the API
    :ivar engine: a :class:`karbor_ng.operationengine.client.EngineClient`
    :ivar sealer: a :class:`karbor_ng.credentials.Sealer`, or None where
        operations need no credentials
    """

    conf: typing.Any
    db: typing.Any
    client: typing.Any
    cloud: typing.Any
    protectables: typing.Any
    enforcer: typing.Any
    health: typing.Any
    document: dict
    engine: typing.Any
    sealer: typing.Any = None


class Controller:
    """One noun; its verbs answer requests."""

    def __init__(self, tools):
        self._tools = tools
        self._conf = tools.conf
        self._db = tools.db

    def _require(self, req, rule, project_id=None):
        """Check a rule of the policy.

        :param project_id: whose thing it is about; None for the path's
        :raises errors.Forbidden: the caller may not
        """
        self._tools.enforcer.require(
            req.caller, rule, project_id or req.project_id)

    def _read(self, req, get, thing_id, rule, **kwargs):
        """Return a row that the caller may see by this rule.

        :param get: a noun's ``get`` of the store
        :raises errors.NotFound: there is none, or it is another project's
        :raises errors.Forbidden: the caller's roles do not suffice
        """
        row = self._db.read(get, thing_id, scope(req), **kwargs)
        self._require(req, rule, row.project_id)
        return row

    def _caller(self, req, project_id):
        """Return what an operation of this project keeps of the caller."""
        sealer, asking = self._tools.sealer, req.caller
        return context.Caller(
            project_id=project_id, user_id=asking.user_id,
            request_id=asking.request_id,
            credentials=sealer.seal(asking.access()) if sealer else None)

    def _acting(self, req, get, thing_id, rule, **kwargs):
        """Return what an operation on a thing keeps of the caller.

        Who sees the things of one project acts in that one; whether this is
        one of them shows when it is acted on.

        Takes and raises what :meth:`_read` does.
        """
        project_id = scope(req)
        if project_id is None:
            project_id = self._read(req, get, thing_id, rule,
                                    **kwargs).project_id
        else:
            self._require(req, rule, project_id)
        return self._caller(req, project_id)

    @contextlib.contextmanager
    def _cloud(self, req):
        """Hand out the caller's session; blame the cloud for its errors."""
        session = self._tools.cloud.api_session(req.caller)
        try:
            yield session
        except errors.Error as exc:
            if exc.code < 500:
                raise
            if session is None:
                raise errors.Unavailable(
                    'This deployment has no access to a cloud.') from exc
            raise errors.Unavailable(str(exc)) from exc


def scope(req):
    """Return whose things the caller can see; None for everybody's."""
    return None if req.caller.is_admin else req.project_id


def empty():
    """Return an answer without a body."""
    return webob.Response(content_type='application/json', charset=None)


def naive_moment(time):
    """Return a time as Karbor had it: in UTC, without its zone; or None."""
    return moment(time.replace(tzinfo=None)) if time else None


def moment(time):
    """Return a time as answers have it, in UTC with its zone; or None."""
    return time.isoformat(timespec='microseconds') if time else None
