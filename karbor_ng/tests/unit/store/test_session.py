# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Transactions: the clock, retries, and many at once."""

import datetime
import pathlib
import subprocess
import sys
import threading
import time

from oslo_db import exception as db_exception
from oslotest import base
import sqlalchemy as sa

from karbor_ng import errors
from karbor_ng.store import checkpoints
from karbor_ng.store import models
from karbor_ng.store import plans
from karbor_ng.store import query
from karbor_ng.store import session as store_session
from karbor_ng.tests import fixtures

CHECKOUT = pathlib.Path(__file__).parents[4]
#: What a process runs to make twenty plans.
WRITER = '''
import sys
from karbor_ng.store import plans
from karbor_ng.store import session
from karbor_ng.tests import fixtures
db = session.Database(sys.argv[1])
for _ in range(20):
    db.write(plans.create, fixtures.plan_values())
'''


def rename(session, plan_id, name):
    """Change a plan without looking at it first."""
    return query.change(session, models.Plan, {'name': name},
                        models.Plan.id == plan_id)


class TransactionTest(fixtures.DatabaseTest):

    @property
    def is_sqlite(self):
        return self.db.engine.dialect.name == 'sqlite'

    def plan(self, **values):
        return self.write(plans.create, fixtures.plan_values(**values))

    def names(self):
        return sorted(plan.name
                      for plan in self.read(plans.list, query.Page()))

    def test_rows_are_readable_after_the_transaction(self):
        plan = self.plan(name='shop')
        self.assertEqual('shop', plan.name)
        self.assertEqual('shop', self.read(plans.get, plan.id).name)
        self.assertIsNotNone(plan.created_at)

    def test_error_rolls_back(self):
        def fail(session):
            plans.create(session, fixtures.plan_values())
            raise errors.Conflict('no')

        self.assertRaises(errors.Conflict, self.write, fail)
        self.assertEqual([], self.names())

    def test_function_that_fails_runs_once(self):
        calls = []

        def fail(session):
            calls.append(session)
            raise errors.Conflict('no')

        self.assertRaises(errors.Conflict, self.write, fail)
        self.assertEqual(1, len(calls))

    def test_function_runs_again_after_a_deadlock(self):
        calls = []

        def once_deadlocked(session, name):
            plans.create(session, fixtures.plan_values(name=name))
            calls.append(session)
            if len(calls) == 1:
                raise db_exception.DBDeadlock()
            return name

        self.assertEqual('shop', self.write(once_deadlocked, 'shop'))
        # What the first call made is gone, and it had its own session.
        self.assertEqual(['shop'], self.names())
        self.assertIsNot(calls[0], calls[1])

    def test_arguments_are_handed_on(self):
        self.assertEqual((1, 2), self.write(
            lambda session, first, second: (first, second), 1, second=2))
        self.assertEqual((1, 2), self.read(
            lambda session, first, second: (first, second), 1, second=2))

    def test_real_deadlock(self):
        """Two writers take two rows in opposite orders."""
        first, second = self.plan().id, self.plan().id
        met = threading.Barrier(2)
        patience = 0.2 if self.is_sqlite else 20
        calls = []

        def cross(session, mine, other, name):
            calls.append(name)
            rename(session, mine, name)
            if len(calls) <= 2:
                try:
                    met.wait(patience)
                except threading.BrokenBarrierError:
                    # SQLite lets one writer in at a time: no deadlock there.
                    pass
            rename(session, other, name)

        self.assertEqual([None, None], fixtures.together(
            lambda: self.write(cross, first, second, 'one'),
            lambda: self.write(cross, second, first, 'two')))
        self.assertEqual(
            2 if self.is_sqlite else 3, len(calls))
        self.assertEqual(1, len(set(self.names())))

    def test_clock_is_the_databases(self):
        before = models.utcnow()
        now = self.read(store_session.now)
        # This host's too, here; SQLite's ends with milliseconds.
        self.assertLess(abs(now - before), datetime.timedelta(seconds=5))
        self.assertEqual(datetime.timedelta(0), now.utcoffset())

    def test_clock_goes_on_within_a_transaction(self):
        def twice(session):
            first = store_session.now(session)
            time.sleep(0.05)
            return store_session.now(session) - first

        self.assertGreater(self.write(twice), datetime.timedelta(0))

    def test_sixteen_writers(self):
        def write_some(number):
            for count in range(10):
                self.plan(name=f'{number}-{count}')

        self.assertEqual([None] * 16, fixtures.together(*[
            lambda number=number: write_some(number)
            for number in range(16)]))
        self.assertEqual(sorted(f'{number}-{count}' for number in range(16)
                                for count in range(10)), self.names())

    def test_changes_are_not_lost(self):
        """Each of eight reads and adds, half of them as another process."""
        plan_id = self.plan(parameters={'count': 0}).id

        def add(session):
            plan = plans.get(session, plan_id)
            session.refresh(plan, with_for_update=True)
            time.sleep(0.02)
            plan.parameters = {'count': plan.parameters['count'] + 1}

        other = self.database.another()
        self.assertEqual([None] * 8, fixtures.together(
            *[lambda: self.write(add), lambda: other.write(add)] * 4))
        self.assertEqual({'count': 8},
                         self.read(plans.get, plan_id).parameters)

    def test_readers_do_not_wait_for_a_writer(self):
        plan_id = self.plan(name='before').id
        wrote, may_end = threading.Event(), threading.Event()

        def write_slowly(session):
            rename(session, plan_id, 'after')
            wrote.set()
            return may_end.wait(30)

        writer = threading.Thread(target=self.write, args=(write_slowly,))
        writer.start()
        self.addCleanup(writer.join)
        self.addCleanup(may_end.set)
        self.assertTrue(wrote.wait(10))
        self.assertEqual(['before'], self.names())
        may_end.set()
        writer.join()
        self.assertEqual(['after'], self.names())

    def test_reading_within_a_writing_function(self):
        """A read of its own, beside the transaction and not in it."""
        def write(session):
            plans.create(session, fixtures.plan_values(name='new'))
            return self.names()

        self.assertEqual([], self.write(write))
        self.assertEqual(['new'], self.names())

    def test_foreign_keys_are_kept(self):
        self.assertRaises(
            db_exception.DBReferenceError, self.write,
            checkpoints.put_resources, fixtures.new_id(),
            [fixtures.resource_values()])


