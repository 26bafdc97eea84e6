# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Rounds: one operation, some calls of which fail, and what came of it.

A first round of each verb tells which calls there are. Which of them fail
how is then chosen by rule, the same in every run: each call fails in two ways
at least, and each sort of calls in every way there is for it (all verbs
together, for the few calls that all of them make alike). Faults that
an operation must get over share rounds; where that shows something, each of
them has one of its own, so that the guilty one is known.
"""

import dataclasses
import itertools
import logging
import math
import pathlib
import re
import time

from karbor_ng.tests.crashes import rounds
from karbor_ng.tests.faults import endings
from karbor_ng.tests.faults import identity
from karbor_ng.tests.faults import injection
from karbor_ng.tests.faults import kinds
from karbor_ng.tests.faults import messages
from karbor_ng.tests.faults import worker

LOG = logging.getLogger(__name__)

#: The operations whose calls fail, as :mod:`crashes.verbs` has them.
VERBS = ('protect', 'restore', 'verify', 'delete', 'copy', 'retention')
#: Sorts of calls that are the same whoever makes them.
SAME_EVERYWHERE = ('token', 'hint')
#: Ways in which each call fails.
WAYS = 2
#: Faults that share a round.
TOGETHER = 10
#: Looks at the same thing that are as good as all later ones.
LOOKS = 2
#: How often a round is repeated whose faults did not all happen: how often
#: something is looked at is a matter of time.
REPEATS = 2
#: What is looked at again once in a minute.
_BY_CHANCE = re.compile(r'get bank\.json #(?![12]$)')
_NUMBER = re.compile(r'#(\d+)$')


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of one fault.

    :ivar problems: what does not hold; empty if all does
    :ivar was_met: whether it happened
    """

    verb: str
    fault: str
    problems: list
    was_met: bool
    seconds: float

    @property
    def is_bad(self):
        """Whether it shows something; what did not happen hides it."""
        return bool(self.problems) or not self.was_met


def calls_of(verb):
    """Return ``{call: sort}`` of all that an operation calls."""
    with Lane(verb) as lane:
        return lane.record()


def faults_of(verb, calls, is_all=False):
    """Return the faults that a verb is to meet.

    :param calls: what :func:`calls_of` returned
    :param is_all: whether each call fails in all ways there are
    """
    by_sort = {}
    for call, sort in calls.items():
        if sort not in kinds.READING or _number(call) <= LOOKS:
            by_sort.setdefault(sort, []).append(call)
    return [fault for sort, found in by_sort.items() for fault in (
        _all(found, _kinds_of(verb, sort)) if is_all else _some(
            found, *_taken(verb, sort)))]


def _kinds_of(verb, sort):
    """Return what can happen; an engine repeats what failed, but later."""
    return [name for name in kinds.of(sort) if verb != 'retention'
            or kinds.KINDS[name].end == kinds.WELL]


def _all(calls, names):
    return [injection.Fault(call, name) for call in calls for name in names]


def _taken(verb, sort):
    """Return what passes, and what may not, that a verb takes of a sort.

    Of what all of them do in the same way each takes a part.
    """
    names = _kinds_of(verb, sort)
    passing = [name for name in names if kinds.KINDS[name].end == kinds.WELL]
    others = [name for name in names if name not in passing]
    if sort in SAME_EVERYWHERE:
        first, step = VERBS.index(verb), len(VERBS) - 1
        passing, others = passing[first::step], others[first::step]
    return passing, others


def _some(calls, passing, others):
    """Let each call fail in two ways, and each way happen.

    What operations may fail of takes a round for itself: once for each sort.
    """
    ways = min(len(passing), max(WAYS, math.ceil(len(passing) / len(calls))))
    turns = itertools.cycle(passing)
    return [*(injection.Fault(call, next(turns))
              for call in calls for _way in range(ways)),
            *(injection.Fault(call, name)
              for name, call in zip(others, itertools.cycle(calls)))]


def _number(call):
    return int(_NUMBER.search(call).group(1))


def together(faults):
    """Return lists of faults, of which each is for one round."""
    alone = [[fault] for fault in faults if not _is_passing(fault)]
    shared = []
    for fault in filter(_is_passing, faults):
        for found in shared:
            if len(found) < TOGETHER and _fits(fault, found):
                found.append(fault)
                break
        else:
            shared.append([fault])
    return shared + alone


