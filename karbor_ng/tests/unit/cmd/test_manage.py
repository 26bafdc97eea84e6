# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""karbor-manage, as an operator types it."""

import contextlib
import io

from cryptography import fernet
from oslo_config import cfg
from oslotest import base
import testscenarios

from karbor_ng.cmd import manage
from karbor_ng.store import schema
from karbor_ng.tests import fixtures


class CommandTest(base.BaseTestCase):
    """A command of ours, run in this process."""

    def run_main(self, main, *argv, **options):
        """Return exit code, output and error output.

        :param options: as GROUP__NAME
        """
        lines = ''
        for name, value in options.items():
            group, _, name = name.partition('__')
            lines += f'[{group}]\n{name} = {value}\n'
        path = self.create_tempfiles([('karbor', lines)], '.conf')[0]
        out, err = io.StringIO(), io.StringIO()
        self.forget()
        self.addCleanup(self.forget)
        with (contextlib.redirect_stdout(out),
              contextlib.redirect_stderr(err)):
            try:
                code = main(['--config-file', path, *argv])
            except SystemExit as leaving:
                code = leaving.code
        return code, out.getvalue(), err.getvalue()

    @staticmethod
    def forget():
        """Let the configuration be as at the start of a program."""
        cfg.CONF.reset()
        for name in ('noun', 'command'):
            cfg.CONF.unregister_opt(cfg.SubCommandOpt(name))


class ManageTest(CommandTest):

    def manage(self, *argv, **options):
        return self.run_main(manage.main, *argv, **options)

    def test_credentials_key(self):
        code, out, err = self.manage('credentials', 'key')
        self.assertEqual((0, ''), (code, err))
        fernet.Fernet(out.strip())
        self.assertNotEqual(out, self.manage('credentials', 'key')[1])

    def test_no_database(self):
        for verb in ('sync', 'version'):
            code, out, err = self.manage('db', verb)
            self.assertEqual((1, ''), (code, out))
            self.assertIn('[database] connection', err)
            self.assertEqual(1, len(err.splitlines()), err)

    def test_no_such_configuration(self):
        code, out, err = self.manage('--config-file', '/nowhere/karbor.conf',
                                     'db', 'version')
        self.assertEqual((1, ''), (code, out))
        self.assertIn('/nowhere/karbor.conf', err)

    def test_misuse(self):
        for argv in ((), ('db',), ('nonsense',), ('db', 'nonsense'),
                     ('credentials', 'key', 'extra')):
            code, out, err = self.manage(*argv)
            self.assertEqual((2, ''), (code, out), argv)
            self.assertIn('usage: ', err)

    def test_help_of_every_noun_and_verb(self):
        for noun_name, noun in manage.NOUNS.items():
            code, out, _err = self.manage(noun_name, '--help')
            self.assertEqual(0, code)
            self.assertIn(noun.help, out)
            for name, verb in noun.verbs.items():
                self.assertIn(name, out)
                code, said, _err = self.manage(noun_name, name, '--help')
                self.assertEqual(0, code)
                self.assertIn(verb.help, ' '.join(said.split()))


class DatabaseCommandTest(testscenarios.WithScenarios, CommandTest):

    scenarios = fixtures.database_scenarios()

    def setUp(self):
        super().setUp()
        self.database = self.useFixture(
            fixtures.EmptyDatabaseFixture(self.database_url))

    def db(self, verb):
        code, out, err = self.run_main(
            manage.main, 'db', verb, database__connection=self.database.url)
        self.assertEqual(0, code, err)
        return out.strip()

    def test_sync_and_version(self):
        self.assertEqual('none', self.db('version'))
        self.assertIn(f'{schema.newest()} now', self.db('sync'))
        self.assertEqual(schema.newest(), self.db('version'))
        schema.check(self.database.db)
        self.assertIn('already', self.db('sync'))
