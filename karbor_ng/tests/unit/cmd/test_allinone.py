# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""karbor-all-in-one: its directory, and what it says when it can not start.

What needs a cloud is in the functional tests.
"""

import os
import pathlib
import stat
import subprocess
import sys

import fixtures
from oslotest import base

from karbor_ng import errors
from karbor_ng.cmd import allinone
from karbor_ng.protection import providers

PROGRAM = pathlib.Path(sys.executable).with_name('karbor-all-in-one')
CLOUDS = '''
clouds:
  sunny: {auth: {auth_url: "http://127.0.0.1:1/v3", username: me,
                 password: secret, project_name: mine,
                 user_domain_id: default, project_domain_id: default}}
  rainy: {auth: {auth_url: "http://127.0.0.1:1/v3"}}
'''


class StateTest(base.BaseTestCase):

    def setUp(self):
        super().setUp()
        self.path = os.path.join(
            self.useFixture(fixtures.TempDir()).path, 'a', 'b$c')

    def test_a_first_start_lays_out_a_provider_that_loads(self):
        state = allinone.State(self.path)
        found = providers.load_all(str(state.providers))
        self.assertEqual(1, len(found))
        provider, = found.values()
        self.assertIn('OS::Cinder::Volume', provider.protections)
        provider.open()
        self.assertTrue(any(pathlib.Path(self.path, 'bank').iterdir()))

    def test_nobody_else_can_look_into_it(self):
        allinone.State(self.path)
        mode = stat.S_IMODE(os.stat(self.path).st_mode)
        self.assertEqual(0o700, mode)

    def test_the_users_changes_stay(self):
        state = allinone.State(self.path)
        file, = state.providers.glob('*.conf')
        file.write_text('mine')
        del state
        self.assertEqual('mine', next(allinone.State(
            self.path).providers.glob('*.conf')).read_text())

    def test_a_provider_that_was_replaced_does_not_come_back(self):
        state = allinone.State(self.path)
        file, = state.providers.glob('*.conf')
        file.rename(file.with_name('other.conf'))
        del state
        self.assertEqual(['other.conf'], [
            path.name for path in allinone.State(
                self.path).providers.iterdir()])

    def test_one_process_at_a_time(self):
        state = allinone.State(self.path)
        refusal = self.assertRaises(errors.ConfigError, allinone.State,
                                    self.path)
        self.assertIn(f'Process {os.getpid()}', str(refusal))
        self.assertIn(str(state.path), str(refusal))

    def test_a_directory_that_can_not_be_made(self):
        with open(os.path.dirname(os.path.dirname(self.path)) + '/file',
                  'w') as file:
            pass
        refusal = self.assertRaises(errors.ConfigError, allinone.State,
                                    f'{file.name}/state')
        self.assertIn('--state', str(refusal))


class RefusalTest(base.BaseTestCase):
    """What is wrong is told in one line, with exit code 1."""

    def setUp(self):
        super().setUp()
        self.path = self.useFixture(fixtures.TempDir()).path
        self.env = {name: value for name, value in os.environ.items()
                    if not name.startswith('OS_')}
        self.env['HOME'] = self.path

    def assertRefused(self, *words, arguments=()):
        ended = subprocess.run(
            [PROGRAM, '--state', f'{self.path}/state', *arguments],
            capture_output=True, text=True, timeout=60, env=self.env,
            cwd=self.path)
        self.assertEqual(1, ended.returncode, ended.stderr)
        self.assertTrue(ended.stderr.startswith('karbor-all-in-one: '))
        self.assertEqual(1, len(ended.stderr.splitlines()), ended.stderr)
        for word in words:
            self.assertIn(word, ended.stderr)

    def _clouds(self):
        path = os.path.join(self.path, 'clouds.yaml')
        with open(path, 'w') as file:
            file.write(CLOUDS)

    def test_no_cloud_at_all(self):
        self.assertRefused('--os-cloud NAME', 'none')

    def test_no_cloud_named(self):
        self._clouds()
        self.assertRefused('--os-cloud NAME', 'rainy, sunny')

    def test_unknown_cloud(self):
        self._clouds()
        self.assertRefused('foggy', arguments=['--os-cloud', 'foggy'])

    def test_incomplete_cloud(self):
        self._clouds()
        self.assertRefused('rainy', 'password', arguments=['--os-cloud', 'rainy'])

    def test_nobody_answers(self):
        self._clouds()
        self.assertRefused('Keystone does not answer',
                           arguments=['--os-cloud', 'sunny'])
