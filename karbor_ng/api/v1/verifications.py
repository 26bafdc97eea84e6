# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Verifications of checkpoints."""

from karbor_ng.api import listing
from karbor_ng.api import validation
from karbor_ng.api.schemas import base as base_schemas
from karbor_ng.api.schemas import verifications as schemas
from karbor_ng.api.v1 import base
from karbor_ng.store import checkpoints
from karbor_ng.store import verifications

_ABORT = validation.Body(base_schemas.ABORT)
_CREATE = validation.Body(schemas.CREATE)
_LISTED = listing.Query(
    {'status': base_schemas.TEXT, 'checkpoint_id': base_schemas.UUID},
    {'created_at': 'created_at', 'id': 'id', 'status': 'status'})


class Verifications(base.Controller):
    """Verifications of a project."""

    @base.verb(schemas.PAGE, query=_LISTED)
    def list(self, req, resp):
        self._require(req, 'verification:get_all')
        wanted = _LISTED.read(req, self._conf)
        rows, resources = self._db.read(_list, wanted)
        return wanted.answer('verifications', rows,
                             lambda row: view(row, resources[row.id]))

    @base.verb(schemas.SHOWN, body=_CREATE, refusals=(404, 409))
    def create(self, req, resp):
        self._require(req, 'verification:create')
        body = _CREATE.read(req)
        caller = self._acting(
            req, checkpoints.get, body['checkpoint_id'],
            'verification:create', provider_id=body['provider_id'])
        made = self._tools.client.verify(
            caller, body['checkpoint_id'], body['provider_id'],
            body.get('parameters'))
        return {'verification': view(made, ())}

    @base.verb(schemas.SHOWN)
    def show(self, req, resp, verification_id):
        found = self._read(req, verifications.get, verification_id,
                           'verification:get')
        resources = self._db.read(verifications.resources, verification_id)
        return {'verification': view(found, resources)}

    @base.verb(base_schemas.NOTHING, body=_ABORT, refusals=(409,))
    def act(self, req, resp, verification_id):
        caller = self._acting(req, verifications.get, verification_id,
                              'verification:abort')
        _ABORT.read(req)
        self._tools.client.abort_verification(caller, verification_id)
        return {}


def view(verification, resources):
    """Return a verification as answers have it.

    :param resources: its rows of resources
    """
    return {
        'id': verification.id,
        'project_id': verification.project_id,
        'provider_id': verification.provider_id,
        'checkpoint_id': verification.checkpoint_id,
        'parameters': verification.parameters,
        'status': verification.status,
        'resources_status': {_key(row): row.status for row in resources},
        'resources_reason': {_key(row): row.reason for row in resources
                             if row.reason},
        'created_at': base.moment(verification.created_at),
        'finished_at': base.moment(verification.finished_at),
        'resources': [_resource_view(row) for row in resources],
    }


def _key(row):
    return f'{row.type}#{row.id}'


def _resource_view(row):
    return {
        'id': row.id,
        'type': row.type,
        'name': row.name,
        'status': row.status,
        'reason': row.reason,
        'progress': row.progress,
    }


def _list(session, wanted):
    rows = verifications.list(session, wanted.page, wanted.project_id,
                              **wanted.filters)
    return rows, verifications.resources_by_owner(
        session, [row.id for row in wanted.shown(rows)])
