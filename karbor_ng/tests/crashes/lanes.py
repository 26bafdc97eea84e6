# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Many rounds at the same time, each in a process forked off a warm one.

Apart from the rounds because whatever is tried out in them needs the same:
what takes long to import is there already, and nothing is on a disk.
"""

import collections
from concurrent import futures
import importlib
import multiprocessing
import os
import pathlib
import tempfile

#: Rounds at the same time: each of them waits now and then.
LANES = 2 * (os.cpu_count() or 1)
#: Where sites are, if it is there: those who are killed need no real disk.
MEMORY = pathlib.Path('/dev/shm')  # nosec B108
#: What each process would load otherwise, when it comes to it.
PRELOADED = ('cinderclient.v3.client', 'novaclient.v2.client',
             'karbor_ng.plugins.server.protection',
             'taskflow.engines.action_engine.engine')


def pool():
    """Return a pool of processes, to be entered."""
    for module in PRELOADED:
        importlib.import_module(module)
    if os.access(MEMORY, os.W_OK):
        tempfile.tempdir = str(MEMORY)
    return futures.ProcessPoolExecutor(
        LANES, multiprocessing.get_context('fork'))


def chunks(items, size):
    """Return lists of so many items each."""
    return [items[begin:begin + size]
            for begin in range(0, len(items), size)]


def report(outcomes, what):
    """Print what was covered; return the exit code.

    :param outcomes: each with ``verb``, ``seconds`` and ``is_bad``
    :param what: what they are of, such as "points"
    """
    by_verb = collections.defaultdict(list)
    for outcome in outcomes:
        by_verb[outcome.verb].append(outcome)
    for verb, found in by_verb.items():
        longest = max(outcome.seconds for outcome in found)
        print(f'{verb}: {_covered(found, what)}, longest {longest:.1f} s')
    print(_covered(outcomes, what))
    return int(any(outcome.is_bad for outcome in outcomes))


def _covered(outcomes, what):
    bad = sum(outcome.is_bad for outcome in outcomes)
    return f'{len(outcomes)} {what}, {bad} violations'
