# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Schedules on the stack: real trusts, and runs that end as they should.

Triggers here are due every five seconds, which the stack's configuration
allows.
"""

import collections
import configparser
import datetime
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time
import types
import uuid

import fixtures
from keystoneauth1 import session
from keystoneauth1.identity import v3
import sqlalchemy as sa

from karbor_ng.store import models
from karbor_ng.store import session as store_session
from karbor_ng.tests.functional import base

PATTERN = ('BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:tests\nBEGIN:VEVENT\n'
           'RRULE:FREQ=MINUTELY;BYSECOND=0,5,10,15,20,25,30,35,40,45,50,55\n'
           'END:VEVENT\nEND:VCALENDAR')


class Scheduling(base.StackTestCase):
    """A user with a plan that the no-op provider protects."""

    def setUp(self):
        super().setUp()
        thing = types.SimpleNamespace(id=str(uuid.uuid4()), name='nothing')
        self.plan_id = self.create_plan([thing], base.NOOP_PROVIDER)

    def trigger(self, pattern=PATTERN, **properties):
        """Make a trigger; return its id."""
        made = self.request('POST', '/triggers', {'trigger_info': {
            'name': 'functional', 'type': 'time', 'properties': {
                'format': 'calendar', 'pattern': pattern, 'window': 60,
                **properties}}})['trigger_info']
        self.addCleanup(self.demo.karbor.delete, f'/triggers/{made["id"]}')
        return made['id']

    def schedule(self, operation_type='protect', user=None, expect=200,
                 trigger_id=None, **definition):
        """Make a scheduled operation; return its path, or what is said."""
        answer = self.request(
            'POST', '/scheduled_operations', {'scheduled_operation': {
                'name': 'functional', 'operation_type': operation_type,
                'trigger_id': trigger_id or self.trigger(),
                'operation_definition': {
                    'provider_id': base.NOOP_PROVIDER,
                    'plan_id': self.plan_id, **definition}}},
            expect=expect, user=user)
        if expect != 200:
            return answer
        path = f'/scheduled_operations/{answer["scheduled_operation"]["id"]}'
        self.addCleanup(self.demo.karbor.delete, path)
        return path

    def runs(self, path, query=''):
        return self.request('GET', f'{path}/runs?sort=planned_at:asc{query}'
                            )['runs']

    def succeeded(self, path, number=1):
        """Wait for so many runs that have succeeded; return them."""
        def look():
            found = self.runs(path, '&status=succeeded')
            return found if len(found) >= number else None
        return base.wait(look, what=f'{number} runs of {path}')

    def stop(self, path):
        """Disable it, and wait until nothing goes on any more."""
        self.request('PUT', path, {'scheduled_operation': {'enabled': 0}})
        base.wait(lambda: not [
            run for run in self.runs(path)
            if run['status'] in ('due', 'started')], what=f'rest of {path}')

    def trusts(self, user=None):
        """Return the user's trusts for karbor, as Keystone has them."""
        found = (user or self.demo).cloud.identity.get(
            '/OS-TRUST/trusts', params={
                'trustor_user_id': (user or self.demo).cloud.current_user_id})
        return found.json()['trusts']


