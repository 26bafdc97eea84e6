# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Schemas of requests and answers about plans."""

from karbor_ng.api.schemas import base

RESOURCES = {
    'type': 'array',
    'minItems': 1,
    'maxItems': base.MOST_RESOURCES,
    'items': {
        'type': 'object',
        'required': ['id', 'type', 'name'],
        'properties': {
            'id': {'type': 'string', 'maxLength': 255, 'pattern': r'\S'},
            'type': {'type': 'string', 'maxLength': 64, 'pattern': r'\S'},
            'name': {'type': ['string', 'null'], 'maxLength': 255},
            'extra_info': {'description': 'Any JSON value.'},
        },
    },
}

CREATE = base.envelope('plan', {
    'name': base.NAME,
    'description': base.DESCRIPTION,
    'provider_id': base.UUID,
    'resources': RESOURCES,
    'parameters': base.PARAMETERS,
}, required=['name', 'provider_id', 'resources'])

UPDATE = base.envelope('plan', {
    'name': base.NAME,
    'description': base.DESCRIPTION,
    'resources': RESOURCES,
    'parameters': base.PARAMETERS,
    'status': {'type': 'string', 'enum': ['suspended', 'started']},
}, minProperties=1)

PLAN = base.thing('Plan', {
    'id': base.UUID,
    'name': base.TEXT,
    'description': base.TEXT_OR_NULL,
    'resources': {'type': 'array', 'items': base.thing('PlanResource', {
        'id': base.TEXT,
        'type': base.TEXT,
        'name': base.TEXT,
        'extra_info': base.ANYTHING,
    }, optional=['extra_info'])},
    'provider_id': base.UUID,
    'status': {'enum': ['suspended', 'started']},
    'parameters': base.EFFECTIVE_PARAMETERS,
})
SHOWN = base.one('plan', PLAN)
PAGE = base.page('plans', PLAN)
