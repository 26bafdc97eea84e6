# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What systemd is told: that a service is ready, that it lives, what it does.

Apart from the programs because they tell the same, from processes that
systemd does not know by number (``NotifyAccess=all`` in the units). Without
systemd nothing happens.
"""

import logging
import os
import socket
import threading

LOG = logging.getLogger(__name__)

#: Seconds between two signs of life where systemd does not wait for them.
PAUSE_SECONDS = 30


_ADDRESS = 'KARBOR_NOTIFY_SOCKET'


def take_over():
    """Let nobody but us tell systemd anything; programs begin with it.

    Cotyledon would say that it is ready before any worker has begun, and
    hide the socket from all of them.
    """
    address = os.environ.pop('NOTIFY_SOCKET', None)
    if address:
        os.environ[_ADDRESS] = address


def tell(*words):
    """Send assignments such as ``READY=1``; see sd_notify(3)."""
    address = os.environ.get(_ADDRESS)
    if not address:
        return
    if address.startswith('@'):
        address = '\0' + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        try:
            channel.sendto('\n'.join(words).encode(), address)
        except OSError as problem:
            LOG.warning('systemd does not listen: %s', problem)


class Heartbeat:
    """Tells systemd again and again that a service lives, as long as it does.

    :param service: has ``wait_until_ready()``, ``is_alive()``, and
        ``describe()``: one line
    """

    def __init__(self, service):
        self._service = service
        self._stopped = threading.Event()
        watched = int(os.environ.get('WATCHDOG_USEC') or 0) / 10 ** 6
        self._pause = watched / 3 or PAUSE_SECONDS

    def start(self):
        """Say when the service is ready, and go on; return at once."""
        threading.Thread(target=self._beat, name='heartbeat',
                         daemon=True).start()

    def stop(self):
        self._stopped.set()

    def _beat(self):
        self._service.wait_until_ready()
        tell('READY=1')
        while not self._stopped.is_set():
            try:
                tell(f'STATUS={self._service.describe()}')
                if self._service.is_alive():
                    tell('WATCHDOG=1')
                else:
                    LOG.error('The service hangs; systemd will restart it if '
                              'WatchdogSec is set.')
            except Exception:
                LOG.exception('Telling systemd failed')
            self._stopped.wait(self._pause)
