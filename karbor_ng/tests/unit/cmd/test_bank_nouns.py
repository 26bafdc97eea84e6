# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""karbor-manage bank, over provider files and banks in directories."""

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
        self.site = self.useFixture(environment.Deployment())
        # What an operator sees is output, not this process' log.
        self.useFixture(fixture_library.FakeLogger())

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
