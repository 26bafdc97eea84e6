# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""kill -9, again and again, while an application is protected and restored.

Each worker dies at another point: after a cloud has accepted something and
before the journal knows, or in the middle of a stream. In the end there is
one of everything, with the bytes that it had, and nothing temporary.
"""

import os
import pathlib
import signal
import subprocess
import sys
import uuid

import fixtures

from karbor_ng.tests.functional import application
from karbor_ng.tests.functional import base
from karbor_ng.tests.functional import secrecy

IMAGE = 'OS::Glance::Image'
#: Two parts in the bank.
IMAGE_MIB = 36
PROTECTING = ('snapshot-accepted', 'root-disk-accepted', 'backup-accepted',
              'image-part-recorded', 'root-disk-part-recorded')
RESTORING = ('volume-accepted', 'image-accepted', 'image-empty',
             'image-half-sent', 'server-accepted')
PROVIDER_FILE = '''
[provider]
name = Provider of dying workers
id = {id}
bank = karbor-fs-bank-plugin
plugin = karbor-server-protection-plugin
plugin = karbor-image-protection-plugin
plugin = karbor-volume-protection-plugin
enabled = true

[file_system_bank_plugin]
file_system_bank_path = {folder}/bank

[cinder_backup_protection_plugin]
poll_interval = 1

[image_backup_plugin]
poll_interval = 1

[nova_backup_protection_plugin]
poll_interval = 1
'''


class ApplicationCrashTest(application.ApplicationTestCase):

    def setUp(self):
        self.provider = str(uuid.uuid4())
        super().setUp()
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        for name in ('providers.d', 'bank'):
            (self.folder / name).mkdir()
        (self.folder / 'providers.d' / 'crash.conf').write_text(
            PROVIDER_FILE.format(id=self.provider, folder=self.folder))

    def upload(self, name):
        images = self.tenant.cloud.image
        return images.get_image(images.create_image(
            name=name, data=os.urandom(IMAGE_MIB * base.MIB),
            disk_format='raw', container_format='bare',
            validate_checksum=False))

    def start_workers(self, *points):
        """Start workers that die at these points, and one that lives."""
        with open(self.folder / 'log', 'wb') as log:
            self.workers = subprocess.Popen(
                [sys.executable, '-m',
                 'karbor_ng.tests.functional.crash_chain', self.folder,
                 base.STACK / 'etc' / 'karbor' / 'karbor.conf', *points],
                cwd=base.ROOT, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT)
        self.addCleanup(secrecy.keep_log, self.folder / 'log')
        self.addCleanup(self.stop_workers)
        base.wait(self.is_offered, what='the provider')

    def stop_workers(self):
        self.workers.send_signal(signal.SIGTERM)
        self.assertEqual(0, self.workers.wait(60), self.last_words())

    def is_offered(self):
        self.assertIsNone(self.workers.poll(), self.last_words())
        answer = self.tenant.karbor.get(f'/providers/{self.provider}')
        return answer.status_code == 200

    def last_words(self):
        return (self.folder / 'log').read_text(errors='replace')[-4000:]

    def test_one_of_everything(self):
        self.start_workers(*PROTECTING, *RESTORING)
        before = self.tenant.everything()
        path, checkpoint = self.checkpoint_of(
            (application.SERVER, self.web), (application.SERVER, self.db))
        self.check_deaths(PROTECTING)
        self.check_protected(before)
        self.destroy()
        ids = self.new_ids(self.restore(path))
        self.check_deaths(PROTECTING + RESTORING)
        self.check_servers(ids)
        self.check_restored(ids)
        self.remove_restored(ids)
        self.delete(path)
        left = self.tenant.everything()
        # What was restored, images among it, is the user's.
        self.assertEqual(2, len(left.pop('images')))
        self.assertEqual([], [one for found in left.values()
                              for one in found])
        self.assertEqual([], self.keys())

    def check_deaths(self, points):
        """Each worker must have died where it should, and not elsewhere."""
        died = (self.folder / 'died').read_text().split()
        self.assertEqual(list(points), died, self.last_words())

    def check_protected(self, before):
        """One backup of each volume, and nothing else is new."""
        for volume in self.volumes:
            self.assertEqual(['available'], [
                backup.status for backup in self.demo.backups_of(volume.id)])
        after = self.tenant.everything()
        self.assertEqual(3, len(after.pop('backups')))
        self.assertEqual(before, {**after, 'backups': []})

    def check_restored(self, ids):
        """One server, one volume, one image of each, and no more."""
        now = self.tenant.everything()
        for kind, originals in (
                ('servers', [self.web, self.db]),
                ('volumes', [volume.id for volume in self.volumes])):
            self.assertEqual({ids[one] for one in originals},
                             set(now[kind]), kind)
            self.assertEqual(len(originals), len(now[kind]), kind)
        self.check_images(ids, now['images'])
        self.assertEqual(3, len(now['backups']))
        self.assertEqual([], now['snapshots'])

    def check_images(self, ids, there):
        """The tenant's image, and the one that web's root disk was."""
        self.assertEqual(2, len(there), there)
        restored = self.tenant.cloud.image.get_image(ids[self.image.id])
        self.assertIn(restored.id, there)
        self.assertEqual(self.image.hash_value, restored.hash_value)

    def keys(self):
        """Return what the bank has of the project's data."""
        return [str(found) for found in (self.folder / 'bank').rglob('*')
                if found.is_file() and self.tenant.project_id in str(found)]
