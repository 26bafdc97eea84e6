# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The server: real sockets, and stopping while requests are under way."""

import http.client
import socket
import threading
import time

import fixtures
from oslotest import base

from karbor_ng import errors
from karbor_ng.api import server

LARGEST = 2 ** 20


class Slow:
    """An application whose requests end when they are told to."""

    def __init__(self):
        self.begun = threading.Semaphore(0)
        self.may_end = threading.Event()

    def __call__(self, environ, start_response):
        if environ['PATH_INFO'] == '/slow':
            self.begun.release()
            self.may_end.wait(20)
        body = b'x' * 3000000 if environ['PATH_INFO'] == '/large' else b'ok'
        start_response('200 OK', [('Content-Length', str(len(body)))])
        return [body]


class ServerTest(base.BaseTestCase):
    """One server in this process."""

    def setUp(self):
        super().setUp()
        self.app = Slow()
        listener = server.listen('127.0.0.1', 0)
        self.addCleanup(listener.close)
        self.server = server.Server(self.app, listener, 4, LARGEST)
        self.server.start()
        self.answers = []
        self.addCleanup(self.app.may_end.set)

    def _connection(self):
        connection = http.client.HTTPConnection(
            '127.0.0.1', self.server.port, timeout=20)
        self.addCleanup(connection.close)
        return connection

    def _get(self, path):
        connection = self._connection()
        connection.request('GET', path)
        answer = connection.getresponse()
        return answer.status, len(answer.read())

    def _in_background(self, function, *args):
        thread = threading.Thread(
            target=lambda: self.answers.append(function(*args)))
        thread.start()
        self.addCleanup(thread.join)
        return thread

    def test_serves(self):
        self.assertEqual((200, 2), self._get('/'))
        self.server.stop(5)

    def test_connections_are_kept(self):
        connection = self._connection()
        for _turn in range(3):
            connection.request('GET', '/')
            self.assertEqual(b'ok', connection.getresponse().read())
        self.server.stop(5)

    def test_says_nothing_of_itself(self):
        connection = self._connection()
        connection.request('GET', '/')
        self.assertIsNone(connection.getresponse().getheader('Server'))
        self.server.stop(5)

    def test_requests_under_way_are_answered(self):
        clients = [self._in_background(self._get, '/slow')
                   for _number in range(3)]
        for _client in clients:
            self.assertTrue(self.app.begun.acquire(timeout=10))
        stopping = threading.Thread(target=self.server.stop, args=(15,))
        stopping.start()
        time.sleep(0.3)
        self.assertTrue(stopping.is_alive())
        self.app.may_end.set()
        for thread in (*clients, stopping):
            thread.join(10)
        self.assertEqual([(200, 2)] * 3, self.answers)
        self.assertRaises(OSError, self._get, '/')

    def test_idle_connections_do_not_hold_it_up(self):
        connection = self._connection()
        connection.request('GET', '/')
        connection.getresponse().read()
        began = time.monotonic()
        self.server.stop(10)
        self.assertLess(time.monotonic() - began, 5)

    def test_large_answers_arrive_whole(self):
        connection = self._connection()
        connection.request('GET', '/large')
        answer = connection.getresponse()
        stopping = threading.Thread(target=self.server.stop, args=(15,))
        stopping.start()
        self.assertEqual(3000000, len(answer.read()))
        stopping.join(10)
        self.assertFalse(stopping.is_alive())

    def test_patience_ends(self):
        client = self._in_background(self._try, '/slow')
        self.assertTrue(self.app.begun.acquire(timeout=10))
        began = time.monotonic()
        self.server.stop(0.2)
        self.assertLess(time.monotonic() - began, 5)
        client.join(10)
        self.assertEqual(['cut off'], self.answers)

    def _try(self, path):
        try:
            return self._get(path)
        except (OSError, http.client.HTTPException):
            return 'cut off'


