# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The database: engine, transactions, and its clock.

All transactions start here, so that retrying, SQLite's locking and the
database's own time are settled in one place. Functions of the noun modules
take the SQLAlchemy session first and are run by :meth:`Database.read` or
:meth:`Database.write`.
"""

import contextlib
import datetime
import sqlite3
import threading
import time

from oslo_config import cfg
from oslo_db import api as db_api
from oslo_db import exception as db_exception
from oslo_db import options as db_options
from oslo_db.sqlalchemy import enginefacade
from oslo_db.sqlalchemy import exc_filters
from sqlalchemy import event
from sqlalchemy import exc
from sqlalchemy import make_url
from sqlalchemy import text

from karbor_ng import errors
from karbor_ng.store import connections
from karbor_ng.store import waits

#: Raised where the database, or a connection to it, can not be had: by
#: waiting it may be.
AWAY = (db_exception.DBConnectionError, db_exception.CantStartEngineError,
        exc.TimeoutError)

GROUP = 'database'
OPTS = [*db_options.database_opts, *waits.OPTS]
# A connection beyond the pool lasts for one transaction, and to make one costs
# more than that: reading the certificates of all authorities takes 20 ms.
cfg.set_defaults(db_options.database_opts, max_pool_size=20)

#: The moment of a statement as its database has it, in UTC without a zone.
CLOCKS = {
    # With as many digits as it keeps, since it compares texts.
    'sqlite': "strftime('%Y-%m-%d %H:%M:%f000', 'now')",
    'mysql': 'UTC_TIMESTAMP(6)',
    'postgresql': "timezone('utc', statement_timestamp())",
}


#: Errors that pass, and that oslo.db takes for some of the statement: codes of
#: MariaDB, SQLSTATEs of PostgreSQL. The server is stopping or full, or it
#: has ended what took too long.
_AWAY = {1040, 1053, '25P03', '53300', '57014', '57P01', '57P02', '57P03'}
#: Somebody else was faster, or does not let go of what we need.
_IN_THE_WAY = {'40001', '55P03'}
#: PostgreSQL's words, without any code, while it can not be reached; those for
#: whom it does not want are told so after "FATAL".
_UNREACHABLE = (r'(?s).*(connection to server[^\n]* failed: (?!FATAL)|'
                r'the database system is |too many clients|'
                r'remaining connection slots)')
#: How often turning SQLite's write-ahead logging on is tried.
_TURNING_ON = 200


class Database:
    """Runs functions in transactions."""

    def __init__(self, connection, **options):
        """:param connection: SQLAlchemy URL; options as oslo.db's

        Nothing is connected yet.

        :raises errors.ConfigError: the URL can not lead to a database
        """
        _check_url(connection)
        self._connection, self._options = connection, dict(options)
        self._facade = enginefacade.transaction_context()
        options.setdefault('sqlite_fk', True)
        # Yielding after each use is of the days of green threads.
        options.setdefault('thread_checkin', False)
        self._facade.configure(connection=connections.sparing(connection),
                               **options)
        self._facade.append_on_engine_create(_prepare_engine)
        # SQLite's own waiting is a matter of luck and long pauses.
        self._turn = (threading.Lock() if connection.startswith('sqlite')
                      else contextlib.nullcontext())

    @classmethod
    def from_conf(cls, conf, is_patient=False):
        """Take ``[database]`` of the configuration.

        :param is_patient: whether statements and locks may take as long as
            they need
        :raises errors.ConfigError: its URL can not lead to a database
        """
        group = conf.database
        _check_url(group.connection)
        return cls(waits.bounded(group, is_patient),
                   max_retries=group.max_retries,
                   retry_interval=group.retry_interval,
                   connection_recycle_time=group.connection_recycle_time,
                   max_pool_size=group.max_pool_size,
                   max_overflow=group.max_overflow,
                   pool_timeout=group.pool_timeout)

    @property
    def engine(self):
        return self._facade.writer.get_engine()

    def connect(self):
        """Make sure that the database is there, for a clear word at start.

        Waits for it as ``[database] max_retries`` and ``retry_interval``
        say.

        :raises errors.ConfigError: it can not be used
        """
        try:
            self.engine.connect().close()
        except (db_exception.DBError, exc.SQLAlchemyError) as problem:
            raise errors.ConfigError(
                f'[database] connection: the database can not be used: '
                f'{str(problem).splitlines()[0]}') from problem

    @db_api.wrap_db_retry(max_retries=20, retry_interval=0.1,
                          inc_retry_interval=True, max_retry_interval=2,
                          retry_on_deadlock=True)
    def write(self, function, *args, **kwargs):
        """Run ``function(session, ...)`` in a transaction; return its result.

        The whole function runs again after a deadlock, so it must do nothing
        but work on the session. Where the connection is lost it does not:
        what was to be committed may be.

        :raises oslo_db.exception.DBConnectionError: the database is away
        """
        token = connections.writing.set(True)
        try:
            with (self._turn,
                  self._facade.writer.using(_Scope()) as session):
                return function(session, *args, **kwargs)
        finally:
            connections.writing.reset(token)

    @db_api.wrap_db_retry(max_retries=3, retry_interval=0.2,
                          retry_on_disconnect=True, retry_on_deadlock=True)
    def read(self, function, *args, **kwargs):
        """Run ``function(session, ...)`` that only reads."""
        token = connections.writing.set(False)
        try:
            with self._facade.reader.using(_Scope()) as session:
                return function(session, *args, **kwargs)
        finally:
            connections.writing.reset(token)

    def beside(self):
        """Return the same database over connections of its own.

        For what must not wait until others have done with theirs. SQLite
        lets one write at a time anyway: its waiting stays in one place.
        """
        if self._connection.startswith('sqlite'):
            return self
        return Database(self._connection, **self._options)

    def dispose(self):
        """Close all connections."""
        self.engine.dispose()


class _Scope:
    """What oslo.db hangs one transaction on: new each time, so that
    transactions of different threads, and nested ones, never mix."""


enginefacade.transaction_context_provider(_Scope)


@exc_filters.filters('postgresql', exc.OperationalError, _UNREACHABLE)
def _name_unreachable(problem, _match, _dialect, _is_disconnect):
    raise db_exception.DBConnectionError(problem)


@exc_filters.filters('mysql', exc.OperationalError, '.*')
@exc_filters.filters('postgresql', exc.OperationalError, '.*')
def _name_by_code(problem, _match, _dialect, _is_disconnect):
    """Give errors that pass the class that oslo.db has for their kind."""
    given = problem.orig
    code = (getattr(given, 'sqlstate', None)
            or getattr(given, 'pgcode', None) or given.args[0])
    if code in _IN_THE_WAY:
        raise db_exception.DBDeadlock(problem)
    if code in _AWAY:
        raise db_exception.DBConnectionError(problem)


def now(session):
    """Return the database's present time, in UTC with zone.

    Leases compare times of several hosts, whose clocks differ; the
    database's is the one they share.
    """
    value = session.execute(
        text(f'SELECT {CLOCKS[session.bind.dialect.name]}')).scalar()
    if isinstance(value, str):
        value = datetime.datetime.fromisoformat(value)
    return value.replace(tzinfo=datetime.timezone.utc)


def _check_url(url):
    """Refuse what would fail later with less clear words."""
    if not url:
        raise errors.ConfigError(
            'No database: set [database] connection, for example to '
            'mysql+pymysql://karbor:PASSWORD@HOST/karbor')
    try:
        dialect = make_url(url).get_dialect()
        dialect.import_dbapi()
    except (exc.NoSuchModuleError, ImportError) as problem:
        raise errors.ConfigError(
            f'[database] connection: no driver for this URL: '
            f'{problem}') from None
    except (exc.ArgumentError, ValueError):
        # The URL itself stays out of the text: a password may be in it.
        raise errors.ConfigError(
            '[database] connection: the URL is not of the form '
            'DIALECT+DRIVER://USER:PASSWORD@HOST/NAME') from None
    # oslo.db does not know the name mariadb, and would neither set the
    # connections up nor recognise a deadlock.
    if dialect.name not in CLOCKS:
        raise errors.ConfigError(
            f'[database] connection: the URL must start with sqlite, mysql '
            f'(for MariaDB too) or postgresql, not with {dialect.name}')


def _prepare_engine(engine):
    if engine.dialect.name == 'sqlite':
        event.listen(engine, 'connect', _prepare_sqlite)
        event.listen(engine, 'begin', _begin_sqlite)


def _prepare_sqlite(connection, _record):
    """Let readers and one writer work at once, and writers wait in line."""
    cursor = connection.cursor()
    cursor.execute('PRAGMA busy_timeout = 60000')
    _log_ahead(cursor)
    cursor.execute('PRAGMA synchronous = FULL')
    cursor.close()
    # Its own knows A to Z only.
    connection.create_function('lower', 1, _lower, deterministic=True)


def _lower(text):
    return text.lower() if isinstance(text, str) else text


def _log_ahead(cursor):
    """Turn write-ahead logging on; it stays with the file.

    SQLite does not wait while another connection does the same.
    """
    for left in reversed(range(_TURNING_ON)):
        try:
            cursor.execute('PRAGMA journal_mode = WAL')
            return
        except sqlite3.OperationalError:
            if not left:
                raise
            time.sleep(0.05)


def _begin_sqlite(connection):
    """Take a write lock at once: a read lock can not be upgraded safely.

    oslo.db has begun a deferred transaction by now; nothing is in it.
    """
    if connections.writing.get():
        connection.exec_driver_sql('ROLLBACK')
        connection.exec_driver_sql('BEGIN IMMEDIATE')
