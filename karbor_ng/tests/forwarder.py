# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""A way to a server that can be cut and blocked.

Apart from the tests, which have servers of different kinds behind it: so one
of them loses its database while others go on with theirs.
"""

import contextlib
import socket
import threading
import urllib.parse

import fixtures


class Forwarder(fixtures.Fixture):
    """Forwards TCP connections, until it is told not to.

    :ivar flows: an event; while it is not set nothing passes, either way
    """

    def __init__(self, url):
        super().__init__()
        parts = urllib.parse.urlsplit(url)
        self._target = parts.hostname, parts.port
        self._parts = parts
        self.flows = threading.Event()
        self.flows.set()
        self._open = []

    def _setUp(self):
        self._listener = socket.create_server(('127.0.0.1', 0))
        self.port = self._listener.getsockname()[1]
        self.url = self._parts._replace(netloc=self._parts.netloc.replace(
            f':{self._target[1]}', f':{self.port}')).geturl()
        self.addCleanup(self.cut)
        self._accept_on(self._listener)

    def _accept_on(self, listener):
        threading.Thread(target=self._accept, args=(listener,),
                         daemon=True).start()

    def _accept(self, listener):
        with contextlib.suppress(OSError):
            while True:
                near = listener.accept()[0]
                far = socket.create_connection(self._target)
                self._open += [near, far]
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=pair,
                                     daemon=True).start()

    def _pass(self, source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self.flows.wait()
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)

    def cut(self):
        """End all connections, and refuse new ones."""
        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open.clear()

    def mend(self):
        """Take connections again."""
        self._listener = socket.create_server(('127.0.0.1', self.port))
        self._accept_on(self._listener)
