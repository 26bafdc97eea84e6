# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Services: the processes that work, as they say themselves.

For the eyes of operators only. Who works on what is decided by the leases of
operations, never by these rows.
"""

import dataclasses
import datetime

import sqlalchemy as sa

from karbor_ng.store import models
from karbor_ng.store import query
from karbor_ng.store import session as store_session

Service = models.Service
Operation = models.Operation


@dataclasses.dataclass(frozen=True)
class Seen:
    """A service, and what its row tells at this moment.

    :ivar silent_seconds: since it was last heard of
    :ivar operations: how many running operations it owns
    """

    service: Service
    silent_seconds: float
    operations: int


def seen(session, values):
    """Write that a service lives; it is added if it is not there.

    :param values: columns but for ``seen_at``; ``id`` is what operations
        have as their owner
    """
    values = dict(values, seen_at=store_session.now(session))
    if not query.change(session, Service, values,
                        Service.id == values['id']):
        # Nobody else writes this row: the process made up its id.
        session.add(Service(**values))
        session.flush()


def gone(session, service_id):
    """Forget a service that has stopped."""
    session.execute(sa.delete(Service).where(Service.id == service_id))


def list(session):
    """Return :class:`Seen` of all services, by host and start."""
    now = store_session.now(session)
    owned = dict(session.execute(
        sa.select(Operation.owner, sa.func.count())
        .where(Operation.state == 'running')
        .group_by(Operation.owner)).tuples().all())
    rows = session.execute(sa.select(Service).order_by(
        Service.host, Service.started_at, Service.id)).scalars()
    return [Seen(row, (now - row.seen_at).total_seconds(),
                 owned.get(row.id, 0)) for row in rows]


def clean(session, silent_seconds):
    """Forget services that were not heard of for so long; return their ids.

    Harmless if one lives all the same: it writes itself again.
    """
    before = (store_session.now(session)
              - datetime.timedelta(seconds=silent_seconds))
    ids = session.execute(
        sa.select(Service.id).where(Service.seen_at < before)
        .order_by(Service.id)).scalars().all()
    session.execute(sa.delete(Service).where(
        Service.id.in_(ids), Service.seen_at < before))
    return ids
