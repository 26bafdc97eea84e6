# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What alembic runs around the steps; see ``run.py``.

The connection, with its transaction and its lock, is handed in: alembic
neither opens one nor reads a file.
"""

from alembic import context

context.configure(connection=context.config.attributes['connection'])
with context.begin_transaction():
    context.run_migrations()
