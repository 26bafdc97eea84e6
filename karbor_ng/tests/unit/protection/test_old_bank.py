# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of the old Karbor, in the layout that it left in banks."""

import hashlib
import json
import random

from karbor_ng.bank import bank as bank_module
from karbor_ng.bank.drivers import memory
from karbor_ng.plugins import api
from karbor_ng.protection import bank_import
from karbor_ng.protection import old_bank
from karbor_ng.resource import Resource
from karbor_ng.store import externals
from karbor_ng.store import operations
from karbor_ng.tests import fixtures
from karbor_ng.tests.contracts import bank as contracts
from karbor_ng.tests.unit.plugins import test_image
from karbor_ng.tests.unit.plugins import test_volume
from karbor_ng.tests.unit.protection import environment
from karbor_ng.tests.unit.protection import test_bank_import

DISK, SERVER, VOLUME = (test_bank_import.DISK, test_bank_import.SERVER,
                        test_bank_import.VOLUME)
PROJECT = 'OS::Keystone::Project'
DATA = random.Random(3).randbytes(10_000)
CHUNK = 4096
#: What the no-op plugin calls the thing that it makes.
THING = ('backup', 'backup')


def adopt_noop(plugin, resource, metadata):
    """Let the no-op plugin know what Cinder's kept."""
    if 'backup_id' not in metadata:
        return None
    return api.Adopted({'backup_id': metadata['backup_id'], 'size': 5},
                       ((*THING, metadata['backup_id']),))


def adopt_disk(plugin, resource, metadata):
    return api.Adopted({}, stream='data', chunks=metadata['chunks_num'],
                       md5=metadata['checksum'])


class OldBankTestCase(test_bank_import.ImportTestCase):

    def setUp(self):
        super().setUp()
        self.checkpoint_id = fixtures.new_id()
        self.nodes, self.edges = {}, []

    def put(self, *names, value):
        if not isinstance(value, bytes):
            value = (value if isinstance(value, str)
                     else json.dumps(value)).encode()
        path = self.bank_path('checkpoints', self.checkpoint_id, *names)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(value)

    def put_index(self, **values):
        self.put('index.json', value={
            'version': '0.9', 'id': self.checkpoint_id, 'status': 'available',
            'owner_id': fixtures.new_id(),
            'provider_id': environment.PROVIDER_ID, 'project_id': 'project',
            'protection_plan': {
                'id': fixtures.new_id(), 'name': 'old plan',
                'provider_id': environment.PROVIDER_ID,
                'resources': [{'id': 's1', 'type': SERVER, 'name': 'web',
                               'extra_info': '{"a": 1}'}]},
            'extra_info': '{"created_by": "manual"}',
            'created_at': '2020-02-03', 'timestamp': 1580702400,
            'resource_graph': json.dumps([self.nodes, self.edges]),
            **values})

    def put_resource(self, kind, resource_id, metadata, status='available',
                     *more):
        """Add a node to the graph, and what a plugin kept of it."""
        key = hex(len(self.nodes))
        self.nodes[key] = [kind, resource_id, f'old {resource_id}', *more]
        where = 'resource-data', resource_id
        self.put(*where, 'status', value=status)
        if metadata is not None:
            self.put(*where, 'metadata', value=metadata)
        return key

    def provider(self):
        provider = super().provider()
        plugins = provider.protections
        plugins[VOLUME].adopt = adopt_noop.__get__(plugins[VOLUME])
        plugins[DISK].adopt = adopt_disk.__get__(plugins[DISK])
        return provider

    def run_old(self, **kwargs):
        """Return outcome and reason of the only checkpoint, None without."""
        found = list(bank_import.import_old(self.site.db, self.provider(),
                                            **kwargs))
        return (found[0].what, found[0].reason) if found else None


