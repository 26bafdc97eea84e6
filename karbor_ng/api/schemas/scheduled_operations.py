# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Schemas of requests and answers about scheduled operations."""

from karbor_ng.api.schemas import base
from karbor_ng.operationengine import client

#: Documents have numbers, people write booleans.
ENABLED = {'enum': [0, 1, False, True]}

#: What definitions of any kind have, and of those that are installed.
DEFINITION = {
    'type': 'object',
    'description': 'What is done. Which fields there are depends on '
                   'operation_type.',
    'required': ['provider_id', 'plan_id'],
    'additionalProperties': False,
    'properties': {'provider_id': base.UUID, 'plan_id': base.UUID,
                   **client.definition_properties()},
}

_PROPERTIES = {
    'name': base.NAME,
    'description': base.DESCRIPTION,
    'trigger_id': base.UUID,
    'operation_definition': DEFINITION,
    'enabled': ENABLED,
}

CREATE = base.envelope(
    'scheduled_operation',
    {**_PROPERTIES, 'operation_type': {'type': 'string', 'maxLength': 64}},
    required=['name', 'operation_type', 'trigger_id',
              'operation_definition'])

UPDATE = base.envelope('scheduled_operation', _PROPERTIES, minProperties=1)

_FIELDS = {
    'id': base.UUID,
    'project_id': base.TEXT,
    'name': base.TEXT,
    'description': base.TEXT_OR_NULL,
    'operation_type': base.TEXT,
    'trigger_id': base.UUID,
    'operation_definition': {'type': 'object'},
    'enabled': {'enum': [0, 1]},
    'disabled_reason': base.TEXT_OR_NULL,
    'created_at': base.MOMENT,
    'updated_at': base.MOMENT_OR_NULL,
}
SCHEDULED_OPERATION = base.thing('ScheduledOperation', _FIELDS)
SHOWN = base.one('scheduled_operation', SCHEDULED_OPERATION)

#: Clients read items as they are, documents have them in an envelope.
PAGE = base.page('operations', base.thing('ListedScheduledOperation', {
    **_FIELDS, 'scheduled_operation': SCHEDULED_OPERATION}))

RUN_STATUSES = ('due', 'started', 'succeeded', 'failed', 'missed', 'skipped')
RUNS = base.page('runs', base.thing('ScheduledOperationRun', {
    'id': base.UUID,
    'scheduled_operation_id': base.UUID,
    'trigger_id': base.UUID,
    'planned_at': base.MOMENT,
    'status': {'enum': list(RUN_STATUSES)},
    'reason': base.TEXT_OR_NULL,
    'checkpoint_id': base.UUID_OR_NULL,
    'created_at': base.MOMENT,
    'ended_at': base.MOMENT_OR_NULL,
}))

RETENTION = base.envelope_of({'retention': {
    'type': 'array',
    'items': base.thing('RetainedCheckpoint', {
        'checkpoint_id': base.UUID,
        'status': base.TEXT,
        'data_time': base.MOMENT,
        'kept': base.FLAG,
        'reasons': base.TEXTS,
    })}})
