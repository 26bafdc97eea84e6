# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Rules for triggers."""

from karbor_ng.policies.base import MEMBER
from karbor_ng.policies.base import READER
from karbor_ng.policies.base import rule

RULES = (
    rule('trigger:create', MEMBER,
         'Create a trigger, or see when one would fire.', 'POST /triggers'),
    rule('trigger:update', MEMBER, 'Change a trigger.',
         'PUT /triggers/{trigger_id}'),
    rule('trigger:delete', MEMBER, 'Delete a trigger.',
         'DELETE /triggers/{trigger_id}'),
    rule('trigger:get', READER, 'Show a trigger.',
         'GET /triggers/{trigger_id}'),
    rule('trigger:list', READER, 'List triggers.', 'GET /triggers'),
)