def _fits(fault, others):
    """Return whether a fault meets no repetition of what failed before."""
    return all(fault.name != other.name or abs(
        _number(fault.call) - _number(other.call)) > 1 for other in others)


def _is_passing(fault):
    return kinds.KINDS[fault.kind].end == kinds.WELL


def outcomes(verb, chosen):
    """Return the :class:`Outcome` of each fault of some rounds of a verb.

    :param chosen: what :func:`together` returned, or some of it
    """
    return [outcome for found in rounds.outcomes(verb, chosen, Lane)
            for outcome in _told_apart(verb, found)]


def _told_apart(verb, found):
    """Yield the outcome of each fault of a round."""
    alone = [fault for fault in found.faults if fault not in found.met
             or (found.problems and len(found.faults) > 1)]
    seen = [_alone(verb, fault) for fault in alone]
    yield from seen
    for fault in set(found.faults) - set(alone):
        yield _outcome(verb, fault, found)
    if found.problems and alone and not any(
            outcome.problems for outcome in seen):
        # It takes several of them.
        yield _outcome(verb, ' and '.join(map(str, found.faults)), found)


def _alone(verb, fault):
    for _time in range(REPEATS):
        found, = rounds.outcomes(verb, [[fault]], Lane)
        if found.problems or found.met:
            break
    return _outcome(verb, fault, found)


def _outcome(verb, fault, found):
    return Outcome(verb, str(fault), found.problems, fault in found.met
                   or isinstance(fault, str), found.seconds)


@dataclasses.dataclass(frozen=True)
class _Found:
    """What came of a round: which of its faults happened, what is wrong."""

    faults: list
    met: set
    problems: list
    seconds: float


class Lane(rounds.Lane):
    """A site, on which one verb has faults round after round."""

    def __enter__(self):
        self._rounds = itertools.count()
        super().__enter__()
        self._wire = messages.Wire(f'{self.site.path}/hints')
        self.site.hints.workers.append(self._wire)
        self.site.caller = dataclasses.replace(
            self.site.caller,
            credentials=self.site.sealer.seal(identity.access()))
        return self

    def record(self):
        """Run once without faults; return ``{call: sort}``."""
        diary = self._diary()
        found = []
        self._have([], diary, found)
        if found:
            raise RuntimeError(f'{self._name}, unharmed: {found}\n'
                               f'{self.site.last_words()}')
        return {call: sort for call, sort in diary.calls().items()
                if not _BY_CHANCE.match(call)}

    def outcome(self, faults):
        """Let some calls fail; return what came of it, a :class:`_Found`."""
        begun = time.monotonic()
        diary, problems = self._diary(), []
        try:
            self._have(faults, diary, problems)
        except Exception as problem:
            LOG.exception('A round of %s broke: %s', self._name,
                          ', '.join(map(str, faults)))
            problems.append(f'{type(problem).__name__}: {problem}')
        if problems:
            problems.append(self.site.last_words())
        return _Found(faults, diary.met(), problems,
                      time.monotonic() - begun)

    def _diary(self):
        return injection.Diary(pathlib.Path(
            self.site.path, f'diary-{next(self._rounds)}'))

    def _have(self, faults, diary, problems):
        """Have the verb done with faults; add what does not hold."""
        self.help()
        self.verb.prepare()
        self.stop_helping()
        self._work(injection.Injection(faults, diary.path))
        self.help()
        problems.extend(diary.complaints())
        # One by one: of what raises, that is known which came before.
        for problem in self._problems(faults):
            problems.append(problem)

    def _work(self, injected):
        """Let a worker, and who else is needed, do it all."""
        has_engine = self.verb.IS_ENGINES
        self._wire.cut()
        processes = [self.site.fork(worker.serving(
            injected, self._wire.path, has_users=not has_engine))]
        self.site.wait(self._wire.is_heard)
        self.verb.begin()
        if has_engine:
            processes.append(self.site.fork(self.verb.work()))
        self.site.wait(self.verb.has_ended)
        for process in processes:
            self.site.kill(process)

    def _problems(self, faults):
        if (not all(map(_is_passing, faults))
                and endings.has_failed(self.verb)):
            return endings.problems(self.verb)
        return self.verb.problems()
