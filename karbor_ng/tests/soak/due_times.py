# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""When something was due, by what a tenant asked for and when.

Separate, and without a line of the product, because it is what schedules are
held against. Patterns are simple here: so many seconds between two due
times, which divide the minute.
"""

import dataclasses
import datetime

_SECOND = datetime.timedelta(seconds=1)


@dataclasses.dataclass(frozen=True)
class Change:
    """Since when something else holds.

    :ivar before: it did not hold yet
    :ivar after: it held by then; between the two nobody knows
    :ivar step: seconds between due times; None: nothing is due
    """

    before: datetime.datetime
    after: datetime.datetime
    step: int | None


class History:
    """What one scheduled operation was told."""

    def __init__(self):
        self._changes = []

    def add(self, before, after, step):
        self._changes.append(Change(before, after, step))

    def required(self):
        """Return the times at which it must have run, once each."""
        following = self._changes[1:]
        return {moment for change, other in zip(self._changes, following,
                                                strict=False)
                for moment in _due(change.step, change.after, other.before)}

    def allowed(self):
        """Return the times at which it may have run."""
        found, step = self.required(), None
        for change in self._changes:
            for either in (step, change.step):
                found |= _due(either, change.before, change.after)
            step = change.step
        return found

    def problems(self, runs):
        """Yield what does not hold, as texts.

        :param runs: moments of all runs there are
        """
        for moment in sorted(self.required() - set(runs)):
            yield f'no run of {moment}'
        for moment in sorted(set(runs) - self.allowed()):
            yield f'a run of {moment}, which was not due'
        for moment in sorted({moment for moment in runs
                              if runs.count(moment) > 1}):
            yield f'{runs.count(moment)} runs of {moment}'


def _due(step, begin, end):
    """Return the due times after a moment and before another."""
    found = set()
    moment = begin.replace(microsecond=0)
    while step and moment < end:
        if moment > begin and moment.second % step == 0:
            found.add(moment)
        moment += _SECOND
    return found
