# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Operations: claiming, leases, fencing, and the log that users see.

All comparisons of lease times use the database's clock.
"""

import dataclasses
import datetime
import functools

import sqlalchemy as sa
from sqlalchemy import orm

from karbor_ng import errors
from karbor_ng.store import models
from karbor_ng.store import query
from karbor_ng.store import session as store_session

Operation = models.Operation

#: What an operation log calls an operation: by type, then by state.
LOG_STATUSES = {
    'protect': {'queued': 'protecting', 'running': 'protecting',
                'done': 'available', 'failed': 'error'},
    'restore': {'queued': 'started', 'running': 'started',
                'done': 'success', 'failed': 'failed'},
    'verify': {'queued': 'started', 'running': 'started',
               'done': 'success', 'failed': 'failed'},
    'delete': {'queued': 'deleting', 'running': 'deleting',
               'done': 'deleted', 'failed': 'error-deleting'},
    'copy': {'queued': 'wait_copying', 'running': 'copying',
             'done': 'available', 'failed': 'error'},
}
#: What can be asked to end: all but deletions, which leave nothing whole.
ABORTABLE = ('protect', 'restore', 'verify', 'copy')

#: What a checkpoint exists by.
MAKING = ('protect', 'copy')


#: What :func:`guard` asks before each write.
_OWNED = (sa.select(Operation.id)
          .where(Operation.id == sa.bindparam('operation'),
                 Operation.attempt == sa.bindparam('its_attempt'),
                 Operation.state == 'running')
          .with_for_update())


def create(session, values):
    """Insert an operation, queued unless said otherwise; return it."""
    operation = Operation(**{'state': 'queued', 'attempt': 0, **values})
    session.add(operation)
    session.flush()
    return operation


def get(session, operation_id, project_id=None):
    """:raises errors.NotFound: there is none, or it is another project's"""
    operation = session.get(Operation, operation_id)
    if operation is None or project_id not in (None, operation.project_id):
        raise errors.NotFound(f'There is no operation log {operation_id}.')
    return operation


def list(session, page, project_id=None, status=None, **equal):
    """Return a page of operations.

    :param status: as the log calls it, such as ``available``
    :param equal: columns and their exact values, None for any
    """
    conditions = [getattr(Operation, name) == value
                  for name, value in equal.items() if value is not None]
    if project_id is not None:
        conditions.append(Operation.project_id == project_id)
    return query.page(session, Operation, page, *conditions,
                      either=_called(status))


def _called(status):
    """Return what an operation must be for the log to call it so."""
    if status is None:
        return [()]
    return [(Operation.type == kind, Operation.state == state)
            for kind, states in LOG_STATUSES.items()
            for state, called in states.items()
            if called == status] or [(sa.false(),)]


def in_states(session, states, page):
    """Return a page of operations of all projects in any of these states."""
    return query.page(session, Operation, page, Operation.state.in_(states))


def log_status(operation):
    """Return what the operation log calls the operation's state."""
    return LOG_STATUSES[operation.type][operation.state]


def claimable(session, banks, limit, owner=None, per_project=None):
    """Return ids of operations that wait for a worker.

    Those that are queued, and those whose worker let its lease run out, as
    far as the worker sees the bank, or both banks, that they are about.
    Projects take turns: first comes what would be the first operation of its
    project with this owner, then what would be the second; of these, the
    oldest.

    :param banks: ``{provider id: uuid of the worker's bank}``
    :param per_project: how many operations of one project the owner may
        have; None for any number
    """
    asked = {'owner': owner, 'number': limit}
    if per_project is not None:
        asked['most'] = per_project
    return session.execute(
        _claimable(session.bind.dialect.name, frozenset(banks.items()),
                   per_project is not None), asked).scalars().all()


def _clock(dialect):
    """Return what is the present moment in a statement."""
    return sa.literal_column(store_session.CLOCKS[dialect],
                             type_=models.Time()).label('now')


@functools.lru_cache(maxsize=64)
def _claimable(dialect, banks, is_bounded):
    """Return the query of :func:`claimable`.

    Built once for all: that takes longer than asking the database.
    """
    now, owner = _clock(dialect), sa.bindparam('owner')
    waiting = _waiting(banks, now).cte('waiting')
    busy = (sa.select(Operation.project_id, sa.func.count().label('number'))
            .where(Operation.owner == owner, Operation.state == 'running',
                   Operation.lease_until >= now)
            .group_by(Operation.project_id).cte('busy'))
    turn = waiting.c.place + sa.func.coalesce(busy.c.number, 0)
    query = (sa.select(waiting.c.id)
             .outerjoin(busy, busy.c.project_id == waiting.c.project_id)
             .order_by(turn, waiting.c.created_at, waiting.c.id)
             .limit(sa.bindparam('number')))
    if is_bounded:
        query = query.where(turn <= sa.bindparam('most'))
    return query


