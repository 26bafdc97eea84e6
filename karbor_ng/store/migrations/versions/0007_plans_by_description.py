# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The index in which plans are found by a part of their description."""

from alembic import op

revision = '0007'
down_revision = '0006'


def upgrade():
    op.create_index('plans_by_description', 'plans',
                    ['project_id', 'description', 'created_at', 'id'])
