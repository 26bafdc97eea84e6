# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Schemas of requests and answers about verifications."""

from karbor_ng.api.schemas import base

CREATE = base.envelope('verification', {
    'provider_id': base.UUID,
    'checkpoint_id': base.UUID,
    'parameters': base.PARAMETERS,
}, required=['provider_id', 'checkpoint_id'])

VERIFICATION = base.thing('Verification', {
    'id': base.UUID,
    'project_id': base.TEXT,
    'provider_id': base.UUID,
    'checkpoint_id': base.UUID,
    'parameters': base.EFFECTIVE_PARAMETERS,
    'status': {'enum': ['started', 'success', 'failed']},
    'resources_status': base.TEXT_BY_KEY,
    'resources_reason': base.TEXT_BY_KEY,
    'created_at': base.MOMENT,
    'finished_at': base.MOMENT_OR_NULL,
    'resources': {
        'type': 'array', 'items': base.thing('VerificationResource', {
            'id': base.TEXT,
            'type': base.TEXT,
            'name': base.TEXT_OR_NULL,
            'status': base.TEXT,
            'reason': base.TEXT_OR_NULL,
            'progress': base.PERCENT,
        })},
})
SHOWN = base.one('verification', VERIFICATION)
PAGE = base.page('verifications', VERIFICATION)
