# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Schemas of requests and answers about checkpoints."""

from karbor_ng.api.schemas import base

#: Clients write extra-info, documents extra_info.
CREATE = base.envelope('checkpoint', {
    'plan_id': base.UUID,
    'extra_info': base.METADATA,
    'extra-info': base.METADATA,
}, required=['plan_id'])

RESET = base.envelope('os-resetState', {
    'state': {'enum': ['available', 'error']},
}, required=['state'])

_PLANNED = base.thing('PlannedResource', {
    'id': base.TEXT,
    'type': base.TEXT,
    'name': base.TEXT_OR_NULL,
    'extra_info': base.TEXT_OR_NULL,
})

CHECKPOINT = base.thing('Checkpoint', {
    'id': base.UUID,
    'project_id': base.TEXT,
    'status': {'enum': ['protecting', 'wait_copying', 'copying', 'available',
                        'error', 'deleting', 'deleted', 'error-deleting']},
    'protection_plan': base.thing('ProtectionPlan', {
        'id': base.UUID,
        'name': base.TEXT,
        'provider_id': base.UUID,
        'resources': {'type': 'array', 'items': _PLANNED},
    }),
    'resource_graph': base.GRAPH,
    'extra_info': {'type': 'string', 'contentMediaType': 'application/json'},
    'size': base.COUNT_OR_NULL,
    'created_at': base.DAY,
    'created_at_time': base.MOMENT,
    'finished_at_time': base.MOMENT_OR_NULL,
    'copied_from': base.UUID_OR_NULL,
    'data_time': base.MOMENT,
    'resources': {'type': 'array', 'items': base.thing('CheckpointResource', {
        'id': base.TEXT,
        'type': base.TEXT,
        'name': base.TEXT_OR_NULL,
        'in_plan': base.FLAG,
        'status': base.TEXT,
        'reason': base.TEXT_OR_NULL,
        'progress': base.PERCENT,
        'size': base.COUNT_OR_NULL,
        'not_included': base.TEXTS,
        'extra_info': base.ANYTHING,
    })},
})
SHOWN = base.one('checkpoint', CHECKPOINT)
PAGE = base.page('checkpoints', CHECKPOINT)
