# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What rows tell about the services: who is heard of, and what waits.

Apart from the nouns because it is one glance at several of them. All ages
are by the database's clock.
"""

import dataclasses
import datetime

import sqlalchemy as sa

from karbor_ng.store import models
from karbor_ng.store import session as store_session

Operation = models.Operation
Provider = models.Provider
ScheduledOperation = models.ScheduledOperation
ServiceHost = models.ServiceHost
Trigger = models.Trigger
Trust = models.Trust


#: Services that reach a bank say so more often than this; who complains of it
#: then stands alone.
CONTRADICTED = datetime.timedelta(seconds=20)


@dataclasses.dataclass(frozen=True)
class Glance:
    """The services as their rows show them at one moment.

    :ivar providers: dicts of ``id``, ``name``, ``host``, ``bank`` (its kind),
        ``silent_seconds`` (since a service last said that it is well) and
        ``problem``: what a service has found wrong since then, or None
    :ivar queued: how many operations wait for a worker
    :ivar oldest_queued_seconds: how long the first of them has waited;
        copies, which wait for each other, left out
    :ivar running: how many operations have a worker
    :ivar lost: how many of these have one whose lease has run out
    :ivar longest_lost_seconds: how long ago the first lease did
    :ivar disabled: dicts of ``binary``, ``host`` and ``reason`` of programs
        that operators let claim nothing
    :ivar overdue: how many triggers are due and have not fired
    :ivar longest_overdue_seconds: for how long the first of them is
    :ivar given_up: how many scheduled operations are disabled because
        Keystone accepts their trusts no more
    """

    providers: list
    queued: int
    oldest_queued_seconds: float
    running: int
    lost: int
    longest_lost_seconds: float
    disabled: list
    overdue: int
    longest_overdue_seconds: float
    given_up: int


def glance(session):
    """Return a :class:`Glance`, from indexes, whatever has been done ever."""
    now = store_session.now(session)
    queued, first_queued = session.execute(
        sa.select(sa.func.count(), sa.func.min(sa.case(
            (Operation.type != 'copy', Operation.created_at))))
        .where(Operation.state == 'queued')).one()
    running = session.execute(
        sa.select(sa.func.count())
        .where(Operation.state == 'running')).scalar()
    lost, first_lost = session.execute(
        sa.select(sa.func.count(), sa.func.min(Operation.lease_until))
        .where(Operation.state == 'running',
               Operation.lease_until < now)).one()
    overdue, first_due = session.execute(
        sa.select(sa.func.count(), sa.func.min(Trigger.next_run_at))
        .where(Trigger.next_run_at < now)).one()
    return Glance(
        providers=_providers(session, now), queued=queued, running=running,
        oldest_queued_seconds=_age(first_queued, now), lost=lost,
        longest_lost_seconds=_age(first_lost, now),
        disabled=_disabled(session), overdue=overdue,
        longest_overdue_seconds=_age(first_due, now),
        given_up=_given_up(session))


def _given_up(session):
    return session.execute(
        sa.select(sa.func.count()).select_from(ScheduledOperation)
        .join(Trust, Trust.id == ScheduledOperation.trust_id)
        .where(Trust.state == 'broken')).scalar()


def _providers(session, now):
    rows = session.execute(
        sa.select(Provider.id, Provider.name, Provider.host,
                  Provider.bank_kind, Provider.published_at,
                  Provider.problem, Provider.problem_at)
        .order_by(Provider.name, Provider.id))
    return [{'id': row.id, 'name': row.name, 'host': row.host,
             'bank': row.bank_kind,
             'silent_seconds': _age(row.published_at, now),
             'problem': row.problem if _has_problem(row) else None}
            for row in rows]


def _has_problem(row):
    """One host may reach a bank that another one does not reach."""
    return (row.problem_at is not None
            and row.problem_at - row.published_at > CONTRADICTED)


def _disabled(session):
    rows = session.execute(
        sa.select(ServiceHost.binary, ServiceHost.host,
                  ServiceHost.disabled_reason)
        .where(ServiceHost.is_disabled)
        .order_by(ServiceHost.binary, ServiceHost.host))
    return [{'binary': row.binary, 'host': row.host,
             'reason': row.disabled_reason} for row in rows]


def _age(moment, now):
    """Clocks of hosts may be ahead of the database's."""
    if moment is None:
        return 0.0
    return max(0.0, round((now - moment) / datetime.timedelta(seconds=1), 1))
