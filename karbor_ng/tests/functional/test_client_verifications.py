# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Karbor's command lines, unmodified: verifications."""

from karbor_ng.tests.functional import base
from karbor_ng.tests.functional import client


class VerificationTest(client.VolumeTestCase):

    def setUp(self):
        super().setUp()
        path, self.checkpoint = self.make_checkpoint(
            self.make_plan(self.volume))
        self.ended(path)

    def verify(self, *words):
        """Verify with the shell, and wait; return what the API answers."""
        made = self.shell.fields('verification', 'create',
                                 base.NOOP_PROVIDER, self.checkpoint['id'],
                                 *words)
        self.assertEqual('started', made['status'])
        found = base.wait(lambda: self._ended(made['id']),
                          what=f'end of verification {made["id"]}')
        self.assertEqual('success', found['status'])
        self.assertEqual(set(found) - {'links'}, set(made))
        return found

    def _ended(self, verification_id):
        found = self.one(f'/verifications/{verification_id}', 'verification')
        return found['status'] != 'started' and found

    def test_create_and_show(self):
        found = self.verify()
        self.same_whole(self.shell.fields(
            'verification', 'show', found['id']), found)
        self.assertEqual({f'{base.VOLUME}#{self.volume.id}': 'available'},
                         found['resources_status'])

    def test_parameters(self):
        for words in (
                ('--parameters-json', '{"OS::Cinder::Volume": {"depth": 1}}'),
                ('--parameters', 'resource_type=OS::Cinder::Volume,depth=1')):
            said = self.shell.say(
                'verification', 'create', base.NOOP_PROVIDER,
                self.checkpoint['id'], *words, code=1)
            self.assertIn('depth', said)
            self.assertIn('(HTTP 400)', said)

    def test_list(self):
        for _ in range(2):
            self.verify('--parameters-json', '{"OS::Cinder::Volume": {}}')
        answered = self.one('/verifications?sort=id:asc', 'verifications')
        self.check_list('verification', answered, '--status', 'success')
        self.assertEqual([], self.shell.rows('verification', '--status',
                                             'failed'))
        self.check_everyones('verification', answered)
