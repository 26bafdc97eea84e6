# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Copies: checkpoints whose data was taken from another provider's bank.

They are checkpoints like others, with ``copied_from`` and ``data_time``.
Apart from ``checkpoints`` because what can be copied, and what is copied
already, is asked of several tables.
"""

import sqlalchemy as sa
from sqlalchemy import orm

from karbor_ng.store import models
from karbor_ng.store import operations

Checkpoint = models.Checkpoint
External = models.External
Operation = models.Operation
Resource = models.CheckpointResource

#: Statuses of a copy that is not there yet.
UNFINISHED = ('wait_copying', 'copying')


def wanting(session, plan_id, provider_id, target_provider_id, limit):
    """Return a plan's available checkpoints without a copy, oldest first.

    A copy that failed, or is deleted, is none. The rows stay locked until
    the transaction ends, so that none of them is deleted meanwhile.

    :param provider_id: where they are
    :param target_provider_id: where a copy would be
    """
    copy = orm.aliased(Checkpoint)
    has_copy = sa.exists().where(
        copy.copied_from == Checkpoint.id,
        copy.provider_id == target_provider_id,
        copy.status.in_((*UNFINISHED, 'available')))
    return session.execute(
        _available(plan_id, provider_id).where(~has_copy)
        .order_by(Checkpoint.created_at, Checkpoint.id).limit(limit)
        .with_for_update(of=Checkpoint)).scalars().all()


def can_any(session, plan_id, provider_id):
    """Return whether a plan has an available checkpoint at a provider."""
    return session.execute(
        _available(plan_id, provider_id).limit(1)).first() is not None


def _available(plan_id, provider_id):
    return sa.select(Checkpoint).where(
        Checkpoint.plan_id == plan_id, Checkpoint.provider_id == provider_id,
        Checkpoint.status == 'available')


def types(session, checkpoint_ids):
    """Return ``{(type, plugin)}`` of what checkpoints have a backup of."""
    return set(session.execute(
        sa.select(Resource.type, Resource.plugin).distinct()
        .where(Resource.checkpoint_id.in_(checkpoint_ids),
               Resource.status != 'skipped')).tuples())


def outside_bank(session, checkpoint_ids, limit):
    """Return the resources whose backups lie in a cloud, or partly do.

    :return: rows with ``type``, ``id`` and ``checkpoint_id``
    """
    has_things = sa.exists().where(
        External.operation_id == Operation.id,
        Operation.type.in_(operations.MAKING),
        External.checkpoint_id == Resource.checkpoint_id,
        External.resource_type == Resource.type,
        External.resource_id == Resource.id, External.state != 'gone')
    return session.execute(
        sa.select(Resource.type, Resource.id, Resource.checkpoint_id)
        .where(Resource.checkpoint_id.in_(checkpoint_ids),
               sa.or_(Resource.backup_id.isnot(None), has_things))
        .order_by(Resource.checkpoint_id, Resource.type, Resource.id)
        .limit(limit)).all()


def running_of(session, checkpoint_id):
    """Return ids of the copies of a checkpoint that have not ended."""
    # Locking, because a plain read may show MySQL's older state of affairs.
    return session.execute(
        sa.select(Checkpoint.id)
        .where(Checkpoint.copied_from == checkpoint_id,
               Checkpoint.status.in_(UNFINISHED))
        .order_by(Checkpoint.id).with_for_update()).scalars().all()