class SchedulesTest(Scheduling):

    def test_runs_become_checkpoints(self):
        path = self.schedule()
        run = self.succeeded(path)[0]
        found = self.request(
            'GET', f'/providers/{base.NOOP_PROVIDER}/checkpoints/'
            f'{run["checkpoint_id"]}')['checkpoint']
        self.assertEqual('available', found['status'])
        scheduled = path.rpartition('/')[2]
        notes = json.loads(found['extra_info'])
        self.assertEqual(('operation-engine', scheduled, run['trigger_id']), (
            notes['created_by'], notes['scheduled_operation_id'],
            notes['trigger_id']))
        self.stop(path)
        self.assertEqual(
            len(self.runs(path)),
            len({one['planned_at'] for one in self.runs(path)}))

    def test_retention(self):
        path = self.schedule('retention_protect', max_backups=2)
        self.succeeded(path, 4)
        self.stop(path)

        def look():
            kept = self.request('GET', f'{path}/retention')['retention']
            return kept if len(kept) == 2 else None
        kept = base.wait(look, what='two checkpoints')
        made = [run['checkpoint_id'] for run in self.runs(path)
                if run['checkpoint_id']]
        self.assertEqual(made[-1:-3:-1],
                         [one['checkpoint_id'] for one in kept])
        self.assertEqual({'succeeded'}, {
            run['status'] for run in self.runs(path)
            if run['status'] != 'skipped'})

    def test_a_volume_is_backed_up_with_a_trust(self):
        volume = self.demo.create_volume(os.urandom(base.MIB))
        self.addCleanup(self.demo.delete_volume, volume.id)
        self.plan_id = self.create_plan([volume], base.SWIFT_PROVIDER)
        path = self.schedule(provider_id=base.SWIFT_PROVIDER)
        run = self.succeeded(path)[0]
        self.stop(path)
        backups = self.demo.backups_of(volume.id)
        self.assertEqual({'available'}, {one.status for one in backups})
        made = [one['checkpoint_id'] for one in self.runs(path)
                if one['checkpoint_id']]
        self.assertEqual(len(made), len(backups))
        self.assertIn(run['checkpoint_id'], made)
        for checkpoint_id in reversed(made):
            checkpoint = (f'/providers/{base.SWIFT_PROVIDER}/checkpoints/'
                          f'{checkpoint_id}')
            self.request('DELETE', checkpoint)
            self.ended(checkpoint, 'deleted')

    def test_a_trust_lasts_from_the_first_to_the_last(self):
        self.demo = base.User('demo2')
        self.plan_id = self.create_plan(
            [types.SimpleNamespace(id=str(uuid.uuid4()), name='nothing')],
            base.NOOP_PROVIDER)
        self.assertEqual([], self.trusts())
        paths = [self.schedule() for _number in range(2)]
        trust, = self.trusts()
        self.assertTrue(trust['impersonation'])
        self.request('DELETE', paths[0])
        self.assertEqual([trust['id']], [one['id'] for one in self.trusts()])
        admin = base.User('admin')
        self.request('DELETE', paths[1], user=admin)
        self.assertEqual([], self.trusts())

    def test_a_revoked_trust_disables_and_can_be_renewed(self):
        self.demo = base.User('demo2')
        self.plan_id = self.create_plan(
            [types.SimpleNamespace(id=str(uuid.uuid4()), name='nothing')],
            base.NOOP_PROVIDER)
        path = self.schedule()
        self.succeeded(path)
        for trust in self.trusts():
            self.demo.cloud.identity.delete(f'/OS-TRUST/trusts/{trust["id"]}')

        def look():
            found = self.request('GET', path)['scheduled_operation']
            return None if found['enabled'] else found
        found = base.wait(look, what=f'{path} disabled')
        self.assertIn('revoked', found['disabled_reason'])
        before = len(self.runs(path, '&status=succeeded'))
        found = self.request('PUT', path, {
            'scheduled_operation': {'enabled': 1}})['scheduled_operation']
        self.assertEqual((1, None),
                         (found['enabled'], found['disabled_reason']))
        self.succeeded(path, before + 1)

    def test_application_credentials_can_not_schedule(self):
        made = self.demo.cloud.identity.create_application_credential(
            self.demo.cloud.current_user_id, f'test-{uuid.uuid4().hex[:8]}')
        self.addCleanup(
            self.demo.cloud.identity.delete_application_credential,
            self.demo.cloud.current_user_id, made.id)
        robot = base.Karbor(
            session.Session(v3.ApplicationCredential(
                self.demo.cloud.session.auth.auth_url,
                application_credential_id=made.id,
                application_credential_secret=made.secret)),
            service_type='data-protect', raise_exc=False)
        said = self.schedule(user=types.SimpleNamespace(karbor=robot),
                             expect=403)
        self.assertIn('application credentials',
                      said['forbidden']['message'])


class Engines(fixtures.Fixture):
    """Two engines beside the stack's own, which look ten times as often.

    So they come to most of what is due before that one does.
    """

    HOSTS = ('schedules-a', 'schedules-b')
    PROGRAM = pathlib.Path(sys.executable).with_name('karbor-operationengine')
    STACK = base.STACK / 'etc' / 'karbor' / 'karbor.conf'

    def _setUp(self):
        folder = self.useFixture(fixtures.TempDir()).path
        self._running = {}
        self._files = {}
        self.addCleanup(self._clean)
        for host in self.HOSTS:
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
                sa.delete(model).where(model.host.in_(self.HOSTS))))
        db.dispose()


class EnginesTest(Scheduling):

    SECONDS = 30

    def test_engines_that_are_killed_lose_nothing(self):
        engines = self.useFixture(Engines())
        trigger_id = self.trigger()
        paths = [self.schedule(trigger_id=trigger_id) for _ in range(3)]
        end = time.monotonic() + self.SECONDS
        kills = 0
        while time.monotonic() < end:
            time.sleep(random.uniform(0.5, 3))
            engines.kill(random.choice(engines.HOSTS))
            kills += 1
        for path in paths:
            self.stop(path)
            self._check(path)
        self.assertGreater(kills, 8)

    def _check(self, path):
        """Each due time from the first to the last has one run."""
        runs = self.runs(path)
        times = [datetime.datetime.fromisoformat(run['planned_at'])
                 for run in runs]
        self.assertGreaterEqual(len(times), self.SECONDS // 5 - 1)
        self.assertEqual(
            [times[0] + number * datetime.timedelta(seconds=5)
             for number in range(len(times))], times)
        self.assertLessEqual(
            {run['status'] for run in runs}, {'succeeded', 'skipped'})
        logs = self.request(
            'GET', '/operation_logs?operation_type=protect&'
            f'scheduled_operation_id={path.rpartition("/")[2]}')
        made = collections.Counter(
            log['checkpoint_id'] for log in logs['operation_logs'])
        self.assertEqual(
            {run['checkpoint_id']: 1 for run in runs if run['checkpoint_id']},
            dict(made))
