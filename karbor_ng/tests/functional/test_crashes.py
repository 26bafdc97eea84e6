# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""kill -9 of the protection service at the worst moments, on a real cloud.

Whatever the moment: the checkpoint becomes available within the lease, the
sweep and a few seconds, Cinder has exactly one backup of each volume, and
what is restored has the bytes that were protected.
"""

from concurrent import futures
import contextlib
import pathlib
import time

import fixtures

from karbor_ng.tests.functional import base
from karbor_ng.tests.functional import secrecy

POINTS = ('backup-accepted', 'backup-creating', 'manifest-written')
#: Defaults: 60 s lease, 10 s sweep, and what is left for the work itself.
SECONDS = 75


class Case:
    """One volume, its plan, and the worker that dies protecting it."""

    def __init__(self, test, folder, point):
        self.test = test
        self.point = point
        self.volume = test.demo.create_volumes(1)[0]
        self.digest = base.volume_digest(self.volume.id)
        self.plan_id = test.create_plan([self.volume])
        self.ready = folder / self.plan_id
        self.log = folder / f'{self.plan_id}.log'

    def start(self):
        with open(self.log, 'wb') as log:
            self.worker = base.spawn_worker(self.point, self.plan_id,
                                            self.ready, log)
        self.test.addCleanup(secrecy.keep_log, self.log)
        self.test.addCleanup(self.worker.kill)

    def protect(self):
        """Protect once the worker is there."""
        self._await('started')
        self.path = self.test.protect(self.plan_id)

    def reach(self):
        """Wait until the worker stands at its point."""
        self._await('reached')

    def kill(self):
        self.ready.touch()
        self.test.assertEqual(-9, self.worker.wait(30), self._last_words())
        self.killed_at = time.monotonic()

    def check(self):
        """The checkpoint must be available, and exactly one backup there."""
        left = SECONDS - (time.monotonic() - self.killed_at)
        self.test.ended(self.path, seconds=left)
        backups = self.test.demo.backups_of(self.volume.id)
        self.test.assertEqual(['available'],
                              [backup.status for backup in backups],
                              self.point)
        self.test.assertEqual(
            [], self.test.demo.snapshots_of(self.volume.id))

    def check_bytes(self):
        """What is restored must be equal, what is deleted be gone."""
        demo = self.test.demo
        demo.delete_volume(self.volume.id)
        for volume_id in self.test.restored_ids(
                self.test.restore(self.path)):
            self.test.assertEqual(self.digest, base.volume_digest(volume_id))
            demo.delete_volume(volume_id)
        self.test.delete(self.path)
        self.test.assertEqual([], demo.backups_of(self.volume.id))

    def _await(self, sign):
        sign = pathlib.Path(f'{self.ready}.{sign}')

        def look():
            self.test.assertIsNone(self.worker.poll(), self._last_words())
            return sign.exists()
        # Cinder makes one backup after the other, those of other tests too.
        base.wait(look, 300, what=f'{sign.suffix} at {self.point}')

    def _last_words(self):
        return self.log.read_text(errors='replace')[-4000:]


class CrashTest(base.StackTestCase):

    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)

    def test_kill_9_at_the_worst_moments(self):
        """Half of the dead have a survivor beside them, half have none."""
        with futures.ThreadPoolExecutor(3) as pool:
            cases = list(pool.map(
                lambda point: Case(self, self.folder, point), 2 * POINTS))
            alone, beside = cases[:len(POINTS)], cases[len(POINTS):]
            self.disturb()
            with self._no_other_worker():
                _each(pool, Case.start, cases)
                _each(pool, Case.protect, cases)
                _each(pool, Case.reach, cases)
                _each(pool, Case.kill, alone)
            _each(pool, Case.kill, beside)
            _each(pool, Case.check, cases)
            _each(pool, Case.check_bytes, cases)

    @contextlib.contextmanager
    def _no_other_worker(self):
        base.stack('stop', 'karbor-protection')
        try:
            yield
        finally:
            base.stack('start', 'karbor-protection')


def _each(pool, step, cases):
    """Take one step in all cases at once; raise what any of them raised."""
    for future in [pool.submit(step, case) for case in cases]:
        future.result()
