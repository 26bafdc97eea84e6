# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""A Keystone for one user, over HTTP: for programs that sign in.

Apart from the other fixtures because only tests of whole processes need it.
"""

import http.server
import json
import threading

import fixtures
from keystoneauth1 import fixture as keystone_fixture

PASSWORD = 'right'


class _Handler(http.server.BaseHTTPRequestHandler):

    def do_GET(self):
        self._answer(200, {'version': keystone_fixture.V3Discovery(
            f'http://{self.headers["Host"]}/v3')})

    def do_POST(self):
        length = int(self.headers['Content-Length'])
        asked = json.loads(self.rfile.read(length))['auth']
        given = asked['identity']['password']['user']['password']
        if given != PASSWORD:
            self._answer(401, {})
            return
        token = keystone_fixture.V3Token(user_name='karbor')
        token.set_project_scope(name='service')
        for role in self.server.roles:
            token.add_role(name=role)
        self._answer(201, token, **{'X-Subject-Token': 'token'})

    def _answer(self, status, body, **headers):
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {**headers, 'Content-Length': len(data),
                            'Content-Type': 'application/json'}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_words):
        """Say nothing."""


class Keystone(fixtures.Fixture):
    """Gives tokens with these roles to whoever knows the password."""

    def __init__(self, *roles):
        super().__init__()
        self._roles = roles

    def _setUp(self):
        server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), _Handler)
        server.roles = self._roles
        self.url = f'http://127.0.0.1:{server.server_port}/v3'
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)

    def section(self, password=PASSWORD):
        """Return ``[service_user]`` for this Keystone."""
        return '\n'.join((
            '[service_user]', 'auth_type = password',
            f'auth_url = {self.url}', 'username = karbor',
            f'password = {password}', 'project_name = service',
            'user_domain_name = Default', 'project_domain_name = Default',
            'status_code_retries = 0', ''))
