# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Services: the processes that work, as they say themselves.

Rows of processes are for the eyes of operators only: who works on what is
decided by the leases of operations. Rows of hosts, one for each program on a
host, outlive the processes: they keep what the operator has disabled, and
who claims work looks there first.
"""

import dataclasses
import datetime

from oslo_db import exception as db_exception
import sqlalchemy as sa

from karbor_ng import errors
from karbor_ng.store import models
from karbor_ng.store import query
from karbor_ng.store import session as store_session

Service = models.Service
ServiceHost = models.ServiceHost
Operation = models.Operation


@dataclasses.dataclass(frozen=True)
class Seen:
    """A service, and what its row tells at this moment.

    :ivar silent_seconds: since it was last heard of
    :ivar operations: how many running operations it owns
    :ivar is_disabled: whether it may claim nothing
    """

    service: Service
    silent_seconds: float
    operations: int
    is_disabled: bool


@dataclasses.dataclass(frozen=True)
class Host:
    """A program on a host, and what its processes tell at this moment.

    :ivar seen_at: when the last of them was heard of; None if none is there
    :ivar silent_seconds: since then; None if none is there
    """

    row: ServiceHost
    seen_at: datetime.datetime | None
    silent_seconds: float | None

    @property
    def id(self):
        return self.row.id


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
        _register(session, values['binary'], values['host'])


def _register(session, binary, host):
    key = {'binary': binary, 'host': host}
    if session.execute(sa.select(ServiceHost.id).filter_by(**key)).first():
        return
    try:
        with session.begin_nested():
            session.add(ServiceHost(**key))
    except db_exception.DBDuplicateEntry:
        # Another process of the same host was faster.
        pass


def gone(session, service_id):
    """Forget a service that has stopped."""
    service = session.get(Service, service_id)
    if service is not None:
        query.change(session, ServiceHost,
                     {'updated_at': store_session.now(session)},
                     ServiceHost.binary == service.binary,
                     ServiceHost.host == service.host)
        session.delete(service)


def list(session):
    """Return :class:`Seen` of all services, by host and start."""
    now = store_session.now(session)
    owned = dict(session.execute(
        sa.select(Operation.owner, sa.func.count())
        .where(Operation.state == 'running')
        .group_by(Operation.owner)).tuples().all())
    disabled = set(session.execute(
        sa.select(ServiceHost.binary, ServiceHost.host)
        .where(ServiceHost.is_disabled)).tuples().all())
    rows = session.execute(sa.select(Service).order_by(
        Service.host, Service.started_at, Service.id)).scalars()
    return [Seen(row, (now - row.seen_at).total_seconds(),
                 owned.get(row.id, 0), (row.binary, row.host) in disabled)
            for row in rows]


def hosts(session, page, binary=None, host=None):
    """Return a page of :class:`Host`; both filters are exact."""
    conditions = []
    if binary is not None:
        conditions.append(ServiceHost.binary == binary)
    if host is not None:
        conditions.append(ServiceHost.host == host)
    return _with_processes(session, query.page(
        session, ServiceHost, page, *conditions))


def get_host(session, number):
    """Return a :class:`Host`.

    :raises errors.NotFound: there is none of this number
    """
    row = session.get(ServiceHost, number)
    if row is None:
        raise errors.NotFound(f'There is no service {number}.')
    return _with_processes(session, [row])[0]


def _with_processes(session, rows):
    now = store_session.now(session)
    heard = {(binary, host): moment for binary, host, moment
             in session.execute(
                 sa.select(Service.binary, Service.host,
                           sa.func.max(Service.seen_at))
                 .group_by(Service.binary, Service.host))}
    found = []
    for row in rows:
        moment = heard.get((row.binary, row.host))
        found.append(Host(
            row, moment, None if moment is None
            else (now - moment).total_seconds()))
    return found


def disable(session, number, reason=None):
    """Let a program on a host claim no more; what it works on goes on."""
    _set(session, number, True, reason)


def enable(session, number):
    """Let a program on a host claim again."""
    _set(session, number, False, None)


def _set(session, number, is_disabled, reason):
    query.change(session, ServiceHost, {
        'is_disabled': is_disabled, 'disabled_reason': reason,
        'updated_at': store_session.now(session)}, ServiceHost.id == number)


def is_disabled(session, binary, host):
    """Return whether this program on this host may claim nothing."""
    return session.execute(sa.select(ServiceHost.id).where(
        ServiceHost.binary == binary, ServiceHost.host == host,
        ServiceHost.is_disabled)).first() is not None


def clean(session, silent_seconds):
    """Forget services that were not heard of for so long; return their ids.

    Harmless if one lives all the same: it writes itself again. Hosts go too
    that have had no services for so long, unless they are disabled.
    """
    before = (store_session.now(session)
              - datetime.timedelta(seconds=silent_seconds))
    ids = session.execute(
        sa.select(Service.id).where(Service.seen_at < before)
        .order_by(Service.id)).scalars().all()
    session.execute(sa.delete(Service).where(
        Service.id.in_(ids), Service.seen_at < before))
    lives = sa.exists().where(Service.binary == ServiceHost.binary,
                              Service.host == ServiceHost.host)
    session.execute(sa.delete(ServiceHost).where(
        ~ServiceHost.is_disabled, ~lives,
        sa.or_(ServiceHost.updated_at.is_(None),
               ServiceHost.updated_at < before))
        .execution_options(synchronize_session=False))
    return ids
