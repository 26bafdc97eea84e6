# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""A due trigger becomes runs, and its next due time, in one transaction.

Apart from the scheduler, which looks for due triggers, because the front door
does the same before it changes one: what was due by then happens as it was
scheduled then, however late engines are.
"""

import logging

from karbor_ng.store import runs
from karbor_ng.store import scheduled_operations
from karbor_ng.store import session as store_session
from karbor_ng.store import triggers

LOG = logging.getLogger(__name__)

#: Due times of one trigger that are made up for in one step, after a time in
#: which no engine ran.
MOST_TIMES = 20


def step(types, trigger, now):
    """Return a trigger, its times that are due, and the one to move on to.

    None if the trigger can not be read: it stays due until it is changed.

    :param types: ``{name: karbor_ng.triggers.TriggerType}``
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


def take(session, steps):
    """Write steps, unless others were faster; return how many runs.

    :param steps: of different triggers, as :func:`step` returns them
    """
    won = {trigger.id: times for trigger, times, following in steps
           if triggers.advance(session, trigger, following)}
    if not won:
        return 0
    # A trigger that was changed, or changed for another, can be due at a
    # time that has had its run.
    first = min(time for times in won.values() for time in times)
    taken = runs.of_triggers(session, list(won), first)
    due = [(one, time)
           for one in scheduled_operations.firing_of(session, list(won),
                                                     first)
           for time in won[one.trigger_id]
           if _was_there(one, time) and (one.id, time) not in taken]
    runs.create(session, due)
    return len(due)


def _was_there(one, time):
    """Return whether it was to be started at a time that has come."""
    return one.created_at <= time and (one.disabled_at is None
                                       or time <= one.disabled_at)


def catch_up(session, types, trigger_id):
    """Make the runs of what is due by now; return the database's time.

    Call it before a change of what a trigger fires, or of when. Nobody else
    moves the trigger on before the transaction ends.

    :raises errors.NotFound: there is no such trigger
    """
    trigger = triggers.get(session, trigger_id, with_for_update=True,
                           populate_existing=True)
    now = store_session.now(session)
    while trigger.next_run_at is not None and trigger.next_run_at <= now:
        due = step(types, trigger, now)
        if due is None:
            break
        take(session, [due])
        session.refresh(trigger)
    return now
