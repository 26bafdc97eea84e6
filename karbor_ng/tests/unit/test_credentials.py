# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Sealing and opening credentials."""

from oslotest import base

from karbor_ng import credentials
from karbor_ng import errors
from karbor_ng.tests import fixtures


class SealerTest(base.BaseTestCase):

    def setUp(self):
        super().setUp()
        self.keys = [credentials.new_key(), credentials.new_key()]

    def test_there_and_back(self):
        sealer = credentials.Sealer(self.keys)
        for text in ('token', '', 'é 日 ' * 5000):
            sealed = sealer.seal(text)
            self.assertEqual(text, sealer.open(sealed))
            self.assertNotEqual(text, sealed)

    def test_sealed_text_does_not_show_what_is_in_it(self):
        sealer = credentials.Sealer(self.keys)
        self.assertNotIn('gAAAAABtoken', sealer.seal('gAAAAABtoken' * 3))
        self.assertNotEqual(sealer.seal('same'), sealer.seal('same'))

    def test_none_stays_none(self):
        sealer = credentials.Sealer(self.keys)
        self.assertIsNone(sealer.seal(None))
        self.assertIsNone(sealer.open(None))

    def test_rotation(self):
        old, new = self.keys
        sealed_before = credentials.Sealer([old]).seal('token')
        rotated = credentials.Sealer([new, old])
        self.assertEqual('token', rotated.open(sealed_before))
        # The first key seals: the old one is not needed for what is new.
        sealed_after = rotated.seal('token')
        self.assertEqual('token',
                         credentials.Sealer([new]).open(sealed_after))
        self.assertRaises(errors.CredentialsError,
                          credentials.Sealer([old]).open, sealed_after)

    def test_key_that_is_gone(self):
        sealed = credentials.Sealer(self.keys[:1]).seal('secret')
        problem = self.assertRaises(
            errors.CredentialsError, credentials.Sealer(self.keys[1:]).open,
            sealed)
        self.assertIn('[credentials] keys', str(problem))
        self.assertNotIn('secret', str(problem))

    def test_damaged_text(self):
        sealer = credentials.Sealer(self.keys)
        sealed = sealer.seal('token')
        for damaged in ('', 'nonsense', sealed[:-4], 'A' + sealed[1:]):
            self.assertRaises(errors.CredentialsError, sealer.open, damaged)

    def test_no_keys(self):
        for keys in ([], None):
            problem = self.assertRaises(errors.ConfigError,
                                        credentials.Sealer, keys)
            self.assertIn('karbor-manage credentials key', str(problem))

    def test_malformed_key(self):
        for bad in ('short', self.keys[0][:-2], 'ü' * 44, ''):
            problem = self.assertRaises(errors.ConfigError,
                                        credentials.Sealer,
                                        [self.keys[0], bad])
            self.assertIn('malformed', str(problem))
            self.assertNotIn(self.keys[0], str(problem))

    def test_keys_of_the_configuration(self):
        conf = self.useFixture(fixtures.ConfFixture(
            owners=('karbor_ng.credentials',)))
        self.assertRaises(errors.ConfigError, credentials.Sealer.from_conf,
                          conf.conf)
        conf.set('keys', self.keys, 'credentials')
        sealed = credentials.Sealer.from_conf(conf.conf).seal('token')
        self.assertEqual('token', credentials.Sealer(self.keys).open(sealed))
