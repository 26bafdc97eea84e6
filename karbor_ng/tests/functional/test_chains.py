# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Retention over chains of real Cinder backups, with both kinds of banks.

A run begins whenever the test moves the only date of its trigger. What the
backups are is told by the parameters of the plan.
"""

import datetime
import os

from karbor_ng.tests.functional import base
from karbor_ng.tests.functional import scheduling

SECOND = datetime.timedelta(seconds=1)


class Chains:
    """Three backups that build on each other, then a full one.

    :cvar provider: whose bank has what is not in Cinder
    """

    provider: str

    def setUp(self):
        super().setUp()
        volume = self.demo.create_volume(os.urandom(base.MIB))
        self.volume_id, self.made = volume.id, []
        self.addCleanup(self._clean)
        self.plan_id = self.create_plan([volume], self.provider)
        self.trigger_id = self.trigger(pattern=self._once(), window=3600)
        self.path = self.schedule(
            'retention_protect', trigger_id=self.trigger_id, max_backups=1,
            provider_id=self.provider)

    def _once(self, seconds=3600):
        """Return a calendar that is due once, in so many seconds."""
        moment = (datetime.datetime.now(datetime.timezone.utc)
                  + seconds * SECOND)
        return (f'BEGIN:VEVENT\nDTSTART:{moment:%Y%m%dT%H%M%SZ}\n'
                'END:VEVENT')

    def _clean(self):
        for checkpoint_id in reversed(self.made):
            if self._status(checkpoint_id) != 'deleted':
                self.delete(self._checkpoint(checkpoint_id))
        self.demo.delete_volume(self.volume_id)

    def _checkpoint(self, checkpoint_id):
        return f'/providers/{self.provider}/checkpoints/{checkpoint_id}'

    def _status(self, checkpoint_id):
        return self.request('GET', self._checkpoint(checkpoint_id))[
            'checkpoint']['status']

    def run_once(self, mode):
        """Let a run make such a backup; return the checkpoint's id."""
        self.request('PUT', f'/plans/{self.plan_id}', {'plan': {
            'parameters': {base.VOLUME: {'backup_mode': mode}}}})
        before = len(self.runs(self.path))
        self.request('PUT', f'/triggers/{self.trigger_id}', {
            'trigger_info': {'properties': {
                'format': 'calendar', 'pattern': self._once(3),
                'window': 3600}}})
        self.made.append(
            self.succeeded(self.path, before + 1)[-1]['checkpoint_id'])
        return self.made[-1]

    def kept(self):
        """Return ``{checkpoint id: reasons}`` of what is there and stays."""
        found = self.request('GET', f'{self.path}/retention')['retention']
        return {one['checkpoint_id']: ' '.join(one['reasons'])
                for one in found if one['kept']}

    def backups(self):
        """Return Cinder's backups, the oldest first: is it incremental."""
        return [one.is_incremental for one in sorted(
            self.demo.backups_of(self.volume_id),
            key=lambda one: one.created_at)]

    def test_what_is_needed_stays_and_whole_chains_go(self):
        chain = [self.run_once(mode)
                 for mode in ('full', 'incremental', 'incremental')]
        self.assertEqual([False, True, True], self.backups())
        kept = self.kept()
        self.assertEqual(set(chain), set(kept))
        for base_id, built_id in zip(chain, chain[1:]):
            self.assertIn(f'{built_id} builds on it', kept[base_id])
        # Only one is wanted, and all three are needed to restore it.
        restored, = self.restored_ids(
            self.restore(self._checkpoint(chain[-1])))
        self.addCleanup(self.demo.delete_volume, restored)
        self.assertEqual(base.volume_digest(self.volume_id),
                         base.volume_digest(restored))
        newest = self.run_once('full')
        base.wait(lambda: self._status(chain[0]) == 'deleted',
                  what=f'end of the chain of {chain[0]}')
        self.assertEqual({newest}, set(self.kept()))
        self.assertEqual([False], self.backups())
        self._check_order(chain)

    def _check_order(self, chain):
        """They went from the end of the chain to its beginning."""
        logs = self.request(
            'GET', '/operation_logs?operation_type=delete&'
            f'scheduled_operation_id={self.path.rpartition("/")[2]}'
            '&sort=created_at:asc')['operation_logs']
        self.assertEqual(
            [(one, 'deleted') for one in reversed(chain)],
            [(log['checkpoint_id'], log['status']) for log in logs])


class SwiftTest(Chains, scheduling.Scheduling):

    provider = base.SWIFT_PROVIDER


class FilesystemTest(Chains, scheduling.Scheduling):

    provider = base.FILESYSTEM_PROVIDER
