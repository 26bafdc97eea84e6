# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The migrations lead to the tables of the models, whoever runs them."""

from concurrent import futures
import pathlib
import subprocess
import sys
import threading

from alembic import autogenerate
from alembic import config
from alembic import migration
from alembic import script
from oslotest import base
import sqlalchemy as sa
import testscenarios

from karbor_ng import errors
from karbor_ng.store import models
from karbor_ng.store import plans
from karbor_ng.store import query
from karbor_ng.store import schema
from karbor_ng.store import session as store_session
from karbor_ng.tests import fixtures

CHECKOUT = pathlib.Path(__file__).parents[4]
#: What a process runs to upgrade the database whose URL it is given.
SYNC = '''
import sys
from karbor_ng.store import schema
from karbor_ng.store import session
print(schema.upgrade(session.Database(sys.argv[1])))
'''
#: What our own types are on the databases.
STORED = {models.Json: ('TEXT', 'LONGTEXT'),
          models.Time: ('DATETIME', 'TIMESTAMP')}


def differ(_context, _column, _in_model, found, wanted):
    """Return whether types differ; None leaves it to alembic.

    Alembic does not see through our own types.
    """
    if type(wanted) not in STORED:
        return None
    return type(found).__name__ not in STORED[type(wanted)]


def described(engine):
    """Return all that the database itself says about its tables."""
    inspector = sa.inspect(engine)
    return {table: {
        'columns': [_column(one) for one in inspector.get_columns(table)],
        'primary key': inspector.get_pk_constraint(table),
        'foreign keys': _sorted(inspector.get_foreign_keys(table)),
        'indexes': _sorted(inspector.get_indexes(table)),
        'unique': _sorted(inspector.get_unique_constraints(table)),
        'options': inspector.get_table_options(table),
    } for table in inspector.get_table_names() if table != 'alembic_version'}


def _column(column):
    kind = column.pop('type')
    return dict(column, type=repr(kind),
                collation=getattr(kind, 'collation', None))


def _sorted(items):
    return sorted(items, key=repr)


class StepsTest(base.BaseTestCase):

    def test_their_numbers_are_what_alembic_knows(self):
        configuration = config.Config()
        configuration.set_main_option('script_location',
                                      'karbor_ng.store:migrations')
        configuration.set_main_option('path_separator', 'os')
        known = script.ScriptDirectory.from_config(configuration)
        self.assertEqual(schema.newest(), known.get_current_head())
        self.assertEqual(schema._steps(), sorted(
            step.revision for step in known.walk_revisions()))


class SchemaTest(testscenarios.WithScenarios, base.BaseTestCase):

    scenarios = fixtures.database_scenarios()

    def setUp(self):
        super().setUp()
        self.database = self._empty()
        self.db = self.database.db

    def _empty(self):
        return self.useFixture(
            fixtures.EmptyDatabaseFixture(self.database_url))

    def test_migrations_make_what_models_say(self):
        schema.upgrade(self.db)
        with self.db.engine.connect() as connection:
            differences = autogenerate.compare_metadata(
                migration.MigrationContext.configure(
                    connection, opts={'compare_type': differ,
                                      'compare_server_default': True}),
                models.Base.metadata)
        self.assertEqual([], differences)

    def test_database_says_the_same_of_both(self):
        schema.upgrade(self.db)
        other = self._empty().db
        models.Base.metadata.create_all(other.engine)
        migrated = described(self.db.engine)
        self.assertEqual(described(other.engine), migrated)
        self.assertEqual(set(models.Base.metadata.tables), set(migrated))

    def test_ids_are_collated_by_bytes(self):
        schema.upgrade(self.db)
        collation = {'mysql': 'utf8mb4_bin', 'postgresql': 'C'}.get(
            self.db.engine.dialect.name)
        columns = described(self.db.engine)['externals']['columns']
        found = {one['name']: one['collation'] for one in columns}
        for name in ('id', 'operation_id', 'resource_id', 'external_id'):
            self.assertEqual(collation, found[name], name)

    def test_upgrade_twice_keeps_rows(self):
        schema.upgrade(self.db)
        self.db.write(plans.create, fixtures.plan_values())
        schema.upgrade(self.db)
        self.assertEqual(1, len(self.db.read(plans.list, query.Page())))

    def test_empty_database_is_refused(self):
        self.assertIsNone(schema.version(self.db))
        problem = self.assertRaises(errors.ConfigError, schema.check, self.db)
        self.assertIn('karbor-manage db sync', str(problem))

    def test_upgraded_database_is_accepted(self):
        schema.upgrade(self.db)
        self.assertEqual(schema.newest(), schema.version(self.db))
        schema.check(self.db)

    def test_later_schema_is_refused(self):
        schema.upgrade(self.db)
        self._stamp('9999')
        for function in (schema.check, schema.upgrade):
            problem = self.assertRaises(errors.ConfigError, function, self.db)
            self.assertIn('9999', str(problem))

    def test_upgrades_at_once(self):
        syncs = [subprocess.Popen(
            [sys.executable, '-c', SYNC, self.database.url], cwd=CHECKOUT,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            for _ in range(2)]
        said = [sync.communicate(timeout=120)[0].strip() for sync in syncs]
        self.assertEqual([0, 0], [sync.returncode for sync in syncs], said)
        self.assertEqual([schema.newest(), 'None'], sorted(said))
        schema.check(self.db)

    def test_upgrade_waits_for_another(self):
        other = store_session.Database(self.database.url)
        self.addCleanup(other.dispose)
        begun, may_end, order = threading.Event(), threading.Event(), []

        def hold(session):
            with schema._alone(session.connection()):
                begun.set()
                may_end.wait(30)
                order.append('first')

        def upgrade():
            begun.wait(30)
            threading.Timer(0.5, may_end.set).start()
            schema.upgrade(self.db)
            order.append('second')

        self.assertEqual([None, None], fixtures.together(
            lambda: other.write(hold), upgrade))
        self.assertEqual(['first', 'second'], order)

    def test_upgrade_that_is_not_committed_yet(self):
        other = store_session.Database(self.database.url)
        self.addCleanup(other.dispose)

        def first(session):
            schema._upgrade(session)
            second = pool.submit(schema.upgrade, other)
            futures.wait([second], timeout=1)
            return second

        with futures.ThreadPoolExecutor(1) as pool:
            second = self.db.write(first)
            self.assertEqual(schema.newest(), second.result(60))

    def test_failed_upgrade_leaves_no_lock(self):
        schema.upgrade(self.db)
        self._stamp('9999')
        self.assertRaises(errors.ConfigError, schema.upgrade, self.db)
        self._stamp(schema.newest())
        other = store_session.Database(self.database.url)
        self.addCleanup(other.dispose)
        self.assertEqual([schema.newest()], fixtures.together(
            lambda: schema.upgrade(other), timeout=20))

    def _stamp(self, name):
        with self.db.engine.begin() as connection:
            connection.execute(
                sa.text('UPDATE alembic_version SET version_num = :name'),
                {'name': name})


class OldSchemaTest(base.BaseTestCase):

    def test_old_schema_is_refused(self):
        db = self.useFixture(fixtures.DatabaseFixture()).db
        self.patch(schema, 'newest', lambda: '9998')
        problem = self.assertRaises(errors.ConfigError, schema.check, db)
        self.assertIn('needs 9998', str(problem))
        self.assertIn('karbor-manage db sync', str(problem))
