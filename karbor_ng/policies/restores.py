# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Rules for restores."""

from karbor_ng.policies.base import MEMBER
from karbor_ng.policies.base import READER
from karbor_ng.policies.base import rule

RULES = (
    rule('restore:create', MEMBER, 'Restore a checkpoint.',
         'POST /restores'),
    rule('restore:get', READER, 'Show a restore.',
         'GET /restores/{restore_id}'),
    rule('restore:get_all', READER, 'List restores.', 'GET /restores'),
    rule('restore:abort', MEMBER, 'Abort a restore.',
         'POST /restores/{restore_id}/action'),
)
