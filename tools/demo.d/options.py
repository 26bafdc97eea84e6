# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What the demonstration can be asked for.

Separate, and of the standard library alone, so that a wrong word is told
before anything is installed.
"""

import argparse
import os
import sys

PREFIX = 'karbor-demo'

_EPILOG = """
Without --os-cloud and OS_* variables a real OpenStack is started on this
machine (tools/stack) for the demonstration, and stopped afterwards unless it
ran before. The last line is PASS or FAIL, the exit code 0 or 1.
"""


def parse(arguments):
    """Return the options; exits with a line on standard error if wrong."""
    parser = argparse.ArgumentParser(
        prog='tools/demo', epilog=_EPILOG, allow_abbrev=False,
        description='Protect an application in a cloud with karbor_ng: two '
                    'servers, an image, volumes. Destroy it, restore it, '
                    'and compare everything that can be compared.')
    parser.add_argument(
        '--os-cloud', metavar='NAME',
        help='use this cloud of clouds.yaml instead of starting one')
    parser.add_argument(
        '--volumes', type=_count, default=2, metavar='N',
        help='how many volumes with data, besides the one from which a '
             'server boots (default: 2)')
    parser.add_argument(
        '--size', type=_count, default=1, metavar='GIB',
        help='size of each volume in GiB (default: 1)')
    parser.add_argument(
        '--data', type=_count, default=32, metavar='MIB',
        help='random bytes in the image and in each volume in MiB; the '
             'rest of a volume is zeros (default: 32)')
    parser.add_argument(
        '--flavor', metavar='NAME',
        help='flavor of the servers (default: the smallest with a root '
             'disk)')
    parser.add_argument(
        '--corrupt', action='store_true',
        help='flip one byte of one restored volume: must end with FAIL')
    parser.add_argument(
        '--keep', action='store_true',
        help='leave cloud, application, checkpoint and service as they are '
             'in the end, and say how to look at them')
    parser.add_argument(
        '--clean-up', metavar='RUN',
        help='only remove what the run of that name (it was told at its '
             'start) has left in the cloud')
    options = parser.parse_args(arguments)
    if options.data > options.size * 1024:
        parser.error(f'--data: {options.data} MiB do not fit into volumes '
                     f'of {options.size} GiB')
    return options


def has_cloud(options):
    """Whether the user has named a cloud, in whichever way."""
    return bool(options.os_cloud or os.environ.get('OS_CLOUD')
                or os.environ.get('OS_AUTH_URL'))


def _count(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f'{number} is less than 1')
    return number


if __name__ == '__main__':
    parse(sys.argv[1:])
