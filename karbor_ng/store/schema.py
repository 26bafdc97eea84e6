# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The database's schema: which one it has, which it needs, and the way there.

Apart from the transactions of every day because this is asked at a service's
start and by an operator's command only.
"""

import contextlib
import pkgutil

from sqlalchemy import inspect
from sqlalchemy import text

from karbor_ng import errors
from karbor_ng.store.migrations import versions

#: Seconds that an upgrade waits for another one to end.
LOCK_SECONDS = 600
_LOCK = 'karbor_ng schema'


def upgrade(db):
    """Bring the tables to what this release needs; keep what is in them.

    Return the name of the schema that was there before, None if none was.
    May be called at any time and by several processes at once: one works,
    the others wait for it and find nothing to do. On MySQL a step that is
    interrupted leaves what it has done, because its DDL can not be undone;
    SQLite and PostgreSQL change all or nothing.

    :raises errors.Conflict: another upgrade did not end in time
    :raises errors.ConfigError: the database can not be used, or its tables
        are those of a later release
    """
    db.connect()
    return db.write(_upgrade)


def version(db):
    """Return the name of the schema that the database has, None if empty.

    :raises errors.ConfigError: the database can not be used
    """
    db.connect()
    return db.read(_version)


def newest():
    """Return the name of the schema that this release needs."""
    return _steps()[-1]


def check(db):
    """Make sure that the database has the schema of this release.

    Services call this when they start.

    :raises errors.ConfigError: it has not, or can not be used; the text says
        what to do
    """
    found = version(db)
    if found is None:
        raise errors.ConfigError(
            'The database has no tables of ours: run "karbor-manage db '
            'sync".')
    if found == newest():
        return
    _refuse_later(found)
    raise errors.ConfigError(
        f'The database has schema {found}, but this release needs '
        f'{newest()}: run "karbor-manage db sync".')


def _upgrade(session):
    connection = session.connection()
    with _alone(connection):
        found = _version(session)
        if found is not None:
            _refuse_later(found)
        # Not imported by those who only ask.
        from karbor_ng.store.migrations import run
        run.upgrade(connection)
        return found


def _version(session):
    """Return what alembic has written down, None before it ever did."""
    if not inspect(session.connection()).has_table('alembic_version'):
        return None
    return session.execute(
        text('SELECT version_num FROM alembic_version')).scalar()


def _refuse_later(found):
    if found not in _steps():
        raise errors.ConfigError(
            f'The database has schema {found}, which this release does not '
            f'know: it belongs to a later one. Upgrade karbor_ng on this '
            f'host.')


def _steps():
    """Return the numbers of all steps, with which their modules begin."""
    return sorted(module.name.partition('_')[0] for module
                  in pkgutil.iter_modules(versions.__path__))


@contextlib.contextmanager
def _alone(connection):
    """Keep other upgrades of this database waiting.

    SQLite needs nothing: the transaction already has its only write lock.
    """
    dialect = connection.dialect.name
    if dialect == 'postgresql':
        connection.execute(
            text('SELECT pg_advisory_xact_lock(hashtext(:name))'),
            {'name': _LOCK})
    if dialect != 'mysql':
        yield
        return
    # Of the connection, not of the transaction: each DDL ends one. Locks
    # are known to the whole server, so the name has the database in it.
    name = {'name': _LOCK, 'seconds': LOCK_SECONDS}
    lock = "CONCAT(:name, ' ', SHA1(DATABASE()))"
    taken = connection.execute(
        text(f'SELECT GET_LOCK({lock}, :seconds)'), name).scalar()
    if not taken:
        raise errors.Conflict(
            f'Another "karbor-manage db sync" has not ended after '
            f'{LOCK_SECONDS} seconds.')
    try:
        yield
        # Whoever waits must see the new version, and not only the tables,
        # which DDL commits by itself.
        connection.execute(text('COMMIT'))
    finally:
        connection.execute(text(f'SELECT RELEASE_LOCK({lock})'), name)
