# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""A flood of requests: all of them wait, none is refused, nothing grows.

``benchmarks/flood.py`` does the same with a thousand requests to installed
services, and measures their memory.
"""

import asyncio
import collections
import json
import threading

from oslotest import base
import sqlalchemy as sa

from karbor_ng.api import server
from karbor_ng.store import models
from karbor_ng.tests.unit.api import environment
from karbor_ng.tests.unit.api import test_bad_input as good

#: Requests at the same moment, of which so many are connected at once, and
#: so few worked on.
COUNT = 150
CONNECTIONS = 40
THREADS = 4
PATIENCE_SECONDS = 120


class FloodTest(base.BaseTestCase):

    def setUp(self):
        super().setUp()
        self.api = self.useFixture(environment.Api())
        self.api.set('quota_checkpoints', -1)
        self.plan_id = self.api.call(
            'POST', '/plans', {'plan': good.PLAN}).json['plan']['id']
        listener = server.listen('127.0.0.1', 0)
        self.addCleanup(listener.close)
        # The description would be looked up for each answer.
        application = self.api.make_unchecked_app()
        self.server = server.Server(
            application, listener, THREADS, server.largest_body(
                self.api.conf), most_connections=CONNECTIONS)
        self.server.start()
        self.addCleanup(self.server.stop, 5)
        self.most_threads = threading.active_count()

    def test_all_of_them_are_queued(self):
        answers = asyncio.run(self.ask_at_once())
        self.assertEqual({200: COUNT}, answers)
        self.assertEqual({('queued', COUNT)}, self.counts(
            models.Operation.state))
        self.assertEqual({('protecting', COUNT)}, self.counts(
            models.Checkpoint.status))
        self.assertEqual(COUNT, len(set(self.api.hints.queued)))
        # One may be on its way out.
        self.assertLessEqual(threading.active_count(), self.most_threads + 1)

    def counts(self, column):
        query = sa.select(column, sa.func.count()).group_by(column)
        return set(self.api.db.read(
            lambda session: session.execute(query).tuples().all()))

    async def ask_at_once(self):
        """Return ``{status: number of answers}``."""
        asking = asyncio.gather(*[self.ask() for _ in range(COUNT)])
        return collections.Counter(
            await asyncio.wait_for(asking, PATIENCE_SECONDS))

    async def ask(self):
        body = json.dumps({'checkpoint': {'plan_id': self.plan_id}})
        reader, writer = await asyncio.open_connection(
            '127.0.0.1', self.server.port)
        writer.write((
            f'POST /v1/{environment.PROJECT}{good.CHECKPOINTS} HTTP/1.1\r\n'
            f'Host: x\r\nX-Auth-Token: {environment.OWNER}\r\n'
            'Content-Type: application/json\r\nConnection: close\r\n'
            f'Content-Length: {len(body)}\r\n\r\n{body}').encode())
        answer = await reader.read()
        writer.close()
        return int(answer.split()[1]) if answer else 'no answer'
