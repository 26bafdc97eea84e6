# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Runs: what became of each due time of a scheduled operation.

A run is made together with the step of its trigger to the next due time, and
has a unique key of operation and time: a due time has exactly one.
"""

import uuid

import sqlalchemy as sa

from karbor_ng import errors
from karbor_ng.store import models
from karbor_ng.store import query

Operation = models.Operation
Run = models.ScheduledOperationRun

#: Which state may follow which; see :func:`move`. ``retaining`` is what
#: succeeded and still has old checkpoints to delete.
TRANSITIONS = {
    'due': ('started', 'failed', 'missed', 'skipped'),
    'started': ('retaining', 'succeeded', 'failed'),
    'retaining': ('succeeded',),
    'succeeded': (),
    'failed': (),
    'missed': (),
    'skipped': (),
}


def status(run):
    """Return what users see as the state of a run."""
    return 'succeeded' if run.state == 'retaining' else run.state


def create(session, due):
    """Insert due runs.

    :param due: pairs of an enabled scheduled operation (``id``,
        ``project_id``, ``trigger_id``) and the time it is planned at
    """
    rows = [{'id': str(uuid.uuid4()), 'scheduled_operation_id': one.id,
             'project_id': one.project_id, 'trigger_id': one.trigger_id,
             'planned_at': planned_at, 'state': 'due',
             'created_at': models.utcnow()} for one, planned_at in due]
    if rows:
        session.execute(sa.insert(Run), rows)


def of_triggers(session, trigger_ids, since):
    """Return keys of runs, from a time on, of what triggers start now.

    :return: set of pairs: id of a scheduled operation and planned time
    """
    operation = models.ScheduledOperation
    return {tuple(row) for row in session.execute(
        sa.select(Run.scheduled_operation_id, Run.planned_at)
        .join(operation, operation.id == Run.scheduled_operation_id)
        .where(operation.trigger_id.in_(trigger_ids),
               Run.planned_at >= since))}


def get(session, run_id):
    """:raises errors.NotFound: there is no such run"""
    run = session.get(Run, run_id)
    if run is None:
        raise errors.NotFound(f'There is no run {run_id}.')
    return run


def list(session, page, scheduled_operation_id, status=None):
    """Return a page of the runs of a scheduled operation.

    :param status: as :func:`status` has it
    """
    conditions = [Run.scheduled_operation_id == scheduled_operation_id]
    if status == 'succeeded':
        conditions.append(Run.state.in_(('succeeded', 'retaining')))
    elif status is not None:
        conditions.append(Run.state == status)
    return query.page(session, Run, page, *conditions)


def in_state(session, state, limit, after=None):
    """Return some of the runs in a state, by planned time.

    :param after: the run that those of the previous call ended with
    """
    conditions = [Run.state == state]
    if after is not None:
        conditions.append(sa.or_(
            Run.planned_at > after.planned_at,
            sa.and_(Run.planned_at == after.planned_at,
                    Run.id > after.id)))
    return session.execute(
        sa.select(Run).where(*conditions)
        .order_by(Run.planned_at, Run.id).limit(limit)).scalars().all()


def lock_due(session, run_ids):
    """Return those of the runs that are still due; locked until the end."""
    return session.execute(
        sa.select(Run).where(Run.id.in_(run_ids), Run.state == 'due')
        .order_by(Run.planned_at, Run.id).with_for_update()
        .execution_options(populate_existing=True)).scalars().all()


def running(session, scheduled_operation_ids):
    """Return ``{scheduled operation id: run}`` of what goes on."""
    rows = session.execute(
        sa.select(Run)
        .join(Operation, Operation.scheduled_run_id == Run.id)
        .where(Run.state == 'started',
               Run.scheduled_operation_id.in_(scheduled_operation_ids),
               Operation.state.in_(('queued', 'running')))).scalars()
    return {row.scheduled_operation_id: row for row in rows}


def ended(session, limit, after=None):
    """Return pairs of a started run and its operation, if that has ended.

    The operation is None where its row is gone. In the order, and with the
    meaning of ``after``, of :func:`in_state`.
    """
    conditions = [Run.state == 'started',
                  sa.or_(Operation.id.is_(None),
                         Operation.state.in_(('done', 'failed')))]
    if after is not None:
        conditions.append(sa.or_(
            Run.planned_at > after.planned_at,
            sa.and_(Run.planned_at == after.planned_at,
                    Run.id > after.id)))
    return session.execute(
        sa.select(Run, Operation)
        .outerjoin(Operation, Operation.scheduled_run_id == Run.id)
        .where(*conditions).order_by(Run.planned_at, Run.id)
        .limit(limit)).tuples().all()


def move(session, run_id, state, **values):
    """Change the state along :data:`TRANSITIONS`; return whether it did.

    It does not when another engine was faster.
    """
    sources = [source for source, targets in TRANSITIONS.items()
               if state in targets]
    return bool(query.change(session, Run, dict(values, state=state),
                             Run.id == run_id, Run.state.in_(sources)))


def note(session, run_id, reason):
    """Write what keeps a run from being settled."""
    query.change(session, Run, {'reason': reason}, Run.id == run_id,
                 Run.state == 'retaining')


def is_overtaken(session, run):
    """Return whether a later run of the same has to delete as well."""
    return session.execute(sa.select(Run.id).where(
        Run.scheduled_operation_id == run.scheduled_operation_id,
        Run.state == 'retaining', Run.planned_at > run.planned_at)
        .limit(1)).first() is not None
