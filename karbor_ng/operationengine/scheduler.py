# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""From due triggers to runs.

A trigger's next due time is a column. Whoever moves it on, by compare and
swap, writes a run of each of its enabled scheduled operations in the same
transaction: however many engines look, and wherever one of them dies, each
due time has one run.
"""

from karbor_ng.operationengine import firing
from karbor_ng.store import triggers

#: Triggers that are moved on in one transaction.
BATCH = 100


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
            steps = [step for step in (
                firing.step(self._types, trigger, now)
                for trigger in due) if step]
            made += self._db.write(firing.take, steps)
            is_behind = is_behind or any(
                following is not None and following <= now
                for _trigger, _times, following in steps)
            after = due[-1]
        return made, is_behind

    def _due(self, session, after):
        now = self._clock(session)
        return now, triggers.due(session, now, BATCH, after)
