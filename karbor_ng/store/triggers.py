# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Triggers: when something is to happen."""

import sqlalchemy as sa

from karbor_ng import errors
from karbor_ng.store import models
from karbor_ng.store import query
from karbor_ng.store import session as store_session

Trigger = models.Trigger


def create(session, values):
    """Insert a trigger; return it."""
    trigger = Trigger(**values)
    session.add(trigger)
    session.flush()
    return trigger


def get(session, trigger_id, project_id=None, **options):
    """Return a trigger.

    :param project_id: whose trigger it must be; None for anybody's
    :param options: of SQLAlchemy's ``Session.get``
    :raises errors.NotFound: there is none, or it is another project's
    """
    trigger = session.get(Trigger, trigger_id, **options)
    if trigger is None or project_id not in (None, trigger.project_id):
        raise errors.NotFound(f'There is no trigger {trigger_id}.')
    return trigger


def list(session, page, project_id=None, name=None, type=None,
         properties=None):
    """Return a page of triggers.

    :param name: what their names contain
    :param type: their type
    :param properties: what their properties contain, as JSON
    """
    conditions = []
    if project_id is not None:
        conditions.append(Trigger.project_id == project_id)
    if name is not None:
        conditions.append(query.contains(Trigger.name, name))
    if type is not None:
        conditions.append(Trigger.type == type)
    if properties is not None:
        conditions.append(query.contains(Trigger.properties, properties))
    return query.page(session, Trigger, page, *conditions)


def update(session, trigger_id, project_id, values, now=None):
    """Change a trigger; return it as it is then.

    What is due already stays due, whatever the values say: a
    ``next_run_at`` that has come is left for those who fire triggers.

    :param now: when that is judged; None for the database's present time
    :raises errors.NotFound: as :func:`get`
    """
    trigger = get(session, trigger_id, project_id, with_for_update=True)
    if _is_due(trigger, now or store_session.now(session)):
        values = {name: value for name, value in values.items()
                  if name != 'next_run_at'}
    for name, value in values.items():
        setattr(trigger, name, value)
    trigger.updated_at = models.utcnow()
    session.flush()
    return trigger


def _is_due(trigger, now):
    return trigger.next_run_at is not None and trigger.next_run_at <= now


def delete(session, trigger_id, project_id=None):
    """Remove a trigger.

    :raises errors.NotFound: as :func:`get`
    :raises errors.TriggerInUse: naming the scheduled operations that use it
    """
    # Who adds a scheduled operation locks its trigger too.
    trigger = get(session, trigger_id, project_id, with_for_update=True)
    users = _users(session, trigger_id)
    if users:
        raise errors.TriggerInUse(
            f'Trigger {trigger_id} is used by scheduled operations: '
            f'{", ".join(users)}. Delete them first, or give them another '
            'trigger.')
    session.delete(trigger)
    session.flush()


def _users(session, trigger_id):
    """Return ids of some of the scheduled operations of a trigger."""
    operation = models.ScheduledOperation
    return session.execute(
        sa.select(operation.id).where(operation.trigger_id == trigger_id)
        .order_by(operation.created_at, operation.id).limit(10)
    ).scalars().all()


def by_ids(session, ids):
    """Return ``{id: row}`` of those that are there."""
    rows = session.execute(sa.select(Trigger).where(
        Trigger.id.in_(ids))).scalars()
    return {row.id: row for row in rows}


def due(session, now, limit, after=None):
    """Return some of the triggers whose time has come, by that time.

    :param after: the trigger that those of the previous call ended with
    """
    conditions = [Trigger.next_run_at <= now]
    if after is not None:
        conditions.append(sa.or_(
            Trigger.next_run_at > after.next_run_at,
            sa.and_(Trigger.next_run_at == after.next_run_at,
                    Trigger.id > after.id)))
    return session.execute(
        sa.select(Trigger).where(*conditions)
        .order_by(Trigger.next_run_at, Trigger.id).limit(limit)
    ).scalars().all()


def advance(session, trigger, next_run_at):
    """Move a trigger on to its next due time; return whether it was ours.

    It was not if somebody else has moved it on, or changed it, since
    ``trigger`` was read.

    :param next_run_at: None if it never fires again
    """
    unchanged = (Trigger.updated_at.is_(None) if trigger.updated_at is None
                 else Trigger.updated_at == trigger.updated_at)
    return bool(query.change(
        session, Trigger, {'next_run_at': next_run_at},
        Trigger.id == trigger.id, Trigger.next_run_at == trigger.next_run_at,
        unchanged))
