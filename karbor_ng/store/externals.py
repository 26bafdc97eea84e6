# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Externals: what exists in clouds because of us."""

import sqlalchemy as sa

from karbor_ng.store import models
from karbor_ng.store import query

External = models.External


def put(session, values):
    """Insert an intended external; return it."""
    external = External(state='intended', **values)
    session.add(external)
    session.flush()
    return external


def by_tag(session, operation_id, tag):
    """Return the operation's external with this tag, or None."""
    return session.execute(sa.select(External).where(
        External.operation_id == operation_id,
        External.tag == tag)).scalars().first()


def change(session, external_row_id, **values):
    """Set columns of one external."""
    query.change(session, External, values, External.id == external_row_id)


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
