# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Rounds: one operation, killed at one point, and what came of it.

A first round of each verb tells which points it passes; each further one
dies at one of them, lets another worker take over, and looks.
"""

import dataclasses
import logging
import pathlib
import re
import time

from karbor_ng.bank import bank
from karbor_ng.tests.crashes import points
from karbor_ng.tests.crashes import site as sites
from karbor_ng.tests.crashes import verbs

LOG = logging.getLogger(__name__)

#: Small, so that little data has several parts.
PART_SIZE = 30_000
#: What is written again and again for as long as something takes.
_BY_CHANCE = re.compile(
    r'row (note .*|_tell .* progress) #(?!1$)[0-9]+')
#: Seconds in which a process dies whose last act it was to end an operation.
LAST_SECONDS = 5


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of one point.

    :ivar problems: what does not hold; empty if all does
    :ivar was_reached: whether the process died there
    """

    verb: str
    point: str
    problems: list
    was_reached: bool
    seconds: float

    @property
    def is_bad(self):
        """Whether it shows something; what was not reached hides it."""
        return bool(self.problems) or not self.was_reached


def points_of(name):
    """Return the points that an operation passes, in no order."""
    with Lane(name) as lane:
        return lane.record()


def outcomes(name, chosen, lanes=None):
    """Return the :class:`Outcome` of each of these points of a verb.

    :param lanes: makes, of the name, what has the outcomes; a :class:`Lane`
    """
    found, lane = [], None
    for point in chosen:
        if lane is None:
            lane = (lanes or Lane)(name).__enter__()
        found.append(lane.outcome(point))
        if found[-1].problems:
            # What is left over shall not count for the next point.
            lane.__exit__()
            lane = None
    if lane is not None:
        lane.__exit__()
    return found


class Lane:
    """A site, on which one verb runs round after round.

    :cvar VERBS: what can run here
    :cvar WAY: what comes before the names of verbs in outcomes
    :ivar keeps_helper: whether a worker lives on beside what is killed
    """

    VERBS = verbs.VERBS
    WAY = ''

    def __init__(self, name):
        self._name = name

    def __enter__(self):
        bank.PART_SIZE = PART_SIZE
        self.site = sites.Site()
        self.site.setUp()
        self.verb = self.VERBS[self._name](self.site)
        self._helper = None
        self.keeps_helper = self.verb.IS_ENGINES
        return self

    def __exit__(self, *details):
        self.site.cleanUp()

    def record(self):
        """Run once without dying; return the points."""
        path = pathlib.Path(self.site.path, 'points')
        problems = []
        self._round(points.Points(list_file=path), problems)
        if problems:
            raise RuntimeError(f'{self._name}, unharmed: {problems}\n'
                               f'{self.site.last_words()}')
        return [point for point in path.read_text().splitlines()
                if not _BY_CHANCE.search(point)]

    def outcome(self, point):
        """Die at a point; return what came of it."""
        begun = time.monotonic()
        self._was_reached = False
        problems = []
        try:
            self._round(self.points_at(point), problems)
        except Exception as problem:
            LOG.exception('A round of %s broke', self._name)
            problems.append(f'{type(problem).__name__}: {problem}')
        if problems:
            problems.append(self.site.last_words())
        return Outcome(self.WAY + self._name, point, problems, self._was_reached,
                       time.monotonic() - begun)

    def points_at(self, point):
        """Return points that end a process at one of them."""
        return points.Points(point)

    def _round(self, armed, problems):
        """Have the verb done in spite of all; add what does not hold."""
        self.help()
        self.verb.prepare()
        if not self.keeps_helper:
            self.stop_helping()
        self.verb.begin()
        self._run_until_dead(armed)
        self.help()
        if self.keeps_helper:
            second = self.site.fork(self.verb.work())
        self.site.wait(self.verb.has_ended)
        if self.keeps_helper:
            self.site.kill(second)
        problems.extend(self.verb.problems())

    def _run_until_dead(self, armed):
        """Let a process do the work, until it dies or has done it all."""
        process = self.site.fork(self.verb.work(), armed)
        ended_at = None
        while not self.site.has_died(process):
            if ended_at is None and self.verb.has_ended():
                ended_at = time.monotonic()
            if ended_at and (armed.is_recording or time.monotonic()
                             > ended_at + LAST_SECONDS):
                self.site.kill(process)
                return
            time.sleep(sites.PAUSE)
        self._was_reached = True
        if not self.keeps_helper:
            self.site.let_leases_run_out()

    def help(self):
        if self._helper is None:
            self._helper = self.site.fork(sites.serve)
            self.site.wait(self.site.is_offered)

    def stop_helping(self):
        self.site.kill(self._helper)
        self._helper = None
