# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What is looked for when functional tests have ended, and what is found.

Separate because nobody would miss what the search overlooks.
"""

import base64
import json
import pathlib
import urllib.parse

from cryptography import fernet
import fixtures
from oslotest import base

from karbor_ng.tests.functional import secrecy

TEXT = 'pass/word+"ä"=7'
DATA = TEXT.encode()
#: What a program might make of it, on the way into a log or a row.
WRITTEN = {
    'as it is': TEXT,
    'JSON': json.dumps({'a': TEXT}),
    'JSON in Unicode': json.dumps({'a': TEXT}, ensure_ascii=False),
    'Python': repr({'a': f"it's {TEXT}"}),
    'in a URL': urllib.parse.quote(TEXT, safe=''),
    'in a query': urllib.parse.urlencode({'a': TEXT, 'b': 1}),
    'hexadecimal': f'00{DATA.hex()}ff',
    'upper case': DATA.hex().upper(),
    **{f'base64 after {before} bytes': base64.b64encode(
        b'u' * before + DATA + b'xyz').decode() for before in range(7)},
    'base64 in a URL': base64.urlsafe_b64encode(b'a?>' + DATA).decode(),
    'base64 with nothing behind': base64.b64encode(b'user:' + DATA).decode(),
}


class SecrecyTest(base.BaseTestCase):

    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        for place in secrecy.PLACES:
            (self.folder / place).mkdir()
        self.secret = secrecy.Secret('password', TEXT)

    def put(self, place, text):
        (self.folder / place / 'file').write_text(f'begin {text} end\n')

    def found(self, *keys, secrets=None):
        return [(leak.place, leak.what, leak.count) for leak
                in secrecy.leaks(self.folder, secrets or {self.secret}, keys)]

    def test_in_every_form(self):
        for name, text in WRITTEN.items():
            self.put('logs', text)
            self.assertEqual([('logs', self.secret, 1)], self.found(), name)

    def test_in_every_place(self):
        for place in secrecy.PLACES:
            self.put(place, TEXT)
        self.assertEqual(
            [(place, self.secret, 1) for place in sorted(secrecy.PLACES)],
            self.found())

    def test_amid_bytes_and_more_than_once(self):
        (self.folder / 'objects' / 'x').write_bytes(
            b'\0\xff' + DATA + b'\xfe\0' + DATA)
        self.assertEqual([('objects', self.secret, 2)], self.found())

    def test_what_is_not_there(self):
        for place in secrecy.PLACES:
            self.put(place, TEXT[:-1])
        self.assertEqual([], self.found())

    def test_a_report_tells_no_secret(self):
        self.put('logs', TEXT)
        leak, = secrecy.leaks(self.folder, {self.secret})
        self.assertIn('password', str(leak))
        self.assertNotIn(TEXT, str(leak) + repr(leak))

    def test_many(self):
        secrets = {secrecy.Secret('token', f'{number:08}-token')
                   for number in range(500)}
        self.put('messages', 'x' * 100_000 + '00000499-token')
        self.assertEqual([('messages', secrecy.Secret(
            'token', '00000499-token'), 1)], self.found(secrets=secrets))

    def test_tokens_that_nobody_wrote_down(self):
        token = fernet.Fernet(fernet.Fernet.generate_key()).encrypt(
            b'x' * 50).decode()
        for text in (token, token.rstrip('=')):
            for place in secrecy.PLACES:
                self.put(place, text)
            self.assertEqual(
                [(place, 'what looks like a token', 1)
                 for place in sorted(secrecy.PLACES)], self.found())

    def test_what_is_sealed_is_no_leak_in_rows(self):
        """Nor in banks, if it is none of the secrets."""
        key = fernet.Fernet.generate_key().decode()
        sealed, harmless = (fernet.Fernet(key).encrypt(data).decode()
                            for data in (DATA, b'what a user has made'))
        for place in secrecy.PLACES:
            self.put(place, harmless)
        token = 'what looks like a token'
        outside = [(place, token, 1) for place in (
            'logs', 'messages', 'notifications')]
        self.assertEqual(outside, self.found(key))
        for place in secrecy.PLACES:
            self.put(place, sealed)
        self.assertEqual(
            [*outside, ('objects', 'a sealed secret', 1)],
            sorted(self.found(key), key=str))
        self.assertEqual(len(secrecy.PLACES), len(self.found(
            fernet.Fernet.generate_key().decode())))

    def test_what_is_noted(self):
        self.useFixture(fixtures.EnvironmentVariable(
            secrecy.VARIABLE, str(self.folder)))
        secrecy.note.cache_clear()
        self.addCleanup(secrecy.note.cache_clear)
        for text in (TEXT, TEXT, 'secret', '', None):
            secrecy.note('password', text)
        made = secrecy.new_password()
        secrets, words = secrecy.noted(self.folder)
        self.assertEqual(
            {self.secret, secrecy.Secret('password', made)}, secrets)
        self.assertEqual({secrecy.Secret('password', 'secret')}, words)
        self.assertEqual(0o600, 0o777 & (
            self.folder / 'secrets').stat().st_mode)

    def test_without_a_folder_nothing_is_written(self):
        self.useFixture(fixtures.EnvironmentVariable(secrecy.VARIABLE))
        self.assertEqual(TEXT, secrecy.note('key', TEXT))
        self.assertEqual((set(), set()), secrecy.noted(self.folder))

    def test_logs_are_kept(self):
        self.useFixture(fixtures.EnvironmentVariable(
            secrecy.VARIABLE, str(self.folder)))
        log = self.folder / 'log'
        log.write_text(TEXT)
        secrecy.keep_log(log)
        self.assertEqual([('logs', self.secret, 1)], self.found())
        self.assertIn('1 logs, 0 messages', secrecy.totals(self.folder))
