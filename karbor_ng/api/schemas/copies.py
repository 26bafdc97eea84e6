# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Schemas of requests and answers about copies."""

from karbor_ng.api.schemas import base

CREATE = base.envelope('copy', {
    'plan_id': base.UUID,
    'target_provider_id': base.UUID,
    'parameters': base.PARAMETERS,
}, required=['plan_id', 'target_provider_id'])

COPY = base.thing('Copy', {
    'project_id': base.TEXT,
    'provider_id': base.UUID,
    'target_provider_id': base.UUID,
    'plan_id': base.UUID,
    'checkpoint_id': {'type': 'array', 'items': base.thing(
        'CopiedCheckpoint', {'checkpoint_protect_id': base.UUID,
                             'checkpoint_copy_id': base.UUID})},
    'parameters': base.EFFECTIVE_PARAMETERS,
})
SHOWN = base.one('copy', COPY)
