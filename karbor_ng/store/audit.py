# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Audits: what rows say should be in a bank and in clouds.

Apart from the nouns because only operators' checks read across all projects
like this.
"""

import dataclasses

import sqlalchemy as sa

from karbor_ng.store import models
from karbor_ng.store import session as store_session

Checkpoint = models.Checkpoint
External = models.External
Operation = models.Operation
Stream = models.Stream


@dataclasses.dataclass(frozen=True)
class Thing:
    """What an operation has made in a cloud, and how things stand with it.

    :ivar ended_seconds: since the last operation on its checkpoint has
        ended; None while one is queued or runs
    """

    external: External
    provider_id: str
    project_id: str
    checkpoint_status: str
    ended_seconds: float | None


@dataclasses.dataclass(frozen=True)
class State:
    """How things stand with a checkpoint.

    :ivar ended_seconds: as in :class:`Thing`
    """

    id: str
    project_id: str
    status: str
    bank_uuid: str | None
    ended_seconds: float | None


def checkpoints(session, provider_id):
    """Return :class:`State` of a provider's checkpoints, deleted ones too."""
    return _states(session, Checkpoint.provider_id == provider_id)


def checkpoint(session, checkpoint_id):
    """Return the :class:`State` of one, of any provider, or None."""
    found = _states(session, Checkpoint.id == checkpoint_id)
    return found[0] if found else None


def _states(session, condition):
    rows = session.execute(
        sa.select(Checkpoint.id, Checkpoint.project_id, Checkpoint.status,
                  Checkpoint.bank_uuid).where(condition)).all()
    ended = _ended_seconds(session, Operation.checkpoint_id.in_(
        sa.select(Checkpoint.id).where(condition)))
    return [State(*row, ended_seconds=ended.get(row.id, float('inf')))
            for row in rows]


def streams(session, bank_uuid):
    """Return ``{id: state}`` of the streams in a bank."""
    return dict(session.execute(
        sa.select(Stream.id, Stream.state)
        .where(Stream.bank_uuid == bank_uuid)).tuples().all())


def stream_keys(session, stream_id):
    """Return the keys of a stream's parts."""
    return session.execute(
        sa.select(models.StreamPart.key)
        .where(models.StreamPart.stream_id == stream_id)
        .order_by(models.StreamPart.number)).scalars().all()


def things(session, service, kind, project_id=None):
    """Return what protecting has made of a kind, as :class:`Thing`."""
    ended = _ended_seconds(session, sa.true())
    wanted = [Operation.type == 'protect', External.service == service,
              External.kind == kind]
    if project_id is not None:
        wanted.append(Operation.project_id == project_id)
    rows = session.execute(
        sa.select(External, Operation.provider_id, Operation.project_id,
                  Checkpoint.status)
        .join(Operation, Operation.id == External.operation_id)
        .join(Checkpoint, Checkpoint.id == Operation.checkpoint_id)
        .where(*wanted))
    return [Thing(external, provider, project, status,
                  ended.get(external.checkpoint_id))
            for external, provider, project, status in rows]


def _ended_seconds(session, condition):
    now = store_session.now(session)
    rows = session.execute(
        sa.select(Operation.checkpoint_id,
                  sa.func.max(Operation.ended_at),
                  sa.func.count(), sa.func.count(Operation.ended_at))
        .where(condition)
        .group_by(Operation.checkpoint_id))
    return {checkpoint_id: (now - last).total_seconds()
            if total == ended else None
            for checkpoint_id, last, total, ended in rows}
