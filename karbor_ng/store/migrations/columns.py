# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Types of columns as the steps write them.

Like those of ``models.py``, but fixed: a step must make tomorrow what it
made when it was written. Add new ones, change none.
"""

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.dialects import postgresql

TABLE = {'mysql_engine': 'InnoDB', 'mysql_charset': 'utf8mb4'}


def exact(length):
    """Text that compares and sorts by bytes."""
    return sa.String(length).with_variant(
        mysql.VARCHAR(length, charset='utf8mb4', collation='utf8mb4_bin'),
        'mysql', 'mariadb').with_variant(
        postgresql.VARCHAR(length, collation='C'), 'postgresql')


def uuid():
    """An identity."""
    return exact(36)


def long_text():
    """Text of megabytes, JSON among it."""
    return sa.Text().with_variant(mysql.LONGTEXT(charset='utf8mb4'),
                                  'mysql', 'mariadb')


def time():
    """A moment with microseconds."""
    return sa.DateTime().with_variant(mysql.DATETIME(fsp=6),
                                      'mysql', 'mariadb')
