# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Schemas of answers about operation logs."""

from karbor_ng.api.schemas import base

#: In UTC, without the zone, as logs always had it.
_TIME = {'type': ['string', 'null'],
         'pattern': r'^[0-9-]{10}T[0-9:]{8}\.[0-9]{6}$'}

OPERATION_LOG = base.thing('OperationLog', {
    'id': base.UUID,
    'project_id': base.TEXT,
    'operation_type': base.TEXT,
    'status': base.TEXT,
    'provider_id': base.UUID,
    'plan_id': base.UUID_OR_NULL,
    'checkpoint_id': base.UUID_OR_NULL,
    'restore_id': base.UUID_OR_NULL,
    'verification_id': base.UUID_OR_NULL,
    'scheduled_operation_id': base.UUID_OR_NULL,
    'started_at': _TIME,
    'ended_at': _TIME,
    'error_info': base.TEXT_OR_NULL,
    'extra_info': {
        'type': 'object',
        'required': ['request_id', 'resume_count'],
        'properties': {'request_id': base.TEXT_OR_NULL,
                       'resume_count': base.COUNT},
    },
})
SHOWN = base.one('operation_log', OPERATION_LOG)
PAGE = base.page('operation_logs', OPERATION_LOG)
