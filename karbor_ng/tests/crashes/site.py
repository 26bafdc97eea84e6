# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""A deployment whose workers are processes that can be killed.

Database, banks, registry and cloud outlive them; the test's own process has
the front door, and no threads, so that workers can be forked off it.
"""

import datetime
import itertools
import logging
import os
import pathlib
import signal
import time

import psutil
import sqlalchemy as sa

from karbor_ng import context
from karbor_ng import protectables
from karbor_ng.protection import lease
from karbor_ng.protection import providers
from karbor_ng.store import models
from karbor_ng.store import scheduled_operations
from karbor_ng.store import session
from karbor_ng.tests import fixtures as small
from karbor_ng.tests import fixtures_service
from karbor_ng.tests.crashes import clouds
from karbor_ng.tests.crashes import points as failpoints
from karbor_ng.tests.unit.operationengine import environment as engines
from karbor_ng.tests.unit.protection import environment

TARGET_ID = 'd7b0f4a8-6c0e-4a53-9c53-0a3b9a1f7f43'
PROVIDER_FILE = '''
[provider]
id = {id}
name = {bank}
enabled = True
bank = karbor-fs-bank-plugin
plugin = karbor-noop-protection-plugin
plugin = karbor-project-protection-plugin
plugin = karbor-image-protection-plugin
plugin = karbor-volume-protection-plugin
plugin = karbor-server-protection-plugin

[file_system_bank_plugin]
file_system_bank_path = {path}/{bank}

[noop_protection_plugin]
registry_path = {path}/registry
poll_interval = 0.05
'''
#: A lease that a slow machine does not break: those of the dead are ended.
OPTIONS = {'lease_seconds': 60, 'sweep_seconds': 0.1,
           'max_parallel_resources': 8}
#: How far the clocks of processes are ahead, one after the other.
CLOCKS = [datetime.timedelta(minutes=minutes) for minutes in (10, -10, 0)]
LONG_AGO = datetime.timedelta(hours=1)
#: Seconds between two turns of an engine.
TURN_SECONDS = 0.2
#: Seconds between two looks of a worker at anything.
LONGEST_PAUSE = 0.05
#: Seconds between two looks of ours.
PAUSE = 0.1
#: Seconds for anything at all.
PATIENCE = 180
BANKS = {environment.PROVIDER_ID: 'bank', TARGET_ID: 'target'}


class Sessions:
    """Keystone, as far as workers need it."""

    def __init__(self, client):
        self._client = client

    def user_session(self, access):
        return self._client.session()


class Site(environment.Deployment):
    """Database, two banks, a registry, a cloud, the front door."""

    def __init__(self):
        super().__init__(**OPTIONS)
        self._processes = set()
        self._numbers = itertools.count()

    def _setUp(self):
        super()._setUp()
        self.addCleanup(self._end_all)
        self._processes.add(clouds.start(f'{self.path}/cloud'))
        self.client_of_cloud = clouds.Client(f'{self.path}/cloud')
        self.caller = context.Caller(fixtures_service.PROJECT, 'user',
                                     'req-1')
        self.cloud = Sessions(self.client_of_cloud)
        # Those of the cloud, and not what a registry has in their place.
        self.protectables = protectables.Protectables()

    def _conf(self):
        made = small.ConfFixture()
        self.useFixture(made)
        for name, value in self._options.items():
            made.set(name, value, 'protection')
        for name in ('quota_plans', 'quota_checkpoints'):
            made.set(name, -1)
        made.set('host', 'node')
        return made.conf

    def _write_provider(self):
        folder = pathlib.Path(self.path, 'providers.d')
        folder.mkdir()
        for provider_id, bank in BANKS.items():
            (folder / f'{bank}.conf').write_text(PROVIDER_FILE.format(
                id=provider_id, bank=bank, path=self.path))
        self.provider_directory = str(folder)

    def provider(self, provider_id):
        """Return a provider as operators' tools have it."""
        found = providers.load_all(self.provider_directory)[provider_id]
        found.open()
        return found

    def is_offered(self):
        """Return whether a worker has found both banks."""
        return len(self.db.read(lambda session: session.execute(
            sa.select(models.Provider.id)).all())) == len(BANKS)

    def wait(self, done, seconds=PATIENCE):
        """Wait until ``done()`` is true and return what it returned."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            found = done()
            if found:
                return found
            time.sleep(PAUSE)
        raise TimeoutError(f'{done.__qualname__}: not within {seconds} s; '
                           f'{self.last_words()}')

    # Processes

    def fork(self, work, points=None):
        """Let a new process do ``work(site)``; return its id.

        :param points: a :class:`failpoints.Points`, set in it
        """
        # Connections are nobody's but ours.
        self.db.dispose()
        parent, number = os.getpid(), next(self._numbers)
        process = os.fork()
        if not process:
            self._be_child(work, points, number, parent)
        self._processes.add(process)
        return process

    def _be_child(self, work, points, number, parent):
        try:
            self._log(number)
            self._set_clock(number)
            self.db = session.Database(f'sqlite:///{self.path}/karbor.sqlite')
            self.client._db = self.db
            if points is not None:
                points.set()
            work(self)
            while os.getppid() == parent:
                time.sleep(0.2)
        except Exception:
            logging.exception('A process ends by itself')
        finally:
            os._exit(1)

    def _set_clock(self, number):
        """Let hosts have times that are some minutes apart."""
        ahead = CLOCKS[number % len(CLOCKS)]
        real, host_time = time.time, models.utcnow
        time.time = lambda: real() + ahead.total_seconds()
        models.utcnow = lambda: host_time() + ahead

    def _log(self, number):
        logging.basicConfig(
            filename=f'{self.path}/log', force=True, level=logging.INFO,
            format=f'{number} %(asctime)s %(threadName)s %(levelname)s '
                   f'%(name)s %(message)s')
        for name in ('stevedore', 'taskflow', 'urllib3', 'novaclient'):
            logging.getLogger(name).setLevel(logging.WARNING)

    def kill(self, process):
        """Kill a process, and wait until it is dead."""
        if process in self._processes:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            self._processes.discard(process)

    def die_at(self, point):
        """Let a worker come to a point, and die there."""
        process = self.fork(serve, failpoints.Points(point))
        self.wait(lambda: self.has_died(process))
        self.let_leases_run_out()

    def has_died(self, process):
        """Return whether a process is dead.

        :raises RuntimeError: it was not killed
        """
        found, status = os.waitpid(process, os.WNOHANG)
        if not found:
            return False
        self._processes.discard(process)
        if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
            raise RuntimeError(f'A worker ended by itself: '
                               f'{self.last_words()}')
        return True

    def has_stopped(self, process):
        """Return whether a process stands still.

        The kernel tells a parent once, or never if threads end meanwhile:
        so the state is looked at.

        :raises RuntimeError: it has died
        """
        if self.has_died(process):
            raise RuntimeError(f'A worker was killed: {self.last_words()}')
        return psutil.Process(process).status() == psutil.STATUS_STOPPED

    def attempts(self):
        """Return ``{operation id: how often it was claimed}``."""
        return self.db.read(lambda session: dict(session.execute(
            sa.select(models.Operation.id, models.Operation.attempt)
        ).tuples().all()))

    def let_leases_run_out(self):
        """Let so much time pass that nobody owns anything."""
        self.db.write(lambda session: session.execute(
            sa.update(models.Operation)
            .where(models.Operation.lease_until.isnot(None))
            .values(lease_until=models.utcnow() - LONG_AGO)))

    def last_words(self):
        """Return the end of the log of all processes."""
        path = pathlib.Path(self.path, 'log')
        return path.read_text()[-6000:] if path.exists() else 'no log'

    def _end_all(self):
        for process in list(self._processes):
            self.kill(process)

    # What users do

    def copy(self, plan_id):
        """Copy a plan's only checkpoint; return the copy's id."""
        (_source, copy_id), = self.client.copy(
            self.caller, plan_id, environment.PROVIDER_ID, TARGET_ID)[0]
        return copy_id

    def schedule(self, resources, **rules):
        """Let checkpoints of resources be made each hour; return the row."""
        plan_id = self.plan(resources)
        trigger = self.db.write(
            small.add_trigger, project_id=self.caller.project_id,
            next_run_at=engines.START + engines.HOUR)
        definition = {'provider_id': environment.PROVIDER_ID,
                      'plan_id': plan_id, **rules}
        return self.db.write(
            scheduled_operations.create, small.scheduled_operation_values(
                project_id=self.caller.project_id, plan_id=plan_id,
                provider_id=environment.PROVIDER_ID, trigger_id=trigger.id,
                operation_type='retention_protect', definition=definition,
                created_at=engines.START))

    def disable(self, row):
        """Let a schedule start nothing any more."""
        self.db.write(scheduled_operations.update, row.id, None,
                      {'is_enabled': False})

    # What there is then

    def keys(self, bank):
        """Return the keys in a bank but for its marker."""
        folder = pathlib.Path(self.path, bank, 'karbor')
        return sorted(
            str(path.relative_to(folder)) for path in folder.rglob('*')
            if path.is_file() and path.name != 'bank.json'
            and path.parent.name != '.tmp')


def serve(site):
    """Be a protection service, whose clouds need not be waited for long."""
    real = lease.Lease.sleep
    lease.Lease.sleep = lambda own, seconds: real(
        own, min(seconds, LONGEST_PAUSE))
    site.worker().start()


def run_engine(moment):
    """Return the work of an operation engine at a moment that stays."""
    def work(site):
        clock = engines.Clock(moment)
        engine = engines.service.OperationEngine(
            site.conf, site.db, engines.keystone.NoCloud(), None, site.client,
            clock=clock)
        while True:
            engine.turn()
            time.sleep(TURN_SECONDS)
    return work
