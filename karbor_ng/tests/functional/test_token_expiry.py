# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Operations whose user's token ends before they do."""

from karbor_ng.tests.functional import base
from karbor_ng.tests.functional import short_tokens

TOKEN_SECONDS = 60
#: Of a token's life, what is left when the operation begins.
LEFT_SECONDS = 15
#: A lease, a sweep and what is left of the work.
TAKE_OVER_SECONDS = 75
CHECKPOINTS = f'/providers/{base.SWIFT_PROVIDER}/checkpoints'


class TokenExpiryTest(base.StackTestCase):

    def setUp(self):
        super().setUp()
        self.disturb()

    def plan(self):
        """Return a volume and the id of its plan."""
        volume, = self.demo.create_volumes(1)
        self.addCleanup(self.demo.delete_volume, volume.id)
        return volume, self.create_plan([volume], base.SWIFT_PROVIDER)

    def protect_with(self, token, plan_id):
        """Start a checkpoint with this very token; return its path."""
        made = self.request('POST', CHECKPOINTS,
                            {'checkpoint': {'plan_id': plan_id}}, user=token)
        return f'{CHECKPOINTS}/{made["checkpoint"]["id"]}'

    def log_of(self, path):
        """Return the operation log of a checkpoint's making."""
        checkpoint_id = path.rpartition('/')[2]
        found = self.request(
            'GET', f'/operation_logs?checkpoint_id={checkpoint_id}')
        made, = [log for log in found['operation_logs']
                 if log['operation_type'] == 'protect']
        return made

    def test_a_revoked_token_ends_the_operation(self):
        volume, plan_id = self.plan()
        base.stack('stop', 'karbor-protection')
        token = short_tokens.long_token('demo')
        path = self.protect_with(token, plan_id)
        token.revoke()
        base.stack('start', 'karbor-protection')
        self._assert_refused(path, seconds=60)
        self.assertEqual([], self.demo.backups_of(volume.id))
        self.delete(path)

    def test_tokens_that_end_before_a_take_over(self):
        mortal = self.useFixture(
            short_tokens.ShortTokens(TOKEN_SECONDS)).token('demo')
        revoked = short_tokens.long_token('demo')
        one, one_plan = self.plan()
        other, other_plan = self.plan()
        digest = base.volume_digest(one.id)
        mortal.sleep_until(-LEFT_SECONDS)
        with short_tokens.Paused('cinder-backup'):
            path = self.protect_with(mortal, one_plan)
            other_path = self.protect_with(revoked, other_plan)
            for volume in (one, other):
                self._await_backup(volume)
            mortal.sleep_until(1)
            base.stack('kill', 'karbor-protection')
            revoked.revoke()
        # From here on nobody has a token of the user that is good by itself:
        # Cinder writes to Swift with the expired one, too.
        log = base.STACK / 'log' / 'karbor-protection.log'
        before = log.stat().st_size
        base.stack('start', 'karbor-protection')
        self._assert_goes_on(path, one, digest)
        self._assert_refused(other_path)
        # What the first worker left is still known: a new token removes it.
        self.delete(other_path)
        self._assert_left(other, backups=0)
        self.assertNotIn(b'Traceback', log.read_bytes()[before:])

    def _await_backup(self, volume):
        base.wait(lambda: self.demo.backups_of(volume.id),
                  what=f'a backup of {volume.id} that Cinder has accepted')

    def _assert_goes_on(self, path, volume, digest):
        self.ended(path, seconds=TAKE_OVER_SECONDS)
        self._assert_left(volume, backups=1)
        restored_id, = self.restored_ids(self.restore(path))
        self.addCleanup(self.demo.delete_volume, restored_id)
        self.assertEqual(digest, base.volume_digest(restored_id))
        self.delete(path)

    def _assert_left(self, volume, backups):
        found = self.demo.backups_of(volume.id)
        self.assertEqual(['available'] * backups,
                         [backup.status for backup in found])
        self.assertEqual([], self.demo.snapshots_of(volume.id))

    def _assert_refused(self, path, seconds=TAKE_OVER_SECONDS):
        self.ended(path, 'error', seconds)
        self.assertIn('revoked', self.log_of(path)['error_info'])
