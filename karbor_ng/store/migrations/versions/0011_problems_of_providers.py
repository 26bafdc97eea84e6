# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What a service found wrong with the bank of a provider."""

from alembic import op
import sqlalchemy as sa

from karbor_ng.store.migrations import columns

revision = '0011'
down_revision = '0010'


def upgrade():
    op.add_column('providers', sa.Column('problem', sa.String(1024)))
    op.add_column('providers', sa.Column('problem_at', columns.time()))