class DisturbanceTest(fixtures.DatabaseTest):
    """What a database refuses in passing, and what it loses.

    SQLite does neither: its writers wait in line.
    """

    scenarios = [one for one in fixtures.database_scenarios()
                 if one[0] != 'sqlite']
    #: How each lets a connection wait, and end another one.
    WAIT = {'mysql': 'SET SESSION innodb_lock_wait_timeout = 1',
            'postgresql': "SET lock_timeout = '300ms'"}
    OWN_ID = {'mysql': 'SELECT connection_id()',
              'postgresql': 'SELECT pg_backend_pid()'}
    KILL = {'mysql': 'KILL {}', 'postgresql': 'SELECT pg_terminate_backend({})'}
    STRICT = {
        'mysql': ('SET SESSION innodb_snapshot_isolation = ON',
                  'SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ'),
        'postgresql': ('SET SESSION CHARACTERISTICS AS TRANSACTION '
                       'ISOLATION LEVEL REPEATABLE READ',)}

    def setUp(self):
        super().setUp()
        self.dialect = self.db.engine.dialect.name
        self.plan = self.write(plans.create, fixtures.plan_values(name='old'))

    def on_each_connection(self, *statements):
        """Let connections of ``self.db`` begin with these."""
        self.db.dispose()

        def prepare(connection, _record):
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(statement)
            connection.commit()
            cursor.close()
        sa.event.listen(self.db.engine, 'connect', prepare)

    def name(self):
        return self.read(plans.get, self.plan.id).name

    def hold(self, until):
        """Lock the plan's row in another transaction until the event."""
        holds = threading.Event()

        def lock(session):
            rename(session, self.plan.id, 'held')
            holds.set()
            until.wait(30)
        thread = threading.Thread(
            target=self.database.another().write, args=(lock,))
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(until.set)
        self.assertTrue(holds.wait(30))

    def test_waits_too_long_for_a_lock(self):
        """The write is tried again until the lock is free, and done once."""
        self.on_each_connection(self.WAIT[self.dialect])
        let_go, calls = threading.Event(), []

        def write(session):
            calls.append(session)
            if len(calls) == 2:
                let_go.set()
            rename(session, self.plan.id, 'new')
            plans.create(session, fixtures.plan_values(name='another'))

        self.hold(let_go)
        self.write(write)
        self.assertLess(1, len(calls))
        self.assertEqual('new', self.name())
        self.assertEqual(['another', 'new'], sorted(
            plan.name for plan in self.read(plans.list, query.Page())))

    def test_snapshot_that_is_too_old(self):
        """Stricter databases refuse to change what was changed meanwhile."""
        self.on_each_connection(*self.STRICT[self.dialect])
        other, calls = self.database.another(), []

        def count(session):
            found = plans.get(session, self.plan.id)
            calls.append(found.name)
            if len(calls) == 1:
                other.write(rename, self.plan.id, 'other')
            rename(session, self.plan.id, f'{found.name}+1')

        self.write(count)
        self.assertEqual(['old', 'other'], calls)
        self.assertEqual('other+1', self.name())

    def lose_connection(self, session):
        """End the connection under a transaction."""
        own = session.execute(sa.text(self.OWN_ID[self.dialect])).scalar()
        other = self.database.another()
        with other.engine.connect() as connection:
            connection.execute(sa.text(self.KILL[self.dialect].format(own)))

    def test_connection_that_is_lost(self):
        """A write is not repeated, and nothing of it is there."""
        calls = []

        def write(session):
            calls.append(session)
            rename(session, self.plan.id, 'lost')
            self.lose_connection(session)
            rename(session, self.plan.id, 'lost, too')

        self.assertRaises(db_exception.DBConnectionError, self.write, write)
        self.assertEqual(1, len(calls))
        self.assertEqual('old', self.name())

    def test_read_whose_connection_is_lost(self):
        calls = []

        def read(session):
            calls.append(session)
            if len(calls) == 1:
                self.lose_connection(session)
            return plans.get(session, self.plan.id).name

        self.assertEqual('old', self.read(read))
        self.assertEqual(2, len(calls))

    def test_connections_that_are_all_lost(self):
        """What lay in the pool meanwhile does harm to nobody."""
        met = threading.Barrier(4)

        def own(session):
            found = session.execute(sa.text(self.OWN_ID[self.dialect]))
            met.wait(30)
            return found.scalar()
        ids = fixtures.together(*[lambda: self.read(own)] * 4)
        self.assertEqual(4, len(set(ids)))
        with self.database.another().engine.connect() as connection:
            for lost in ids:
                connection.execute(sa.text(
                    self.KILL[self.dialect].format(lost)))
        met.reset()
        self.assertEqual(4, len(set(fixtures.together(
            *[lambda: self.read(own)] * 4))))
        self.write(rename, self.plan.id, 'new')
        self.assertEqual('new', self.name())

    def test_connection_that_was_lost_before_a_write(self):
        """It notices before it has begun, however soon it comes."""
        other = self.database.another()
        for name in ('one', 'two'):
            own = self.read(lambda session: session.execute(
                sa.text(self.OWN_ID[self.dialect])).scalar())
            with other.engine.connect() as connection:
                connection.execute(sa.text(
                    self.KILL[self.dialect].format(own)))
            self.write(rename, self.plan.id, name)
            self.assertEqual(name, self.name())

    def test_transaction_that_is_left_open(self):
        """Who takes its connection next has nothing of it."""
        left = self.db.engine.raw_connection()
        left.cursor().execute("UPDATE plans SET name = 'left'")
        left.close()
        self.database.another().write(rename, self.plan.id, 'new')
        self.assertEqual('new', self.name())

    def test_nobody_listens(self):
        """All databases that are away are told in the same way."""
        url = sa.make_url(self.database.url).set(port=1)
        db = store_session.Database(
            url.render_as_string(hide_password=False), max_retries=1,
            retry_interval=0)
        self.assertRaises(db_exception.DBConnectionError, db.write,
                          rename, self.plan.id, 'new')
        self.assertRaises(db_exception.DBConnectionError, db.read,
                          plans.get, self.plan.id)

    def test_wrong_password(self):
        """That does not pass by waiting."""
        url = sa.make_url(self.database.url).set(username='nobody',
                                                 password='wrong')
        db = store_session.Database(
            url.render_as_string(hide_password=False), max_retries=1,
            retry_interval=0)
        self.assertRaises(sa.exc.OperationalError, db.read, plans.get,
                          self.plan.id)


