# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Schemas of requests about checkpoints."""

from karbor_ng.api.schemas import base

#: Clients write extra-info, documents extra_info.
CREATE = base.envelope('checkpoint', {
    'plan_id': base.UUID,
    'extra_info': base.METADATA,
    'extra-info': base.METADATA,
}, required=['plan_id'])
