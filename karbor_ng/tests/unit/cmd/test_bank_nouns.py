# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""karbor-manage bank, over provider files and banks in directories."""

import json
import pathlib

import fixtures as fixture_library

from karbor_ng.cmd import manage
from karbor_ng.tests import fixtures
from karbor_ng.tests.unit.cmd import test_nouns
from karbor_ng.tests.unit.protection import environment

VOLUME = 'OS::Cinder::Volume'


class BankTest(test_nouns.NounTest):
    """A deployment whose database is lost; ``self.db`` is the new one."""

    def setUp(self):
        super().setUp()
        self.site = self.useFixture(self.deployment())
        # What an operator sees is output, not this process' log.
        self.useFixture(fixture_library.FakeLogger())

    def deployment(self):
        return environment.Deployment()

    def run_verb(self, *argv):
        return self.run_main(
            manage.main, *argv, database__connection=self.database.url,
            protection__provider_config_dir=self.site.provider_directory)

    def protect(self):
        """Return the id of a checkpoint in a bank that nobody knows now."""
        worker = self.site.start_worker()
        checkpoint_id = self.site.protect([(VOLUME, 'v1')])
        self.site.ended(checkpoint_id)
        worker.stop()
        return checkpoint_id


class ImportTest(BankTest):

    def test_a_bank_that_is_none(self):
        self.assertIn('no "bank.json"', self.refusal('bank', 'import'))
        self.assertIn('no "bank.json"', self.refusal('bank', 'import'))

    def test_life(self):
        checkpoint_id = self.protect()
        for argv, outcome in ((('--dry-run',), 'imported'),
                              ((), 'imported'), ((), 'known'),
                              (('--provider', 'No-op'), 'known'),
                              (('--provider', environment.PROVIDER_ID),
                               'known')):
            self.assertEqual(
                [{'checkpoint_id': checkpoint_id, 'project_id': 'project',
                  'outcome': outcome, 'reason': None}],
                self.told('bank', 'import', *argv))
        found = self.db.read(environment.checkpoints.get, checkpoint_id)
        self.assertEqual('available', found.status)

    def test_plans(self):
        self.protect()
        for number in 1, 0:
            code, _out, err = self.run_verb('bank', 'import', '--plans')
            self.assertEqual((0, f'{number} plans imported.'),
                             (code, err.strip()))

    def test_no_such_provider(self):
        self.protect()
        said = self.refusal('bank', 'import', '--provider', 'other')
        self.assertIn(environment.PROVIDER_ID, said)

    def test_refused_ones_are_told(self):
        checkpoint_id = self.protect()
        self.db.write(environment.checkpoints.create,
                      fixtures.checkpoint_values(id=checkpoint_id))
        code, out, _err = self.run_verb('bank', 'import')
        self.assertEqual(1, code)
        self.assertIn('refused', out)
        self.assertIn('another checkpoint', out)


class CheckTest(BankTest):
    """Here the database is not lost."""

    def deployment(self):
        return environment.Deployment(self.db)

    def setUp(self):
        super().setUp()
        self.protect()
        rest = pathlib.Path(self.site.path, 'bank', 'karbor', 'checkpoints',
                            'project', fixtures.new_id(), 'data', 'x')
        rest.parent.mkdir(parents=True)
        rest.write_text('x')
        self.rest = rest

    def check(self, code, *argv):
        """Return findings by what they are."""
        found, out, err = self.run_main(
            manage.main, 'bank', 'check', '-f', 'json', *argv,
            DEFAULT__auth_strategy='noauth',
            database__connection=self.database.url,
            protection__provider_config_dir=self.site.provider_directory)
        self.assertEqual((code, ''), (found, err))
        return {row['what']: row for row in json.loads(out)}

    def test_find_and_fix(self):
        rows = self.check(1)
        self.assertEqual(['objects of no checkpoint'], list(rows))
        self.assertEqual('no', rows['objects of no checkpoint']['repaired'])
        rows = self.check(1, '--grace-hours', '0')
        self.assertEqual('with --fix',
                         rows['objects of no checkpoint']['repaired'])
        self.assertEqual(1, len(self.check(1, '--fix')))
        self.assertTrue(self.rest.exists())
        rows = self.check(0, '--fix', '--grace-hours', '0')
        self.assertEqual('yes', rows['objects of no checkpoint']['repaired'])
        self.assertFalse(self.rest.exists())
        self.assertEqual({}, self.check(0, '--read'))

    def test_the_registry_is_a_cloud(self):
        self.rest.unlink()
        for object_id in self.site.registry.objects():
            self.site.registry.remove(object_id)
        self.assertEqual(['missing backup'], list(self.check(1)))

    def test_clouds_are_looked_at_when_asked(self):
        code, out, _err = self.run_verb('bank', 'check')
        self.assertEqual(1, code)
        self.assertIn('Clouds were not looked at', out)
