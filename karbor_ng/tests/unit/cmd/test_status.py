# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""karbor-status upgrade check, with real things to look at."""

import json
import os
import pathlib

import fixtures as fixtures_library

from karbor_ng import credentials
from karbor_ng.cmd import status
from karbor_ng.store import schema
from karbor_ng.tests import fixtures
from karbor_ng.tests import fixtures_keystone
from karbor_ng.tests.unit.cmd import test_manage

PROVIDER = '''[provider]
id = {id}
name = memory
enabled = {enabled}
bank = karbor-memory-bank-plugin
plugin = karbor-noop-protection-plugin
'''


class StatusTest(test_manage.CommandTest):

    def setUp(self):
        super().setUp()
        # The library keeps the object that it was last called with.
        self.patch(status.upgradecheck, 'CONF', None)
        self.url = self.useFixture(fixtures.DatabaseFixture()).url
        self.folder = pathlib.Path(
            self.useFixture(fixtures_library.TempDir()).path)
        self.provide()

    def provide(self, **values):
        values = {'id': fixtures.PROVIDER, 'enabled': True, **values}
        (self.folder / 'memory.conf').write_text(PROVIDER.format(**values))

    def check(self, **options):
        """Return exit code, and codes and details of all checks by name."""
        code, out, err = self.run_main(
            status.main, 'upgrade', 'check', '--json', **{
                'database__connection': self.url,
                'credentials__keys': credentials.new_key(),
                'DEFAULT__auth_strategy': 'noauth',
                'protection__provider_config_dir': self.folder, **options})
        self.assertIn('{', out, err)
        return code, {one['check']: (one['result'], one['details'])
                      for one in json.loads(out)['checks']}

    def fails(self, name, word, **options):
        """Make sure that this check, and no other, fails with the word."""
        code, checks = self.check(**options)
        self.assertEqual(2, code)
        result, details = checks.pop(name)
        self.assertEqual(2, result)
        self.assertIn(word, details)
        self.assertEqual({(0, None)}, set(checks.values()))

    def test_all_is_well(self):
        code, checks = self.check()
        self.assertEqual((0, {(0, None)}), (code, set(checks.values())))
        self.assertEqual(4, len(checks))

    def test_table(self):
        code, out, _err = self.run_main(
            status.main, 'upgrade', 'check', database__connection=self.url)
        self.assertEqual(2, code)
        self.assertIn('Check: Database schema', out)
        self.assertIn('Result: Success', out)
        self.assertIn('Result: Failure', out)

    def test_empty_database(self):
        empty = self.useFixture(fixtures.EmptyDatabaseFixture())
        self.fails('Database schema', 'karbor-manage db sync',
                   database__connection=empty.url)
        # Looking changes nothing.
        self.assertIsNone(schema.version(empty.db))

    def test_unreachable_database(self):
        self.fails('Database schema', 'can not be used',
                   database__connection='sqlite:////nowhere/karbor.sqlite',
                   database__max_retries=0)

    def test_keys(self):
        self.fails('Keys for credentials', 'credentials key',
                   credentials__keys='')
        self.fails('Keys for credentials', 'malformed',
                   credentials__keys='tooshort')

    def test_service_user(self):
        options = {'DEFAULT__auth_strategy': 'keystone'}
        self.fails('Service user', 'No auth_type', **options)
        keystone = self.useFixture(fixtures_keystone.Keystone('member'))
        options.update(
            (f'service_user__{name}', value) for name, value in (
                line.split(' = ') for line
                in keystone.section().splitlines()[1:]))
        self.fails('Service user', 'has no role "service"', **options)

    def test_no_provider_directory(self):
        self.fails('Provider files', 'nowhere',
                   protection__provider_config_dir='/nowhere')

    def test_no_usable_provider(self):
        self.provide(enabled=False)
        self.fails('Provider files', 'enabled = True')
        self.provide(id='nonsense')
        self.fails('Provider files', 'No provider file')
        os.unlink(self.folder / 'memory.conf')
        self.fails('Provider files', 'No provider file')

    def test_no_such_configuration(self):
        code, _out, err = self.run_main(
            status.main, '--config-file', '/nowhere/karbor.conf', 'upgrade',
            'check')
        self.assertEqual(255, code)
        self.assertIn('/nowhere/karbor.conf', err)
