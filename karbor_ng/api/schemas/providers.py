# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Schemas of answers about providers."""

from karbor_ng.api.schemas import base

_SCHEMAS = {'type': 'object', 'additionalProperties': {
    'type': 'object', 'description': 'JSON schema of the options of a type.'}}

PROVIDER = base.thing('Provider', {
    'id': base.UUID,
    'name': base.TEXT,
    'description': base.TEXT,
    'extended_info_schema': {'type': 'object',
                             'additionalProperties': _SCHEMAS},
})
SHOWN = base.one('provider', PROVIDER)
PAGE = base.page('providers', PROVIDER)
