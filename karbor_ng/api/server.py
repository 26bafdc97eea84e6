# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""An HTTP server for the application, which stops without breaking answers.

waitress does HTTP; what it leaves open is how to stop: it would drop the
requests that it has begun.
"""

import socket
import threading
import time

import waitress
from waitress import wasyncore

from karbor_ng import errors
from karbor_ng.api import stopping

_TURN_SECONDS = 1
_LOOK_SECONDS = 0.05
_MOST_CONNECTIONS = 1000
#: The application itself refuses what is too large, in the form that callers
#: of the API expect. This only protects the disk from the boundless.
_LARGEST_BODY = 64 * 1024 * 1024


def listen(host, port):
    """Return a socket that listens; processes forked later can share it.

    :raises errors.ConfigError: the address can not be had; says why
    """
    try:
        family, kind, protocol, _name, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
    except OSError as exc:
        raise errors.ConfigError(
            f'Can not listen on {host} port {port}: {exc.strerror}. See '
            'osapi_karbor_listen and osapi_karbor_listen_port.') from exc
    listener.setblocking(False)
    return listener


class Server:
    """Serves an application on a listening socket, in threads.

    :param threads: requests that are worked on at once
    """

    def __init__(self, app, listener, threads):
        self._listener = listener
        self._sockets = {}
        self._ended = threading.Event()
        # Headers of proxies are for the application to believe or not.
        self._server = waitress.create_server(
            app, self._sockets, sockets=[listener], threads=threads,
            ident=None, connection_limit=_MOST_CONNECTIONS,
            max_request_body_size=_LARGEST_BODY,
            clear_untrusted_proxy_headers=False)
        self._thread = threading.Thread(
            target=self._serve, name='http', daemon=True)

    @property
    def port(self):
        """The port that is listened on."""
        return int(self._server.effective_port)

    def start(self):
        """Begin to serve; return at once. After a stop it ends at once."""
        self._thread.start()

    def stop(self, timeout):
        """Take no more requests, and end when those begun are answered.

        Who is connected, or waits for it, may still send a request that is
        on its way. Only once; it may come before the start, or in the middle
        of it.

        :param timeout: seconds after which what is left is cut off
        """
        if self._thread.is_alive():
            stopping.take_waiting(self._listener)
        self._server.accepting = False
        until = time.monotonic() + timeout
        while self._close_idle() and time.monotonic() < until:
            time.sleep(_LOOK_SECONDS)
        self._server.task_dispatcher.shutdown(timeout=_TURN_SECONDS)
        self._ended.set()
        self._server.pull_trigger()
        if self._thread.is_alive():
            self._thread.join()
        wasyncore.close_all(self._sockets, ignore_all=True)

    def _serve(self):
        while not self._ended.is_set():
            wasyncore.loop(timeout=_TURN_SECONDS, use_poll=True,
                           map=self._sockets, count=1)

    def _close_idle(self):
        """Hang up where nothing is going on; return how many are left."""
        channels = list(self._server.active_channels.values())
        for channel in channels:
            channel.will_close = (channel.will_close
                                  or stopping.is_idle(channel))
        self._server.pull_trigger()
        return len(channels)
