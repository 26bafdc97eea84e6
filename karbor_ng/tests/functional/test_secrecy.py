# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Whoever looks for secrets finds one that somebody has let out.

Here a user writes a word everywhere where users may write, and it must be
seen in each of the places, although it is gone when the test ends.
"""

import json
import pathlib
import urllib.parse
import uuid

import fixtures

from karbor_ng.tests.functional import base
from karbor_ng.tests.functional import secrecy
from karbor_ng.tests.functional import witness

IMAGE = 'OS::Glance::Image'


class WitnessTest(base.StackTestCase):

    def setUp(self):
        super().setUp()
        self.word = f'planted-{uuid.uuid4().hex}'
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.witness = witness.Witness(self.folder)
        self.witness.start()

    def test_what_is_let_out_is_found(self):
        self.send_message()
        self.send_notification()
        self.fail_to_protect()
        self.protect_with_words()
        self.put_into_swift()
        self.witness.stop()
        witness.collect(self.folder)
        planted = secrecy.Secret('password', self.word)
        found = {(leak.place, leak.file) for leak
                 in secrecy.leaks(self.folder, {planted})
                 if leak.what == planted}
        self.assertEqual(set(secrecy.PLACES), {place for place, _ in found})
        for seen in (('messages', 'heard'), ('notifications', 'heard'),
                     ('logs', 'karbor-protection.log'),
                     ('rows', 'all-checkpoints')):
            self.assertIn(seen, found)
        self.assertEqual([], [file for place, file in found
                              if place == 'objects' and 'left' in file])
        # The manifest, and the key and the bytes of what was in Swift.
        self.assertLessEqual(3, len([
            1 for place, _ in found if place == 'objects']))

    def publish(self, exchange, routing_key, body):
        with witness.broker() as broker:
            broker.Producer().publish(
                body, exchange=exchange, routing_key=routing_key)

    def send_message(self):
        """Send what services do not know; it is only a hint to them."""
        self.publish(witness.FANOUT, '', {'oslo.message': json.dumps({
            'method': 'operation_queued', 'version': '1.0',
            'args': {'operation_id': self.word}}), 'oslo.version': '2.0'})

    def send_notification(self):
        self.publish(witness.CONTROL, 'notifications.info', {
            'oslo.message': json.dumps({
                'event_type': 'plan.create', 'payload': self.word}),
            'oslo.version': '2.0'})

    def fail_to_protect(self):
        """Protect an image of which there is nothing but this id."""
        plan = {'name': 'secrecy', 'provider_id': base.FILESYSTEM_PROVIDER,
                'resources': [{'id': self.word, 'type': IMAGE,
                               'name': 'none'}], 'parameters': {}}
        made = self.request('POST', '/plans', {'plan': plan})['plan']['id']
        self.addCleanup(self.remove_plan, self.demo, made)
        path = self.protect(made)
        self.ended(path, 'error')
        self.delete(path)

    def protect_with_words(self):
        """Attach the word to a checkpoint, which goes again."""
        volume = self.demo.cloud.block_storage.create_volume(size=1)
        self.addCleanup(self.demo.delete_volume, volume.id)
        self.demo.volume_in(volume.id, 'available')
        made = self.request(
            'POST', f'/providers/{base.NOOP_PROVIDER}/checkpoints',
            {'checkpoint': {
                'plan_id': self.create_plan([volume], base.NOOP_PROVIDER),
                'extra_info': {'word': self.word}}})['checkpoint']
        path = f'/providers/{base.NOOP_PROVIDER}/checkpoints/{made["id"]}'
        self.ended(path)
        manifest, = (witness.STACK / 'bank-noop').rglob(
            f'{made["id"]}/manifest.json')
        self.await_look(manifest)
        self.delete(path)

    def put_into_swift(self):
        swift = witness.swift()
        for name, data in ((self.word, b''), (uuid.uuid4().hex,
                                              self.word.encode())):
            path = f'/{witness.CONTAINER}/{urllib.parse.quote(name)}'
            self.addCleanup(swift.delete, path)
            self.assertEqual(201, swift.put(path, data=data).status_code)
            self.await_look(name)
            swift.delete(path)
        base.wait(lambda: self.word not in str(witness.listing(swift)),
                  what='Swift, whose listings lag behind')

    def await_look(self, name):
        base.wait(lambda: self.seen(name), what=f'a look at {name}')

    def seen(self, name):
        return any(file.read_bytes().startswith(f'{name}\n'.encode())
                   for file in (self.folder / 'objects').iterdir())
