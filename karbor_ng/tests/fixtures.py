# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Small real things that tests stand on: databases, configuration, rows.

Apart from the tests because all kinds of them start with these. A database
here is a real one with the schema that the migrations make.
"""

import atexit
from concurrent import futures
import datetime
import os
import pathlib
import tempfile
import threading
import uuid

import fixtures
from oslo_config import cfg
from oslotest import base
import sqlalchemy as sa
import testscenarios

from karbor_ng import conf as karbor_conf
from karbor_ng import context
from karbor_ng.store import models
from karbor_ng.store import schema
from karbor_ng.store import session as store_session

#: Databases that tests run on, and where their URL is.
VARIABLES = {'sqlite': None, 'mysql': 'KARBOR_TEST_MYSQL',
             'postgresql': 'KARBOR_TEST_POSTGRESQL'}


def database_scenarios():
    """Return testscenarios' scenarios, one for each database there is.

    Each sets ``database_url``. ``KARBOR_TEST_DATABASES``, with names between
    commas, says which there must be; without it those are left out whose
    variable (see :data:`VARIABLES`) is not set.
    """
    wanted = os.environ.get('KARBOR_TEST_DATABASES')
    if wanted:
        return [(name, {'database_url': _url_of(name)})
                for name in wanted.split(',')]
    return [(name, {'database_url': _url_of(name)})
            for name, variable in VARIABLES.items()
            if variable is None or os.environ.get(variable)]


def _url_of(name):
    variable = VARIABLES[name]
    if variable is None:
        return None
    if not os.environ.get(variable):
        raise RuntimeError(f'KARBOR_TEST_DATABASES names {name}, but '
                           f'{variable} is not set; see tools/testdb')
    return os.environ[variable]


class DatabaseFixture(fixtures.Fixture):
    """An empty database of its own, as ``db`` (and ``url``).

    :param url: of a server that lets us create databases; None for SQLite
        in a temporary file
    """

    def __init__(self, url=None):
        super().__init__()
        self._server = url

    def _setUp(self):
        if self._server is None:
            folder = self.useFixture(fixtures.TempDir()).path
            self.url = _sqlite_copy(pathlib.Path(folder) / 'karbor.sqlite')
        else:
            self.url = _SPARE.take(self._server)
        # More connections than any test has threads.
        self.db = store_session.Database(self.url, max_pool_size=20,
                                         max_overflow=60)
        self.addCleanup(self._give_back)

    def another(self):
        """Return the database as another process would see it."""
        other = store_session.Database(self.url)
        self.addCleanup(other.dispose)
        return other

    def _give_back(self):
        if self._server is not None:
            with self.db.engine.begin() as connection:
                for table in reversed(models.Base.metadata.sorted_tables):
                    connection.execute(sa.delete(table))
            _SPARE.give_back(self._server, self.url)
        self.db.dispose()


class EmptyDatabaseFixture(fixtures.Fixture):
    """A database without any tables, as ``db`` (and ``url``)."""

    def __init__(self, url=None):
        super().__init__()
        self._server = url

    def _setUp(self):
        if self._server is None:
            folder = self.useFixture(fixtures.TempDir()).path
            self.url = f'sqlite:///{folder}/karbor.sqlite'
        else:
            self.url = _create(self._server)
            self.addCleanup(_drop, self._server, self.url)
        self.db = store_session.Database(self.url)
        self.addCleanup(self.db.dispose)


class DatabaseTest(testscenarios.WithScenarios, base.BaseTestCase):
    """A test that runs on each database, with ``self.db``."""

    scenarios = database_scenarios()

    def setUp(self):
        super().setUp()
        self.database = self.useFixture(DatabaseFixture(self.database_url))
        self.db = self.database.db

    def write(self, function, *args, **kwargs):
        return self.db.write(function, *args, **kwargs)

    def read(self, function, *args, **kwargs):
        return self.db.read(function, *args, **kwargs)


def together(*functions, timeout=60):
    """Call functions at the same moment, each in a thread of its own.

    Return what each returned, or the exception it raised, in their order.
    """
    barrier = threading.Barrier(len(functions))

    def run(function):
        barrier.wait(timeout)
        return function()

    with futures.ThreadPoolExecutor(len(functions)) as pool:
        running = [pool.submit(run, function) for function in functions]
    return [one.exception() or one.result() for one in running]


class _Spare:
    """Databases of this process that no test uses at the moment.

    Making one takes a fifth of a second, emptying one a hundredth.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._process = None

    def take(self, server):
        with self._lock:
            if self._process != os.getpid():
                self._process, self._urls, self._made = os.getpid(), {}, []
                atexit.register(self._drop_all, self._process)
            spare = self._urls.setdefault(server, [])
            return spare.pop() if spare else self._make(server)

    def give_back(self, server, url):
        with self._lock:
            self._urls[server].append(url)

    def _make(self, server):
        url = _create(server)
        self._made.append((server, url))
        db = store_session.Database(url)
        schema.upgrade(db)
        db.dispose()
        return url

    def _drop_all(self, process):
        if process == os.getpid():
            for server, url in self._made:
                _drop(server, url)