if not DisturbanceTest.scenarios:
    # There are no servers: see tools/testdb.
    del DisturbanceTest


class ConnectionTest(base.BaseTestCase):

    def refused(self, url):
        return str(self.assertRaises(errors.ConfigError,
                                     store_session.Database, url))

    def test_no_url(self):
        for url in (None, ''):
            self.assertIn('[database] connection', self.refused(url))

    def test_malformed_url(self):
        for url in ('nonsense', 'mysql+pymysql://karbor:hush@host:port/db'):
            said = self.refused(url)
            self.assertIn('DIALECT+DRIVER', said)
            self.assertNotIn('hush', said)

    def test_unknown_driver(self):
        self.assertIn('no driver', self.refused('postgresql+nodriver://h/d'))

    def test_unsupported_databases(self):
        said = self.refused('mariadb+pymysql://karbor:hush@host/karbor')
        self.assertIn('mysql (for MariaDB too)', said)
        self.assertNotIn('hush', said)

    def test_unreachable_database(self):
        db = store_session.Database(
            'mysql+pymysql://karbor:hush@127.0.0.1:1/karbor', max_retries=0)
        said = str(self.assertRaises(errors.ConfigError, db.connect))
        self.assertIn('127.0.0.1', said)
        self.assertNotIn('hush', said)
        self.assertEqual(1, len(said.splitlines()))

    def test_options_of_the_configuration(self):
        conf = self.useFixture(fixtures.ConfFixture(
            owners=('karbor_ng.store.session',)))
        path = self.create_tempfiles([('karbor', '')], '.sqlite')[0]
        conf.set('connection', f'sqlite:///{path}', 'database')
        db = store_session.Database.from_conf(conf.conf)
        self.addCleanup(db.dispose)
        db.connect()
        self.assertEqual(1, db.read(
            lambda session: session.execute(sa.text('SELECT 1')).scalar()))

    def test_sqlite_survives_a_crash(self):
        """The settings that make it so are there on each connection."""
        db = self.useFixture(fixtures.DatabaseFixture()).db
        found = [db.read(lambda session, name=name: session.execute(
            sa.text(f'PRAGMA {name}')).scalar())
            for name in ('journal_mode', 'synchronous', 'foreign_keys')]
        self.assertEqual(['wal', 2, 1], found)

    def test_processes_write_to_sqlite_at_once(self):
        database = self.useFixture(fixtures.DatabaseFixture())
        writers = [subprocess.Popen(
            [sys.executable, '-c', WRITER, database.url], cwd=CHECKOUT,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            for _ in range(2)]
        said = [writer.communicate(timeout=120)[0] for writer in writers]
        self.assertEqual([0, 0], [one.returncode for one in writers], said)
        self.assertEqual(40, len(database.db.read(
            plans.list, query.Page())))


class SparingTest(fixtures.DatabaseTest):
    """What is not asked of MariaDB; psycopg asks no more by itself."""

    scenarios = [one for one in fixtures.database_scenarios()
                 if one[0] == 'mysql']

    def test_nothing_is_rolled_back_that_was_committed(self):
        def rolled_back(session):
            return int(session.execute(sa.text(
                "SHOW SESSION STATUS LIKE 'Com_rollback'")).one()[1])

        plan = self.write(plans.create, fixtures.plan_values())
        before = self.write(rolled_back)
        for name in 'abc':
            self.write(rename, plan.id, name)
        self.assertEqual(before, self.write(rolled_back))
