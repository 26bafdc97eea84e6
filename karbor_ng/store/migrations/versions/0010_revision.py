# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""How often the status of a checkpoint has changed."""

from alembic import op
import sqlalchemy as sa

revision = '0010'
down_revision = '0009'


def upgrade():
    op.add_column('checkpoints', sa.Column(
        'revision', sa.Integer, nullable=False, server_default='0'))