def _waiting(banks, now):
    """Return a query of what waits, with each one's place in its project."""
    mine = [sa.and_(Operation.provider_id == provider_id,
                    models.Provider.bank_uuid == bank_uuid,
                    sa.or_(models.Checkpoint.bank_uuid.is_(None),
                           models.Checkpoint.bank_uuid == bank_uuid))
            for provider_id, bank_uuid in banks]
    source = orm.aliased(models.Checkpoint)
    place = sa.func.row_number().over(
        partition_by=Operation.project_id,
        order_by=(Operation.created_at, Operation.id))
    return (sa.select(Operation.id, Operation.project_id,
                      Operation.created_at, place.label('place'))
            .join(models.Provider,
                  models.Provider.id == Operation.provider_id)
            .join(models.Checkpoint,
                  models.Checkpoint.id == Operation.checkpoint_id)
            .outerjoin(source, source.id == Operation.source_checkpoint_id)
            .where(_is_free(now), sa.or_(sa.false(), *mine),
                   sa.or_(Operation.type != 'copy',
                          sa.and_(_is_seen(source, banks), _is_next()))))


def _is_seen(source, banks):
    """Return a condition: the worker sees the bank that is copied from."""
    return sa.or_(sa.false(), *[
        sa.and_(source.provider_id == provider_id,
                source.bank_uuid == bank_uuid)
        for provider_id, bank_uuid in banks])


def _is_next():
    """Return a condition: no older copy of the plan is on its way there.

    One after the other they share what is the same in their checkpoints;
    side by side each would store it again.
    """
    older = orm.aliased(Operation)
    return ~sa.exists().where(
        older.plan_id == Operation.plan_id,
        older.provider_id == Operation.provider_id, older.type == 'copy',
        older.state.in_(('queued', 'running')),
        sa.or_(older.created_at < Operation.created_at,
               sa.and_(older.created_at == Operation.created_at,
                       older.id < Operation.id)))


def claim(session, operation_id, owner, lease_seconds):
    """Make the operation this owner's; return it, or None if it is taken.

    The attempt grows by one; a take-over after a lost lease is counted. What
    is locked at the moment counts as taken: a worker may stand still in the
    middle of a transaction, and nobody shall stand still with it.
    """
    found = session.execute(_free_one(session.bind.dialect.name),
                            {'operation': operation_id}).first()
    if found is None:
        return None
    operation, now = found
    operation.resume_count += operation.state == 'running'
    operation.state, operation.owner = 'running', owner
    operation.lease_until = now + datetime.timedelta(seconds=lease_seconds)
    operation.attempt += 1
    operation.started_at = operation.started_at or now
    session.flush()
    return operation


@functools.lru_cache
def _free_one(dialect):
    """Return the query of what :func:`claim` locks, with the moment."""
    now = _clock(dialect)
    return (sa.select(Operation, now)
            .where(Operation.id == sa.bindparam('operation'), _is_free(now))
            .with_for_update(skip_locked=True))


@dataclasses.dataclass(frozen=True)
class Renewal:
    """What became of one lease.

    :ivar is_renewed: not if somebody has locked its row for the moment
    """

    attempt: int
    abort_requested: bool
    is_renewed: bool


def _unlocked(session, *conditions):
    """Lock what nobody else has locked; return the ids.

    Where the database has such locks; SQLite lets one write at a time.
    """
    return session.execute(
        sa.select(Operation.id).where(*conditions)
        .order_by(Operation.id).with_for_update(skip_locked=True)
    ).scalars().all()


def renew(session, owner, operation_ids, lease_seconds):
    """Prolong the leases of operations with one UPDATE.

    Those that are locked are left out, and not waited for: one transaction
    that hangs shall not cost the leases of all others. Come back for them
    soon.

    :param operation_ids: what the owner is working on; a lease on anything
        else that it once claimed must run out, so that somebody goes on
    :return: ``{operation id: Renewal}`` of those that still are the owner's
    """
    until = (store_session.now(session)
             + datetime.timedelta(seconds=lease_seconds))
    mine = (Operation.id.in_(tuple(operation_ids)), Operation.owner == owner,
            Operation.state == 'running')
    renewed = _unlocked(session, *mine)
    query.change(session, Operation, {'lease_until': until},
                 Operation.id.in_(renewed))
    rows = session.execute(sa.select(
        Operation.id, Operation.attempt,
        Operation.abort_requested).where(*mine))
    return {row.id: Renewal(row.attempt, row.abort_requested,
                            row.id in renewed) for row in rows}


