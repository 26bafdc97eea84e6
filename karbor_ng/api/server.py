# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""An HTTP server for the application, which stops without breaking answers.

waitress does HTTP: one thread reads all requests and writes all answers, so
that slow clients take no thread from others. What it leaves open is how to
stop, since it would drop the requests that it has begun, and how long a
request may take to arrive: connections are not without number.
"""

import socket
import threading
import time
import weakref

import waitress
from waitress import wasyncore

from karbor_ng import errors
from karbor_ng.api import stopping

_TURN_SECONDS = 1
_LOOK_SECONDS = 0.05
_MOST_CONNECTIONS = 1000
#: Seconds in which a request must have arrived, and those that are left when
#: others wait for a connection.
_REQUEST_SECONDS = 60
_HURRIED_SECONDS = 5
#: Bytes of a body that wait in memory until the rest has come; more of them
#: wait on the disk.
_BODY_IN_MEMORY = 64 * 1024


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


def largest_body(conf):
    """Return the bytes of a body that are taken in order to be refused.

    :param conf: the application's, after it was made
    """
    return 2 * conf.oslo_middleware.max_request_body_size


class Server:
    """Serves an application on a listening socket, in threads.

    :param threads: requests that are worked on at once
    :param largest_body: bytes beyond which a body is not even taken. The
        application itself refuses smaller ones, in the form that callers of
        the API expect; this protects the disk.
    :param most_connections: those that are open at once; others wait
    :param request_seconds: in which a request must have arrived
    """

    def __init__(self, app, listener, threads, largest_body,
                 most_connections=_MOST_CONNECTIONS,
                 request_seconds=_REQUEST_SECONDS):
        self._listener = listener
        self._sockets = {}
        self._most_connections = most_connections
        self._request_seconds = request_seconds
        # When the first byte of each unfinished request was seen.
        self._begun = weakref.WeakKeyDictionary()
        self._ended = threading.Event()
        # Headers of proxies are for the application to believe or not.
        self._server = waitress.create_server(
            app, self._sockets, sockets=[listener], threads=threads,
            ident=None, connection_limit=most_connections,
            max_request_body_size=largest_body,
            inbuf_overflow=_BODY_IN_MEMORY,
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
        looked = time.monotonic()
        while not self._ended.is_set():
            wasyncore.loop(timeout=_TURN_SECONDS, use_poll=True,
                           map=self._sockets, count=1)
            if time.monotonic() - looked >= _TURN_SECONDS:
                looked = time.monotonic()
                self._close_slow()

    def _close_slow(self):
        """Hang up where a request does not come to its end.

        Where nothing comes at all waitress does, after two minutes; here as
        well if all connections are taken.
        """
        channels = list(self._server.active_channels.values())
        # The listening socket and waitress's own trigger count for it.
        hurried = len(self._sockets) >= self._most_connections
        seconds = _HURRIED_SECONDS if hurried else self._request_seconds
        for channel in channels:
            if channel.requests or channel.total_outbufs_len:
                continue
            since = self._since(channel)
            if channel.request is None and not hurried:
                continue
            if time.time() - since > seconds:
                channel.will_close = True

    def _since(self, channel):
        """Return when a request began, or ended, on a connection."""
        if channel.request is None:
            return channel.last_activity
        return self._begun.setdefault(channel.request, time.time())

    def _close_idle(self):
        """Hang up where nothing is going on; return how many are left."""
        channels = list(self._server.active_channels.values())
        for channel in channels:
            channel.will_close = (channel.will_close
                                  or stopping.is_idle(channel))
        self._server.pull_trigger()
        return len(channels)
