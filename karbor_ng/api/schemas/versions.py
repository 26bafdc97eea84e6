# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Schemas of answers about the API itself."""

from karbor_ng.api import health
from karbor_ng.api.schemas import base

VERSIONS = base.envelope_of({'versions': {
    'type': 'array',
    'items': base.thing('Version', {
        'id': base.TEXT,
        'status': {'enum': ['CURRENT', 'SUPPORTED', 'DEPRECATED']},
        'links': base.LINKS,
    }),
}})

_CHECK = base.thing('Check', {
    'status': {'enum': ['ok', 'failed']},
    'reason': base.TEXT,
    'details': {'type': 'object'},
}, optional=['reason', 'details'])

HEALTH = base.envelope_of({
    'status': {'enum': ['ok', 'degraded', 'failed']},
    'checks': base.envelope_of(dict.fromkeys(health.CHECKS, _CHECK),
                               required=()),
})

#: As far as it has to be known to find the rest.
DOCUMENT = {
    'type': 'object',
    'required': ['openapi', 'info', 'paths', 'components'],
    'properties': {
        'openapi': {'const': '3.1.0'},
        'servers': {'type': 'array'},
        'info': {'type': 'object'},
        'paths': {'type': 'object'},
        'components': {'type': 'object'},
    },
}
