# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What happens: users, engines, work, and time, which only goes on here.

All of it is one thread, which plays everybody in turns, so that a seed brings
all of it back. A process that stands still does so in the middle of a
transaction's neighbourhood, while the same thread plays the others.
"""

import datetime
import random
import types
import uuid

import fixtures
import oslo_db.api
import sqlalchemy as sa
from sqlalchemy import event

from karbor_ng import keystone
from karbor_ng.operationengine import service
from karbor_ng.store import models
from karbor_ng.store import plans
from karbor_ng.store import scheduled_operations
from karbor_ng.store import session as store_session
from karbor_ng.store import trusts
from karbor_ng.tests import fixtures as small
from karbor_ng.tests.schedules import faults
from karbor_ng.tests.schedules import patterns
from karbor_ng.tests.unit.api import environment

#: Days just before clocks change somewhere.
BEGINS = ((2026, 3, 4), (2026, 3, 24), (2026, 9, 22), (2026, 10, 20),
          (2027, 2, 25))
PROJECTS = tuple(f'{number:032x}' for number in range(1, 4))
ENGINES = 3
TRIGGERS, SCHEDULES = 15, 90
#: Seconds that a host's clock is wrong, at most.
SKEW = 600
MINUTE = datetime.timedelta(minutes=1)
#: Chances of dangers in each transaction.
OF_ENGINES = {'lost': 0.006, 'killed': 0.006, 'deadlock': 0.004,
              'pause': 0.06}
OF_USERS = {'deadlock': 0.02, 'pause': 0.04}
NO_TRUST = 'The trust has ended.'
_UNENDED = ('queued', 'running')

Operation = models.Operation


class Clock:
    """Time. Calling it tells the database's, which all engines go by."""

    timezone = datetime.timezone

    def __init__(self, now):
        self.now = now
        #: of the host of whoever acts at the moment
        self.skew = datetime.timedelta()
        #: models want ``datetime.now(zone)`` of their host
        self.datetime = types.SimpleNamespace(
            now=lambda zone: self.now + self.skew)

    def __call__(self, session):
        return self.now


