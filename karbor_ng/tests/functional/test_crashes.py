# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""kill -9 of the protection service at the worst moments, on a real cloud.

Whatever the moment: the checkpoint becomes available within the lease, the
sweep and a few seconds, Cinder has exactly one backup of each volume, and
what is restored has the bytes that were protected.
"""

import pathlib
import time

import fixtures

from karbor_ng.tests.functional import base

POINTS = ('backup-accepted', 'backup-creating', 'manifest-written')
#: Defaults: 60 s lease, 10 s sweep, and what is left for the work itself.
SECONDS = 75


class CrashTest(base.StackTestCase):

    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.disturb()

    def crash(self, point):
        """Start a worker of its own for one volume; return what to watch."""
        volume = self.demo.create_volumes(1)[0]
        digest = self.demo.hash_volume(volume.id)
        plan_id = self.create_plan([volume])
        ready = self.folder / point
        log = open(self.folder / f'{point}.log', 'wb')
        self.addCleanup(log.close)
        worker = base.spawn_worker(point, plan_id, ready, log)
        self.addCleanup(worker.kill)
        base.wait(pathlib.Path(f'{ready}.started').exists,
                  what=f'worker for {point}')
        path = self.protect(plan_id)
        return {'volume': volume, 'digest': digest, 'ready': ready,
                'worker': worker, 'path': path, 'point': point}

    def reach(self, case):
        """Wait until the worker stands at its point."""
        base.wait(pathlib.Path(f'{case["ready"]}.reached').exists,
                  what=f'{case["point"]}; {self.log_of(case)}')

    def log_of(self, case):
        path = self.folder / f'{case["point"]}.log'
        return path.read_text(errors='replace')[-4000:]

    def kill(self, case):
        case['ready'].touch()
        self.assertEqual(-9, case['worker'].wait(30), self.log_of(case))
        case['killed_at'] = time.monotonic()

    def check(self, case):
        self.ended(case['path'], seconds=SECONDS - (
            time.monotonic() - case['killed_at']))
        backups = self.demo.backups_of(case['volume'].id)
        self.assertEqual(1, len(backups), case['point'])
        self.assertEqual('available', backups[0].status)
        self.assertEqual([], self.demo.snapshots_of(case['volume'].id))

    def check_bytes(self, case):
        self.demo.delete_volume(case['volume'].id)
        restore = self.restore(case['path'])
        for volume_id in self.restored_ids(restore):
            self.assertEqual(case['digest'],
                             self.demo.hash_volume(volume_id))
            self.demo.delete_volume(volume_id)
        self.delete(case['path'])
        self.assertEqual([], self.demo.backups_of(case['volume'].id))

    def test_second_worker_takes_over(self):
        base.stack('stop', 'karbor-protection')
        cases = [self.crash(point) for point in POINTS]
        for case in cases:
            self.reach(case)
        base.stack('start', 'karbor-protection')
        for case in cases:
            self.kill(case)
        for case in cases:
            self.check(case)
        for case in cases:
            self.check_bytes(case)

    def test_alone_with_a_restart(self):
        base.stack('stop', 'karbor-protection')
        cases = [self.crash(point) for point in POINTS]
        for case in cases:
            self.reach(case)
        for case in cases:
            self.kill(case)
        base.stack('start', 'karbor-protection')
        for case in cases:
            self.check(case)
        for case in cases:
            self.check_bytes(case)