class ConversionTest(OldBankTestCase):

    def test_life_of_a_checkpoint(self):
        backup = self.site.registry.create('tag', {'label': 'backup'})
        volume = self.put_resource(VOLUME, 'v1', {
            'volume_id': 'v1', 'backup_id': backup}, 'available',
            {'size': 1})
        server = self.put_resource('OS::Test::Unknown', 's1',
                                   {'resource_id': 's1'})
        self.edges = [[server, [volume]]]
        self.put_index()
        self.assertEqual(('imported', None), self.run_old())
        self.check_rows(backup)
        self.assertEqual(('known', None), self.run_old())

        restore = self.site.restored(self.site.restore(self.checkpoint_id))
        self.assertEqual('success', restore.status)
        labels = [item['label'] for item
                  in self.site.registry.objects().values()]
        self.assertEqual(['backup', 'restored'], sorted(labels))
        self.site.delete(self.checkpoint_id)
        self.site.ended(self.checkpoint_id, 'deleted')
        self.assertIsNone(self.site.registry.get(backup))
        self.assertEqual(('known', None), self.run_old())
        self.assertTrue(self.bank_path('checkpoints', self.checkpoint_id,
                                       'index.json').exists())

    def check_rows(self, backup):
        found = self.site.checkpoint(self.checkpoint_id)
        self.assertEqual(
            ('available', 'project', 5, 'old plan', 2020),
            (found.status, found.project_id, found.size, found.plan['name'],
             found.created_at.year))
        self.assertEqual({'created_by': 'manual'}, found.extra_info)
        self.assertEqual({'a': 1}, found.plan['resources'][0]['extra_info'])
        rows = self.site.resources(self.checkpoint_id)
        self.assertEqual('available', rows['v1'].status)
        self.assertEqual({'size': 1}, rows['v1'].extra_info)
        self.assertEqual('skipped', rows['s1'].status)
        self.assertIn('no plugin', rows['s1'].reason)
        protecting = self.site.db.read(operations.making_of,
                                       self.checkpoint_id)
        external, = self.site.db.read(externals.of_operation, protecting.id)
        self.assertEqual((backup, 'exists'),
                         (external.external_id, external.state))

    def test_data_is_copied(self):
        for form in (bytes, self._as_json):
            self.checkpoint_id, self.nodes = fixtures.new_id(), {}
            data = b'text' * 3000 if form == self._as_json else DATA
            chunks = [data[start:start + CHUNK]
                      for start in range(0, len(data), CHUNK)]
            for number, chunk in enumerate(chunks, 1):
                self.put('resource-data', 'd1', f'data_{number}',
                         value=form(chunk))
            self.put_resource(DISK, 'd1', {
                'chunks_num': len(chunks),
                'checksum': hashlib.md5(data).hexdigest()})
            self.put_index()
            provider = self.provider()
            conversion = old_bank.Conversion(provider)
            conversion.convert(conversion.index(self.checkpoint_id))
            self.check_stream(provider, data)
            self.assertEqual('imported', bank_import._import(
                self.site.db, provider, 'project', self.checkpoint_id, False))
            self.site.delete(self.checkpoint_id)
            self.site.ended(self.checkpoint_id, 'deleted')
            self.assertEqual([], list(provider.bank.keys('streams/')))

    def _as_json(self, chunk):
        return json.dumps(chunk.decode()).encode()

    def check_stream(self, provider, data):
        item, = json.loads(
            self.manifest_path(self.checkpoint_id).read_text())['resources']
        self.assertEqual(len(data), item['size'])
        infos = [bank_module.ObjectInfo(**found)
                 for found in item['objects']]
        self.assertEqual(data, b''.join(provider.bank.read_stream(infos)))

    def test_resources_that_can_not_be_taken_over(self):
        self.put_resource(VOLUME, 'failed', None, 'error')
        self.put_resource(VOLUME, 'strange', {'what': 'ever'})
        self.put_resource(VOLUME, 'damaged', '{')
        self.put_resource(DISK, 'short', {'chunks_num': 1, 'checksum': 'x'})
        self.put_resource(DISK, 'changed', {'chunks_num': 1,
                                            'checksum': 'x'})
        self.put('resource-data', 'changed', 'data_1', value=b'data')
        self.put_resource(PROJECT, 'p', None)
        self.put_index()
        self.assertEqual(('imported', None), self.run_old())
        rows = self.site.resources(self.checkpoint_id)
        for resource_id, text in (('failed', 'its status was error'),
                                  ('strange', 'does not know'),
                                  ('damaged', 'no JSON'),
                                  ('short', 'data_1'),
                                  ('changed', 'checksum')):
            self.assertEqual('skipped', rows[resource_id].status)
            self.assertIn(text, rows[resource_id].reason)
        self.assertEqual('available', rows['p'].status)

    def test_no_graph(self):
        self.put_index(resource_graph=None, extra_info={})
        self.assertEqual(('imported', None), self.run_old())
        self.assertEqual(['s1'], list(self.site.resources(self.checkpoint_id)))

    def test_dry(self):
        self.put_index()
        for _ in range(2):
            self.assertEqual(('imported', None), self.run_old(is_dry=True))
        self.assertFalse(self.manifest_path(self.checkpoint_id).exists())