_SPARE = _Spare()


def _create(server):
    """Create a database; return its URL."""
    url = sa.make_url(server).set(
        database=f'karbor_{os.getpid()}_{uuid.uuid4().hex[:8]}')
    _on_server(server, f'CREATE DATABASE {url.database}')
    return url.render_as_string(hide_password=False)


def _drop(server, url):
    force = (' WITH (FORCE)'
             if sa.make_url(url).get_backend_name() == 'postgresql' else '')
    _on_server(server, f'DROP DATABASE {sa.make_url(url).database}{force}')


def _on_server(server, statement):
    engine = sa.create_engine(server, isolation_level='AUTOCOMMIT')
    try:
        with engine.connect() as connection:
            connection.execute(sa.text(statement))
    finally:
        engine.dispose()


_template = None


def _sqlite_copy(path):
    """Write what migrating once in this process led to; return its URL."""
    global _template
    if _template is None:
        _template = _sqlite_template()
    path.write_bytes(_template)
    return f'sqlite:///{path}'


def _sqlite_template():
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / 'karbor.sqlite'
        db = store_session.Database(f'sqlite:///{path}')
        schema.upgrade(db)
        # The last connection that closes writes the log into the file.
        db.dispose()
        return path.read_bytes()


class ConfFixture(fixtures.Fixture):
    """A configuration of its own, as ``conf``, filled with defaults.

    :param owners: modules whose options it has
    """

    def __init__(self, owners=karbor_conf.OWNERS):
        super().__init__()
        self._owners = owners

    def _setUp(self):
        self.conf = cfg.ConfigOpts()
        karbor_conf.register(self.conf, self._owners)
        self.conf([], default_config_files=[], default_config_dirs=[])
        self.addCleanup(self.conf.reset)

    def set(self, name, value, group=None):
        """Let an option have a value."""
        self.conf.set_override(name, value, group=group)


class Hints:
    """Hears of queued operations as the protection services would."""

    def __init__(self):
        self.queued = []
        self.aborted = []

    def operation_queued(self, operation_id):
        self.queued.append(operation_id)

    def operation_aborted(self, operation_id):
        self.aborted.append(operation_id)


PROJECT = 'f1f2f3f4f5f64718a9b0c1d2e3f40506'
OTHER_PROJECT = '0a0b0c0d0e0f41829304a5b6c7d8e9f0'
PROVIDER = 'cf56bd3e-97a7-4078-b6d5-f36246333fd9'
VOLUME = 'OS::Cinder::Volume'
MOMENT = datetime.datetime(2026, 2, 3, 4, 5, 6, 789012,
                           tzinfo=datetime.timezone.utc)


def new_id():
    return str(uuid.uuid4())


def caller(project_id=PROJECT, **values):
    """Return who asks."""
    return context.Caller(**{'project_id': project_id, 'user_id': 'user',
                             'request_id': 'req-1', **values})


