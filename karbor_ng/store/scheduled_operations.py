# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Scheduled operations: what is to happen whenever a trigger fires."""

import sqlalchemy as sa

from karbor_ng import errors
from karbor_ng.store import models
from karbor_ng.store import query

ScheduledOperation = models.ScheduledOperation


def create(session, values):
    """Insert a scheduled operation; return it."""
    operation = ScheduledOperation(**values)
    session.add(operation)
    session.flush()
    return operation


def get(session, scheduled_operation_id, project_id=None, **options):
    """Return a scheduled operation.

    :param options: of SQLAlchemy's ``Session.get``
    :raises errors.NotFound: there is none, or it is another project's
    """
    operation = session.get(ScheduledOperation, scheduled_operation_id,
                            **options)
    if operation is None or project_id not in (None, operation.project_id):
        raise errors.NotFound(
            f'There is no scheduled operation {scheduled_operation_id}.')
    return operation


def list(session, page, project_id=None, name=None,
         operation_definition=None, **equal):
    """Return a page of scheduled operations.

    :param name: what their names contain
    :param operation_definition: what their definitions, as JSON, contain
    :param equal: columns and their exact values, None for any
    """
    conditions = [getattr(ScheduledOperation, column) == value
                  for column, value in equal.items() if value is not None]
    if project_id is not None:
        conditions.append(ScheduledOperation.project_id == project_id)
    for column, text in ((ScheduledOperation.name, name),
                         (ScheduledOperation.definition,
                          operation_definition)):
        if text is not None:
            conditions.append(query.contains(column, text))
    return query.page(session, ScheduledOperation, page, *conditions)


def update(session, scheduled_operation_id, project_id, values):
    """Change a scheduled operation; return it as it is then.

    :raises errors.NotFound: as :func:`get`
    """
    operation = get(session, scheduled_operation_id, project_id)
    for name, value in values.items():
        setattr(operation, name, value)
    operation.updated_at = models.utcnow()
    session.flush()
    return operation


def delete(session, scheduled_operation_id, project_id=None):
    """Remove a scheduled operation; its runs stay. Return what it was.

    :raises errors.NotFound: as :func:`get`
    """
    operation = get(session, scheduled_operation_id, project_id)
    session.delete(operation)
    session.flush()
    return operation


def of_plan(session, plan_id, limit=10):
    """Return some of the scheduled operations that use a plan, by age."""
    return _using(session, ScheduledOperation.plan_id == plan_id, limit)


def of_trigger(session, trigger_id, limit=10):
    """Return some of the scheduled operations of a trigger, by age."""
    return _using(session, ScheduledOperation.trigger_id == trigger_id,
                  limit)


def _using(session, condition, limit):
    return session.execute(
        sa.select(ScheduledOperation).where(condition)
        .order_by(ScheduledOperation.created_at, ScheduledOperation.id)
        .limit(limit)).scalars().all()


def firing_of(session, trigger_ids, since):
    """Return what triggers start, or started at some time since then.

    That are the enabled ones, and those whose trust ended later: see
    ``disabled_at``, which is None for the others.

    :return: id, project, trigger, creation, and ``disabled_at``
    """
    return session.execute(
        sa.select(ScheduledOperation.id, ScheduledOperation.project_id,
                  ScheduledOperation.trigger_id,
                  ScheduledOperation.created_at,
                  ScheduledOperation.disabled_at)
        .where(ScheduledOperation.trigger_id.in_(trigger_ids),
               sa.or_(ScheduledOperation.is_enabled.is_(True),
                      ScheduledOperation.disabled_at >= since))).all()


def by_ids(session, ids):
    """Return ``{id: row}`` of those that are there."""
    rows = session.execute(sa.select(ScheduledOperation).where(
        ScheduledOperation.id.in_(ids))).scalars()
    return {row.id: row for row in rows}


def has_trust(session, scheduled_operation_id):
    """Return whether one has a trust that nobody has given up."""
    return session.execute(
        sa.select(models.Trust.id)
        .join(ScheduledOperation,
              ScheduledOperation.trust_id == models.Trust.id)
        .where(ScheduledOperation.id == scheduled_operation_id,
               models.Trust.state == 'living')).first() is not None
