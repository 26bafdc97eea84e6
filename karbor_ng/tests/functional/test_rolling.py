# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Hosts are restarted one after the other while users go on, and time too.

No request fails but for connections that are refused, which a balancer, and
the clients here, try at the other host. Each request that was answered has
done what it says, no operation waits for a lease to run out, and each due
time of a schedule has its run.
"""

import collections
import datetime
import http.client
import itertools
import json
import threading
import time
import uuid

import sqlalchemy as sa

from karbor_ng.store import models
from karbor_ng.tests.functional import base
from karbor_ng.tests.functional import hosts
from karbor_ng.tests.functional import scheduling
from karbor_ng.tests.functional import tenant

NAMES = ('rolling-1', 'rolling-2')
CLIENTS = 3
#: Seconds between two of a client's requests: this machine does all of it.
PAUSE = 0.2
#: Between two due times.
PERIOD = datetime.timedelta(seconds=5)


class Balancer:
    """Sends requests to one of several hosts, as balancers do.

    It tries another one only where a connection is refused: then nobody can
    have had the request.

    :ivar failures: what else has gone wrong, as texts
    """

    def __init__(self, ports, prefix, token):
        self._ports = itertools.cycle(ports)
        self._prefix = prefix
        self._headers = {'X-Auth-Token': token, 'Connection': 'close',
                         'Content-Type': 'application/json'}
        self.failures = []
        self.counts = collections.Counter()

    def request(self, method, path, body=None):
        """Return the decoded answer; None if there is none, or a bad one."""
        try:
            connection = self._connected()
            connection.request(
                method, f'{self._prefix}{path}',
                None if body is None else json.dumps(body), self._headers)
            answer = connection.getresponse()
            text = answer.read().decode()
            connection.close()
        except (OSError, http.client.HTTPException) as problem:
            self.failures.append(f'{method} {path}: {problem!r}')
            return None
        self.counts[answer.status] += 1
        if answer.status >= 300:
            self.failures.append(f'{method} {path}: {answer.status} {text}')
            return None
        return json.loads(text or '{}')

    def _connected(self):
        end = time.monotonic() + 60
        while True:
            connection = http.client.HTTPConnection(
                '127.0.0.1', next(self._ports), timeout=60)
            try:
                connection.connect()
                return connection
            except ConnectionRefusedError:
                self.counts['refused'] += 1
                if time.monotonic() > end:
                    raise


class RollingTest(scheduling.Scheduling):

    def setUp(self):
        super(scheduling.Scheduling, self).setUp()
        # The stack's own engines revoke trusts of users that they know.
        self.demo = tenant.Tenant()
        self.addCleanup(self.demo.remove)
        self.hosts = self.useFixture(hosts.Hosts(NAMES))
        for name in NAMES:
            self.hosts.start(name)
        self.balancer = self.connected()
        base.wait(lambda: self.ask('GET', '/providers')['providers'],
                  what='a provider')
        self.plan_id = self.ask('POST', '/plans', {'plan': {
            'name': 'rolling', 'provider_id': self.hosts.provider_id,
            'parameters': {}, 'resources': [
                {'id': str(uuid.uuid4()), 'type': base.VOLUME,
                 'name': 'nothing'}]}})['plan']['id']

    def connected(self):
        return Balancer(self.hosts.ports.values(),
                        f'/v1/{self.demo.project_id}',
                        self.demo.cloud.session.get_token())

    def ask(self, method, path, body=None):
        """Ask while nothing is restarted."""
        found = self.balancer.request(method, path, body)
        self.assertEqual([], self.balancer.failures)
        return found

    def test_nothing_is_lost(self):
        paths = [self.scheduled() for _one in range(2)]
        self.restarted = threading.Event()
        users = [User(self) for _one in range(CLIENTS)]
        try:
            ended = self.restart_all()
        finally:
            self.restarted.set()
            for user in users:
                user.join()
        self.assertEqual({0}, {code for code, _seconds in ended}, ended)
        self.assertEqual([], [text for user in users
                              for text in user.balancer.failures])
        self.assertGreater(sum(
            user.balancer.counts['refused'] for user in users), 0)
        self.check_checkpoints({made for user in users
                                for made in user.made})
        for path in paths:
            self.check_runs(path)
        self.check_operations()

    def restart_all(self):
        """Return exit codes and seconds."""
        ended = []
        for name in NAMES:
            time.sleep(2)
            ended += self.hosts.end(name).values()
            self.hosts.start(name)
        time.sleep(2)
        return ended

    def scheduled(self):
        """Let something be done each few seconds; return its path."""
        trigger = self.ask('POST', '/triggers', {'trigger_info': {
            'name': 'rolling', 'type': 'time', 'properties': {
                'format': 'calendar', 'pattern': scheduling.PATTERN,
                'window': 60}}})['trigger_info']
        made = self.ask('POST', '/scheduled_operations', {
            'scheduled_operation': {
                'name': 'rolling', 'operation_type': 'protect',
                'trigger_id': trigger['id'], 'operation_definition': {
                    'provider_id': self.hosts.provider_id,
                    'plan_id': self.plan_id}}})['scheduled_operation']
        path = f'/scheduled_operations/{made["id"]}'
        self.addCleanup(self.ask, 'DELETE', path)
        return path

    def check_checkpoints(self, made):
        """What was answered is there, and nothing that was not."""
        self.assertGreater(len(made), 10)
        self.await_end()
        there = {row.checkpoint_id: row for row in self._rows(
            models.Operation.scheduled_operation_id.is_(None))}
        self.assertEqual(made, set(there))
        for checkpoint_id in made:
            found = self.ask('GET', f'/providers/{self.hosts.provider_id}'
                                    f'/checkpoints/{checkpoint_id}')
            self.assertEqual('available', found['checkpoint']['status'])

    def await_end(self):
        base.wait(lambda: not self._rows(models.Operation.state.in_(
            ('queued', 'running'))), 300, what='the end of all operations')

    def check_runs(self, path):
        """Each due time has one run, from the first to the last."""
        self.ask('PUT', path, {'scheduled_operation': {'enabled': 0}})
        runs = self.ask('GET', f'{path}/runs?sort=planned_at:asc')['runs']
        times = [datetime.datetime.fromisoformat(run['planned_at'])
                 for run in runs]
        self.assertEqual([times[0] + number * PERIOD
                          for number in range(len(times))], times)
        self.assertGreater(len(times), 2)
        self.assertEqual([], [run for run in runs if run['status'] not in (
            'succeeded', 'skipped', 'started', 'due')])

    def check_operations(self):
        """None of them had to wait until a lease ran out."""
        self.await_end()
        rows = self._rows(sa.true())
        self.assertEqual({('done', 0)}, {
            (row.state, row.resume_count) for row in rows})

    def _rows(self, condition):
        return self.hosts.db.read(lambda session: session.execute(
            sa.select(models.Operation).where(condition)).scalars().all())


class User(threading.Thread):
    """Makes checkpoints, and looks at them, until all is restarted.

    :ivar made: ids of checkpoints of which we were told
    """

    def __init__(self, test):
        super().__init__()
        self._test = test
        self._path = f'/providers/{test.hosts.provider_id}/checkpoints'
        self.balancer = test.connected()
        self.made = []
        self.start()

    def run(self):
        while not self._test.restarted.is_set():
            made = self.balancer.request('POST', self._path, {
                'checkpoint': {'plan_id': self._test.plan_id}})
            if made:
                self.made.append(made['checkpoint']['id'])
                self.balancer.request('GET', f'{self._path}/{self.made[-1]}')
            time.sleep(PAUSE)
