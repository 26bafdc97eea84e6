# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Lets every call of every operation fail, in turn and in many ways.

    python -m karbor_ng.tests.faults [--all] [VERB [FAULT ...]]

Without a fault those of a verb are chosen by rule (``rounds.py``), without a
verb all verbs; with ``--all`` each call fails in all ways. Prints what does
not hold, and ends with a line for each verb and the line "N faults, N
violations"; exit code 0 or 1.
"""

from concurrent import futures
import sys

from karbor_ng.tests.crashes import lanes
from karbor_ng.tests.faults import injection
from karbor_ng.tests.faults import kinds
from karbor_ng.tests.faults import rounds

#: Rounds that one site is used for.
CHUNK = 6
ALL = '--all'


def main(arguments):
    is_all = ALL in arguments
    names = [word for word in arguments if word != ALL]
    chosen = [_fault(text) for text in names[1:]]
    names = names[:1] or list(rounds.VERBS)
    if not set(names) <= set(rounds.VERBS):
        sys.exit(f'{__doc__}\nThe verbs: {", ".join(rounds.VERBS)}')
    with lanes.pool() as pool:
        faults = {names[0]: chosen} if chosen else _chosen(
            pool, names, is_all)
        return lanes.report(list(_outcomes(pool, faults)),
                            'faults')


def _fault(text):
    kind, _, call = text.partition(' at ')
    if kind not in kinds.KINDS:
        sys.exit(f'"{text}" is no fault: they are like "500 at GET '
                 f'http://nova.test/v2.1/servers #1", and kinds are: '
                 f'{", ".join(kinds.KINDS)}')
    return injection.Fault(call, kind)


def _chosen(pool, names, is_all):
    """Return ``{verb: faults}``; print how many of how many they are."""
    found = {}
    for name, calls in zip(names, pool.map(rounds.calls_of, names)):
        found[name] = rounds.faults_of(name, calls, is_all)
        possible = rounds.faults_of(name, calls, is_all=True)
        print(f'{name}: {len(calls)} calls, {len(found[name])} of '
              f'{len(possible)} faults', flush=True)
    return found


def _outcomes(pool, faults):
    """Let calls fail; yield what came of it, and tell what is wrong."""
    running = [pool.submit(rounds.outcomes, name, chunk)
               for name, chosen in faults.items()
               for chunk in lanes.chunks(rounds.together(chosen), CHUNK)]
    for future in futures.as_completed(running):
        for outcome in future.result():
            if outcome.is_bad:
                print(f'{outcome.verb}, {outcome.fault}: '
                      f'{"; ".join(outcome.problems) or "did not happen"}\n',
                      flush=True)
            yield outcome


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
