# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Connections: what is asked of a server between two transactions.

Apart from the transactions because it is about the pool. SQLAlchemy can ask
whether a connection lives each time it is taken, and rolls back each time it
is given back, also what was committed. A small transaction waits for that
about as long as for its own statements.
"""

import contextvars
import time

from sqlalchemy import event
from sqlalchemy import exc
from sqlalchemy import make_url
from sqlalchemy.dialects import plugins
from sqlalchemy.engine import CreateEnginePlugin

#: Whether the transaction about to begin will write.
writing = contextvars.ContextVar('writing', default=False)

#: Seconds for which a connection is taken to live that has just been used, by
#: what reads. That is tried again where it does not; what writes is not, and
#: asks first.
TRUSTED_SECONDS = 1

_NAME = 'karbor_ng'
_USED_AT = 'karbor_ng_used_at'
#: What MySQL's protocol says of a connection with an open transaction.
_IN_TRANSACTION = 1


def sparing(connection):
    """Return the URL with what spares such questions; SQLite has none."""
    url = make_url(connection)
    if url.get_backend_name() == 'sqlite':
        return connection
    return url.update_query_pairs(
        [('plugin', _NAME)], append=True).render_as_string(
            hide_password=False)


class Sparing(CreateEnginePlugin):
    """Replaces the pool's questions by those that are needed."""

    def update_url(self, url):
        return url

    def handle_pool_kwargs(self, pool_class, pool_options):
        pool_options.update(pre_ping=False, reset_on_return=None)

    def engine_created(self, engine):
        def check(connection, record, _taken):
            used_at = record.info.get(_USED_AT)
            if used_at is not None and (
                    writing.get()
                    or time.monotonic() > used_at + TRUSTED_SECONDS):
                _check(engine.dialect, connection)

        def reset(connection, record, state):
            if not state.terminate_only:
                _end(engine.dialect, connection)
            record.info[_USED_AT] = time.monotonic()

        event.listen(engine, 'checkout', check)
        event.listen(engine, 'reset', reset)


def _check(dialect, connection):
    """:raises exc.InvalidatePoolError: the connection is lost"""
    try:
        lives = dialect.do_ping(connection)
    except dialect.loaded_dbapi.Error:
        lives = False
    if not lives:
        raise exc.InvalidatePoolError()


def _end(dialect, connection):
    """End a transaction that is open; drivers know whether one is.

    psycopg asks nobody either, when it is told to roll back nothing.
    """
    if getattr(connection, 'server_status',
               _IN_TRANSACTION) & _IN_TRANSACTION:
        dialect.do_rollback(connection)


plugins.register(_NAME, __name__, Sparing.__name__)
