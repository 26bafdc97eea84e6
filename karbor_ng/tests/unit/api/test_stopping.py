# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Stopping a server while clients come: each is answered, or never let in."""

import collections
import http.client
import socket
import threading
import time

from oslotest import base

from karbor_ng.api import server
from karbor_ng.api import stopping

LARGEST = 2 ** 20
REQUEST = b'GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n'


def application(environ, start_response):
    time.sleep(0.01)
    start_response('200 OK', [('Content-Length', '2')])
    return [b'ok']


class StoppingTest(base.BaseTestCase):

    def setUp(self):
        super().setUp()
        self.listener = server.listen('127.0.0.1', 0)
        self.addCleanup(self.listener.close)
        self.server = server.Server(application, self.listener, 4, LARGEST)

    def connected(self, timeout=20):
        client = socket.create_connection(
            ('127.0.0.1', self.server.port), timeout)
        self.addCleanup(client.close)
        return client

    def answer(self, client):
        answer = http.client.HTTPResponse(client)
        answer.begin()
        return answer.status, answer.read()

    def test_who_waits_is_served_and_nobody_else(self):
        early = self.connected()
        early.sendall(REQUEST)
        stopping.refuse_new(self.listener)
        self.assertRaises(TimeoutError, self.connected, 0.5)
        self.server.start()
        self.server.stop(10)
        self.assertEqual((200, b'ok'), self.answer(early))
        self.listener.close()
        self.assertRaises(ConnectionRefusedError, self.connected)

    def test_who_is_connected_may_still_ask(self):
        self.server.start()
        silent, asking = self.connected(), self.connected()
        stop = threading.Thread(target=self.server.stop, args=[10])
        stop.start()
        time.sleep(2 * stopping.QUIET_SECONDS)
        asking.sendall(REQUEST)
        self.assertEqual((200, b'ok'), self.answer(asking))
        stop.join(20)
        self.assertEqual(b'', silent.recv(1))

    def test_nobody_is_cut_off_in_a_crowd(self):
        self.server.start()
        self.seen = collections.Counter()
        crowd = [threading.Thread(target=self._ask_on) for _one in range(8)]
        for client in crowd:
            client.start()
        while self.seen['answered'] < 50:
            time.sleep(0.01)
        stopping.refuse_new(self.listener)
        self.server.stop(10)
        self.listener.close()
        for client in crowd:
            client.join(30)
        self.assertEqual({'answered', 'not let in'}, set(self.seen))
        self.assertEqual(8, self.seen['not let in'])

    def _ask_on(self):
        """Ask, each time over a new connection, until none is to be had."""
        while True:
            try:
                client = self.connected()
            except ConnectionRefusedError:
                self.seen['not let in'] += 1
                return
            try:
                client.sendall(REQUEST)
                self.answer(client)
                self.seen['answered'] += 1
            except (OSError, http.client.HTTPException) as problem:
                self.seen[repr(problem)] += 1
                return

    def test_a_socket_that_others_go_on_with(self):
        """Without refusing: whoever is not served waits for them."""
        shared = self.listener.dup()
        self.addCleanup(shared.close)
        self.server.start()
        self.server.stop(10)
        late = self.connected()
        late.sendall(REQUEST)
        other = server.Server(application, shared, 4, LARGEST)
        other.start()
        self.assertEqual((200, b'ok'), self.answer(late))
        other.stop(10)
