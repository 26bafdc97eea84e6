# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The database is lost: what lies in the bank is all that is needed."""

import hashlib
import json
import os
import pathlib
import signal
import subprocess
import sys

from karbor_ng.tests.functional import base
from karbor_ng.tests.functional import test_allinone

MANAGE = pathlib.Path(sys.executable).with_name('karbor-manage')
IMAGE = 'OS::Glance::Image'


class LostDatabaseTest(test_allinone.AllInOneTestCase):

    def setUp(self):
        super().setUp()
        self.state = self.path / 'state'
        self.conf = self.path / 'manage.conf'
        self.conf.write_text(
            f'[database]\n'
            f'connection = sqlite:///{self.state / "karbor.sqlite"}\n'
            f'[protection]\n'
            f'provider_config_dir = {self.state / "providers.d"}\n')

    def manage(self, *words, codes=(0,)):
        """Run karbor-manage as an operator would; return what it printed."""
        ended = subprocess.run(
            [MANAGE, '--config-file', self.conf, *words], text=True,
            capture_output=True, env={**os.environ, 'OS_CLOUD': 'demo'})
        self.assertIn(ended.returncode, codes, ended.stderr + ended.stdout)
        return ended.stdout

    def findings(self):
        """Return what checking bank, rows and cloud finds of ours."""
        rows = json.loads(self.manage('bank', 'check', '--read', '--cloud',
                                      '-f', 'json', codes=(0, 1)))
        # Another karbor protects things of the same user meanwhile.
        return [row for row in rows if not row['what'].endswith('somebody')]

    def test_it_comes_back(self):
        self.start()
        volume, digest, image, data = self.make()
        path = self.protect(self.make_plan(volume, image), self.provider)
        before = self.ended(path)
        self.assertEqual([], self.findings())

        self.end(self.process, signal.SIGTERM)
        for file in self.state.glob('karbor.sqlite*'):
            file.unlink()
        self.assertIn('now', self.manage('db', 'sync'))
        imported, = json.loads(self.manage('bank', 'import', '-f', 'json'))
        self.assertEqual('imported', imported['outcome'])
        self.assertEqual([], self.findings())

        self.start()
        after = self.request('GET', path)['checkpoint']
        self.assertEqual(dict(before, finished_at_time=None),
                         dict(after, finished_at_time=None))
        self.check_bytes(path, volume, digest, image, data)
        self.delete(path)
        self.assertEqual([], self.demo.backups_of(volume.id))
        self.assertEqual(['bank.json'], [
            file.name for file in (self.state / 'bank').rglob('*')
            if file.is_file()])
        self.assertEqual([], self.findings())

    def make(self):
        data = os.urandom(4 * base.MIB)
        image = self.demo.cloud.image.create_image(
            name='recovery', data=data, disk_format='raw',
            container_format='bare', validate_checksum=False)
        self.addCleanup(self.demo.cloud.image.delete_image, image.id,
                        ignore_missing=True)
        volume = self.demo.create_volumes(1)[0]
        self.addCleanup(self.demo.delete_volume, volume.id)
        return volume, self.demo.hash_volume(volume.id), image, data

    def make_plan(self, volume, image):
        return self.request('POST', '/plans', {'plan': {
            'name': 'recovery', 'provider_id': self.provider,
            'parameters': {}, 'resources': [
                {'id': volume.id, 'type': base.VOLUME, 'name': 'volume'},
                {'id': image.id, 'type': IMAGE, 'name': 'image'}],
        }})['plan']['id']

    def check_bytes(self, path, volume, digest, image, data):
        """What is restored has the bytes of what is gone."""
        self.demo.delete_volume(volume.id)
        self.demo.cloud.image.delete_image(image.id)
        restored = {row['type']: row['new_id'] for row
                    in self.restore(path)['resources']}
        self.addCleanup(self.demo.delete_volume, restored[base.VOLUME])
        self.addCleanup(self.demo.cloud.image.delete_image,
                        restored[IMAGE])
        self.assertEqual(digest,
                         self.demo.hash_volume(restored[base.VOLUME]))
        answer = self.demo.cloud.image.download_image(restored[IMAGE],
                                                      stream=True)
        self.assertEqual(hashlib.sha256(data).hexdigest(),
                         hashlib.sha256(answer.content).hexdigest())
