# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Operation logs: the operations of a project, as users see them."""

from karbor_ng.api import listing
from karbor_ng.api.schemas import base as base_schemas
from karbor_ng.api.schemas import operation_logs as schemas
from karbor_ng.api.v1 import base
from karbor_ng.store import operations

_LISTED = listing.Query(
    {'checkpoint_id': base_schemas.UUID, 'plan_id': base_schemas.UUID,
     'restore_id': base_schemas.UUID, 'provider_id': base_schemas.UUID,
     'verification_id': base_schemas.UUID,
     'scheduled_operation_id': base_schemas.UUID,
     'status': base_schemas.TEXT, 'operation_type': base_schemas.TEXT},
    {'created_at': 'created_at', 'id': 'id', 'status': 'state',
     'operation_type': 'type'})


class OperationLogs(base.Controller):
    """What was done, or is being done, and how it went."""

    @base.verb(schemas.PAGE, query=_LISTED)
    def list(self, req, resp):
        self._require(req, 'operation_log:list')
        wanted = _LISTED.read(req, self._conf)
        filters = dict(wanted.filters)
        filters['type'] = filters.pop('operation_type', None)
        rows = self._db.read(operations.list, wanted.page, wanted.project_id,
                             **filters)
        return wanted.answer('operation_logs', rows, view)

    @base.verb(schemas.SHOWN)
    def show(self, req, resp, operation_log_id):
        operation = self._read(req, operations.get, operation_log_id,
                               'operation_log:get')
        return {'operation_log': view(operation)}


def view(operation):
    """Return an operation as answers have it."""
    return {
        'id': operation.id,
        'project_id': operation.project_id,
        'operation_type': operation.type,
        'status': operations.log_status(operation),
        'provider_id': operation.provider_id,
        'plan_id': operation.plan_id,
        'checkpoint_id': operation.checkpoint_id,
        'restore_id': operation.restore_id,
        'verification_id': operation.verification_id,
        'scheduled_operation_id': operation.scheduled_operation_id,
        'started_at': base.naive_moment(
            operation.started_at or operation.created_at),
        'ended_at': base.naive_moment(operation.ended_at),
        'error_info': operation.error_info,
        'extra_info': {
            **(operation.extra_info or {}),
            'request_id': operation.request_id,
            'resume_count': operation.resume_count,
        },
    }
