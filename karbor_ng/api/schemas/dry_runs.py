# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Schema of what a dry run answers, whatever it is one of."""

from karbor_ng.api.schemas import base

SHOWN = base.one('dry_run', base.thing('DryRun', {
    'provider_id': base.UUID,
    'plan_id': base.UUID,
    'checkpoint_id': base.UUID_OR_NULL,
    'possible': base.FLAG,
    'size': base.COUNT_OR_NULL,
    'resource_graph': base.GRAPH,
    'resources': {'type': 'array', 'items': base.thing('DryRunResource', {
        'id': base.TEXT,
        'type': base.TEXT,
        'name': base.TEXT_OR_NULL,
        'in_plan': base.FLAG,
        'action': base.TEXT,
        'size': base.COUNT_OR_NULL,
        'problems': base.TEXTS,
        'notes': base.TEXTS,
        'not_included': base.TEXTS,
    })},
}))