class RefusalTest(OldBankTestCase):

    def test_what_is_refused(self):
        for values, text in (
                ({'version': '1.0'}, 'version'),
                ({'provider_id': fixtures.PROVIDER}, fixtures.PROVIDER),
                ({'status': 'protecting'}, 'not finished'),
                ({'id': fixtures.PROVIDER}, 'somebody moved it'),
                ({'timestamp': 'now'}, 'damaged'),
                ({'protection_plan': {}}, 'damaged'),
                ({'resource_graph': '[]'}, 'damaged')):
            self.put_index(**values)
            what, reason = self.run_old()
            self.assertEqual('refused', what)
            self.assertIn(text, reason)
        self.put('index.json', value='{')
        self.assertEqual('refused', self.run_old()[0])
        self.assertRaises(environment.client.errors.NotFound,
                          self.site.checkpoint, self.checkpoint_id)

    def test_deleted_ones_are_passed_over(self):
        self.put_index(status='deleted')
        self.assertIsNone(self.run_old())

    def test_failed_ones_are_imported_as_such(self):
        self.put_index(status='error')
        self.assertEqual(('imported', None), self.run_old())
        self.assertEqual(
            'error', self.site.checkpoint(self.checkpoint_id).status)

    def test_ours_are_no_old_ones(self):
        self.protect((VOLUME, 'v1'))
        self.assertIsNone(self.run_old())
        self.put_index()
        self.assertEqual(('imported', None), self.run_old())
        self.assertEqual(2, len(self.run_import()['known']))


class SlashTest(fixtures.base.BaseTestCase):
    """In Swift the names began with a slash."""

    def test_listing_and_reading(self):
        driver = memory.MemoryBank(contracts.conf_with(
            memory_bank_plugin={'name': fixtures.new_id()}))
        driver.put('/checkpoints/a/index.json', b'{"version": "0.9"}')
        driver.put('/checkpoints/a/resource-data/v/status', b'available')
        driver.put('/checkpoints/b/resource-data/v/status', b'available')
        driver.put('/indices/by-date/2020-01-01/p/1@a', b'a')
        driver.put('checkpoints/p/c/manifest.json', b'{}')
        old = old_bank.OldBank(bank_module.Bank(driver))
        self.assertEqual(['a'], list(old.checkpoint_ids()))
        self.assertEqual('0.9', old.index('a')['version'])
        self.assertEqual('available',
                         old.text('a', 'resource-data', 'v', 'status'))
        self.assertIsNone(old.json('a', 'resource-data', 'v', 'metadata'))


class AdoptTest(fixtures.base.BaseTestCase):
    """What plugins make of what their namesakes kept."""

    def test_volume(self):
        plugin = test_volume.new_plugin()
        found = plugin.adopt(Resource(VOLUME, 'v1', 'data'), {
            'volume_id': 'v1', 'backup_id': 'b1'})
        self.assertEqual('b1', found.saved['backup_id'])
        (label, kind, external_id), = found.things
        self.assertEqual(('backup', 'b1'), (label, external_id))
        self.assertEqual('cinder', plugin.kind(kind).service)
        for kept in ({'volume_id': 'v1', 'size': 1, 'snapshot_id': 's1'},
                     {}):
            self.assertIsNone(plugin.adopt(Resource(VOLUME, 'v1'), kept))

    def test_image(self):
        plugin = test_image.new_plugin()
        node = Resource('OS::Glance::Image', 'i1', 'web')
        found = plugin.adopt(node, {
            'resource_id': 'i1', 'chunks_num': 3, 'image_metadata': {
                'disk_format': 'raw', 'container_format': 'bare',
                'checksum': '12ab'}})
        self.assertEqual(('data', 3, '12ab'),
                         (found.stream, found.chunks, found.md5))
        self.assertEqual(
            {'name': 'web', 'disk_format': 'raw',
             'container_format': 'bare'}, found.saved['properties'])
        self.assertIsNone(plugin.adopt(node, {}))
