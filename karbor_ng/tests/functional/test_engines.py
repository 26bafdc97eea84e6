# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Operation engines on the stack that are killed: no due time is lost.

The stack's own engine goes on beside the two that are killed here, but looks
ten times as seldom, so that these come to most of what is due before it does.
"""

import collections
import configparser
import datetime
import os
import pathlib
import random
import signal
import subprocess
import sys
import time
import uuid

import fixtures
import sqlalchemy as sa

from karbor_ng.store import models
from karbor_ng.store import session as store_session
from karbor_ng.tests.functional import base
from karbor_ng.tests.functional import scheduling
from karbor_ng.tests.functional import secrecy

SECOND, MINUTE = (datetime.timedelta(seconds=seconds) for seconds in (1, 60))


class Engines(fixtures.Fixture):
    """Two engines, each in a process of its own.

    :ivar hosts: what they call theirs
    """

    PROGRAM = pathlib.Path(sys.executable).with_name('karbor-operationengine')
    STACK = base.STACK / 'etc' / 'karbor' / 'karbor.conf'

    def _setUp(self):
        folder = self.useFixture(fixtures.TempDir()).path
        self.hosts = [f'engine-{uuid.uuid4().hex[:8]}' for _ in range(2)]
        self._running = {}
        self._files = {}
        self.addCleanup(self._clean)
        for host in self.hosts:
            self.addCleanup(secrecy.keep_log, f'{folder}/{host}.log')
            self._files[host] = pathlib.Path(folder) / f'{host}.conf'
            self._files[host].write_text(
                f'[DEFAULT]\nhost = {host}\nlog_file = {folder}/{host}.log\n'
                '[operationengine]\npoll_interval = 0.2\n')
            self._start(host)

    def _start(self, host):
        self._running[host] = subprocess.Popen(
            [self.PROGRAM, '--config-file', self.STACK,
             '--config-file', self._files[host]],
            start_new_session=True, stderr=subprocess.DEVNULL)

    def kill(self, host):
        """Kill an engine, its parent with it, and start it once more."""
        os.killpg(self._running[host].pid, signal.SIGKILL)
        self._running[host].wait()
        self._start(host)

    def _clean(self):
        for program in self._running.values():
            program.terminate()
            program.wait()
        settings = configparser.RawConfigParser(strict=False)
        settings.read(self.STACK)
        db = store_session.Database(settings['database']['connection'])
        for model in (models.Service, models.ServiceHost):
            db.write(lambda session, model=model: session.execute(
                sa.delete(model).where(model.host.in_(self.hosts))))
        db.dispose()


class EnginesCase(scheduling.Scheduling):
    """What is checked when engines have been killed."""

    def setUp(self):
        super().setUp()
        self.engines = self.useFixture(Engines())

    def planned(self, runs):
        return [datetime.datetime.fromisoformat(run['planned_at'])
                for run in runs]

    def check_checkpoints(self, path, runs):
        """Each run that began has one checkpoint and one operation."""
        logs = self.request(
            'GET', '/operation_logs?operation_type=protect&'
            f'scheduled_operation_id={path.rpartition("/")[2]}')
        made = collections.Counter(
            log['checkpoint_id'] for log in logs['operation_logs'])
        self.assertEqual(
            {run['checkpoint_id']: 1 for run in runs if run['checkpoint_id']},
            dict(made))


class MinutesTest(EnginesCase):
    """Triggers as people write them: the crontab of each minute."""

    MINUTES = 3

    def test_no_minute_is_lost_or_doubled(self):
        self._leave_room()
        trigger_id = self.trigger(format='crontab', pattern='* * * * *')
        paths = [self.schedule(trigger_id=trigger_id) for _ in range(4)]
        due = self._next_minutes()
        for number, moment in enumerate(due):
            self._kill_around(moment, number)
        # Long after one minute, and long before the next.
        _sleep_until(due[-1] + 25 * SECOND)
        for path in paths:
            self.stop(path)
            runs = self.runs(path)
            self.assertEqual(due, self.planned(runs))
            self.assertEqual({'succeeded'}, {run['status'] for run in runs},
                             runs)
            self.check_checkpoints(path, runs)

    def _leave_room(self):
        """All that is scheduled now must be due at the same minutes."""
        if _now().second > 45:
            time.sleep(61 - _now().second)

    def _next_minutes(self):
        begin = _now().replace(second=0, microsecond=0)
        return [begin + number * MINUTE
                for number in range(1, self.MINUTES + 1)]

    def _kill_around(self, moment, number):
        """Kill the one at its work, and the other one soon after."""
        hosts = self.engines.hosts[::-1 if number % 2 else 1]
        for host, late in zip(hosts, (random.uniform(-0.2, 0.8),
                                      random.uniform(1, 3)), strict=True):
            _sleep_until(moment + late * SECOND)
            self.engines.kill(host)


def _now():
    return datetime.datetime.now(datetime.timezone.utc)


def _sleep_until(moment):
    time.sleep(max(0, (moment - _now()).total_seconds()))


class EnginesTest(EnginesCase):
    """Due every five seconds: engines are killed at many more places."""

    SECONDS = 30

    def test_engines_that_are_killed_lose_nothing(self):
        trigger_id = self.trigger()
        paths = [self.schedule(trigger_id=trigger_id) for _ in range(3)]
        end = time.monotonic() + self.SECONDS
        kills = 0
        while time.monotonic() < end:
            time.sleep(random.uniform(0.5, 3))
            self.engines.kill(random.choice(self.engines.hosts))
            kills += 1
        for path in paths:
            self.stop(path)
            self._check(path)
        self.assertGreater(kills, 8)

    def _check(self, path):
        """Each due time from the first to the last has one run."""
        runs = self.runs(path)
        times = self.planned(runs)
        self.assertGreaterEqual(len(times), self.SECONDS // 5 - 1)
        self.assertEqual([times[0] + number * 5 * SECOND
                          for number in range(len(times))], times)
        self.assertLessEqual(
            {run['status'] for run in runs}, {'succeeded', 'skipped'})
        self.check_checkpoints(path, runs)
