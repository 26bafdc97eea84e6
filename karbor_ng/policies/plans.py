# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Rules for plans."""

from karbor_ng.policies.base import MEMBER
from karbor_ng.policies.base import READER
from karbor_ng.policies.base import rule

RULES = (
    rule('plan:create', MEMBER, 'Create a plan.', 'POST /plans'),
    rule('plan:update', MEMBER, 'Change a plan.', 'PUT /plans/{plan_id}'),
    rule('plan:delete', MEMBER, 'Delete a plan.', 'DELETE /plans/{plan_id}'),
    rule('plan:get', READER, 'Show a plan.', 'GET /plans/{plan_id}'),
    rule('plan:get_all', READER, 'List plans.', 'GET /plans'),
)
