# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Weeks of schedules in seconds: no due time is lost, none has two runs.

Several engines work in turns on one database, at a time that the test tells.
They die at any statement, are started again, stand still in the middle of
what they do while others go on, see clocks that jump, and a database that
fails before or after a commit. Meanwhile checkpoints end, well or not, sooner
or later, and users disable and enable what is scheduled.

The checker knows nothing of engines: it takes the due times from the patterns
and looks for the one run, and the one operation, of each.

``KARBOR_DUE_WINDOWS`` says how many due times there are at least,
``KARBOR_SEED`` repeats what was printed.
"""

import collections
import datetime
import os
import random
import sys

from oslo_db import exception as db_exception
import sqlalchemy as sa
from sqlalchemy import event
from testtools import content

from karbor_ng import triggers
from karbor_ng.store import models
from karbor_ng.store import scheduled_operations
from karbor_ng.tests import fixtures
from karbor_ng.tests.unit.operationengine import environment
from karbor_ng.tests.unit.operationengine.environment import HOUR
from karbor_ng.tests.unit.operationengine.environment import MINUTE
from karbor_ng.tests.unit.operationengine.environment import START

DUE_WINDOWS = int(os.environ.get('KARBOR_DUE_WINDOWS') or 10000)
ENGINES = 3
SCHEDULES = 60
WINDOW = 15 * MINUTE
#: Pattern, format and time zone of triggers.
PATTERNS = (
    ('0 * * * *', 'crontab', 'UTC'),
    ('*/20 * * * *', 'crontab', 'UTC'),
    ('30 1-5 * * *', 'crontab', 'Europe/Berlin'),
    ('15 */3 * * *', 'crontab', 'America/St_Johns'),
    ('0 2 * * MON-FRI', 'crontab', 'Australia/Lord_Howe'),
    ('BEGIN:VEVENT\nRRULE:FREQ=HOURLY;INTERVAL=2\n'
     'EXDATE;VALUE=DATE:20260310\nEND:VEVENT', 'calendar', 'UTC'),
    ('BEGIN:VEVENT\nDTSTART:20260301T000500\n'
     'RRULE:FREQ=DAILY;BYHOUR=1,2,3;BYMINUTE=5,35\nEND:VEVENT', 'calendar',
     'Europe/Berlin'),
)


class Killed(BaseException):
    """The engine dies here."""


class Shaky:
    """A database that fails, or lets the engine die or stand still.

    :param pause: called in the middle of what the engine does
    """

    def __init__(self, db, chance, pause):
        self._db = db
        self._chance = chance
        self._pause = pause
        self._statements_to_live = None
        event.listen(db.engine, 'before_cursor_execute', self._execute)

    def dispose(self):
        """Close what is open, as the system does for a dead process."""
        self._db.dispose()

    def read(self, function, *args, **kwargs):
        return self._run(self._db.read, function, args, kwargs)

    def write(self, function, *args, **kwargs):
        return self._run(self._db.write, function, args, kwargs)

    def _run(self, run, function, args, kwargs):
        dice = self._chance.random()
        if dice < 0.01:
            raise db_exception.DBConnectionError('Gone before it began.')
        if dice < 0.03:
            self._statements_to_live = self._chance.randrange(30)
        found = run(function, *args, **kwargs)
        if self._statements_to_live is not None:
            # It had fewer statements than it had to live.
            self._statements_to_live = None
            raise Killed
        if dice < 0.04:
            raise db_exception.DBConnectionError('Gone after the commit.')
        if dice < 0.06:
            self._pause()
        return found

    def _execute(self, *_args):
        if self._statements_to_live is not None:
            self._statements_to_live -= 1
            if self._statements_to_live < 0:
                self._statements_to_live = None
                raise Killed


class World:
    """Time, users, clouds and engines."""

    def __init__(self, schedules, chance):
        self.schedules = schedules
        self.chance = chance
        self.types = triggers.load(schedules.conf)
        self.engines = []
        _hurried(schedules.db)
        self.calm_engine = schedules.engine()
        self.deaths = self.pauses = 0
        self.is_paused = False
        #: when a look of an engine that was not disturbed has ended
        self.looks = []
        #: {schedule: [[enabled from, until], ...]}
        self.enabled = {}
        self.ends = {}

    # Users

    def plan(self):
        """Schedule things."""
        for number in range(SCHEDULES):
            pattern, form, zone = PATTERNS[number % len(PATTERNS)]
            properties = {
                'format': form, 'pattern': pattern, 'timezone': zone,
                'start_time': '2026-03-01 00:00:00',
                'window': str(int(WINDOW.total_seconds()))}
            first = self.types['time'].schedule(properties).next_run(START)
            trigger = self.schedules.add_trigger(properties=properties,
                                                 next_run_at=first)
            for _number in range(1 + number % 3):
                row = self.schedules.add(trigger_id=trigger.id)
                self.enabled[row.id] = [[START, None]]

    def toggle(self):
        """Disable or enable something, while nothing is behind."""
        self.calm()
        row_id = self.chance.choice(list(self.enabled))
        periods = self.enabled[row_id]
        is_enabled = periods[-1][1] is None
        self.schedules.db.write(
            scheduled_operations.update, row_id, None,
            {'is_enabled': not is_enabled})
        if is_enabled:
            periods[-1][1] = self.schedules.clock.now
        else:
            periods.append([self.schedules.clock.now, None])

    # Clouds

    def work(self):
        """End what has been worked on for long enough."""
        now, ended = self.schedules.clock.now, []
        for checkpoint_id in self.schedules.db.read(_queued):
            lasts = self.chance.choice((MINUTE, 5 * MINUTE, 50 * MINUTE))
            if self.ends.setdefault(checkpoint_id, now + lasts) <= now:
                ended.append((checkpoint_id, self.chance.choice(
                    ('available', 'available', 'error'))))
                del self.ends[checkpoint_id]
        if ended:
            self.schedules.db.write(_end, ended)

    # Engines

    def start_engine(self):
        """Start one, whose clock is up to twenty seconds wrong."""
        skew = datetime.timedelta(seconds=self.chance.uniform(-20, 20))
        shaky = Shaky(_hurried(self.schedules.another_db()), self.chance,
                      self.pause)
        engine = self.schedules.engine(
            shaky, lambda session: self.schedules.clock.now + skew)
        self.engines.append((engine, shaky))

    def turn(self):
        """Let one engine look, if one is alive."""
        if self.chance.random() < 0.3 and len(self.engines) < ENGINES:
            self.start_engine()
        if not self.engines:
            return
        # Nobody else lets it look while it stands still.
        one = self.engines.pop(self.chance.randrange(len(self.engines)))
        engine, shaky = one
        try:
            engine.turn()
        except Killed:
            self.deaths += 1
            shaky.dispose()
        else:
            self.engines.append(one)

    def pause(self):
        """Let time go by, and others work, while an engine stands still."""
        if self.is_paused:
            return
        self.is_paused = True
        self.pauses += 1
        try:
            self.schedules.clock.now += datetime.timedelta(
                seconds=self.chance.expovariate(1 / 60))
            self.turn()
            if self.chance.random() < 0.5:
                self.work()
        finally:
            self.is_paused = False

    def calm(self):
        """Let an engine look that nothing disturbs."""
        self.calm_engine.turn()
        self.looks.append(self.schedules.clock.now)

    def live(self, due_windows):
        """Let time go by until there were so many due times."""
        clock = self.schedules.clock
        while self.schedules.db.read(_count) < due_windows:
            # Now and then nobody is there for hours.
            mean = 4 * HOUR if self.chance.random() < 0.01 else 5 * MINUTE
            clock.now += datetime.timedelta(
                seconds=self.chance.expovariate(1 / mean.total_seconds()))
            for _number in range(self.chance.randrange(3)):
                self.turn()
            self.work()
            if self.chance.random() < 0.05:
                self.toggle()
            elif self.chance.random() < 0.3:
                self.calm()
        self.calm()
        self.end = clock.now
        self.schedules.db.write(_disable_all)
        while self.schedules.db.read(_queued):
            clock.now += HOUR
            self.work()
        self.calm()


def _hurried(db):
    """Return the database, which does not wait for disks any more.

    It is the engines that die here, not the machine.
    """
    if db.engine.dialect.name == 'sqlite':
        event.listen(db.engine, 'connect', _do_not_wait)
        db.dispose()
    return db


def _do_not_wait(connection, _record):
    connection.execute('PRAGMA synchronous = OFF')


def _count(session):
    return session.execute(sa.select(sa.func.count()).select_from(
        models.ScheduledOperationRun)).scalar()


def _disable_all(session):
    session.execute(sa.update(models.ScheduledOperation).values(
        is_enabled=False))


def _end(session, ended):
    """Let checkpoints, and the operations that make them, have ended."""
    for checkpoint_id, status in ended:
        session.execute(sa.update(models.Checkpoint).where(
            models.Checkpoint.id == checkpoint_id).values(status=status))
        session.execute(sa.update(models.Operation).where(
            models.Operation.checkpoint_id == checkpoint_id).values(
            state='failed' if status == 'error' else 'done',
            ended_at=models.utcnow(), error_info=(
                'Cinder has failed.' if status == 'error' else None)))


def _queued(session):
    return session.execute(
        sa.select(models.Operation.checkpoint_id)
        .where(models.Operation.state == 'queued')
        .order_by(models.Operation.created_at, models.Operation.id)
    ).scalars().all()


class ModelTest(environment.EngineTest):
    """On SQLite; others take as long as their commits do."""

    scenarios = [one for one in fixtures.database_scenarios()
                 if one[0] == os.environ.get('KARBOR_MODEL_DATABASE',
                                             'sqlite')]

    def test_each_due_time_has_one_run(self):
        seed = int(os.environ.get('KARBOR_SEED')
                   or random.randrange(2 ** 32))
        self.addDetail('seed', _text(f'KARBOR_SEED={seed}'))
        world = World(self.schedules, random.Random(seed))
        world.plan()
        world.live(DUE_WINDOWS)
        expected = self._expected(world)
        found = self._found()
        self.assertEqual([], sorted(set(expected) - set(found)), 'lost')
        self.assertEqual([], sorted(set(found) - set(expected)), 'not due')
        outcomes = collections.Counter()
        for key, (state, operations) in found.items():
            outcomes[state] += 1
            made = state in ('succeeded', 'failed')
            self.assertEqual(int(made), operations, (key, state))
            if state == 'missed':
                self._check_missed(world, key[1])
        self.assertGreaterEqual(len(found), DUE_WINDOWS)
        self._tell(seed, world, outcomes)

    def _expected(self, world):
        """Return (scheduled operation, due time) of all there must be."""
        keys = set()
        for row_id, periods in world.enabled.items():
            row = self.read(scheduled_operations.get, row_id)
            trigger = self.read(triggers_of, row.trigger_id)
            schedule = world.types['time'].schedule(trigger.properties)
            for begin, end in periods:
                for moment in schedule.runs(begin):
                    if moment > (end or world.end):
                        break
                    keys.add((row_id, moment))
        return keys

    def _found(self):
        """Return what became of each run, and how many operations it has."""
        run, operation = models.ScheduledOperationRun, models.Operation

        def ask(session):
            return session.execute(
                sa.select(run.scheduled_operation_id, run.planned_at,
                          run.state, sa.func.count(operation.id))
                .outerjoin(operation, operation.scheduled_run_id == run.id)
                .group_by(run.id)).all()
        rows = self.read(ask)
        found = {(row[0], row[1]): (row[2], row[3]) for row in rows}
        self.assertEqual(len(rows), len(found), 'doubled')
        return found

    def _check_missed(self, world, planned_at):
        """Nobody can have come to it in time."""
        came = [moment for moment in world.looks
                if planned_at <= moment <= planned_at + WINDOW]
        self.assertEqual([], came, planned_at)

    def _tell(self, seed, world, outcomes):
        days = (self.schedules.clock.now - START).days
        print(f'{sum(outcomes.values())} due windows in {days} days, with '
              f'{world.deaths} deaths and {world.pauses} pauses of engines: '
              + ', '.join(f'{number} {state}' for state, number
                          in sorted(outcomes.items()))
              + f'; none lost, none doubled (KARBOR_SEED={seed})',
              file=sys.__stderr__)


def triggers_of(session, trigger_id):
    return session.get(models.Trigger, trigger_id)


def _text(words):
    return content.text_content(words)
