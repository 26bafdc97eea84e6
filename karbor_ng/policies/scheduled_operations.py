# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Rules for scheduled operations and their runs."""

from karbor_ng.policies.base import MEMBER
from karbor_ng.policies.base import READER
from karbor_ng.policies.base import rule

_ALL = '/scheduled_operations'
_ONE = _ALL + '/{scheduled_operation_id}'

RULES = (
    rule('scheduled_operation:create', MEMBER,
         'Create a scheduled operation.', f'POST {_ALL}'),
    rule('scheduled_operation:update', MEMBER,
         'Change, enable or disable a scheduled operation.', f'PUT {_ONE}'),
    rule('scheduled_operation:delete', MEMBER,
         'Delete a scheduled operation.', f'DELETE {_ONE}'),
    rule('scheduled_operation:get', READER,
         'Show a scheduled operation, its runs, and which of its checkpoints '
         'are kept.', f'GET {_ONE}', f'GET {_ONE}/runs',
         f'GET {_ONE}/retention'),
    rule('scheduled_operation:list', READER, 'List scheduled operations.',
         f'GET {_ALL}'),
)
