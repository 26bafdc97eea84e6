# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Runs the steps that a database has not seen yet.

The only module that needs alembic, and apart for that: services ask at their
start what schema there is, and alembic takes a tenth of their start.
"""

from alembic import command
from alembic import config


def upgrade(connection):
    """Run what is left in the transaction of a connection."""
    found = config.Config()
    found.set_main_option('script_location', 'karbor_ng.store:migrations')
    found.set_main_option('path_separator', 'os')
    found.attributes['connection'] = connection
    command.upgrade(found, 'head')
