# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What a soak can be asked for.

Separate, and of the standard library alone, so that a wrong word is told
before anything is installed or started.
"""

import argparse
import random
import sys

_EPILOG = """
The stack (tools/stack) is brought up if it is not. Beside it a karbor of its
own is started, with a database and a broker of its own, which can be killed
without a word to the cloud. The last line is PASS or FAIL, the exit code 0
or 1; the report is kept in .stack/soak/report.txt, every event in
.stack/soak/events.log. A seed brings back the same choices; how they meet is
new each time.
"""


def parse(arguments):
    """Return the options; exits with a line on standard error if wrong."""
    parser = argparse.ArgumentParser(
        prog='tools/soak', epilog=_EPILOG, allow_abbrev=False,
        description='Let tenants protect, restore, verify, copy, abort and '
                    'delete at random while karbor, its database and its '
                    'broker are killed and paused at random. Then hold what '
                    'is left against what was asked for.')
    parser.add_argument(
        '--minutes', type=_positive, default=15.0, metavar='N',
        help='how long things go wrong (default: 15); what follows takes '
             'some minutes more')
    parser.add_argument(
        '--seed', type=int, default=random.randrange(10 ** 6), metavar='N',
        help='of all random choices (default: another one each time)')
    parser.add_argument(
        '--pause', type=_positive, default=8.0, metavar='SECONDS',
        help='mean time between two disturbances (default: 8)')
    parser.add_argument(
        '--restores', type=int, default=12, metavar='N',
        help='how many of the available checkpoints, at most, are restored '
             'and compared in the end (default: 12)')
    return parser.parse_args(arguments)


def _positive(text):
    number = float(text)
    if number <= 0:
        raise argparse.ArgumentTypeError(f'{text} is not more than 0')
    return number


if __name__ == '__main__':
    parse(sys.argv[1:])
