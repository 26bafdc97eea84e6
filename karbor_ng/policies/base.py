# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The roles that rules are made of, and how a rule is written down.

Separate from the nouns' rules, which all refer to these.
"""

from oslo_policy import policy

#: What a rule of a noun refers to.
ADMIN = 'rule:context_is_admin'
READER = 'rule:context_is_admin or rule:project_reader'
MEMBER = 'rule:context_is_admin or rule:project_member'

RULES = (
    policy.RuleDefault(
        'context_is_admin', 'role:admin',
        description='Who may see and change what belongs to any project.'),
    # Keystone lets a member be a reader too; a deployment without Keystone
    # does not, so the roles are spelled out.
    policy.RuleDefault(
        'project_reader',
        '(role:reader or role:member) and project_id:%(project_id)s',
        description='Who may see what belongs to a project.'),
    policy.RuleDefault(
        'project_member', 'role:member and project_id:%(project_id)s',
        description='Who may change what belongs to a project.'),
)


def rule(name, check, description, *operations):
    """Return the default of one rule.

    :param operations: such as ``'GET /plans'``, below ``/v1/{project_id}``
    """
    paths = [operation.split(' ', 1) for operation in operations]
    return policy.DocumentedRuleDefault(
        name=name, check_str=check, description=description,
        operations=[{'method': method, 'path': '/v1/{project_id}' + path}
                    for method, path in paths],
        scope_types=['project'])
