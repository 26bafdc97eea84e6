# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""How long a database is waited for: limits, in the words of its driver.

Apart from the transactions because each driver and server has other words for
them, and most have no limit unless told. They travel in the URL, where
operators can give others: what is there already is left alone.
"""

from oslo_config import cfg
from sqlalchemy import make_url

OPTS = [
    cfg.IntOpt('connect_timeout', default=10, min=1,
               help='Seconds that a server of the database gets to accept a '
                    'connection. Not for SQLite.'),
    cfg.IntOpt('statement_timeout', default=60, min=1,
               help='Seconds that the database gets to answer one '
                    'statement. It is also how long a transaction may stand '
                    'still: then MariaDB and PostgreSQL end it and free its '
                    'locks, so that a process that hangs does not block the '
                    'others. karbor-manage and SQLite have no such limit.'),
    cfg.IntOpt('lock_timeout', default=20, min=1,
               help='Seconds that a statement waits for a row that another '
                    'transaction has locked. Then the whole transaction is '
                    'tried again, up to 20 times. SQLite always waits for '
                    'one minute.'),
]


def bounded(group, is_patient=False):
    """Return the URL of the database with limits for waiting.

    :param group: ``[database]`` of the configuration
    :param is_patient: whether statements and locks may take as long as they
        need
    """
    url = make_url(group.connection)
    if group.connection_parameters:
        url = url.update_query_string(group.connection_parameters,
                                      append=True)
    words = _WORDS.get(url.get_backend_name())
    if words is None:
        return group.connection
    limits = {'connect_timeout': group.connect_timeout}
    if not is_patient:
        limits.update(words(group))
    return url.update_query_dict(
        {name: str(value) for name, value in limits.items()
         if name not in url.query}).render_as_string(hide_password=False)


def _mysql(group):
    """The last variable is MariaDB's own: MySQL takes it for a comment."""
    lock, statement = group.lock_timeout, group.statement_timeout
    return {'read_timeout': statement, 'write_timeout': statement,
            'init_command': (
                f'SET SESSION innodb_lock_wait_timeout={lock}, '
                f'SESSION lock_wait_timeout={lock} '
                f'/*M!100300 , SESSION idle_transaction_timeout={statement} */'
            )}


def _postgresql(group):
    """The server ends statements; the kernel, what no server hears of."""
    statement = group.statement_timeout * 1000
    return {'tcp_user_timeout': statement,
            'options': f'-c lock_timeout={group.lock_timeout * 1000} '
                       f'-c statement_timeout={statement} '
                       f'-c idle_in_transaction_session_timeout={statement}'}


_WORDS = {'mysql': _mysql, 'postgresql': _postgresql}
