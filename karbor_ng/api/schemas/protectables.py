# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Schemas of answers about what can be protected."""

from karbor_ng.api.schemas import base

TYPES = base.page('protectable_type', base.TEXT)

TYPE = base.one('protectable_type', base.thing('ProtectableType', {
    'name': base.TEXT,
    'dependent_types': base.TEXTS,
}))

_RESOURCE = {
    'id': base.TEXT,
    'type': base.TEXT,
    'name': base.TEXT_OR_NULL,
    'extra_info': base.ANYTHING,
}

INSTANCE = base.thing('Instance', {
    **_RESOURCE,
    'dependent_resources': {
        'type': 'array', 'items': base.thing('Dependent', _RESOURCE)},
})
SHOWN = base.one('instance', INSTANCE)
PAGE = base.page('instances', INSTANCE)
