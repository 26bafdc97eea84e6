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
from karbor_ng.tests.functional import secrecy

IMAGE = 'OS::Glance::Image'
#: Three parts in the bank.
MEBIBYTES = 70
BANK = base.STACK / 'bank' / 'karbor'


class ImageTestCase(base.StackTestCase):
    """Images of random bytes, and what the bank has of them."""

    provider = base.FILESYSTEM_PROVIDER

    def create_image(self):
        """Make an image of random bytes; return it and their SHA-256."""
        data = os.urandom(MEBIBYTES * base.MIB)
        image = self.demo.cloud.image.create_image(
            name=f'test-{uuid.uuid4().hex[:8]}', data=data,
            disk_format='raw', container_format='bare',
            validate_checksum=False)
        self.addCleanup(self.delete_image, image.id)
        return image, hashlib.sha256(data).hexdigest()

    def delete_image(self, image_id):
        self.demo.cloud.image.delete_image(image_id, ignore_missing=True)

    def plan_of(self, image):
        made = self.request('POST', '/plans', {'plan': {
            'name': 'functional', 'provider_id': self.provider,
            'parameters': {}, 'resources': [{
                'id': image.id, 'type': IMAGE,
                'name': image.name}]}})['plan']['id']
        self.addCleanup(self.remove_plan, self.demo, made)
        return made

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

    def check_restore(self, path, image, digest):
        """What is restored, without the original, must be equal."""
        self.delete_image(image.id)
        restored, = self.restored_ids(self.restore(path))
        self.addCleanup(self.delete_image, restored)
        self.assertNotEqual(image.id, restored)
        self.assertEqual(digest, self.sha256(restored))


class SharedStreamTest(testscenarios.WithScenarios, ImageTestCase):
    """In both kinds of bank."""

    scenarios = [
        ('swift', {'provider': base.SWIFT_PROVIDER}),
        ('filesystem', {'provider': base.FILESYSTEM_PROVIDER}),
    ]

    def test_it_lives_as_long_as_the_last_checkpoint(self):
        image, digest = self.create_image()
        plan_id = self.plan_of(image)
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
        self.check_restore(second, image, digest)
        self.delete(second)
        self.assertEqual([], self.parts(stream_id))


class KilledStreamTest(ImageTestCase):
    """kill -9 of the protection service: what it has stored is kept."""

    #: where it is killed, and how many parts it has stored by then
    POINTS = (('part-recorded', 2), ('stream-stored', 3))

    def test_another_worker_goes_on(self):
        images = [self.create_image() for _point in self.POINTS]
        plans = [self.plan_of(image) for image, _digest in images]
        self.disturb()
        base.stack('stop', 'karbor-protection')
        try:
            killed = [self.killed(point, count, plan_id)
                      for (point, count), plan_id in zip(self.POINTS, plans)]
        finally:
            base.stack('start', 'karbor-protection')
        for (path, stored), (image, digest) in zip(killed, images):
            self.ended(path)
            stream_id = self.stream_id(path)
            parts = self.parts(stream_id)
            self.assertEqual(3, len(parts), parts)
            self.assertLessEqual(stored, set(parts))
            self.check_restore(path, image, digest)
            self.delete(path)
            self.assertEqual([], self.parts(stream_id))

    def files(self):
        """Return the keys of all streams in the bank."""
        return {str(path.relative_to(BANK))
                for path in (BANK / 'streams').rglob('*') if path.is_file()}

    def killed(self, point, count, plan_id):
        """Protect by a worker that dies at a point.

        Return the checkpoint's path, and the parts that were stored by then.
        """
        before = self.files()
        folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        ready = folder / 'ready'
        with open(folder / 'log', 'wb') as log:
            worker = base.spawn_worker(point, plan_id, ready, log)
        self.addCleanup(secrecy.keep_log, folder / 'log')
        self.addCleanup(worker.kill)
        base.wait((folder / 'ready.started').exists)
        path = self.protect(plan_id)
        base.wait((folder / 'ready.reached').exists, what=point)
        ready.touch()
        self.assertEqual(-9, worker.wait(30), (folder / 'log').read_text())
        stored = self.files() - before
        self.assertEqual(count, len(stored), stored)
        return path, stored
