# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Messages that are lost, doubled or late, on their way to a worker.

Who sends them is another process than who gets them. What is between is a
socket, and then a broker in the worker's own process: messages are sent and
served by the product's own functions.
"""

import contextlib
import json
import os
import socket
import threading

import oslo_messaging
from oslo_messaging import conffixture

from karbor_ng import rpc

#: Seconds that late messages take; most operations have ended by then.
LATE_SECONDS = 3
#: Bytes of a message, at most.
_LONGEST = 4096


class FaultyHints:
    """Sends hints, some of which fare badly.

    :param inner: :class:`rpc.ProtectionHints`, or who has its methods
    :param injection: see :class:`injection.Injection`
    """

    def __init__(self, inner, injection):
        self._inner = inner
        self._injection = injection

    def operation_queued(self, operation_id):
        self._send('operation_queued', operation_id)

    def operation_aborted(self, operation_id):
        self._send('operation_aborted', operation_id)

    def _send(self, method, operation_id):
        kind = self._injection.meet('hint', f'hint {method}')
        send = getattr(self._inner, method)
        if kind == 'late':
            timer = threading.Timer(LATE_SECONDS, send, [operation_id])
            timer.daemon = True
            timer.start()
        elif kind != 'lost':
            send(operation_id)
        if kind == 'doubled':
            send(operation_id)


class Wire:
    """Sends hints to the process that listens at a path, if there is one."""

    def __init__(self, path):
        self.path = path

    def operation_queued(self, operation_id):
        self._send('operation_queued', operation_id)

    def operation_aborted(self, operation_id):
        self._send('operation_aborted', operation_id)

    def _send(self, method, operation_id):
        text = json.dumps([method, operation_id])
        # Nobody listens: lost, as with a broker that is down.
        with (contextlib.suppress(OSError),
              socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender):
            sender.sendto(text.encode(), self.path)

    def is_heard(self):
        """Return whether anybody has begun to listen."""
        return os.path.exists(self.path)

    def cut(self):
        """Let nobody have begun to listen."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)


def deliver(path, conf, worker, injection):
    """Hand what is sent to a path to a worker, as a broker does."""
    # Gives options that oslo.messaging keeps for the configuration of all.
    conffixture.ConfFixture(conf).setUp()
    transport = oslo_messaging.get_rpc_transport(conf, 'fake://')
    rpc.protection_server(transport, conf.host, worker).start()
    hints = FaultyHints(rpc.ProtectionHints(transport), injection)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(path)

    def listen():
        while True:
            method, operation_id = json.loads(listener.recv(_LONGEST))
            getattr(hints, method)(operation_id)
    threading.Thread(target=listen, daemon=True).start()
