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
import uuid

from karbor_ng.tests.functional import base
from karbor_ng.tests.functional import test_allinone

MANAGE = pathlib.Path(sys.executable).with_name('karbor-manage')
IMAGE = 'OS::Glance::Image'


class RecoveryTestCase(test_allinone.AllInOneTestCase):

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

    def make(self):
        data = os.urandom(4 * base.MIB)
        image = self.demo.cloud.image.create_image(
            name='recovery', data=data, disk_format='raw',
            container_format='bare', validate_checksum=False)
        self.addCleanup(self.demo.cloud.image.delete_image, image.id,
                        ignore_missing=True)
        volume = self.demo.create_volumes(1)[0]
        self.addCleanup(self.demo.delete_volume, volume.id)
        return volume, base.volume_digest(volume.id), image, data

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
                         base.volume_digest(restored[base.VOLUME]))
        answer = self.demo.cloud.image.download_image(restored[IMAGE],
                                                      stream=True)
        self.assertEqual(hashlib.sha256(data).hexdigest(),
                         hashlib.sha256(answer.content).hexdigest())


class LostDatabaseTest(RecoveryTestCase):

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

    def make_plan(self, volume, image):
        return self.request('POST', '/plans', {'plan': {
            'name': 'recovery', 'provider_id': self.provider,
            'parameters': {}, 'resources': [
                {'id': volume.id, 'type': base.VOLUME, 'name': 'volume'},
                {'id': image.id, 'type': IMAGE, 'name': 'image'}],
        }})['plan']['id']


class OldKarborTest(RecoveryTestCase):
    """What the old Karbor left: a backup in Cinder, chunks of an image."""

    CHUNK = 3 * base.MIB

    def test_it_is_taken_over(self):
        self.start()
        self.end(self.process, signal.SIGTERM)
        volume, digest, image, data = self.make()
        backup = self.demo.cloud.block_storage.create_backup(
            volume_id=volume.id, name='karbor')
        base.wait(lambda: self.demo.cloud.block_storage.get_backup(
            backup.id).status == 'available', what='a backup')
        checkpoint_id = str(uuid.uuid4())
        self.leave(checkpoint_id, volume, backup, image, data)
        imported, = json.loads(self.manage('bank', 'import', '--karbor',
                                           '-f', 'json'))
        self.assertEqual('imported', imported['outcome'],
                         imported['reason'])
        self.start()
        path = f'/providers/{self.provider}/checkpoints/{checkpoint_id}'
        found = self.request('GET', path)['checkpoint']
        self.assertEqual(
            [('available', None)] * 2,
            [(row['status'], row['reason']) for row in found['resources']])
        self.check_bytes(path, volume, digest, image, data)
        self.delete(path)
        self.assertEqual([], self.demo.backups_of(volume.id))

    def leave(self, checkpoint_id, volume, backup, image, data):
        """Write what Karbor would have written."""
        nodes = {'0x0': [base.VOLUME, volume.id, 'volume', None],
                 '0x1': [IMAGE, image.id, 'image', None]}
        self.put(checkpoint_id, 'index.json', json.dumps({
            'version': '0.9', 'id': checkpoint_id, 'status': 'available',
            'owner_id': str(uuid.uuid4()), 'provider_id': self.provider,
            'project_id': self.demo.project_id, 'extra_info': '{}',
            'protection_plan': {
                'id': str(uuid.uuid4()), 'name': 'old',
                'provider_id': self.provider,
                'resources': [
                    {'id': number, 'type': kind, 'name': name,
                     'extra_info': None}
                    for kind, number, name, _ in nodes.values()]},
            'created_at': '2020-02-03', 'timestamp': 1580702400,
            'resource_graph': json.dumps([nodes, []])}))
        chunks = [data[start:start + self.CHUNK]
                  for start in range(0, len(data), self.CHUNK)]
        for number, metadata in (
                (volume.id, {'volume_id': volume.id,
                             'backup_id': backup.id}),
                (image.id, {
                    'resource_id': image.id, 'chunks_num': len(chunks),
                    'image_metadata': {
                        'disk_format': 'raw', 'container_format': 'bare',
                        'checksum': hashlib.md5(data).hexdigest()}})):
            where = f'resource-data/{number}'
            self.put(checkpoint_id, f'{where}/status', 'available')
            self.put(checkpoint_id, f'{where}/metadata',
                     json.dumps(metadata))
        for number, chunk in enumerate(chunks, 1):
            self.put(checkpoint_id,
                     f'resource-data/{image.id}/data_{number}', chunk)

    def put(self, checkpoint_id, name, value):
        path = (self.state / 'bank' / 'karbor' / 'checkpoints'
                / checkpoint_id / name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(value if isinstance(value, bytes)
                         else value.encode())
