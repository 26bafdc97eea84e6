# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Schemas of requests and answers about triggers.

What properties a trigger has is for its type to say, so there is a form of
requests for each type that is installed.
"""

from karbor_ng import triggers
from karbor_ng.api.schemas import base

_TYPES = triggers.schemas()

#: What tells which form a request has.
TYPED = base.envelope(
    'trigger_info', {'type': {'enum': list(_TYPES)}}, required=['type'],
    additionalProperties=True)

CREATE = {
    name: base.envelope('trigger_info', {
        'name': base.NAME,
        'type': {'const': name},
        'properties': properties,
    }, required=['name', 'type', 'properties'])
    for name, properties in _TYPES.items()}


def _all_or_none(properties):
    """Return the schema of properties that may also be none at all.

    None leave a trigger's properties as they are: clients send that to give
    it another name.
    """
    return {**properties, 'required': [], 'if': {'minProperties': 1},
            'then': {'required': properties.get('required', [])}}


UPDATE = {
    name: base.envelope('trigger_info', {
        'name': base.NAME,
        'properties': _all_or_none(properties),
    }, minProperties=1)
    for name, properties in _TYPES.items()}

_PROPERTIES = (base.either(*_TYPES.values()) if len(_TYPES) > 1
               else next(iter(_TYPES.values())))
_RUNS = {'type': 'array', 'items': base.MOMENT}
_FIELDS = {
    'id': base.UUID,
    'project_id': base.TEXT,
    'name': base.TEXT,
    'type': base.TEXT,
    'properties': _PROPERTIES,
    'next_run_at': base.MOMENT_OR_NULL,
    'created_at': base.MOMENT,
    'updated_at': base.MOMENT_OR_NULL,
}
_TRIGGER = base.thing('Trigger', _FIELDS)
SHOWN = base.one('trigger_info', base.thing(
    'ShownTrigger', {**_FIELDS, 'next_runs': _RUNS}))

#: Clients read items as they are, documents have them in an envelope.
PAGE = base.page('triggers', base.thing(
    'ListedTrigger', {**_FIELDS, 'trigger_info': _TRIGGER}))

DRY_RUN = base.one('dry_run', base.thing('DryRunOfTrigger', {
    'type': {'enum': list(_TYPES)},
    'properties': _PROPERTIES,
    'next_runs': _RUNS,
}))
