# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The rule for copies; what is done with one later is a checkpoint's."""

from karbor_ng.policies.base import MEMBER
from karbor_ng.policies.base import rule

RULES = (
    rule('copy:create', MEMBER,
         "Copy the checkpoints of a plan into another provider's bank.",
         'POST /providers/{provider_id}/checkpoints/action'),
)
