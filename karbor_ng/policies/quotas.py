# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Rules for quotas of projects and classes."""

from karbor_ng.policies.base import ADMIN
from karbor_ng.policies.base import READER
from karbor_ng.policies.base import rule

_ONE = '/quotas/{target_project_id}'
_CLASS = '/quota_classes/{class_name}'

RULES = (
    rule('quota:get', READER, 'Show the quotas of a project.',
         f'GET {_ONE}', f'GET {_ONE}/detail'),
    rule('quota:get_default', READER, 'Show the quotas of projects of which '
         'nothing is said.', f'GET {_ONE}/defaults'),
    rule('quota:update', ADMIN, 'Set quotas of a project, or its class.',
         f'PUT {_ONE}'),
    rule('quota:delete', ADMIN,
         'Let a project have the quotas that all have.', f'DELETE {_ONE}'),
    rule('quota_class:get', READER, 'Show the quotas of a class: of '
         '"default" or of the one that the project is in. Administrators '
         'see all classes.', f'GET {_CLASS}'),
    rule('quota_class:update', ADMIN, 'Set quotas of a class.',
         f'PUT {_CLASS}'),
)
