# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Restores and their resources."""

import sqlalchemy as sa

from karbor_ng import errors
from karbor_ng.store import models
from karbor_ng.store import query

Restore = models.Restore
Resource = models.RestoreResource

#: Which status may follow which.
TRANSITIONS = {'started': ('success', 'failed'), 'success': (), 'failed': ()}


def create(session, values):
    """Insert a restore; return it."""
    restore = Restore(**values)
    session.add(restore)
    session.flush()
    return restore


def get(session, restore_id, project_id=None):
    """:raises errors.NotFound: there is none, or it is another project's"""
    restore = session.get(Restore, restore_id)
    if restore is None or project_id not in (None, restore.project_id):
        raise errors.NotFound(f'There is no restore {restore_id}.')
    return restore


def list(session, page, project_id=None, status=None, checkpoint_id=None):
    """Return a page of restores."""
    equal = {'project_id': project_id, 'status': status,
             'checkpoint_id': checkpoint_id}
    return query.page(session, Restore, page, *[
        getattr(Restore, name) == value
        for name, value in equal.items() if value is not None])


def move(session, restore_id, status, **values):
    """Change the status along :data:`TRANSITIONS`.

    :raises errors.Conflict: the present status does not lead there
    """
    sources = [source for source, targets in TRANSITIONS.items()
               if status in targets]
    if not query.change(session, Restore, dict(values, status=status),
                        Restore.id == restore_id,
                        Restore.status.in_(sources)):
        raise errors.Conflict(
            f'Restore {restore_id} has ended and can not become {status}.')


def running_of(session, checkpoint_id):
    """Return ids of restores of the checkpoint that have not ended."""
    # Locking, because a plain read may show MySQL's older state of affairs.
    return session.execute(
        sa.select(Restore.id)
        .where(Restore.checkpoint_id == checkpoint_id,
               Restore.status == 'started')
        .order_by(Restore.id).with_for_update()).scalars().all()


def resources(session, *restore_ids):
    """Return the resource rows of restores, in a stable order."""
    return session.execute(
        sa.select(Resource).where(Resource.restore_id.in_(restore_ids))
        .order_by(Resource.restore_id, Resource.type, Resource.id)
    ).scalars().all()


def put_resources(session, restore_id, rows):
    """Insert resource rows that are not there yet."""
    there = {(row.type, row.id) for row in resources(session, restore_id)}
    fresh = [dict(row, restore_id=restore_id) for row in rows
             if (row['type'], row['id']) not in there]
    if fresh:
        session.execute(sa.insert(Resource), fresh)


def change_resource(session, restore_id, resource_type, resource_id, values):
    """Set columns of one resource."""
    query.change(session, Resource, values,
                 Resource.restore_id == restore_id,
                 Resource.type == resource_type, Resource.id == resource_id)


def restored(session, restore_id):
    """Return ``{original id: new id}`` of what is restored by now."""
    return dict(session.execute(
        sa.select(Resource.id, Resource.new_id).where(
            Resource.restore_id == restore_id,
            Resource.new_id.isnot(None))).tuples().all())
