# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Since when a scheduled operation is disabled that nobody has disabled."""

from alembic import op
import sqlalchemy as sa

from karbor_ng.store.migrations import columns

revision = '0009'
down_revision = '0008'


def upgrade():
    op.add_column('scheduled_operations',
                  sa.Column('disabled_at', columns.time()))
