# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Ends operations at every boundary of their journal, one after the other.

    python -m karbor_ng.tests.crashes [VERB [POINT ...]]

A worker is killed there, or, for a VERB such as "paused protect", stopped and
woken up when another one has taken over. Without a point all of a verb's are
taken, without a verb all verbs; of paused ones, those points are taken then at
which most can go wrong, and some of the others. Prints what does not hold, and
ends with a line for each verb and the line "N points, N violations"; exit code
0 or 1.
"""

from concurrent import futures
import sys

from karbor_ng.protection import operations
from karbor_ng.tests.crashes import lanes
from karbor_ng.tests.crashes import pauses
from karbor_ng.tests.crashes import rounds
from karbor_ng.tests.crashes import verbs

#: Points that one site is used for.
CHUNK = 8
#: Which of the points are taken at which nothing is on its way, if not all.
EACH = 20
PAUSED = pauses.Lane.WAY
NAMES = [*verbs.VERBS, *[PAUSED + name for name in pauses.Lane.VERBS]]


def main(arguments):
    names = arguments[:1] or NAMES
    unknown = {*names, *operations.VERBS} - set(NAMES)
    if unknown:
        sys.exit(f'{__doc__}\nNobody kills {", ".join(unknown)}; there are: '
                 f'{", ".join(NAMES)}')
    with lanes.pool() as pool:
        return lanes.report(list(_outcomes(pool, names, arguments[1:])),
                            'points')


def _outcomes(pool, names, chosen):
    """Kill; yield what came of each point, and tell what is wrong."""
    of = {name: _source(name) for name in names}
    points = dict.fromkeys(of.values(), chosen)
    if not chosen:
        wanted = sorted(points)
        points = dict(zip(wanted, pool.map(rounds.points_of, wanted)))
    running = [
        pool.submit(rounds.outcomes, name.removeprefix(PAUSED), chunk, lane)
        for name in names
        for lane, taken in _ways(name, points[of[name]], len(names) == 1)
        for chunk in lanes.chunks(taken, CHUNK)]
    for future in futures.as_completed(running):
        _tell(future.result())
        yield from future.result()


def _source(name):
    """Return the verb whose points are those of another one."""
    name = name.removeprefix(PAUSED)
    return name if name in verbs.VERBS else 'protect'


def _ways(name, points, is_whole):
    """Return pairs of a kind of lane and the points it gets."""
    if not name.startswith(PAUSED):
        return [(rounds.Lane, points)]
    if is_whole:
        return [(pauses.Lane, points), (pauses.EarlyLane, points)]
    taken = _telling(points)
    return [(pauses.Lane, taken[::2]), (pauses.EarlyLane, taken[1::2])]


def _telling(points):
    """Return points with something on its way, and a part of the others."""
    on_the_way = [point for point in points if point.startswith('before ')
                  and not point.startswith('before row ')]
    others = [point for point in points if point not in on_the_way]
    return on_the_way + others[::EACH]


def _tell(outcomes):
    for outcome in outcomes:
        if outcome.is_bad:
            print(f'{outcome.verb} at "{outcome.point}": '
                  f'{"; ".join(outcome.problems) or "not reached"}\n',
                  flush=True)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
