# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""/healthcheck of a karbor-api whose database and broker fail, and hang.

They are the stack's, behind forwarders that only this test uses: nobody else
is disturbed.
"""

import configparser
import json
import time
import urllib.error
import urllib.request

from karbor_ng.tests import forwarder
from karbor_ng.tests.functional import base
from karbor_ng.tests.unit.api import test_program

#: What an answer may take: see PATIENCE_SECONDS of the checks.
LONGEST_SECONDS = 8


class HealthTest(base.StackTestCase):

    def setUp(self):
        super().setUp()
        conf = configparser.ConfigParser(interpolation=None)
        conf.read(base.STACK / 'etc' / 'karbor' / 'karbor.conf')
        self.database = self.useFixture(
            forwarder.Forwarder(conf['database']['connection']))
        self.broker = self.useFixture(
            forwarder.Forwarder(conf['DEFAULT']['transport_url']))
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
