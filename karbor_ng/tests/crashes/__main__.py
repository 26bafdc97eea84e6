# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Kills operations at every boundary of their journal, one after the other.

    python -m karbor_ng.tests.crashes [VERB [POINT ...]]

Without a point all of a verb's are taken, without a verb all verbs. Prints
what does not hold, and ends with a line for each verb and the line
"N points, N violations"; exit code 0 or 1.
"""

import collections
from concurrent import futures
import sys

from karbor_ng.protection import operations
from karbor_ng.tests.crashes import lanes
from karbor_ng.tests.crashes import rounds
from karbor_ng.tests.crashes import verbs

#: Points that one site is used for.
CHUNK = 8


def main(arguments):
    names = arguments[:1] or list(verbs.VERBS)
    unknown = {*names, *operations.VERBS} - verbs.VERBS.keys()
    if unknown:
        sys.exit(f'{__doc__}\nNobody kills {", ".join(unknown)}; there are: '
                 f'{", ".join(verbs.VERBS)}')
    with lanes.pool() as pool:
        return _report(list(_outcomes(pool, names, arguments[1:])))


def _outcomes(pool, names, chosen):
    """Kill; yield what came of each point, and tell what is wrong."""
    points = {names[0]: chosen}
    if not chosen:
        points = dict(zip(names, pool.map(rounds.points_of, names)))
    running = [pool.submit(rounds.outcomes, name, chunk)
               for name in names
               for chunk in lanes.chunks(points[name], CHUNK)]
    for future in futures.as_completed(running):
        _tell(future.result())
        yield from future.result()


def _tell(outcomes):
    for outcome in outcomes:
        if outcome.problems or not outcome.was_reached:
            print(f'{outcome.verb} at "{outcome.point}": '
                  f'{"; ".join(outcome.problems) or "not reached"}\n',
                  flush=True)


def _report(found):
    """Print what was covered; return the exit code."""
    by_verb = collections.defaultdict(list)
    for outcome in found:
        by_verb[outcome.verb].append(outcome)
    for verb, outcomes in by_verb.items():
        longest = max(outcome.seconds for outcome in outcomes)
        print(f'{verb}: {len(outcomes)} points, '
              f'{len(_bad(outcomes))} violations, longest {longest:.1f} s')
    print(f'{len(found)} points, {len(_bad(found))} violations')
    return 1 if _bad(found) else 0


def _bad(outcomes):
    """Return those that show something; what was not reached hides it."""
    return [outcome for outcome in outcomes
            if outcome.problems or not outcome.was_reached]


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