class World(fixtures.Fixture):
    """A deployment without a cloud, and all that goes on in it.

    :param seed: the same brings the same world
    :param url: of a database server; None for SQLite
    :ivar history: what users did, a :class:`History`
    :ivar looks: when engines looked that nothing disturbed
    :ivar problems: what must not be, in words
    """

    def __init__(self, seed, url=None):
        super().__init__()
        self._url = url
        self.dice = random.Random(seed)
        self.begin = datetime.datetime(*self.dice.choice(BEGINS),
                                       tzinfo=datetime.timezone.utc)
        self.history, self.looks, self.problems = History(), [], []
        self.killed = self.paused = 0

    def _setUp(self):
        self.clock = Clock(self.begin)
        self.api = self.useFixture(environment.Api(self._url))
        for name in ('min_interval', 'min_window_time'):
            self.api.set(name, 0)
        self.db = self.api.db
        for thing, name, value in (
                (store_session, 'now', self.clock),
                (models, 'datetime', self.clock),
                (uuid, 'uuid4', self._id), (oslo_db.api.time, 'sleep',
                                            self._sleep)):
            self.useFixture(fixtures.MockPatchObject(thing, name, value))
        self._users = self._door(OF_USERS)
        self._app = self.api.make_unchecked_app(db=self._users)
        if self._url is None:
            event.listen(self.db.engine, 'connect', _hurry)
        # The last connection that closes would tidy the database up.
        self.addCleanup(self.db.engine.connect().close)
        self._engines, self._ends = [], {}
        self._is_still = False

    def _id(self):
        return uuid.UUID(int=self.dice.getrandbits(128), version=4)

    def _sleep(self, _seconds):
        self._pass_by(1)

    def _door(self, dangers):
        door = faults.Door(self.db, self.dice, self.clock, dangers,
                           self._stand_still)
        self.addCleanup(door.close)
        return door

    def _pass_by(self, seconds):
        """Let so many seconds pass, more or less; never to a full one."""
        self.clock.now += datetime.timedelta(
            seconds=self.dice.expovariate(1 / seconds), microseconds=1)
        if not self.clock.now.microsecond:
            self.clock.now += datetime.timedelta(microseconds=1)

    # All that happens

    def live(self, count):
        """Go on until there are so many runs, and then until all is done."""
        while len(self.history.schedules) < SCHEDULES:
            self._act()
        while self._runs() < count:
            for _number in range(20):
                self._happen()
        self._come_to_rest()

    def _happen(self):
        # Now and then nobody is there for hours.
        outage = self.dice.random() < 0.003
        self._pass_by(4 * 3600 if outage else 420)
        if self.dice.random() < 0.15:
            self._act()
        if self.dice.random() < 0.5:
            self._work()
        if self.dice.random() < 0.1:
            self.clock.now = (self.clock.now + MINUTE).replace(
                second=0, microsecond=0)
        self._look()

    def _stand_still(self):
        """Somebody stands still, while others go on."""
        if self._is_still:
            return
        self._is_still, self.paused = True, self.paused + 1
        skew, moment = self.clock.skew, self._users.moment
        self._pass_by(self.dice.choice((0.1, 1, 30, 300, 1200)))
        for _number in range(self.dice.randrange(5)):
            self.dice.choice((self._act, self._act, self._work, self._look,
                              self._look))()
        self._pass_by(1)
        self.clock.skew, self._users.moment = skew, moment
        self._is_still = False

    def _come_to_rest(self):
        """Let engines look, undisturbed, until nothing is left to do.

        No trigger fires any more.
        """
        calm, self.end = self._engine(self.db), self.clock.now
        calm.turn()
        self.db.write(lambda session: session.execute(
            sa.update(models.Trigger).values(next_run_at=None)))
        self.db.write(_forget_trusts)
        for _number in range(50):
            self._pass_by(3600)
            calm.turn()
            self._ends = dict.fromkeys(self._ends, self.clock.now)
            if not self._work() and not self._unsettled():
                return
        self.problems.append('It does not come to rest.')

    def _runs(self):
        return self.db.read(lambda session: session.execute(
            sa.select(sa.func.count()).select_from(
                models.ScheduledOperationRun)).scalar())

    def _unsettled(self):
        run = models.ScheduledOperationRun
        return self.db.read(lambda session: session.execute(
            sa.select(run.id).where(run.state.in_((
                'due', 'started', 'retaining'))).limit(1)).first())

    # Engines

    def _look(self):
        """Let one of the engines look once."""
        if len(self._engines) < ENGINES and self.dice.random() < 0.3:
            self._engines.append(self._start())
        if not self._engines:
            return
        # While it stands still nobody else can let it look.
        one = self._engines.pop(self.dice.randrange(len(self._engines)))
        engine, door, self.clock.skew = one
        door.was_in_danger, begin = False, self.clock.now
        try:
            engine.turn()
        except faults.Killed:
            self.killed += 1
            door.close()
            return
        if not door.was_in_danger:
            self.looks.append(begin)
        self._engines.append(one)

    def _start(self):
        door = self._door(OF_ENGINES)
        return self._engine(door), door, datetime.timedelta(
            seconds=self.dice.uniform(-SKEW, SKEW))

    def _engine(self, db):
        return service.OperationEngine(
            self.api.conf, db, keystone.NoCloud(), None, self.api.client,
            clock=self.clock)

    # Work

    def _work(self):
        """End what was worked on for long enough; return how much is left.

        Plays the protection services.
        """
        self.clock.skew = datetime.timedelta()
        left = self.db.read(_unended)
        self._check_alone(left)
        for one in left:
            self._ends.setdefault(one.id, self.clock.now + self.dice.choice(
                (5, 5, 30, 90)) * MINUTE)
        done = [one for one in left if self._ends[one.id] <= self.clock.now]
        if done:
            self.db.write(self._finish, done)
        for one in done:
            del self._ends[one.id]
        return len(left) - len(done)

    def _check_alone(self, left):
        """One checkpoint of a schedule is made at a time."""
        made = [one.scheduled_operation_id for one in left
                if one.type == 'protect']
        for one in {one for one in made if made.count(one) > 1}:
            self.problems.append(f'{one}: two runs at {self.clock.now}')

    def _finish(self, session, done):
        for one in done:
            good = self.dice.random() < 0.8
            status = ({'protect': 'available', 'delete': 'deleted'} if good
                      else {'protect': 'error', 'delete': 'error-deleting'})
            session.execute(sa.update(Operation).where(
                Operation.id == one.id).values(
                    state='done' if good else 'failed',
                    error_info=None if good else 'No luck.',
                    ended_at=self.clock.now))
            session.execute(sa.update(models.Checkpoint).where(
                models.Checkpoint.id == one.checkpoint_id).values(
                    status=status[one.type]))

    # Users

    def _act(self):
        """Let a user do something, all at random."""
        self.clock.skew = datetime.timedelta(
            seconds=self.dice.uniform(-SKEW, SKEW))
        history = self.history
        if len(history.triggers) < TRIGGERS or self.dice.random() < 0.02:
            self._add_trigger()
        elif len(history.schedules) < SCHEDULES or self.dice.random() < 0.02:
            self._add_schedule()
        else:
            self.dice.choice((
                self._change_trigger, self._change_trigger,
                self._change_trigger, self._rename, self._switch,
                self._switch, self._lose_trust, self._move, self._delete))()

    def _ask(self, method, path, project_id, **body):
        """Return the answer, or None where it refuses."""
        answer = self.api.call(method, path, body or None,
                               token=f'user:{project_id}', app=self._app)
        if answer.status_int >= 500:
            # Raised, it would end in a turn of an engine that stands still.
            self.problems.append(f'{method} {path}: {answer.text}')
        return answer.json if answer.status_int == 200 and answer.body \
            else answer.status_int < 300 or None

    def _add_trigger(self):
        project_id = self.dice.choice(PROJECTS)
        answer = self._ask('POST', '/triggers', project_id, trigger_info={
            'name': 'one', 'type': 'time',
            'properties': patterns.properties(self.dice, self.clock.now)})
        if answer:
            shown = answer['trigger_info']
            self.history.triggers[shown['id']] = (
                project_id, [(self._users.moment, shown['properties'])])

    def _one_trigger(self):
        known = self.history.triggers
        trigger_id = self.dice.choice(
            [one for one in self._due() if one in known] or list(known))
        return trigger_id, *known[trigger_id]

    def _due(self):
        """Return ids of triggers that nobody has come to yet, mostly.

        What is done to these is the hardest for engines.
        """
        if self.dice.random() < 0.3:
            return []
        trigger = models.Trigger
        return self.db.read(lambda session: session.execute(
            sa.select(trigger.id).where(trigger.next_run_at <= self.clock.now)
            .order_by(trigger.id)).scalars().all())

    def _one_schedule(self):
        known, due = self.history.schedules, self._due()
        row_id = self.dice.choice(
            [one for one, (_owner, versions) in known.items()
             if versions[-1][1] in due] or list(known))
        return row_id, *known[row_id]

    def _change_trigger(self):
        trigger_id, project_id, versions = self._one_trigger()
        answer = self._ask(
            'PUT', f'/triggers/{trigger_id}', project_id, trigger_info={
                'properties': patterns.properties(self.dice,
                                                  self.clock.now)})
        if answer:
            versions.append((self._users.moment,
                             answer['trigger_info']['properties']))

    def _rename(self):
        """Which changes nothing that counts."""
        trigger_id, project_id, _versions = self._one_trigger()
        self._ask('PUT', f'/triggers/{trigger_id}', project_id,
                  trigger_info={'name': 'other'})

    def _add_schedule(self):
        trigger_id, project_id, _versions = self._one_trigger()
        plan = self.db.write(plans.create, small.plan_values(
            provider_id=environment.PROVIDER_ID, project_id=project_id,
            id=str(self._id())))
        wanted = {'provider_id': plan.provider_id, 'plan_id': plan.id}
        kind = 'protect'
        if self.dice.random() < 0.05:
            kind, wanted['max_backups'] = 'retention_protect', 2
        is_enabled = self.dice.random() < 0.9
        answer = self._ask(
            'POST', '/scheduled_operations', project_id,
            scheduled_operation={
                'name': 'one', 'operation_type': kind,
                'trigger_id': trigger_id, 'operation_definition': wanted,
                'enabled': is_enabled})
        if answer:
            self.history.schedules[answer['scheduled_operation']['id']] = (
                project_id, [(self._users.moment, trigger_id, is_enabled)])

    def _switch(self):
        """Disable something, or enable it."""
        self._change(lambda project_id, trigger_id, is_enabled: (
            trigger_id, not is_enabled))

    def _lose_trust(self):
        """Let Keystone accept a trust no more, as a worker finds out."""
        row_id, project_id, versions = self._one_schedule()
        trust_id = self._id().hex
        if self._users.write(_refuse_trust, row_id, project_id, trust_id):
            versions.append((self._users.moment, versions[-1][1], False))

    def _move(self):
        """Give something another trigger."""
        def other(project_id, _trigger_id, is_enabled):
            return self.dice.choice([
                one for one, (owner, _) in self.history.triggers.items()
                if owner == project_id]), is_enabled
        self._change(other)

    def _change(self, change):
        row_id, project_id, versions = self._one_schedule()
        trigger_id, is_enabled = change(project_id, *versions[-1][1:])
        path = f'/scheduled_operations/{row_id}'
        if self._ask('PUT', path, project_id, scheduled_operation={
                'trigger_id': trigger_id, 'enabled': is_enabled}):
            versions.append((self._users.moment, trigger_id, is_enabled))

    def _delete(self):
        """Delete something, seldom, and a trigger that nothing uses."""
        if self.dice.random() < 0.2:
            row_id, project_id, versions = self._one_schedule()
            if self._ask('DELETE', f'/scheduled_operations/{row_id}',
                         project_id):
                versions.append((self._users.moment, None, False))
                self.history.end(row_id)
        trigger_id, project_id, _versions = self._one_trigger()
        if self._ask('DELETE', f'/triggers/{trigger_id}', project_id):
            self.history.end_trigger(trigger_id)


