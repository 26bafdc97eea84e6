# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Rules for providers."""

from karbor_ng.policies.base import READER
from karbor_ng.policies.base import rule

RULES = (
    rule('provider:get', READER, 'Show a provider.',
         'GET /providers/{provider_id}'),
    rule('provider:get_all', READER, 'List providers.', 'GET /providers'),
)
