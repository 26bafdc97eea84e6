# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Rules for verifications."""

from karbor_ng.policies.base import MEMBER
from karbor_ng.policies.base import READER
from karbor_ng.policies.base import rule

RULES = (
    rule('verification:create', MEMBER, 'Verify a checkpoint.',
         'POST /verifications'),
    rule('verification:get', READER, 'Show a verification.',
         'GET /verifications/{verification_id}'),
    rule('verification:get_all', READER, 'List verifications.',
         'GET /verifications'),
    rule('verification:abort', MEMBER, 'Abort a verification.',
         'POST /verifications/{verification_id}/action'),
)
