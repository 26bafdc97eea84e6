# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Indexes that let pages of long lists cost what those of short ones do."""

from alembic import op

revision = '0005'
down_revision = '0004'

#: Behind each is what breaks ties, so that the rows come sorted.
_ORDER = ('created_at', 'id')


def upgrade():
    _index('plans_by_name', 'plans', 'project_id', 'name')
    _index('plans_by_status', 'plans', 'project_id', 'status')
    _index('plans_by_project_provider', 'plans', 'project_id', 'provider_id')
    _index('checkpoints_by_status', 'checkpoints', 'project_id',
           'provider_id', 'status')
    _index('restores_by_status', 'restores', 'project_id', 'status')
    _index('operations_by_state', 'operations', 'project_id', 'state')
    _index('operations_by_type', 'operations', 'project_id', 'type', 'state')
    _index('operations_by_provider', 'operations', 'project_id',
           'provider_id')
    for noun in ('plan', 'checkpoint', 'restore'):
        op.drop_index(f'operations_by_{noun}', 'operations')
        _index(f'operations_by_{noun}', 'operations', f'{noun}_id')


def _index(name, table, *columns):
    op.create_index(name, table, [*columns, *_ORDER])
