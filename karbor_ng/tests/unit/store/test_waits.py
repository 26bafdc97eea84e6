# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""That no database is waited for without end: real ones, and a silent one."""

import threading
import time

from oslo_config import cfg
from oslo_db import exception as db_exception
from oslotest import base
import sqlalchemy as sa

from karbor_ng import errors
from karbor_ng.store import models
from karbor_ng.store import plans
from karbor_ng.store import session as store_session
from karbor_ng.store import waits
from karbor_ng.tests import fixtures
from karbor_ng.tests import fixtures_rude

MYSQL = 'mysql+pymysql://karbor:se%40cret@db.test/karbor'
POSTGRESQL = 'postgresql+psycopg://karbor:se%40cret@db.test/karbor'


def conf_of(connection, **options):
    conf = cfg.ConfigOpts()
    conf.register_opts(store_session.OPTS, group=store_session.GROUP)
    conf([])
    for name, value in {'connection': connection, **options}.items():
        conf.set_override(name, value, group=store_session.GROUP)
    return conf


def bounded(connection, is_patient=False, **options):
    return sa.make_url(waits.bounded(
        conf_of(connection, **options).database, is_patient))


class WordsTest(base.BaseTestCase):

    def test_the_rest_of_the_url_stays(self):
        for given in (MYSQL, POSTGRESQL):
            url = bounded(given)
            self.assertEqual('se@cret', url.password)
            self.assertEqual(sa.make_url(given), url.set(query={}))

    def test_operators_may_say_something_else(self):
        url = bounded(f'{MYSQL}?read_timeout=5',
                      connection_parameters='connect_timeout=7&charset=utf8')
        self.assertEqual(('5', '7', 'utf8', '60'), tuple(
            url.query[name] for name in ('read_timeout', 'connect_timeout',
                                         'charset', 'write_timeout')))

    def test_people_wait_as_long_as_they_like(self):
        for given in (MYSQL, POSTGRESQL):
            self.assertEqual({'connect_timeout': '10'},
                             dict(bounded(given, True).query))

    def test_sqlite_has_its_own(self):
        self.assertEqual('sqlite:////tmp/x',
                         str(bounded('sqlite:////tmp/x')))


class SilentDatabaseTest(base.BaseTestCase):

    def test_nobody_is_waited_for_longer_than_that(self):
        for kind in ('mysql+pymysql', 'postgresql+psycopg'):
            server = self.useFixture(fixtures_rude.SilentServer())
            db = store_session.Database.from_conf(conf_of(
                f'{kind}://karbor:x@127.0.0.1:{server.port}/karbor',
                connect_timeout=2, statement_timeout=2, max_retries=0))
            began = time.monotonic()
            self.assertRaises(errors.ConfigError, db.connect)
            self.assertLess(time.monotonic() - began, 8, kind)
            self.assertTrue(server.taken, kind)


class RealDatabaseTest(fixtures.DatabaseTest):

    #: SQLite's statements run in this process.
    scenarios = [(name, found) for name, found in fixtures.DatabaseTest.
                 scenarios if name != 'sqlite'] or [
                     ('none', {'database_url': None})]

    def setUp(self):
        super().setUp()
        if self.database_url is None:
            self.skipTest('There is no server of a database here.')
        self.limited = self.connected(statement_timeout=2, lock_timeout=1)

    def connected(self, **limits):
        db = store_session.Database.from_conf(
            conf_of(self.database.url, **limits))
        self.addCleanup(db.dispose)
        return db

    def test_a_statement_that_does_not_end(self):
        asleep = sa.text('SELECT SLEEP(20)' if self.is_mysql
                         else 'SELECT pg_sleep(20)')
        began = time.monotonic()
        self.assertRaises(
            db_exception.DBConnectionError, self.limited.write,
            lambda session: session.execute(asleep).all())
        self.assertLess(time.monotonic() - began, 12)

    @property
    def is_mysql(self):
        return self.db.engine.dialect.name == 'mysql'

    def test_who_stands_still_with_a_lock_does_not_hold_others_up(self):
        plan_id = self.write(plans.create, fixtures.plan_values()).id
        locked, over = threading.Event(), threading.Event()
        self.addCleanup(over.set)
        rename = sa.update(models.Plan).where(models.Plan.id == plan_id)
        problems = []

        def stand_still(session):
            session.execute(rename.values(name='theirs'))
            locked.set()
            over.wait(30)

        def hold():
            try:
                self.limited.write(stand_still)
            except db_exception.DBError as problem:
                problems.append(problem)

        holder = threading.Thread(target=hold)
        holder.start()
        self.addCleanup(holder.join)
        self.assertTrue(locked.wait(10))
        self.limited.write(
            lambda session: session.execute(rename.values(name='ours')))
        over.set()
        holder.join(30)
        self.assertEqual(1, len(problems))
        self.assertEqual('ours', self.read(plans.get, plan_id).name)
