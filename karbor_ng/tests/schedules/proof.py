# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Holds what became of schedules against what ought to have.

Knows what users asked for and when, what due times that means, and what rows
there are at the end; nothing of how engines work.
"""

import collections
import dataclasses
import datetime
import itertools

import sqlalchemy as sa

from karbor_ng.store import models
from karbor_ng.tests.schedules import patterns
from karbor_ng.tests.schedules import world as worlds

Operation = models.Operation
Run = models.ScheduledOperationRun
_SKEW = datetime.timedelta(seconds=worlds.SKEW)
#: Problems of one kind that are told in full.
_MOST_TOLD = 5


@dataclasses.dataclass
class Told:
    """What was found in one world, or in several."""

    windows: int = 0
    outcomes: collections.Counter = dataclasses.field(
        default_factory=collections.Counter)
    problems: list = dataclasses.field(default_factory=list)
    killed: int = 0
    paused: int = 0
    days: int = 0

    def __add__(self, other):
        return Told(*(getattr(self, field.name) + getattr(other, field.name)
                      for field in dataclasses.fields(self)))

    def __str__(self):
        outcomes = ', '.join(f'{number} {state}' for state, number
                             in sorted(self.outcomes.items()))
        return (f'{self.windows} due windows in {self.days} days, engines '
                f'killed {self.killed} times and held up {self.paused} '
                f'times: {outcomes}; {len(self.problems)} problems')


def prove(seed, count, url=None):
    """Let a world of so many due windows be; return what was found."""
    with worlds.World(seed, url) as world:
        world.live(count)
        return examine(world)


def examine(world):
    """Return what is to be said of a world that has come to rest."""
    rows = world.db.read(_rows)
    found = collections.Counter((row.scheduled_operation_id, row.planned_at)
                                for row in rows if row.planned_at
                                <= world.end)
    wanted = set(_wanted(world))
    problems = [
        *world.problems,
        *_tell('lost', wanted - set(found)),
        *_tell('was not due', set(found) - wanted),
        *_tell('has two runs', {key for key in found if found[key] > 1}),
        *_tell('is not as it should be', _Outcomes(world).wrong(rows)),
        *_tell('belongs to no run', world.db.read(_strays))]
    return Told(len(wanted), collections.Counter(
        row.state for row in rows), problems, world.killed, world.paused,
        (world.end - world.begin).days)


def _tell(what, keys):
    keys = sorted(map(str, keys))
    for key in keys[:_MOST_TOLD]:
        yield f'{key} {what}'
    if len(keys) > _MOST_TOLD:
        yield f'{len(keys) - _MOST_TOLD} more: {what}'


def _wanted(world):
    """Yield (scheduled operation, due time) of all that has to have a run."""
    due, triggers = {}, world.history.all_triggers()
    for row_id, versions in world.history.all_schedules().items():
        for begin, end, (trigger_id, is_enabled) in _periods(
                versions, world.end):
            if not is_enabled:
                continue
            if trigger_id not in due:
                due[trigger_id] = _due(triggers[trigger_id], world.end)
            for moment in due[trigger_id]:
                if begin < moment <= end:
                    yield row_id, moment


def _due(versions, end):
    """Return the due times of a trigger that has changed now and then."""
    return [moment for begin, until, (properties,) in _periods(versions, end)
            for moment in patterns.due_times(properties, begin, until)]


def _periods(versions, end):
    """Yield since when, until when, and what was so."""
    ends = [version[0] for version in versions[1:]] + [end]
    for (begin, *what), until in zip(versions, ends, strict=True):
        yield begin, until, what


def _rows(session):
    """Return runs, each with what belongs to it."""
    return session.execute(
        sa.select(Run.scheduled_operation_id, Run.planned_at, Run.state,
                  Run.reason, Run.ended_at, Run.checkpoint_id,
                  sa.func.count(Operation.id).label('operations'),
                  sa.func.min(Operation.checkpoint_id).label('made'),
                  sa.func.min(Operation.state).label('made_state'),
                  sa.func.min(Operation.created_at).label('made_at'))
        .outerjoin(Operation, sa.and_(Operation.scheduled_run_id == Run.id,
                                      Operation.type == 'protect'))
        .group_by(Run.id, Run.scheduled_operation_id, Run.planned_at,
                  Run.state, Run.reason, Run.ended_at, Run.checkpoint_id)
    ).all()


def _strays(session):
    """Return checkpoints, and what makes them, that no run speaks of."""
    checkpoint = models.Checkpoint
    return [row[0] for row in itertools.chain(
        session.execute(
            sa.select(checkpoint.id)
            .outerjoin(Run, Run.checkpoint_id == checkpoint.id)
            .where(Run.id.is_(None))),
        session.execute(
            sa.select(Operation.id)
            .outerjoin(Run, Run.id == Operation.scheduled_run_id)
            .where(Run.id.is_(None), Operation.type == 'protect')))]


class _Outcomes:
    """Judges how runs have ended.

    :param world: that has come to rest
    """

    def __init__(self, world):
        self._looks = world.looks
        self._schedules = world.history.all_schedules()
        self._triggers = world.history.all_triggers()
        self._longest = max(_window(properties) for versions
                            in self._triggers.values()
                            for _since, properties in versions)

    def wrong(self, rows):
        """Yield those that can not be, in words."""
        for row in rows:
            problem = self._problem(row)
            if problem:
                yield (f'{row.scheduled_operation_id} {row.planned_at} '
                       f'{row.state}: {problem} ({row.reason})')

    def _problem(self, row):
        if row.state == 'failed' and row.reason == worlds.NO_TRUST:
            return self._of_skipped(row)
        if row.state in ('succeeded', 'failed'):
            return self._of_made(row)
        if row.operations or row.checkpoint_id:
            return 'it has a checkpoint'
        if row.state == 'missed':
            return self._of_missed(row)
        if row.state == 'skipped':
            return self._of_skipped(row)
        return 'it has not ended'

    def _of_made(self, row):
        if row.operations != 1 or row.made != row.checkpoint_id:
            return f'{row.operations} operations'
        if (row.made_state == 'done') != (row.state == 'succeeded'):
            return f'its operation is {row.made_state}'
        late = row.made_at - row.planned_at
        if not -_SKEW <= late <= self._longest + _SKEW:
            return f'it began {late} late'
        return None

    def _of_missed(self, row):
        """Somebody who looked in time would have started it."""
        for look in self._looks:
            if row.planned_at <= look < row.ended_at:
                trigger_id, _is_enabled = _at(
                    self._schedules[row.scheduled_operation_id], look)
                if trigger_id is None:
                    continue
                properties, = _at(self._triggers[trigger_id], look)
                if look <= row.planned_at + _window(properties):
                    return f'somebody looked at {look}'
        return None

    def _of_skipped(self, row):
        if 'goes on' in row.reason:
            return None
        changes = [since for since, _trigger, is_enabled
                   in self._schedules[row.scheduled_operation_id]
                   if not is_enabled]
        if any(row.planned_at <= since <= row.ended_at for since in changes):
            return None
        return 'nobody had disabled or deleted it'


def _window(properties):
    return datetime.timedelta(seconds=int(properties['window']))


def _at(versions, moment):
    """Return what was so at a moment; the first if it was before all."""
    found = versions[0]
    for version in versions:
        if version[0] <= moment:
            found = version
    return found[1:]
