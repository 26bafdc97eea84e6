# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Plugins of providers, by which the API can ask for previews."""

from alembic import op
import sqlalchemy as sa

from karbor_ng.store.migrations import columns

revision = '0003'
down_revision = '0002'


def upgrade():
    op.add_column('providers', sa.Column('plugins', columns.long_text()))