class SlowClientTest(base.BaseTestCase):
    """Clients that take their time, or fill connections, harm nobody."""

    THREADS = 2

    def serve(self, **limits):
        listener = server.listen('127.0.0.1', 0)
        self.addCleanup(listener.close)
        self.useFixture(fixtures.MonkeyPatch(
            'karbor_ng.api.server._HURRIED_SECONDS', 0.5))
        served = server.Server(Slow(), listener, self.THREADS, LARGEST,
                               **limits)
        served.start()
        self.addCleanup(served.stop, 1)
        self.port = served.port

    def send(self, words):
        connection = socket.create_connection(('127.0.0.1', self.port), 20)
        self.addCleanup(connection.close)
        connection.sendall(words)
        return connection

    def status(self, words=b'GET / HTTP/1.0\r\n\r\n'):
        return self.send(words).recv(64).split()[1]

    def test_they_take_no_thread(self):
        self.serve()
        for words in (b'', b'GE', b'POST / HTTP/1.1\r\nContent-Le',
                      b'POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nslow',
                      b'POST / HTTP/1.1\r\nTransfer-Encoding: chunked'
                      b'\r\n\r\n5\r\nslow'):
            for _ in range(2 * self.THREADS):
                self.send(words)
        began = time.monotonic()
        self.assertEqual(b'200', self.status())
        self.assertLess(time.monotonic() - began, 5)

    def test_who_drips_is_cut_off(self):
        self.serve(request_seconds=1)
        for words in (b'GET / HTTP/1.1\r\nX-Slow: ',
                      b'POST / HTTP/1.1\r\nContent-Length: 99\r\n\r\n'):
            self.assertTrue(self.is_cut_off(self.send(words)), words)

    def is_cut_off(self, connection):
        connection.settimeout(0.1)
        until = time.monotonic() + 15
        while time.monotonic() < until:
            try:
                connection.sendall(b'x')
                return connection.recv(64) == b''
            except TimeoutError:
                continue
            except ConnectionError:
                return True
        return False

    def test_who_pauses_between_requests_is_not(self):
        self.serve(request_seconds=0.5)
        connection = http.client.HTTPConnection('127.0.0.1', self.port, 20)
        self.addCleanup(connection.close)
        for _turn in range(2):
            connection.request('GET', '/')
            self.assertEqual(b'ok', connection.getresponse().read())
            # It would just connect again if the server had hung up.
            connection.auto_open = False
            time.sleep(2)

    def test_connections_that_are_taken_come_free(self):
        self.serve(most_connections=10)
        held = [self.send(words) for words in (b'', b'GET /') * 8]
        began = time.monotonic()
        self.assertEqual(b'200', self.status())
        self.assertLess(time.monotonic() - began, 10)
        self.assertEqual(16, len(held))

    def test_boundless_bodies(self):
        """Announced ones are not even taken, others cut off."""
        self.serve()
        self.assertEqual(b'413', self.status(
            b'POST / HTTP/1.1\r\nContent-Length: 999999999999\r\n\r\n'))
        connection = self.send(
            b'POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n')
        sent = 0
        try:
            while sent < 100 * LARGEST:
                connection.sendall(b'10000\r\n' + b'x' * 2 ** 16 + b'\r\n')
                sent += 2 ** 16
        except ConnectionError:
            pass
        # What is on its way is not counted.
        self.assertLess(sent, 20 * LARGEST)


class EarlyStopTest(base.BaseTestCase):
    """A stop that comes before the start, as signals may."""

    def test_start_after_stop(self):
        listener = server.listen('127.0.0.1', 0)
        self.addCleanup(listener.close)
        early = server.Server(Slow(), listener, 1, LARGEST)
        early.stop(5)
        early.start()
        # Nobody can connect any more.
        self.assertRaises(OSError, listener.getsockname)


class ListenTest(base.BaseTestCase):
    """Getting a socket."""

    def test_port_in_use(self):
        taken = server.listen('127.0.0.1', 0)
        self.addCleanup(taken.close)
        port = taken.getsockname()[1]
        problem = self.assertRaises(errors.ConfigError, server.listen,
                                    '127.0.0.1', port)
        self.assertIn(f'127.0.0.1 port {port}: Address already in use',
                      str(problem))

    def test_address_of_another_host(self):
        problem = self.assertRaises(errors.ConfigError, server.listen,
                                    '192.0.2.1', 0)
        self.assertIn('osapi_karbor_listen', str(problem))

    def test_new_version_of_the_protocol(self):
        if not socket.has_ipv6:
            return
        listener = server.listen('::1', 0)
        self.addCleanup(listener.close)
        self.assertEqual(socket.AF_INET6, listener.family)
