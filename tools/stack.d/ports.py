# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Every port of the stack, and who else listens on one.

Separate because configuration, catalogue and health checks must agree, and
because one number, STACK_PORT_OFFSET, moves all of them at once so that two
checkouts can run side by side.
"""

import os
import pathlib

import paths

IP = '127.0.0.1'
TABLE = {
    'karbor': 8799,
    'keystone': 15000,
    # Of a second one, as of another cloud: tests start it.
    'test_keystone': 15001,
    'swift_object': 15010,
    'swift_container': 15011,
    'swift_account': 15012,
    'swift': 15080,
    'memcached': 15211,
    'glance': 15292,
    'mariadb': 15306,
    'test_mariadb': 15307,
    'test_postgresql': 15432,
    'rabbitmq': 15673,
    'rabbitmq_distribution': 15674,
    'epmd': 15675,
    'neutron': 15696,
    'nova': 15774,
    'cinder': 15776,
    'placement': 15778,
}
MEMORY = paths.STATE / 'port_offset'


def port(name):
    return TABLE[name] + offset()


def url(name):
    return f'http://{IP}:{port(name)}'


def offset():
    """The offset this checkout's stack was made with, else the wished one."""
    wished = os.environ.get('STACK_PORT_OFFSET')
    if not MEMORY.exists():
        return int(wished or 0)
    kept = int(MEMORY.read_text())
    if wished and int(wished) != kept:
        raise SystemExit(
            f'this stack was made with STACK_PORT_OFFSET={kept}, not '
            f'{wished}; run "tools/stack wipe" first to change it')
    return kept


def remember():
    """Keep the offset, so that later commands need no variable."""
    MEMORY.parent.mkdir(parents=True, exist_ok=True)
    MEMORY.write_text(str(offset()))


def listeners():
    """Map each port that is listened on to the socket's inode."""
    found = {}
    for table in ('/proc/net/tcp', '/proc/net/tcp6'):
        lines = pathlib.Path(table).read_text().splitlines()[1:]
        for fields in map(str.split, lines):
            if fields[3] == '0A':
                found[int(fields[1].rpartition(':')[2], 16)] = fields[9]
    return found


def owner(inode):
    """Return the process that holds the socket, None if it is hidden."""
    for link in pathlib.Path('/proc').glob('[0-9]*/fd/*'):
        try:
            if os.readlink(link) == f'socket:[{inode}]':
                return int(link.parts[2])
        except OSError:
            continue
    return None