class History:
    """What users have, and since when it is so.

    :ivar triggers: ``{id: (project, [(since, properties), ...])}``
    :ivar schedules: ``{id: (project, [(since, trigger id, is enabled),
        ...])}``; a trigger of None is the end
    """

    def __init__(self):
        self.triggers, self.schedules = {}, {}
        self._old_triggers, self._old_schedules = {}, {}

    def end(self, row_id):
        self._old_schedules[row_id] = self.schedules.pop(row_id)

    def end_trigger(self, trigger_id):
        self._old_triggers[trigger_id] = self.triggers.pop(trigger_id)

    def all_triggers(self):
        """Return what became of each that ever was, in the order of time."""
        return _in_order(self.triggers | self._old_triggers)

    def all_schedules(self):
        """Return what became of each that ever was, in the order of time."""
        return _in_order(self.schedules | self._old_schedules)


def _in_order(things):
    """Sort by time: who stood still hears late what was done before."""
    return {one: sorted(versions, key=lambda version: version[0])
            for one, (_project, versions) in things.items()}


def _hurry(connection, _record):
    """Nobody wants the files of this world back after a power failure."""
    connection.execute('PRAGMA synchronous = OFF')


def _refuse_trust(session, row_id, project_id, trust_id):
    """Return whether something is disabled because of that.

    There is no Keystone, so the trust is there in this transaction only.
    """
    row = scheduled_operations.by_ids(session, [row_id]).get(row_id)
    if row is None:
        return []
    trusts.add(session, trust_id, 'user', project_id)
    row.trust_id = trust_id
    session.flush()
    disabled = trusts.give_up(session, trust_id, NO_TRUST)
    session.refresh(row)
    row.trust_id = None
    session.flush()
    return disabled


def _forget_trusts(session):
    """Let what waits for a new trust go on without."""
    session.execute(sa.update(models.ScheduledOperation).values(
        disabled_reason=None))


def _unended(session):
    return session.execute(
        sa.select(Operation.id, Operation.type, Operation.checkpoint_id,
                  Operation.scheduled_operation_id)
        .where(Operation.state.in_(_UNENDED))
        .order_by(Operation.created_at, Operation.id)).all()