def provider_values(**values):
    """Return columns of a provider that protects volumes."""
    return {'id': PROVIDER, 'name': 'OS Infra Provider',
            'description': 'Everything in a memory bank.',
            'schemas': {'options_schema': {VOLUME: {'properties': {}}},
                        'restore_schema': {VOLUME: {'properties': {}}},
                        'verify_schema': {VOLUME: {'properties': {}}}},
            'capabilities': {VOLUME: ['protect', 'restore', 'delete']},
            'bank_kind': 'memory', 'bank_uuid': new_id(), 'host': 'node-1',
            **values}


def plan_values(**values):
    """Return columns of a plan for one volume."""
    return {'id': new_id(), 'project_id': PROJECT, 'user_id': 'user',
            'provider_id': PROVIDER, 'name': 'My 1 volume',
            'description': 'of the shop', 'status': 'suspended',
            'resources': [{'id': new_id(), 'type': VOLUME, 'name': 'data'}],
            'parameters': {}, **values}


def checkpoint_values(**values):
    """Return columns of a checkpoint that is being made."""
    plan = plan_values()
    return {'id': new_id(), 'project_id': PROJECT, 'user_id': 'user',
            'provider_id': PROVIDER, 'plan_id': plan['id'],
            'status': 'protecting', 'graph': '[{}, []]',
            'plan': {name: plan[name] for name in (
                'id', 'name', 'description', 'provider_id', 'resources',
                'parameters')},
            'extra_info': {'created_by': 'manual'}, **values}


def resource_values(**values):
    """Return columns of a checkpoint's resource, its checkpoint left out."""
    return {'type': VOLUME, 'id': new_id(), 'name': 'data', 'in_plan': True,
            'status': 'protecting', 'parameters': {}, 'saved': {},
            'objects': [], **values}


def restore_values(**values):
    """Return columns of a restore that goes on."""
    return {'id': new_id(), 'project_id': PROJECT, 'user_id': 'user',
            'provider_id': PROVIDER, 'checkpoint_id': new_id(),
            'parameters': {}, 'status': 'started', **values}


def verification_values(**values):
    """Return columns of a verification that goes on."""
    return {'id': new_id(), 'project_id': PROJECT, 'user_id': 'user',
            'provider_id': PROVIDER, 'checkpoint_id': new_id(),
            'parameters': {}, 'status': 'started', **values}


def operation_values(**values):
    """Return columns of a protect operation that waits for a worker."""
    return {'id': new_id(), 'type': 'protect', 'project_id': PROJECT,
            'user_id': 'user', 'request_id': 'req-1',
            'provider_id': PROVIDER, 'plan_id': new_id(),
            'checkpoint_id': new_id(), **values}


def external_values(operation_id, **values):
    """Return columns of an external of an operation."""
    return {'id': new_id(), 'operation_id': operation_id,
            'checkpoint_id': new_id(), 'resource_type': VOLUME,
            'resource_id': new_id(), 'label': 'backup', 'tag': new_id(),
            'service': 'volumev3', 'kind': 'backup', 'attempt': 1, **values}


def trigger_values(**values):
    """Return columns of a trigger that fires each hour."""
    return {'id': new_id(), 'project_id': PROJECT, 'user_id': 'user',
            'name': 'Each hour', 'type': 'time',
            'properties': {'format': 'crontab', 'pattern': '0 * * * *',
                           'start_time': '2026-01-01 00:00:00',
                           'window': '900'},
            'next_run_at': MOMENT, **values}


def add_trigger(session, **values):
    """Insert a trigger; return it."""
    trigger = models.Trigger(**trigger_values(**values))
    session.add(trigger)
    session.flush()
    return trigger


def scheduled_operation_values(**values):
    """Return columns of what is scheduled, its trigger left out."""
    plan_id = new_id()
    return {'id': new_id(), 'project_id': PROJECT, 'user_id': 'user',
            'name': 'Backups', 'description': None,
            'operation_type': 'protect', 'provider_id': PROVIDER,
            'plan_id': plan_id, 'is_enabled': True,
            'definition': {'provider_id': PROVIDER, 'plan_id': plan_id},
            **values}
