# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Rules for services."""

from karbor_ng.policies.base import ADMIN
from karbor_ng.policies.base import rule

RULES = (
    rule('service:get_all', ADMIN, 'List the services.', 'GET /os-services'),
    rule('service:update', ADMIN,
         'Stop a service from claiming operations, or let it claim again.',
         'PUT /os-services/{service_id}'),
)
