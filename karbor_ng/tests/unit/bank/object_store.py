# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""A small object store that speaks enough of Keystone and Swift, and fails.

Real sockets and real clients: what a driver does about a lost reply or a
revoked token is only seen there. The functional tests run the same contract
against a real Swift.
"""

import hashlib
from http import server
import json
import threading
import time
import urllib.parse
import uuid

ACCOUNT = '/v1/AUTH_test'


class ObjectStore(server.ThreadingHTTPServer):
    """Keeps containers in memory.

    :ivar failures: what is done to coming requests, taken from the front:
        ``(method, what)`` with what a status to answer instead of doing the
        request, or ``lose reply``, ``hang``, ``truncate``, ``flip``, or
        ``stall``: stop in the middle of the body
    :ivar failure_headers: headers of answers with such a status
    :ivar after_put: called with the path after each put, once
    :ivar requests: methods and paths in order
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self):
        super().__init__(('127.0.0.1', 0), _Handler)
        self.lock = threading.RLock()
        self.containers = {}
        self.tokens = set()
        self.failures = []
        self.failure_headers = {}
        self.requests = []
        self.after_put = None
        self.password = 'secret'
        self.endpoints = True
        self.hang_up = threading.Event()
        self.url = f'http://127.0.0.1:{self.server_port}'
        threading.Thread(target=self.serve_forever, args=(0.05,),
                         daemon=True).start()

    def stop(self):
        self.hang_up.set()
        self.shutdown()
        self.server_close()

    def count(self, method):
        return len([request for request in self.requests
                    if request[0] == method and ACCOUNT in request[1]])

    def handle_error(self, request, client_address):
        """Clients that hang up are part of the tests."""


class _Handler(server.BaseHTTPRequestHandler):

    protocol_version = 'HTTP/1.1'
    # One packet for an answer: two would wait for each other.
    wbufsize = 65536
    disable_nagle_algorithm = True

    def do(self):
        self.body = self.rfile.read(int(
            self.headers.get('Content-Length') or 0))
        path, _mark, query = self.path.partition('?')
        self.query = dict(urllib.parse.parse_qsl(query))
        self.requested = urllib.parse.unquote(path)
        with self.server.lock:
            self.server.requests.append((self.command, self.requested))
            self.failure = self._take_failure()
        if isinstance(self.failure, int):
            return self._answer(self.failure, **self.server.failure_headers)
        if self.failure == 'hang':
            self.server.hang_up.wait(30)
            return self._hang_up()
        if not self.requested.startswith(ACCOUNT):
            return self._identity()
        if self.headers.get('X-Auth-Token') not in self.server.tokens:
            return self._answer(401)
        self._store()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do

    def log_message(self, *arguments):
        """The tests look at what the driver says."""

    def _take_failure(self):
        failures = self.server.failures
        if failures and failures[0][0] == self.command:
            return failures.pop(0)[1]
        return None

    def _hang_up(self):
        self.close_connection = True
        self.wfile.flush()
        self.connection.close()

    def _answer(self, status, body=b'', **headers):
        if self.failure == 'lose reply':
            return self._hang_up()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace('_', '-'), value)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        if self.failure == 'truncate':
            self.wfile.write(body[:len(body) // 2])
            return self._hang_up()
        if self.failure == 'stall':
            self.wfile.write(body[:len(body) // 2])
            self.wfile.flush()
            self.server.hang_up.wait(30)
            return self._hang_up()
        if self.failure == 'flip':
            body = bytes([body[0] ^ 1]) + body[1:]
        if self.command != 'HEAD':
            self.wfile.write(body)

    def _identity(self):
        url = self.server.url
        if self.command == 'GET':
            return self._answer(200, json.dumps({'version': {
                'id': 'v3.14', 'status': 'stable', 'media-types': [],
                'links': [{'rel': 'self', 'href': f'{url}/v3'}],
            }}).encode(), Content_Type='application/json')
        identity = json.loads(self.body)['auth']['identity']
        if identity['password']['user']['password'] != self.server.password:
            return self._answer(401)
        token = uuid.uuid4().hex
        self.server.tokens.add(token)
        catalog = [{'type': 'object-store', 'id': '1', 'name': 'swift',
                    'endpoints': [{
                        'id': '1', 'interface': 'public', 'region': 'R',
                        'region_id': 'R', 'url': url + ACCOUNT}]}]
        self._answer(201, json.dumps({'token': {
            'methods': ['password'], 'issued_at': '2026-01-01T00:00:00Z',
            'expires_at': '2099-01-01T00:00:00Z',
            'user': {'id': 'u', 'name': 'u',
                     'domain': {'id': 'd', 'name': 'd'}},
            'project': {'id': 'p', 'name': 'p',
                        'domain': {'id': 'd', 'name': 'd'}},
            'catalog': catalog if self.server.endpoints else [],
        }}).encode(), X_Subject_Token=token, Content_Type='application/json')

    def _store(self):
        _empty, _version, _account, container, *key = self.requested.split(
            '/', 4)
        with self.server.lock:
            if self.command == 'PUT' and not key:
                self.server.containers.setdefault(container, {})
                return self._answer(201)
            objects = self.server.containers.get(container)
            if objects is None:
                return self._answer(404)
            verb = getattr(self, f'_{self.command.lower()}_'
                                 f'{"object" if key else "container"}')
            return verb(objects, *key)

    def _get_container(self, objects):
        names = sorted((name for name in objects
                        if name.startswith(self.query.get('prefix', ''))
                        and name.encode() > self.query.get(
                            'marker', '').encode()), key=str.encode)
        page = names[:int(self.query['limit'])]
        self._answer(200, json.dumps(
            [{'name': name} for name in page]).encode())

    def _put_object(self, objects, key):
        if self.headers.get('If-None-Match') == '*' and key in objects:
            return self._answer(412)
        if hashlib.md5(self.body).hexdigest() != self.headers['ETag']:
            return self._answer(422)
        meta = {name.lower(): value for name, value in self.headers.items()
                if name.lower().startswith('x-object-meta-')}
        meta['x-timestamp'] = f'{time.time():.5f}'
        objects[key] = (self.body, meta)
        if self.server.after_put:
            after_put, self.server.after_put = self.server.after_put, None
            after_put(objects, key)
        self._answer(201, ETag=hashlib.md5(self.body).hexdigest(),
                     Date=str(time.time()))

    def _get_object(self, objects, key):
        if key not in objects:
            return self._answer(404)
        data, meta = objects[key]
        self._answer(200, data, ETag=hashlib.md5(data).hexdigest(), **meta)

    _head_object = _get_object

    def _delete_object(self, objects, key):
        self._answer(404 if objects.pop(key, None) is None else 204)
