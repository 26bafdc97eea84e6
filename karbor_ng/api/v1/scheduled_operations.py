# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Scheduled operations: what is done at the times of a trigger."""

from karbor_ng.api import listing
from karbor_ng.api import validation
from karbor_ng.api.schemas import base as base_schemas
from karbor_ng.api.schemas import scheduled_operations as schemas
from karbor_ng.api.v1 import base
from karbor_ng.store import runs
from karbor_ng.store import scheduled_operations

_CREATE = validation.Body(schemas.CREATE)
_UPDATE = validation.Body(schemas.UPDATE)
_LISTED = listing.Query(
    {'name': base_schemas.TEXT, 'operation_type': base_schemas.TEXT,
     'trigger_id': base_schemas.UUID, 'plan_id': base_schemas.UUID,
     'operation_definition': base_schemas.TEXT},
    {'created_at': 'created_at', 'id': 'id', 'name': 'name',
     'operation_type': 'operation_type'})
_RUNS = listing.Query(
    {'status': {'enum': list(schemas.RUN_STATUSES)}},
    {'created_at': 'created_at', 'id': 'id', 'planned_at': 'planned_at'})

#: What the store calls fields of the API.
_COLUMNS = {'operation_definition': 'definition', 'enabled': 'is_enabled'}


class ScheduledOperations(base.Controller):
    """Scheduled operations of a project."""

    @base.verb(schemas.PAGE, query=_LISTED)
    def list(self, req, resp):
        self._require(req, 'scheduled_operation:list')
        wanted = _LISTED.read(req, self._conf)
        rows = self._db.read(scheduled_operations.list, wanted.page,
                             wanted.project_id, **wanted.filters)
        return wanted.answer('operations', rows, _listed_view)

    @base.verb(schemas.SHOWN, body=_CREATE, refusals=(404,))
    def create(self, req, resp):
        self._require(req, 'scheduled_operation:create')
        values = {'description': None, 'is_enabled': True,
                  **_columns(_CREATE.read(req))}
        return {'scheduled_operation': view(self._tools.engine.create(
            req.caller, req.project_id, values))}

    @base.verb(schemas.SHOWN)
    def show(self, req, resp, scheduled_operation_id):
        return {'scheduled_operation': view(self._one(
            req, scheduled_operation_id, 'scheduled_operation:get'))}

    @base.verb(schemas.SHOWN, body=_UPDATE)
    def update(self, req, resp, scheduled_operation_id):
        row = self._one(req, scheduled_operation_id,
                        'scheduled_operation:update')
        return {'scheduled_operation': view(self._tools.engine.update(
            req.caller, row, _columns(_UPDATE.read(req))))}

    @base.verb()
    def delete(self, req, resp, scheduled_operation_id):
        row = self._one(req, scheduled_operation_id,
                        'scheduled_operation:delete')
        self._tools.engine.delete(row.id, row.project_id)
        return base.empty()

    @base.verb(schemas.RUNS, query=_RUNS)
    def list_runs(self, req, resp, scheduled_operation_id):
        row = self._one(req, scheduled_operation_id,
                        'scheduled_operation:get')
        wanted = _RUNS.read(req, self._conf)
        rows = self._db.read(runs.list, wanted.page, row.id,
                             **wanted.filters)
        return wanted.answer('runs', rows, _run_view)

    @base.verb(schemas.RETENTION)
    def show_retention(self, req, resp, scheduled_operation_id):
        row = self._one(req, scheduled_operation_id,
                        'scheduled_operation:get')
        return {'retention': [_fate_view(fate) for fate
                              in self._tools.engine.retention(row)]}

    def _one(self, req, scheduled_operation_id, rule):
        return self._read(req, scheduled_operations.get,
                          scheduled_operation_id, rule)


def view(row):
    """Return a scheduled operation as answers have it."""
    return {
        'id': row.id,
        'project_id': row.project_id,
        'name': row.name,
        'description': row.description,
        'operation_type': row.operation_type,
        'trigger_id': row.trigger_id,
        'operation_definition': row.definition,
        'enabled': int(row.is_enabled),
        'disabled_reason': row.disabled_reason,
        'created_at': base.moment(row.created_at),
        'updated_at': base.moment(row.updated_at),
    }


def _listed_view(row):
    shown = view(row)
    return {**shown, 'scheduled_operation': shown}


def _run_view(run):
    return {
        'id': run.id,
        'scheduled_operation_id': run.scheduled_operation_id,
        'trigger_id': run.trigger_id,
        'planned_at': base.moment(run.planned_at),
        'status': runs.status(run),
        'reason': run.reason,
        'checkpoint_id': run.checkpoint_id,
        'created_at': base.moment(run.created_at),
        'ended_at': base.moment(run.ended_at),
    }


def _fate_view(fate):
    checkpoint = fate.checkpoint
    return {
        'checkpoint_id': checkpoint.id,
        'status': checkpoint.status,
        'data_time': base.moment(
            checkpoint.data_time or checkpoint.created_at),
        'kept': fate.is_kept,
        'reasons': list(fate.reasons),
    }


def _columns(body):
    values = {_COLUMNS.get(name, name): value for name, value in body.items()}
    if 'is_enabled' in values:
        values['is_enabled'] = bool(values['is_enabled'])
    return values
