# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Schemas of requests about restores."""

from karbor_ng.api.schemas import base

#: Restoring into another cloud is not supported.
CREATE = base.envelope('restore', {
    'provider_id': base.UUID,
    'checkpoint_id': base.UUID,
    'restore_target': {'type': 'null'},
    'restore_auth': {'type': 'null'},
    'parameters': base.PARAMETERS,
}, required=['provider_id', 'checkpoint_id'])
