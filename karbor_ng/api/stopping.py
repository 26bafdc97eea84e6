# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Who is on the way to a server that stops: nobody may lose a request.

Between a connection that the kernel has made and a request that waitress has
read lie several places where a server that just closes its socket throws
things away. Apart from the server, which knows what to do with requests.
"""

import ctypes
import logging
import select
import socket
import struct
import sys
import time

LOG = logging.getLogger(__name__)

#: Seconds without anybody who connects, and those that are waited for them.
QUIET_SECONDS, WAITING_SECONDS = 0.2, 1
#: Seconds in which who has connected sends a first request.
FRESH_SECONDS = 2
_LOOK_SECONDS = 0.05
#: Lets a socket drop what begins a connection: packets with SYN and without
#: ACK among their flags. Instructions of Linux's packet filter.
_ATTACH_FILTER = 26
_NO_BEGINNING = (
    (0x30, 0, 0, 13), (0x54, 0, 0, 0x12), (0x15, 0, 1, 0x02),
    (0x06, 0, 0, 0), (0x06, 0, 0, 0xffffffff))


def refuse_new(listener):
    """Let nobody begin to connect any more; who has begun will be served.

    For a program that ends, before its processes stop. A socket that is
    closed throws away who has connected and was not accepted yet: they would
    lose a request that they have sent. Those who come now try again by
    themselves, after a second, and find the port closed or the next program.
    """
    if not sys.platform.startswith('linux'):
        return
    steps = ctypes.create_string_buffer(
        b''.join(struct.pack('HBBI', *step) for step in _NO_BEGINNING))
    program = struct.pack('HP', len(_NO_BEGINNING), ctypes.addressof(steps))
    try:
        listener.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, program)
    except OSError as problem:
        LOG.warning('Who connects while we stop may have to ask again: %s',
                    problem)


def take_waiting(listener):
    """Return when nobody waits to be accepted, or others come and come.

    Those will be accepted by the next process of the same program.
    """
    began = quiet_since = time.monotonic()
    while time.monotonic() < min(began + WAITING_SECONDS,
                                 quiet_since + QUIET_SECONDS):
        if _is_readable(listener):
            quiet_since = time.monotonic()
        time.sleep(_LOOK_SECONDS)


def is_idle(channel):
    """Return whether a connection of waitress is between two requests.

    One without any as yet will bring the first one soon.
    """
    if channel.requests or channel.request or channel.total_outbufs_len:
        return False
    is_fresh = (channel.last_activity == channel.creation_time
                and time.time() - channel.creation_time < FRESH_SECONDS)
    return not is_fresh and not _is_readable(channel.socket)


def _is_readable(channel):
    """Return whether something has come that nobody has read."""
    poll = select.poll()
    try:
        poll.register(channel, select.POLLIN)
    except (OSError, ValueError):
        # It was closed a moment ago.
        return False
    return bool(poll.poll(0))
