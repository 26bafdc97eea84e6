# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""From due triggers to runs.

A trigger's next due time is a column. Whoever moves it on, by compare and
swap, writes a run of each of its enabled scheduled operations in the same
transaction: however many engines look, and wherever one of them dies, each
due time has one run.
"""

import logging

from karbor_ng.store import runs
from karbor_ng.store import scheduled_operations
from karbor_ng.store import triggers

LOG = logging.getLogger(__name__)

#: Triggers that are moved on in one transaction.
BATCH = 100
#: Due times of one trigger that are made up for in one transaction, after a
#: time in which no engine ran.
MOST_TIMES = 20


class Scheduler:
    """Moves due triggers on.

    :param types: ``{name: karbor_ng.triggers.TriggerType}``
    :param clock: returns the present time, given a session
    """

    def __init__(self, db, types, clock):
        self._db = db
        self._types = types
        self._clock = clock

    def tick(self, is_stopping=lambda: False):
        """Make runs of all that is due by now; return how many.

        :param is_stopping: asked between transactions
        """
        made = 0
        while True:
            more, is_behind = self._pass(is_stopping)
            made += more
            if not is_behind or is_stopping():
                return made

    def _pass(self, is_stopping):
        """Move on each due trigger once.

        Return how many runs that made, and whether some are due once more.
        """
        made, is_behind, after = 0, False, None
        while not is_stopping():
            now, due = self._db.read(self._due, after)
            if not due:
                break
            steps = [step for step in (_step(self._types, trigger, now)
                                       for trigger in due) if step]
            made += self._db.write(_move_on, steps)
            is_behind = is_behind or any(
                following is not None and following <= now
                for _trigger, _times, following in steps)
            after = due[-1]
        return made, is_behind

    def _due(self, session, after):
        now = self._clock(session)
        return now, triggers.due(session, now, BATCH, after)


def _step(types, trigger, now):
    """Return a trigger, its times that are due, and the one to move on to.

    None if the trigger can not be read: it stays due until it is changed.
    """
    try:
        schedule = types[trigger.type].schedule(trigger.properties)
        times = [trigger.next_run_at]
        for moment in schedule.runs(trigger.next_run_at):
            if moment > now or len(times) >= MOST_TIMES:
                return trigger, times, moment
            times.append(moment)
        return trigger, times, None
    except Exception:
        LOG.exception('Trigger %s can not be read: what it is to start does '
                      'not happen', trigger.id)
        return None


def _move_on(session, steps):
    """Write one transaction's steps; return how many runs that made."""
    won = {trigger.id: times for trigger, times, following in steps
           if triggers.advance(session, trigger, following)}
    if not won:
        return 0
    # What was made later was not there when it was due.
    due = [(one, time)
           for one in scheduled_operations.enabled_of(session, list(won))
           for time in won[one.trigger_id] if time >= one.created_at]
    runs.create(session, due)
    return len(due)
