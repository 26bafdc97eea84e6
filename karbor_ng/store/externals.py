# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Externals: what exists in clouds because of us."""

import sqlalchemy as sa

from karbor_ng.store import bulk
from karbor_ng.store import models
from karbor_ng.store import query

External = models.External


def put(session, values):
    """Insert an intended external; return it."""
    external = External(state='intended', **values)
    session.add(external)
    session.flush()
    return external


def intend(session, operation_id, rows):
    """Write that an operation's things are about to be made.

    What is gone is intended again.

    :param rows: dicts of columns without operation and state; of no two the
        same tag
    :return: pairs of the row, and whether it was there before
    """
    there = {row.tag: row for row in session.execute(sa.select(External).where(
        External.operation_id == operation_id,
        External.tag.in_([row['tag'] for row in rows]))).scalars()}
    gone = [row for row in there.values() if row.state == 'gone']
    for row in gone:
        row.state, row.external_id = 'intended', None
    session.flush(gone)
    made = iter(intend_first(session, operation_id, [
        row for row in rows if row['tag'] not in there]))
    return [(there[row['tag']], True) if row['tag'] in there else next(made)
            for row in rows]


def intend_first(session, operation_id, rows):
    """As :func:`intend`, for what was not intended before.

    Writing it again changes nothing.
    """
    fresh = [dict(row, operation_id=operation_id, state='intended')
             for row in rows]
    bulk.put_missing(session, External, fresh)
    return [(External(external_id=None, **row), False) for row in fresh]


def by_tag(session, operation_id, tag):
    """Return the operation's external with this tag, or None."""
    return session.execute(sa.select(External).where(
        External.operation_id == operation_id,
        External.tag == tag)).scalars().first()


def change(session, external_row_id, **values):
    """Set columns of one external."""
    query.change(session, External, values, External.id == external_row_id)


def change_each(session, changes):
    """Set columns of many externals: pairs of a row's id and values."""
    bulk.change_each(session, External, [
        ({'id': row_id}, values) for row_id, values in changes])


def of_operation(session, operation_id):
    """Return all externals of an operation, oldest first."""
    return session.execute(
        sa.select(External).where(External.operation_id == operation_id)
        .order_by(External.created_at, External.id)).scalars().all()


def of_resource(session, operation_id, resource_type, resource_id):
    """Return an operation's externals for one resource, oldest first."""
    return session.execute(
        sa.select(External).where(
            External.operation_id == operation_id,
            External.resource_type == resource_type,
            External.resource_id == resource_id)
        .order_by(External.created_at, External.id)).scalars().all()
