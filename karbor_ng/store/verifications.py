# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Verifications of checkpoints, and what they found of each resource."""

import sqlalchemy as sa

from karbor_ng import errors
from karbor_ng.store import models
from karbor_ng.store import query

Verification = models.Verification
Resource = models.VerificationResource

#: Which status may follow which.
TRANSITIONS = {'started': ('success', 'failed'), 'success': (), 'failed': ()}


def create(session, values):
    """Insert a verification; return it."""
    verification = Verification(**values)
    session.add(verification)
    session.flush()
    return verification


def get(session, verification_id, project_id=None):
    """:raises errors.NotFound: there is none, or it is another project's"""
    found = session.get(Verification, verification_id)
    if found is None or project_id not in (None, found.project_id):
        raise errors.NotFound(f'There is no verification {verification_id}.')
    return found


def list(session, page, project_id=None, status=None, checkpoint_id=None):
    """Return a page of verifications."""
    equal = {'project_id': project_id, 'status': status,
             'checkpoint_id': checkpoint_id}
    return query.page(session, Verification, page, *[
        getattr(Verification, name) == value
        for name, value in equal.items() if value is not None])


def move(session, verification_id, status, **values):
    """Change the status along :data:`TRANSITIONS`.

    :raises errors.Conflict: the present status does not lead there
    """
    sources = [source for source, targets in TRANSITIONS.items()
               if status in targets]
    if not query.change(session, Verification, dict(values, status=status),
                        Verification.id == verification_id,
                        Verification.status.in_(sources)):
        raise errors.Conflict(
            f'Verification {verification_id} has ended and can not become '
            f'{status}.')


def running_of(session, checkpoint_id):
    """Return ids of verifications of the checkpoint that have not ended."""
    # Locking, because a plain read may show MySQL's older state of affairs.
    return session.execute(
        sa.select(Verification.id)
        .where(Verification.checkpoint_id == checkpoint_id,
               Verification.status == 'started')
        .order_by(Verification.id).with_for_update()).scalars().all()


def resources(session, *verification_ids):
    """Return the resource rows of verifications, in a stable order."""
    return session.execute(
        sa.select(Resource)
        .where(Resource.verification_id.in_(verification_ids))
        .order_by(Resource.verification_id, Resource.type, Resource.id)
    ).scalars().all()


def put_resources(session, verification_id, rows):
    """Insert resource rows that are not there yet."""
    there = {(row.type, row.id)
             for row in resources(session, verification_id)}
    fresh = [dict(row, verification_id=verification_id) for row in rows
             if (row['type'], row['id']) not in there]
    if fresh:
        session.execute(sa.insert(Resource), fresh)


def change_resource(session, verification_id, resource_type, resource_id,
                    values):
    """Set columns of one resource."""
    query.change(session, Resource, values,
                 Resource.verification_id == verification_id,
                 Resource.type == resource_type, Resource.id == resource_id)
