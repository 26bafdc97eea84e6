# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Schemas of requests and answers about services."""

from karbor_ng.api.schemas import base

STATUS = {'enum': ['enabled', 'disabled']}

#: In no envelope: that is how clients have always sent it.
UPDATE = {
    'type': 'object',
    'required': ['status'],
    'additionalProperties': False,
    'properties': {
        'status': STATUS,
        'disabled_reason': {
            'type': ['string', 'null'], 'maxLength': 255, 'pattern': r'\S'},
    },
}

SERVICE = base.thing('Service', {
    'id': {'type': 'integer'},
    'binary': base.TEXT,
    'host': base.TEXT,
    'status': STATUS,
    'state': {'enum': ['up', 'down']},
    'updated_at': base.TEXT_OR_NULL,
    'disabled_reason': base.TEXT_OR_NULL,
})
SHOWN = base.one('service', SERVICE)
PAGE = base.page('services', SERVICE)
