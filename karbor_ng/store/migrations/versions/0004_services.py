# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Services: who works, and when it was last heard of."""

from alembic import op
import sqlalchemy as sa

from karbor_ng.store.migrations import columns

revision = '0004'
down_revision = '0003'


def upgrade():
    op.create_table(
        'services',
        sa.Column('id', columns.exact(255), primary_key=True),
        sa.Column('binary', columns.exact(64), nullable=False),
        sa.Column('host', columns.exact(255), nullable=False),
        sa.Column('version', sa.String(64), nullable=False),
        sa.Column('started_at', columns.time(), nullable=False),
        sa.Column('seen_at', columns.time(), nullable=False),
        **columns.TABLE)
