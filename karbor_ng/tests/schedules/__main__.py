# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Let many worlds be, and say what became of their schedules.

    python -m karbor_ng.tests.schedules [--windows N] [--seed N] [--url URL]

Each world has a seed of its own, from the given one on, and is small: what
happens when little has happened yet is as much of interest as the rest. Two
worlds at most go on at once. Each has its line, with the seed that brings it
back; what is wrong stands below. The last line is the sum. Exits with 1 if
anything is wrong.
"""

import argparse
import concurrent.futures
import functools
import logging
import sys

from karbor_ng.tests.schedules import proof

#: Due windows in a world.
WINDOWS = 2000
PROCESSES = 2


def main():
    options = _options()
    total = proof.Told()
    seeds = range(options.seed, options.seed - -options.windows // WINDOWS)
    size = min(options.windows, WINDOWS)
    with concurrent.futures.ProcessPoolExecutor(PROCESSES) as pool:
        for seed, told in zip(seeds, pool.map(
                functools.partial(_prove, count=size, url=options.url),
                seeds), strict=True):
            print(f'seed {seed}: {told}', *told.problems, sep='\n  ',
                  flush=True)
            total += told
    print(f'all: {total}')
    return int(bool(total.problems))


def _options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--windows', type=int, default=100000, metavar='N',
                        help='due windows, at least (default: 100000)')
    parser.add_argument('--seed', type=int, default=1, metavar='N',
                        help='of the first world (default: 1)')
    parser.add_argument('--url', help='of a database server on which '
                                      'databases are made (default: SQLite)')
    return parser.parse_args()


def _prove(seed, count, url):
    # What goes wrong on purpose is told at length there.
    logging.disable(logging.CRITICAL)
    return proof.prove(seed, count, url)


if __name__ == '__main__':
    sys.exit(main())
