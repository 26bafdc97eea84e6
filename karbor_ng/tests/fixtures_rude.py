# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Real servers without manners: they refuse, hang up, tear answers or fall
silent.

Apart from the clouds of other fixtures, which answer what a cloud would.
"""

import contextlib
import http.server
import socket
import threading
import types

import fixtures

#: Instead of a status: close the connection without an answer.
HANG_UP = 'hang up'
#: Instead of a status: promise a longer body than comes.
TEAR = 'tear'


class RudeServer(fixtures.Fixture):
    """Speaks HTTP, and answers what it was told to answer.

    :ivar answers: what comes next: a status, a status with headers, or one
        of the words of this module; 200 when nothing is left
    :ivar seen: requests, with ``method``, ``path``, ``headers`` and ``body``
    """

    def _setUp(self):
        self.answers, self.seen = [], []
        server = http.server.ThreadingHTTPServer(
            ('127.0.0.1', 0), type('Handler', (_Handler,), {'rude': self}))
        server.daemon_threads = True
        self.url = f'http://127.0.0.1:{server.server_port}'
        threading.Thread(target=server.serve_forever, args=(0.02,),
                         daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)

    def next_answer(self):
        answer = self.answers.pop(0) if self.answers else 200
        return answer if isinstance(answer, tuple) else (answer, {})


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    rude: RudeServer

    def _answer(self):
        self.rude.seen.append(types.SimpleNamespace(
            method=self.command, path=self.path, headers=self.headers,
            body=self._body()))
        status, headers = self.rude.next_answer()
        self.close_connection = status in (HANG_UP, TEAR)
        if status == HANG_UP:
            return
        self.send_response(200 if status == TEAR else status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header('Content-Length', '100' if status == TEAR else '0')
        self.end_headers()

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _answer

    def _body(self):
        if self.headers.get('Transfer-Encoding') != 'chunked':
            return self.rfile.read(int(self.headers['Content-Length'] or 0))
        found = b''
        while size := int(self.rfile.readline(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def log_message(self, *words):
        pass


class SilentServer(fixtures.Fixture):
    """Takes connections, says something at most, and then nothing more.

    :param words: bytes that it sends at once, or a function that is called
        with the bytes that came first and returns what to answer
    :ivar port: on 127.0.0.1
    :ivar taken: how many connections there were
    """

    def __init__(self, words=b''):
        super().__init__()
        self._words = words

    def _setUp(self):
        self.taken = 0
        self._held = []
        self._listener = socket.create_server(('127.0.0.1', 0))
        self.port = self._listener.getsockname()[1]
        self.url = f'http://127.0.0.1:{self.port}'
        threading.Thread(target=self._take, daemon=True).start()
        self.addCleanup(self._hang_up)

    def _take(self):
        while True:
            try:
                connection, _address = self._listener.accept()
            except OSError:
                return
            self.taken += 1
            self._held.append(connection)
            threading.Thread(target=self._speak, args=(connection,),
                             daemon=True).start()

    def _speak(self, connection):
        with contextlib.suppress(OSError):
            words = self._words
            if callable(words):
                words = words(connection.recv(65536))
            connection.sendall(words)

    def _hang_up(self):
        with contextlib.suppress(OSError):
            # Closing alone does not wake who accepts.
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._held:
            connection.close()


@contextlib.contextmanager
def closed_port():
    """Yield a port of this machine on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        yield taken.getsockname()[1]
