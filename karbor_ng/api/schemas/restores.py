# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Schemas of requests and answers about restores."""

from karbor_ng.api.schemas import base

_NAME = {'type': 'string', 'maxLength': 255}
#: Keystone's own limits are far below.
_SECRET = {'type': 'string', 'maxLength': 8192, 'writeOnly': True}

#: What a restore enters another cloud or project with.
AUTH = {
    'type': ['object', 'null'],
    'required': ['type'],
    'additionalProperties': False,
    'properties': {
        'type': {'enum': ['password', 'token', 'application_credential']},
        **dict.fromkeys((
            'username', 'user_id', 'user_domain_name', 'user_domain_id',
            'project_name', 'project_id', 'project_domain_name',
            'project_domain_id', 'application_credential_id',
            'application_credential_name', 'region_name'), _NAME),
        **dict.fromkeys((
            'password', 'token', 'application_credential_secret'), _SECRET),
    },
}

CREATE = base.envelope('restore', {
    'provider_id': base.UUID,
    'checkpoint_id': base.UUID,
    'restore_target': {'type': ['string', 'null'], 'maxLength': 255,
                       'format': 'uri'},
    'restore_auth': AUTH,
    'parameters': base.PARAMETERS,
}, required=['provider_id', 'checkpoint_id'])

RESTORE = base.thing('Restore', {
    'id': base.UUID,
    'project_id': base.TEXT,
    'provider_id': base.UUID,
    'checkpoint_id': base.UUID,
    'restore_target': base.TEXT_OR_NULL,
    'restore_auth': {'type': ['object', 'null'],
                     'additionalProperties': base.TEXT},
    'parameters': base.EFFECTIVE_PARAMETERS,
    'status': {'enum': ['started', 'success', 'failed']},
    'resources_status': base.TEXT_BY_KEY,
    'resources_reason': base.TEXT_BY_KEY,
    'resource_status': base.TEXT_BY_KEY,
    'resource_reason': base.TEXT_BY_KEY,
    'created_at': base.MOMENT,
    'finished_at': base.MOMENT_OR_NULL,
    'resources': {'type': 'array', 'items': base.thing('RestoreResource', {
        'id': base.TEXT,
        'type': base.TEXT,
        'name': base.TEXT_OR_NULL,
        'new_id': base.TEXT_OR_NULL,
        'status': base.TEXT,
        'reason': base.TEXT_OR_NULL,
        'progress': base.PERCENT,
        'not_included': base.TEXTS,
    })},
})
SHOWN = base.one('restore', RESTORE)
PAGE = base.page('restores', RESTORE)
