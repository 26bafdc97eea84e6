# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""/healthcheck of a karbor-api whose database and broker fail, and hang.

They are the stack's, behind forwarders that only this test uses: nobody else
is disturbed.
"""

import configparser
import contextlib
import json
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import fixtures

from karbor_ng.tests.functional import base
from karbor_ng.tests.unit.api import test_program

#: What an answer may take: see PATIENCE_SECONDS of the checks.
LONGEST_SECONDS = 8


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


class HealthTest(base.StackTestCase):

    def setUp(self):
        super().setUp()
        conf = configparser.ConfigParser(interpolation=None)
        conf.read(base.STACK / 'etc' / 'karbor' / 'karbor.conf')
        self.database = self.useFixture(
            Forwarder(conf['database']['connection']))
        self.broker = self.useFixture(
            Forwarder(conf['DEFAULT']['transport_url']))
        self.program = self.useFixture(test_program.Program(
            self.database.url, transport=self.broker.url))
        # Before the program is told to stop.
        self.addCleanup(self.database.flows.set)
        self.program.wait_until_ready()

    def ask(self, token=None):
        """Return code and body; fails if that takes too long."""
        request = urllib.request.Request(
            f'http://127.0.0.1:{self.program.port}/healthcheck',
            headers={'X-Auth-Token': token} if token else {})
        started = time.monotonic()
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                found = answer.status, json.load(answer)
        except urllib.error.HTTPError as answer:
            found = answer.code, json.load(answer)
        self.assertLess(time.monotonic() - started, LONGEST_SECONDS)
        return found

    def wait_for(self, check, status, code):
        def look():
            found, body = self.ask()
            return (found == code and body['checks'].get(
                check, {}).get('status') == status and body)
        return base.wait(look, 60, what=f'{check} {status}')

    def test_database_that_refuses(self):
        self.wait_for('database', 'ok', 200)
        self.database.cut()
        body = self.wait_for('database', 'failed', 503)
        self.assertEqual('failed', body['status'])
        self.assertNotIn(str(self.database.port), json.dumps(body))
        self.database.mend()
        self.wait_for('database', 'ok', 200)

    def test_database_that_hangs(self):
        self.database.flows.clear()
        self.wait_for('database', 'failed', 503)
        for _number in range(3):
            self.ask()
        self.database.flows.set()
        self.wait_for('database', 'ok', 200)

    def test_broker_that_refuses(self):
        self.wait_for('broker', 'ok', 200)
        self.broker.cut()
        body = self.wait_for('broker', 'failed', 200)
        self.assertEqual('degraded', body['status'])
        self.broker.mend()
        self.wait_for('broker', 'ok', 200)

    def test_broker_that_hangs(self):
        self.broker.flows.clear()
        self.wait_for('broker', 'failed', 200)
        self.broker.flows.set()
        self.wait_for('broker', 'ok', 200)

    def test_details(self):
        """The stack's own services, as administrators and others see them."""
        _code, body = self.ask('admin:any')
        offered = {one['id']: one for one in body['checks']['providers'][
            'details']['providers']}
        self.assertLessEqual(
            {base.SWIFT_PROVIDER, base.FILESYSTEM_PROVIDER}, set(offered))
        self.assertEqual('stack', offered[base.SWIFT_PROVIDER]['host'])
        _code, body = self.ask('alice:any')
        self.assertNotIn('details', json.dumps(body))
