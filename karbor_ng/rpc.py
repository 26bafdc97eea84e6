# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Messages between the services: hints and control, never work.

Losing every message loses nothing: whatever a message speaks of is a row by
then, and a sweep finds rows that were not announced. So a message is sent
once, and by a thread of its own: whoever has something to say does not wait
for a broker that is down, or that hangs.
"""

import contextlib
import logging
import os
import queue
import ssl
import threading
import time

import kombu
import oslo_messaging

from karbor_ng import errors
from karbor_ng import trouble

LOG = logging.getLogger(__name__)

PROTECTION_TOPIC = 'karbor-protection'
VERSION = '1.0'


def transport(conf):
    """Return the transport that ``transport_url`` names."""
    return oslo_messaging.get_rpc_transport(conf)


class Broker:
    """The broker of ``transport_url``, for the question whether it is there.

    Asks with connections of its own: those of oslo.messaging repair
    themselves, and say nothing about it.
    """

    #: Seconds that one host gets to answer.
    PATIENCE = 2

    def __init__(self, conf):
        self._conf = conf

    def check(self):
        """Return when one of the hosts has let us in.

        :raises errors.Unavailable: none has; the text says which host
            answered how, and is for operators only
        """
        url = oslo_messaging.TransportURL.parse(self._conf)
        if not url.transport.startswith('rabbit'):
            # What lives in this process is always there.
            return
        problems = []
        for host in url.hosts:
            problem = self._problem_of(host, url.virtual_host)
            if problem is None:
                return
            problems.append(f'{host.hostname}: {problem}')
        raise errors.Unavailable('; '.join(problems))

    def _problem_of(self, host, virtual_host):
        connection = kombu.Connection(
            transport='pyamqp', hostname=host.hostname, port=host.port,
            userid=host.username, password=host.password,
            virtual_host=virtual_host or '/', ssl=self._ssl(host),
            connect_timeout=self.PATIENCE)
        with contextlib.closing(connection):
            try:
                connection.connect()
            except (OSError, *connection.connection_errors,
                    *connection.channel_errors) as problem:
                return str(problem) or type(problem).__name__
        return None

    def _ssl(self, host):
        """Return what oslo.messaging's options say about TLS."""
        group = self._conf.oslo_messaging_rabbit
        if not group.ssl:
            return False
        given = {'keyfile': group.ssl_key_file,
                 'certfile': group.ssl_cert_file}
        if group.ssl_ca_file:
            given.update(ca_certs=group.ssl_ca_file,
                         cert_reqs=ssl.CERT_REQUIRED,
                         server_hostname=host.hostname)
        return {name: value for name, value in given.items() if value} or True


class ProtectionHints:
    """Tells all protection services what has become worth a look.

    All methods return at once. What the broker does not take is forgotten,
    and so is what it keeps waiting for too long.
    """

    #: Hints that wait for a broker; more are forgotten.
    MOST_WAITING = 1000
    #: Seconds for which nothing is sent after the broker did not take a hint.
    PAUSE_SECONDS = 5

    def __init__(self, rpc_transport):
        self._client = oslo_messaging.get_rpc_client(
            rpc_transport,
            oslo_messaging.Target(topic=PROTECTION_TOPIC, version=VERSION),
            retry=0)
        self._trouble = trouble.Trouble(
            LOG, 'The broker does not take hints; sweeps and renewals find '
                 'what they tell')
        self._lock = threading.Lock()
        self._process = None
        self._waiting = None

    def operation_queued(self, operation_id):
        """Say that an operation waits for a worker."""
        self._say('operation_queued', operation_id=operation_id)

    def operation_aborted(self, operation_id):
        """Say that somebody has asked an operation to end."""
        self._say('operation_aborted', operation_id=operation_id)

    def _say(self, method, **arguments):
        # Servers fork after they have loaded us; threads stay behind.
        with self._lock:
            if self._process != os.getpid():
                self._begin()
        try:
            self._waiting.put_nowait((method, arguments))
        except queue.Full:
            self._trouble.meet('too many hints wait for it')

    def _begin(self):
        self._process = os.getpid()
        self._waiting = queue.Queue(self.MOST_WAITING)
        threading.Thread(target=self._send_all, name='hints',
                         daemon=True).start()

    def _send_all(self):
        while True:
            method, arguments = self._waiting.get()
            try:
                self._client.prepare(fanout=True).cast(
                    {}, method, **arguments)
                self._trouble.end()
            except Exception as problem:  # noqa: BLE001  (the driver's)
                self._trouble.meet(problem)
                self._forget()
                time.sleep(self.PAUSE_SECONDS)

    def _forget(self):
        """Drop what waits: it would only fail as well, one after the other."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._waiting.get_nowait()


def protection_server(rpc_transport, host, endpoint):
    """Return a server, not yet started, that hands hints to ``endpoint``.

    :param endpoint: has the methods of :class:`ProtectionHints`, each with
        the RPC context first
    """
    return oslo_messaging.get_rpc_server(
        rpc_transport,
        oslo_messaging.Target(topic=PROTECTION_TOPIC, server=host),
        [endpoint], executor='threading',
        access_policy=oslo_messaging.DefaultRPCAccessPolicy)
