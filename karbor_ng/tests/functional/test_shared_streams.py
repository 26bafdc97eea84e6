# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""One image in checkpoints: stored once, whoever shares it or is killed."""

import hashlib
import json
import os
import pathlib
import uuid

import fixtures
import openstack
import testscenarios

from karbor_ng.tests.functional import base

IMAGE = 'OS::Glance::Image'
#: Three parts in the bank.
MEBIBYTES = 70
BANK = base.STACK / 'bank' / 'karbor'


class ImageTestCase(base.StackTestCase):
    """One image of random bytes, and what the bank has of it."""

    provider = base.FILESYSTEM_PROVIDER

    def setUp(self):
        super().setUp()
        data = os.urandom(MEBIBYTES * base.MIB)
        self.digest = hashlib.sha256(data).hexdigest()
        self.image = self.demo.cloud.image.create_image(
            name=f'test-{uuid.uuid4().hex[:8]}', data=data,
            disk_format='raw', container_format='bare',
            validate_checksum=False)
        self.addCleanup(self.delete_image, self.image.id)

    def delete_image(self, image_id):
        self.demo.cloud.image.delete_image(image_id, ignore_missing=True)

    def create_plan(self):
        return self.request('POST', '/plans', {'plan': {
            'name': 'functional', 'provider_id': self.provider,
            'parameters': {}, 'resources': [{
                'id': self.image.id, 'type': IMAGE,
                'name': self.image.name}]}})['plan']['id']

    def stream_id(self, path):
        """Return the id of the checkpoint's stream, as its manifest says."""
        key = (f'checkpoints/{self.demo.project_id}/'
               f'{path.rpartition("/")[2]}/manifest.json')
        if self.provider == base.FILESYSTEM_PROVIDER:
            text = (BANK / key).read_text()
        else:
            text = self.swift().get(f'/karbor/{key}').text
        item, = json.loads(text)['resources']
        stream, = item['saved']['streams'].values()
        return stream['id']

    def parts(self, stream_id):
        """Return the keys of a stream, read past karbor."""
        prefix = f'streams/{self.demo.project_id}/{stream_id}/'
        if self.provider == base.FILESYSTEM_PROVIDER:
            return sorted(str(path.relative_to(BANK))
                          for path in (BANK / prefix).rglob('*')
                          if path.is_file())
        return sorted(found.name for found in self.swift().objects(
            'karbor', prefix=prefix))

    def swift(self):
        os.environ['OS_CLIENT_CONFIG_FILE'] = str(
            base.STACK / 'clouds.yaml')
        return openstack.connect(cloud='karbor').object_store

    def sha256(self, image_id):
        digest = hashlib.sha256()
        answer = self.demo.cloud.image.download_image(image_id, stream=True)
        for piece in answer.iter_content(base.MIB):
            digest.update(piece)
        return digest.hexdigest()

    def check_restore(self, path):
        """What is restored, without the original, must be equal."""
        self.delete_image(self.image.id)
        restored, = self.restored_ids(self.restore(path))
        self.addCleanup(self.delete_image, restored)
        self.assertNotEqual(self.image.id, restored)
        self.assertEqual(self.digest, self.sha256(restored))


class SharedStreamTest(testscenarios.WithScenarios, ImageTestCase):
    """In both kinds of bank."""

    scenarios = [
        ('swift', {'provider': base.SWIFT_PROVIDER}),
        ('filesystem', {'provider': base.FILESYSTEM_PROVIDER}),
    ]

    def test_it_lives_as_long_as_the_last_checkpoint(self):
        plan_id = self.create_plan()
        first = self.protect(plan_id, self.provider)
        self.ended(first)
        stream_id = self.stream_id(first)
        parts = self.parts(stream_id)
        self.assertEqual(3, len(parts), parts)
        second = self.protect(plan_id, self.provider)
        self.ended(second)
        self.assertEqual(stream_id, self.stream_id(second))
        self.delete(first)
        self.assertEqual(parts, self.parts(stream_id))
        self.check_restore(second)
        self.delete(second)
        self.assertEqual([], self.parts(stream_id))


class KilledStreamTest(testscenarios.WithScenarios, ImageTestCase):
    """kill -9 of the protection service: what it has stored is kept."""

    scenarios = [
        ('amid a stream', {'point': 'part-recorded', 'stored': 2}),
        ('right after it', {'point': 'stream-stored', 'stored': 3}),
    ]

    def test_another_worker_goes_on(self):
        plan_id = self.create_plan()
        self.disturb()
        before = self.files()
        base.stack('stop', 'karbor-protection')
        try:
            path = self.killed(plan_id)
            stored = self.files() - before
        finally:
            base.stack('start', 'karbor-protection')
        self.ended(path)
        stream_id = self.stream_id(path)
        parts = self.parts(stream_id)
        self.assertEqual((self.stored, 3), (len(stored), len(parts)))
        self.assertLessEqual(stored, set(parts))
        self.check_restore(path)
        self.delete(path)
        self.assertEqual([], self.parts(stream_id))

    def files(self):
        """Return the keys of all streams in the bank."""
        return {str(path.relative_to(BANK))
                for path in (BANK / 'streams').rglob('*') if path.is_file()}

    def killed(self, plan_id):
        """Protect by a worker that dies at the point; return the path."""
        folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        ready = folder / 'ready'
        with open(folder / 'log', 'wb') as log:
            worker = base.spawn_worker(self.point, plan_id, ready, log)
        self.addCleanup(worker.kill)
        base.wait((folder / 'ready.started').exists)
        path = self.protect(plan_id)
        base.wait((folder / 'ready.reached').exists, what=self.point)
        ready.touch()
        self.assertEqual(-9, worker.wait(30), (folder / 'log').read_text())
        return path
