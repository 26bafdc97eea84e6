# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Purging: removing rows of what has ended long ago.

Apart from the nouns because it knows how all of them hang together: which
rows go with which, in what order, and which are needed although they are
old. These stay:

- whatever has not ended, or ended after the given moment;
- a checkpoint that is not deleted, with its resources, its protect operation
  and the externals of that: deleting it needs them;
- a deleted checkpoint that a younger restore, verification or operation
  names, or that still uses a stream;
- deletions of a checkpoint that could not be deleted: they tell why.
"""

import sqlalchemy as sa

from karbor_ng.store import models
from karbor_ng.store import operations
from karbor_ng.store import runs

Checkpoint = models.Checkpoint
External = models.External
Operation = models.Operation
Restore = models.Restore
Run = models.ScheduledOperationRun
Step = models.Step
Verification = models.Verification

ENDED = ('done', 'failed')

#: Rows that go with a row: where its id stands in theirs.
_OWNED = {
    Operation: (Step.operation_id, External.operation_id),
    Restore: (models.RestoreResource.restore_id,),
    Verification: (models.VerificationResource.verification_id,),
    Checkpoint: (models.CheckpointResource.checkpoint_id,),
    Run: (),
}


def count(session, before):
    """Return ``{table: number of rows}`` that purging would remove.

    :param before: a moment; what has ended since stays
    """
    found = {}
    for model, ids in _doomed(before):
        for column in (*_OWNED[model], model.id):
            _add(found, column, session.execute(
                sa.select(sa.func.count()).where(column.in_(ids))).scalar())
    _add(found, Step.operation_id, session.execute(
        sa.select(sa.func.count())
        .where(Step.operation_id.in_(_keeps_steps(before)))).scalar())
    return found


def remove(session, before, limit):
    """Remove some of what is to go; return ``{table: number of rows}``.

    Call it in one transaction after the other until it returns nothing.

    :param limit: operations, restores, verifications, checkpoints or runs
        in one transaction
    """
    for model, ids in _doomed(before):
        some = session.execute(ids.limit(limit)).scalars().all()
        if some:
            return _remove(session, (*_OWNED[model], model.id), some)
    some = session.execute(_keeps_steps(before).limit(limit)).scalars().all()
    return _remove(session, (Step.operation_id,), some) if some else {}


def _remove(session, columns, ids):
    removed = {}
    for column in columns:
        _add(removed, column, session.execute(
            sa.delete(column.class_).where(column.in_(ids))
            .execution_options(synchronize_session=False)).rowcount)
    return removed


def _add(counts, column, number):
    table = column.class_.__tablename__
    if number:
        counts[table] = counts.get(table, 0) + number


def _doomed(before):
    """Return pairs of a model and the ids that go, in a possible order."""
    restores = _ended(before, Restore, Operation.restore_id)
    verifications = _ended(before, Verification, Operation.verification_id)
    checkpoints = _checkpoints(before)
    undeletable = sa.select(Checkpoint.id).where(
        Checkpoint.status.in_(('deleting', 'error-deleting')))
    of_type = sa.select(Operation.id).where(_is_old(before))
    return (
        (Operation, of_type.where(Operation.type == 'restore',
                                  Operation.restore_id.in_(restores))),
        (Restore, restores),
        (Operation, of_type.where(
            Operation.type == 'verify',
            Operation.verification_id.in_(verifications))),
        (Verification, verifications),
        (Operation, of_type.where(
            Operation.type == 'delete',
            Operation.checkpoint_id.notin_(undeletable))),
        (Operation, of_type.where(
            Operation.type.in_(operations.MAKING),
            Operation.checkpoint_id.in_(checkpoints))),
        (Checkpoint, checkpoints),
        (Run, _runs(before)),
    )


def _runs(before):
    """Return ids of old runs: of schedules, and of those that are gone."""
    ended = [state for state, following in runs.TRANSITIONS.items()
             if not following]
    return sa.select(Run.id).where(
        Run.state.in_(ended), Run.planned_at < before,
        Run.ended_at < before)


def _ended(before, model, column):
    """Return ids of old restores, or of old verifications.

    :param column: of operations, that names them
    """
    return sa.select(model.id).where(
        model.status != 'started', model.finished_at < before,
        ~_young(before, column == model.id))


def _checkpoints(before):
    named = [sa.exists().where(
        model.checkpoint_id == Checkpoint.id,
        sa.or_(model.finished_at.is_(None), model.finished_at >= before))
        for model in (Restore, Verification)]
    uses_stream = sa.exists().where(
        models.StreamUse.checkpoint_id == Checkpoint.id)
    return sa.select(Checkpoint.id).where(
        Checkpoint.status == 'deleted', Checkpoint.deleted_at < before,
        ~_young(before, Operation.checkpoint_id == Checkpoint.id),
        ~sa.or_(*named), ~uses_stream)


def _keeps_steps(before):
    """Return the old operations, of what stays, whose steps may go.

    Only a running operation asks for its steps.
    """
    return sa.select(Operation.id).where(
        _is_old(before), Operation.type.in_(operations.MAKING),
        Operation.checkpoint_id.notin_(_checkpoints(before)),
        sa.exists().where(Step.operation_id == Operation.id))


def _is_old(before):
    return sa.and_(Operation.state.in_(ENDED), Operation.ended_at < before)


def _young(before, belongs):
    return sa.exists().where(
        belongs, sa.or_(Operation.state.notin_(ENDED),
                        Operation.ended_at >= before))
