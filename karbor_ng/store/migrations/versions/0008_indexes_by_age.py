# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The indexes in which administrators find the newest of all projects."""

from alembic import op

revision = '0008'
down_revision = '0007'

_TABLES = ('plans', 'restores', 'verifications', 'operations', 'triggers',
           'scheduled_operations')


def upgrade():
    for table in _TABLES:
        op.create_index(f'{table}_by_age', table, ['created_at', 'id'])
