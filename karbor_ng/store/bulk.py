# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Bulk: many rows that are written with one statement.

Apart from the nouns, because objects for each row would take most of the time
that operations have for what they write.
"""

import functools

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects import sqlite

_INSERTS = {'mysql': mysql.insert, 'postgresql': postgresql.insert,
            'sqlite': sqlite.insert}


def put(session, model, rows):
    """Insert rows, or set all columns of those whose keys are there.

    :param rows: dicts with the same columns
    """
    if rows:
        session.connection().execute(
            _put(model, session.bind.dialect.name), rows)


def put_missing(session, model, rows):
    """Insert those of the rows whose keys are not there.

    :param rows: dicts; those with the same columns go in one statement
    """
    alike = {}
    for row in rows:
        alike.setdefault(tuple(row), []).append(row)
    for some in alike.values():
        session.connection().execute(
            _put_missing(model, session.bind.dialect.name), some)


@functools.lru_cache
def _put(model, dialect):
    table = model.__table__
    new = _INSERTS[dialect](table)
    fresh = new.inserted if dialect == 'mysql' else new.excluded
    values = {column.name: fresh[column.name]
              for column in table.columns if not column.primary_key}
    if dialect == 'mysql':
        return new.on_duplicate_key_update(values)
    return new.on_conflict_do_update(
        index_elements=[*table.primary_key.columns], set_=values)


@functools.lru_cache
def _put_missing(model, dialect):
    table = model.__table__
    new = _INSERTS[dialect](table)
    if dialect == 'mysql':
        # It has no way to do nothing but to ignore whatever is wrong.
        key = table.primary_key.columns[0]
        return new.on_duplicate_key_update({key.name: key})
    return new.on_conflict_do_nothing()


def change_each(session, model, changes):
    """Update many rows, those with the same columns in one go.

    :param changes: pairs of columns that tell which row, and of columns to
        set; rows that are not there are passed over
    """
    alike = {}
    for key, values in changes:
        if values:
            alike.setdefault((*key, None, *values), []).append(
                {**{f'key_{name}': value for name, value in key.items()},
                 **values})
    for names, parameters in alike.items():
        session.connection().execute(
            _change_by(model, names[:names.index(None)]), parameters)


@functools.lru_cache
def _change_by(model, names):
    table = model.__table__
    return sa.update(table).where(*[
        table.c[name] == sa.bindparam(f'key_{name}') for name in names])
