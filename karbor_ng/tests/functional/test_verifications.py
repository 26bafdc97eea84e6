# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Verifications of real backups and real banks: what is broken is named."""

import json
import os
import uuid

import openstack
import testscenarios

from karbor_ng.tests.functional import base

IMAGE = 'OS::Glance::Image'
BANK = base.STACK / 'bank' / 'karbor'
#: Three parts in the bank.
MEBIBYTES = 70


class FilesystemBank:
    """The bank of the stack that is a directory, past karbor."""

    provider = base.FILESYSTEM_PROVIDER

    def read(self, key):
        return (BANK / key).read_bytes()

    def write(self, key, data):
        (BANK / key).write_bytes(data)


class SwiftBank:
    """The bank of the stack that is a container, past karbor."""

    provider = base.SWIFT_PROVIDER

    def __init__(self):
        os.environ['OS_CLIENT_CONFIG_FILE'] = str(
            base.STACK / 'clouds.yaml')
        self._swift = openstack.connect(cloud='karbor').object_store

    def read(self, key):
        return self._swift.get(f'/karbor/{key}').content

    def write(self, key, data):
        self._swift.put(f'/karbor/{key}', data=data).raise_for_status()


class VerificationTestCase(base.StackTestCase):
    """A checkpoint of an image, whose data is in the bank, and a volume."""

    def verify(self, path, status='success', parameters=None):
        """Verify a checkpoint; return the verification as it ended."""
        _, _, provider, _, checkpoint_id = path.split('/')
        made = self.request('POST', '/verifications', {'verification': {
            'provider_id': provider, 'checkpoint_id': checkpoint_id,
            'parameters': parameters or {}}})['verification']

        def look():
            found = self.request(
                'GET', f'/verifications/{made["id"]}')['verification']
            return None if found['status'] == 'started' else found
        found = base.wait(look, 300, what=f'verification of {path}')
        self.assertEqual(status, found['status'], json.dumps(found))
        return found

    def check_log(self, verification, status):
        log, = self.request(
            'GET', f'/operation_logs?verification_id={verification["id"]}'
        )['operation_logs']
        self.assertEqual(('verify', status),
                         (log['operation_type'], log['status']))
        return log['error_info']

    def protected(self):
        """Make and protect an image and a volume; return the path."""
        self.image = self.demo.cloud.image.create_image(
            name=f'test-{uuid.uuid4().hex[:8]}',
            data=os.urandom(MEBIBYTES * base.MIB), disk_format='raw',
            container_format='bare', validate_checksum=False)
        self.addCleanup(self.demo.cloud.image.delete_image, self.image.id,
                        ignore_missing=True)
        self.volume = self.demo.create_volume(os.urandom(base.MIB))
        self.addCleanup(self.demo.delete_volume, self.volume.id)
        plan = self.request('POST', '/plans', {'plan': {
            'name': 'functional', 'provider_id': self.bank.provider,
            'parameters': {}, 'resources': [
                {'id': self.image.id, 'type': IMAGE, 'name': 'image'},
                {'id': self.volume.id, 'type': base.VOLUME,
                 'name': 'volume'}]}})['plan']['id']
        self.addCleanup(self.remove_plan, self.demo, plan)
        path = self.protect(plan, self.bank.provider)
        self.ended(path)
        return path

    def manifest(self, path):
        """Return the checkpoint's manifest, read past karbor."""
        return json.loads(self.bank.read(
            f'checkpoints/{self.demo.project_id}/{path.rpartition("/")[2]}/'
            f'manifest.json'))


class VerificationTest(testscenarios.WithScenarios, VerificationTestCase):

    scenarios = [('swift', {'bank_class': SwiftBank}),
                 ('filesystem', {'bank_class': FilesystemBank})]

    def setUp(self):
        super().setUp()
        self.bank = self.bank_class()

    def test_what_breaks_is_named(self):
        path = self.protected()
        found = self.verify(path)
        self.assertEqual(
            {f'{IMAGE}#{self.image.id}': 'available',
             f'{base.VOLUME}#{self.volume.id}': 'available'},
            found['resources_status'])
        self.assertEqual({}, found['resources_reason'])
        self.assertIsNone(self.check_log(found, 'success'))
        self.check_damaged_part(path)
        self.check_vanished_backup(path)
        self.delete(path)

    def check_damaged_part(self, path):
        """One bit of the bank, and back again."""
        part = self.parts(path)[1]
        self.flip(part)
        found = self.verify(path, 'failed')
        reason = found['resources_reason'][f'{IMAGE}#{self.image.id}']
        self.assertIn(f'"{part}" is damaged', reason)
        self.assertEqual(
            'available',
            found['resources_status'][f'{base.VOLUME}#{self.volume.id}'])
        self.assertIn(part, self.check_log(found, 'failed'))
        self.flip(part)
        self.verify(path)

    def parts(self, path):
        image, = [item for item in self.manifest(path)['resources']
                  if item['type'] == IMAGE]
        parts = [item['key'] for item in image['objects']]
        self.assertEqual(3, len(parts), parts)
        return parts

    def flip(self, key):
        """Change a bit in the middle of an object, as disks do."""
        data = bytearray(self.bank.read(key))
        data[len(data) // 2] ^= 1
        self.bank.write(key, bytes(data))

    def check_vanished_backup(self, path):
        """Somebody deletes in Cinder what the checkpoint needs."""
        backup, = self.demo.backups_of(self.volume.id)
        volumes = self.demo.cloud.block_storage
        volumes.delete_backup(backup.id)
        base.wait(lambda: volumes.find_backup(backup.id) is None,
                  what=f'backup {backup.id} gone')
        found = self.verify(path, 'failed')
        self.assertIn(
            backup.id,
            found['resources_reason'][f'{base.VOLUME}#{self.volume.id}'])
        self.assertEqual('available', found['resources_status'][
            f'{IMAGE}#{self.image.id}'])


class ChainTest(VerificationTestCase):

    def test_chains_and_others(self):
        """Of an incremental backup all is looked at that it builds on."""
        volume = self.demo.create_volume(os.urandom(base.MIB))
        self.addCleanup(self.demo.delete_volume, volume.id)
        plan = self.create_plan([volume])
        paths = []
        for _ in range(2):
            paths.append(self.protect(plan))
            self.ended(paths[-1])
        newest = max(self.demo.backups_of(volume.id),
                     key=lambda backup: backup.created_at)
        self.assertTrue(newest.is_incremental)
        for path in paths:
            self.verify(path, parameters={base.VOLUME: {}})
        self.check_refusals(paths[0])
        for path in reversed(paths):
            self.delete(path)

    def check_refusals(self, path):
        _, _, provider, _, checkpoint_id = path.split('/')
        good = {'provider_id': provider, 'checkpoint_id': checkpoint_id}
        self.request('POST', '/verifications', {'verification': dict(
            good, parameters={base.VOLUME: {'depth': 1}})}, expect=400)
        self.request('POST', '/verifications', {'verification': good},
                     expect=404, user=base.User('demo2'))
        self.request('POST', '/verifications', {'verification': good},
                     expect=403, user=base.User('demo_reader'))