def guard(session, operation_id, attempt):
    """Make sure, until this transaction ends, that the attempt still owns it.

    Call it before every write that an operation makes.

    :raises errors.Fenced: another attempt has it, or it has ended
    """
    row = session.execute(_OWNED, {
        'operation': operation_id, 'its_attempt': attempt}).first()
    if row is None:
        raise errors.Fenced(
            f'Operation {operation_id} is not attempt {attempt} any more.')


def hand_back(session, operation_id, attempt):
    """Queue the operation again, for whoever is free first."""
    query.change(session, Operation,
                 {'state': 'queued', 'owner': None, 'lease_until': None},
                 Operation.id == operation_id, Operation.attempt == attempt,
                 Operation.state == 'running')


def request_abort(session, operation_id):
    """Ask that an operation ends; return whether it may.

    Its worker hears of it with the next renewal of its lease. An operation
    that is just ending may still end well.
    """
    return bool(query.change(
        session, Operation, {'abort_requested': True},
        Operation.id == operation_id,
        Operation.type.in_(ABORTABLE),
        Operation.state.in_(('queued', 'running'))))


def requeue_lapsed(session, operation_id):
    """Queue an operation again whose worker let its lease run out.

    Its take-overs are forgotten. Return whether it was such a one.
    """
    return bool(query.change(
        session, Operation,
        {'state': 'queued', 'owner': None, 'lease_until': None,
         'resume_count': 0},
        Operation.id == operation_id, Operation.state == 'running',
        Operation.lease_until < store_session.now(session)))


def abandon(session, operation, reason):
    """End an operation that nobody works on; return whether it was one.

    It is queued, or its worker let the lease run out. Nobody can claim it
    afterwards, and a worker that wakes up is fenced off.

    :param operation: its row, as it was when the caller decided
    """
    return bool(query.change(
        session, Operation, _ended('failed', reason),
        Operation.id == operation.id,
        Operation.attempt == operation.attempt,
        _is_free(store_session.now(session))))


def _is_free(now):
    return sa.or_(Operation.state == 'queued',
                  sa.and_(Operation.state == 'running',
                          Operation.lease_until < now))


def _ended(state, error_info):
    """Return the columns of what has ended: its secrets go."""
    return {'state': state, 'error_info': error_info, 'owner': None,
            'lease_until': None, 'credentials': None,
            'target_credentials': None, 'ended_at': models.utcnow()}


def finish(session, operation_id, attempt, state, error_info=None):
    """End the operation: ``done`` or ``failed``; its credentials go.

    :raises errors.Fenced: it is not this attempt's any more
    """
    if not query.change(session, Operation, _ended(state, error_info),
                        Operation.id == operation_id,
                        Operation.attempt == attempt,
                        Operation.state == 'running'):
        raise errors.Fenced(
            f'Operation {operation_id} is not attempt {attempt} any more.')


def restore_of(session, restore_id):
    """Return the operation of a restore, or None."""
    return session.execute(sa.select(Operation).where(
        Operation.restore_id == restore_id)).scalars().first()


def verify_of(session, verification_id):
    """Return the operation of a verification, or None."""
    return session.execute(sa.select(Operation).where(
        Operation.verification_id == verification_id)).scalars().first()


def unended_of(session, checkpoint_id, types):
    """Return the operation of these types on a checkpoint that has not
    ended, or None."""
    return session.execute(sa.select(Operation).where(
        Operation.checkpoint_id == checkpoint_id, Operation.type.in_(types),
        Operation.state.in_(('queued', 'running')))).scalars().first()


def is_made(session, checkpoint_id):
    """Return whether what makes the checkpoint has ended well."""
    return session.execute(sa.select(Operation.id).where(
        Operation.checkpoint_id == checkpoint_id,
        Operation.type.in_(MAKING),
        Operation.state == 'done')).first() is not None


def making_of(session, checkpoint_id):
    """Return the operation that made a checkpoint, or is at it, or None."""
    return session.execute(sa.select(Operation).where(
        Operation.checkpoint_id == checkpoint_id,
        Operation.type.in_(MAKING))).scalars().first()


def failed_deletions(session, checkpoint_id):
    """Return operations that could not delete a checkpoint, newest first."""
    return session.execute(
        sa.select(Operation).where(
            Operation.checkpoint_id == checkpoint_id,
            Operation.type == 'delete', Operation.state == 'failed')
        .order_by(Operation.created_at.desc(), Operation.id.desc())
    ).scalars().all()
