# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Rules for checkpoints; their names begin with the provider's."""

from karbor_ng.policies.base import MEMBER
from karbor_ng.policies.base import READER
from karbor_ng.policies.base import rule

_ALL = '/providers/{provider_id}/checkpoints'
_ONE = _ALL + '/{checkpoint_id}'

RULES = (
    rule('provider:checkpoint_get', READER, 'Show a checkpoint.',
         f'GET {_ONE}'),
    rule('provider:checkpoint_get_all', READER, 'List checkpoints.',
         f'GET {_ALL}'),
    rule('provider:checkpoint_create', MEMBER,
         'Create a checkpoint: protect what a plan names.', f'POST {_ALL}'),
    rule('provider:checkpoint_update', MEMBER,
         'Reset the state of a checkpoint.', f'PUT {_ONE}'),
    rule('provider:checkpoint_delete', MEMBER, 'Delete a checkpoint.',
         f'DELETE {_ONE}'),
    rule('provider:checkpoint_abort', MEMBER,
         'Abort a checkpoint that is being made.', f'POST {_ONE}/action'),
)
