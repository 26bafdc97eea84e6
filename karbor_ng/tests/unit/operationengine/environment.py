# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""An operation engine over a database, at times that the test tells.

Apart from the tests because all of them start with it.
"""

import datetime

import fixtures

from karbor_ng import keystone
from karbor_ng.operationengine import service
from karbor_ng.protection import client
from karbor_ng.store import checkpoints
from karbor_ng.store import operations
from karbor_ng.store import plans
from karbor_ng.store import providers
from karbor_ng.store import query
from karbor_ng.store import runs
from karbor_ng.store import scheduled_operations
from karbor_ng.store import triggers
from karbor_ng.tests import fixtures as small

#: When all begins: a trigger of each hour is due one hour later.
START = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.timezone.utc)
HOUR = datetime.timedelta(hours=1)
MINUTE = datetime.timedelta(minutes=1)


class Clock:
    """The database's time, as far as engines see it."""

    def __init__(self, now=START):
        self.now = now

    def __call__(self, session):
        return self.now


class Schedules(fixtures.Fixture):
    """What users have scheduled, and engines as wanted.

    :param database: a ``DatabaseFixture``
    """

    def __init__(self, database):
        super().__init__()
        self._database = database
        self.db = database.db

    def _setUp(self):
        configuration = self.useFixture(small.ConfFixture())
        self.conf, self.set = configuration.conf, configuration.set
        self.clock, self.hints = Clock(), small.Hints()
        self.db.write(providers.publish, small.provider_values())
        self.trigger = self.add_trigger()
        self._engine = None

    def engine(self, db=None, clock=None, cloud=None, sealer=None):
        """Return an engine that is not started."""
        db = db or self.db
        return service.OperationEngine(
            self.conf, db, cloud or keystone.NoCloud(), sealer,
            client.ProtectionClient(self.conf, db, self.hints),
            clock=clock or self.clock)

    def another_db(self):
        """Return the database as another process would see it."""
        return self._database.another()

    def another(self):
        """Return an engine as another process would be one."""
        return self.engine(self.another_db())

    def turn(self, after=None):
        """Let time pass, and an engine look once."""
        if after is not None:
            self.clock.now += after
        if self._engine is None:
            self._engine = self.engine()
        self._engine.turn()

    # What users do

    def add_trigger(self, **values):
        return self.db.write(small.add_trigger, **{
            'next_run_at': START + HOUR, **values})

    def add(self, **values):
        """Add what is scheduled, with a plan of its own; return its row."""
        project_id = values.get('project_id', small.PROJECT)
        plan = self.db.write(plans.create,
                             small.plan_values(project_id=project_id))
        definition = {'plan_id': plan.id, 'provider_id': plan.provider_id,
                      **values.pop('definition', {})}
        return self.db.write(
            scheduled_operations.create, small.scheduled_operation_values(**{
                'trigger_id': self.trigger.id, 'plan_id': plan.id,
                'definition': definition, 'created_at': START, **values}))

    # What protection services do

    def end(self, checkpoint_id, status='available', moment=None):
        """End the operation that works on a checkpoint."""
        def end(session):
            operation = _queued(session, checkpoint_id)
            operations.claim(session, operation.id, 'worker', 60)
            checkpoints.move(session, checkpoint_id, status)
            if moment is not None:
                checkpoints.get(session, checkpoint_id).created_at = moment
            is_good = status in ('available', 'deleted')
            operations.finish(
                session, operation.id, 1, 'done' if is_good else 'failed',
                None if is_good else 'Cinder has failed.')
        self.db.write(end)

    # What there is then

    def runs(self, row=None):
        """Return runs of one, or of all, by time."""
        rows = [row] if row else self.db.read(
            scheduled_operations.list, query.Page())
        found = [run for one in rows for run in self.db.read(
            runs.list, query.Page(), one.id)]
        return sorted(found, key=lambda run: (run.planned_at, run.id))

    def states(self, row=None):
        """Return hours after START, and states, of runs."""
        return [((run.planned_at - START) / HOUR, run.state)
                for run in self.runs(row)]

    def next_run(self, trigger=None):
        return self.db.read(triggers.get,
                            (trigger or self.trigger).id).next_run_at

    def operations(self):
        return self.db.read(operations.list, query.Page())

    def checkpoint(self, checkpoint_id):
        return self.db.read(checkpoints.get, checkpoint_id)


def _queued(session, checkpoint_id):
    """Return the operation that waits to work on a checkpoint."""
    found, = [one for one in operations.list(
        session, query.Page(), checkpoint_id=checkpoint_id)
        if one.state == 'queued']
    return found


class EngineTest(small.DatabaseTest):
    """A test with :class:`Schedules`, on each database."""

    def setUp(self):
        super().setUp()
        self.schedules = self.useFixture(Schedules(self.database))
