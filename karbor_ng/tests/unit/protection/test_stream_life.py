# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Streams through a worker: from a plugin's hook to the last deletion."""

import hashlib
import json
import pathlib
import random
import threading

from oslotest import base

from karbor_ng.plugins import api
from karbor_ng.store import restores
from karbor_ng.tests.unit.protection import environment

DISK = 'OS::Test::Disk'
DATA = random.Random(2).randbytes(100_000)
NAME = f'{__name__}.DiskProtection'


class DiskProtection(api.Protection):
    """Keeps bytes; what there is stands in class attributes.

    :cvar disks: ``{id: bytes}``
    :cvar restored: ``{new id: bytes}``
    :cvar broken: ids whose last hook fails
    :cvar reading: set while a source that has ``may_end`` is read
    """

    resource_types = (DISK,)
    disks: dict = {}
    restored: dict = {}
    broken: set = set()
    reading = threading.Event()
    may_end = threading.Event()

    class Protect(api.Operation):
        def on_main(self):
            data = self.plugin.disks[self.resource.id]
            self.bank.put('label', b'a disk')
            self.put_stream('data', self._read, len(data),
                            hashlib.sha512(data).hexdigest())
            self.saved['size'] = len(data)

        def _read(self):
            yield self.plugin.disks[self.resource.id]
            self.plugin.reading.set()
            self.plugin.may_end.wait(60)

        def on_complete(self):
            if self.resource.id in self.plugin.broken:
                raise ValueError('this one is broken')

    class Restore(api.Operation):
        def on_main(self):
            new_id = f'{self.operation_id}-{self.resource.id}'
            self.plugin.restored[new_id] = b''.join(self.get_stream('data'))
            self.saved['label'] = self.bank.get('label').decode()
            self.restored_as(new_id)


class Deployment(environment.Deployment):
    """One whose provider has disks."""

    def _write_provider(self):
        super()._write_provider()
        path = pathlib.Path(self.provider_directory, 'noop.conf')
        path.write_text(path.read_text().replace(
            'plugin =', f'plugin = {NAME}\nplugin =', 1))


class StreamLifeTest(base.BaseTestCase):

    def setUp(self):
        super().setUp()
        self.site = self.useFixture(Deployment())
        self.disks = DiskProtection
        self.disks.disks['d1'] = DATA
        self.disks.reading.clear()
        self.disks.may_end.set()
        for kept in (self.disks.disks, self.disks.restored,
                     self.disks.broken):
            self.addCleanup(kept.clear)

    def protect(self, status='available', *ids):
        """Protect disks; return the checkpoint's id once it has ended."""
        checkpoint_id = self.site.protect(
            [(DISK, disk_id) for disk_id in ids or ('d1',)])
        self.assertEqual(status, self.site.ended(checkpoint_id).status)
        return checkpoint_id

    def delete(self, checkpoint_id):
        self.site.delete(checkpoint_id)
        self.site.ended(checkpoint_id, 'deleted')

    def restored(self, checkpoint_id):
        """Restore a checkpoint; return the bytes of its only disk."""
        restore = self.site.restored(self.site.restore(checkpoint_id))
        row, = self.site.db.read(restores.resources, restore.id)
        self.assertEqual(('success', 'available'),
                         (restore.status, row.status), row.reason)
        self.assertEqual('a disk', row.saved['label'])
        return self.disks.restored[row.new_id]

    def files(self, below=''):
        """Return the bank's objects but for its marker."""
        bank = pathlib.Path(self.site.path, 'bank', 'karbor')
        return sorted(str(path.relative_to(bank))
                      for path in (bank / below).rglob('*')
                      if path.is_file() and path.name != 'bank.json')

    def test_whole_life(self):
        self.site.start_worker()
        first, second = self.protect(), self.protect()
        parts = self.files('streams')
        self.assertEqual(1, len(parts))
        for checkpoint_id in (first, second):
            self.check_manifest(checkpoint_id, parts)
            self.assertEqual(DATA, self.restored(checkpoint_id))
        self.delete(first)
        self.assertEqual(DATA, self.restored(second))
        self.delete(second)
        self.assertEqual([], self.files())

    def check_manifest(self, checkpoint_id, parts):
        path, = [name for name in self.files()
                 if name.endswith(f'{checkpoint_id}/manifest.json')]
        item, = json.loads(pathlib.Path(
            self.site.path, 'bank', 'karbor', path).read_text())['resources']
        kept = item['saved']['streams']['data']
        self.assertEqual((len(DATA), hashlib.sha256(DATA).hexdigest()),
                         (kept['size'], kept['sha256']))
        self.assertEqual(parts, [found['key'] for found in item['objects']
                                 if found['key'].startswith('streams/')])
        self.assertEqual(2, len(item['objects']))
        self.assertIn(f'/{kept["id"]}/', parts[0])

    def test_what_changed_is_stored_anew(self):
        self.site.start_worker()
        first = self.protect()
        self.disks.disks['d1'] = DATA[::-1]
        second = self.protect()
        self.assertEqual(2, len(self.files('streams')))
        self.delete(first)
        self.assertEqual(DATA[::-1], self.restored(second))

    def test_a_failed_checkpoint_is_deleted_with_its_streams(self):
        self.disks.disks['d2'] = DATA[::-1]
        self.disks.broken.update(('d1', 'd2'))
        self.site.start_worker()
        checkpoint_id = self.protect('error', 'd1', 'd2')
        self.assertEqual(2, len(self.files('streams')))
        self.delete(checkpoint_id)
        self.assertEqual([], self.files())

    def test_another_worker_goes_on(self):
        self.disks.may_end.clear()
        first = self.site.start_worker()
        checkpoint_id = self.site.protect([(DISK, 'd1')])
        self.assertTrue(self.disks.reading.wait(60))
        self.site.hints.workers.clear()
        first.stop()
        self.disks.may_end.set()
        self.site.start_worker()
        self.assertEqual('available', self.site.ended(checkpoint_id).status)
        self.assertEqual(DATA, self.restored(checkpoint_id))
        self.delete(checkpoint_id)
        self.assertEqual([], self.files())
