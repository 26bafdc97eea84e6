# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The checkpoints that a scheduled operation has made, and their fate.

Apart from the rules (``retention``), which know no rows, and from the engine,
which deletes: the API shows the same decisions without acting on them.
"""

import collections
import dataclasses

import sqlalchemy as sa

from karbor_ng.operationengine import retention
from karbor_ng.store import models
from karbor_ng.store import session as store_session

Checkpoint = models.Checkpoint
Operation = models.Operation
Resource = models.CheckpointResource

#: What is on its way out, whoever began that.
_GOING = {'deleting': 'It is being deleted.',
          'error-deleting': 'Deleting it has failed.'}


@dataclasses.dataclass(frozen=True)
class Fate:
    """What is to become of one checkpoint.

    :ivar checkpoint: its row
    :ivar is_kept: whether it stays
    :ivar reasons: why it does, or why it goes
    """

    checkpoint: Checkpoint
    is_kept: bool
    reasons: tuple


def rules(kinds, row, trigger=None):
    """Return what a scheduled operation keeps; None for everything.

    :param kinds: ``{operation type: Kind}``
    :param trigger: its trigger, in whose time zone days begin and end; None
        for those who ask only whether there are rules
    :raises errors.Invalid: they can not be read
    """
    zone = trigger and trigger.properties.get('timezone')
    return kinds[row.operation_type].rules(row.definition, zone or 'UTC')


def decide(session, row, rules):
    """Return the :class:`Fate` of each, in an order for deleting.

    Newest first, what builds on others before these.

    :param row: the scheduled operation
    :param rules: a :class:`karbor_ng.operationengine.retention.Rules`; None
        keeps everything
    """
    rows = _made(session, row.id)
    going = [Fate(one, False, (_GOING[one.status],)) for one in rows
             if one.status in _GOING]
    made = {one.id: one for one in rows if one.status not in _GOING}
    if rules is None:
        return [*going, *(Fate(one, True, ('No rule deletes it.',))
                          for one in made.values())]
    parents, held = collections.defaultdict(list), _restored(session, made)
    for parent, child in _chains(session, made):
        if child in made:
            parents[child].append(parent)
        else:
            held.setdefault(parent, f'Checkpoint {child} builds on it.')
    decisions = retention.decide(
        [retention.Checkpoint(
            id=one.id, time=one.data_time or one.created_at,
            status=one.status, parents=tuple(parents[one.id]),
            held=held.get(one.id, '')) for one in made.values()],
        rules, store_session.now(session))
    return [*going, *(Fate(made[one.id], one.is_kept, tuple(one.reasons))
                      for one in decisions)]


def _made(session, scheduled_operation_id):
    """Return its checkpoints that are not deleted, newest first."""
    return session.execute(
        sa.select(Checkpoint)
        .join(Operation, Operation.checkpoint_id == Checkpoint.id)
        .where(Operation.scheduled_operation_id == scheduled_operation_id,
               Operation.type == 'protect', Checkpoint.status != 'deleted')
        .order_by(Checkpoint.created_at.desc(), Checkpoint.id.desc())
        .options(sa.orm.defer(Checkpoint.graph),
                 sa.orm.defer(Checkpoint.plan))).scalars().all()


def _chains(session, ids):
    """Return pairs: a checkpoint, and one whose backups build on its."""
    base, child = sa.orm.aliased(Resource), sa.orm.aliased(Resource)
    return session.execute(
        sa.select(base.checkpoint_id, child.checkpoint_id).distinct()
        .join(child, child.parent_backup == base.backup_id)
        .join(Checkpoint, Checkpoint.id == child.checkpoint_id)
        .where(base.checkpoint_id.in_(ids),
               child.checkpoint_id != base.checkpoint_id,
               child.status != 'deleted', Checkpoint.status != 'deleted')
        .order_by(base.checkpoint_id, child.checkpoint_id)).tuples().all()


def _restored(session, ids):
    rows = session.execute(sa.select(
        models.Restore.checkpoint_id, models.Restore.id).where(
        models.Restore.checkpoint_id.in_(ids),
        models.Restore.status == 'started'))
    return {checkpoint_id: f'Restore {restore_id} needs it.'
            for checkpoint_id, restore_id in rows}
