# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Trusts: rights to act for users that scheduled operations run with.

A trust is used by the scheduled operations that name it: whoever adds or
takes away a use has locked its row, so the last one is known to be the last.
"""

import datetime

import sqlalchemy as sa

from karbor_ng.store import models
from karbor_ng.store import query
from karbor_ng.store import session as store_session

ScheduledOperation = models.ScheduledOperation
Trust = models.Trust


def living(session, user_id, project_id):
    """Return ids of usable trusts of a user for a project, oldest first."""
    return session.execute(
        sa.select(Trust.id)
        .where(Trust.user_id == user_id, Trust.project_id == project_id,
               Trust.state == 'living')
        .order_by(Trust.created_at, Trust.id)).scalars().all()


def known(session, trust_ids):
    """Return those of the ids that have a row, whatever its state."""
    return set(session.execute(sa.select(Trust.id).where(
        Trust.id.in_(trust_ids))).scalars())


def add(session, trust_id, user_id, project_id):
    """Write a trust down, if it is not there yet."""
    if session.get(Trust, trust_id) is None:
        session.add(Trust(id=trust_id, user_id=user_id,
                          project_id=project_id, state='living'))
        session.flush()


def lock(session, trust_id):
    """Lock the row until the transaction ends; return whether it lives."""
    state = session.execute(sa.select(Trust.state).where(
        Trust.id == trust_id).with_for_update()).scalar()
    return state == 'living'


def release(session, trust_id):
    """Let go of a trust; return whether it is to be revoked now.

    Call it in the transaction that takes a use away, or after one that
    never came to use it.
    """
    lock(session, trust_id)
    if _uses(session, trust_id):
        return False
    return bool(query.change(session, Trust, {'state': 'removing'},
                             Trust.id == trust_id))


def _uses(session, trust_id):
    return session.execute(
        sa.select(sa.func.count()).select_from(ScheduledOperation)
        .where(ScheduledOperation.trust_id == trust_id)).scalar()


def remove(session, trust_id):
    """Forget a trust that is revoked."""
    session.execute(sa.delete(Trust).where(
        Trust.id == trust_id, Trust.state == 'removing'))


def explain(session, trust_id, reason):
    """Write why a trust could not be revoked yet."""
    query.change(session, Trust, {'reason': reason},
                 Trust.id == trust_id, Trust.state == 'removing')


def leftovers(session, idle_seconds, limit):
    """Return ids of trusts that are to be revoked, or that nobody uses.

    :param idle_seconds: how long one may wait for its first use
    """
    before = (store_session.now(session)
              - datetime.timedelta(seconds=idle_seconds))
    unused = ~sa.exists().where(ScheduledOperation.trust_id == Trust.id)
    return session.execute(
        sa.select(Trust.id).where(
            unused, sa.or_(Trust.state == 'removing',
                           Trust.created_at < before))
        .order_by(Trust.created_at, Trust.id).limit(limit)).scalars().all()


def give_up(session, trust_id, reason):
    """Disable all that uses a trust which Keystone accepts no more.

    Return the ids of what was enabled until now. What was due by now has its
    runs nevertheless, which say why they fail.
    """
    lock(session, trust_id)
    query.change(session, Trust, {'state': 'broken', 'reason': reason},
                 Trust.id == trust_id, Trust.state == 'living')
    mine = (ScheduledOperation.trust_id == trust_id,
            ScheduledOperation.is_enabled.is_(True))
    ids = session.execute(
        sa.select(ScheduledOperation.id).where(*mine)
        .order_by(ScheduledOperation.id)).scalars().all()
    query.change(session, ScheduledOperation,
                 {'is_enabled': False, 'disabled_reason': reason,
                  'disabled_at': store_session.now(session),
                  'updated_at': models.utcnow()}, *mine)
    return ids
