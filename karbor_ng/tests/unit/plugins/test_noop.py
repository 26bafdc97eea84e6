# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Tests of the no-op plugin, and of ``once`` over its registry."""

import concurrent.futures
import itertools
import pathlib
import tempfile
import threading
import time
import unittest

from oslo_config import cfg

from karbor_ng import errors
from karbor_ng.plugins import noop
from karbor_ng.resource import Resource
from karbor_ng.tests.contracts import once
from karbor_ng.tests.contracts import work

TAG = '5f1a6c4e-30b3-4c5f-8a1d-3f8f3b0b8f2e'
GRAPH = [
    {'type': 'OS::Nova::Server', 'id': 's1', 'name': 'web',
     'children': [['OS::Cinder::Volume', 'v1'],
                  ['OS::Cinder::Volume', 'v2'],
                  ['OS::Glance::Image', 'i1']]},
    {'type': 'OS::Nova::Server', 'id': 's2', 'name': 'db',
     'children': [['OS::Glance::Image', 'i1']]},
    {'type': 'OS::Cinder::Volume', 'id': 'v1', 'name': 'root',
     'extra_info': {'availability_zone': 'nova'}},
    {'type': 'OS::Cinder::Volume', 'id': 'v2', 'name': 'data'},
    {'type': 'OS::Glance::Image', 'id': 'i1', 'name': 'image'},
]


class RegistryCase(unittest.TestCase):
    """A test with a plugin and a registry of its own."""

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = pathlib.Path(folder.name) / 'registry'
        self.plugin = self.new_plugin()
        self.registry = self.plugin.registry
        self.frame = work.Frame(self.plugin, None, lambda seconds: None)
        self._numbers = itertools.count()

    def new_plugin(self, **options):
        conf = cfg.ConfigOpts()
        conf([])
        group = noop.NoopProtection.GROUP
        conf.register_opts(noop.NoopProtection.OPTS, group=group)
        options = {'registry_path': str(self.path), 'poll_interval': 0.01,
                   **options}
        for name, value in options.items():
            conf.set_override(name, value, group=group)
        return noop.NoopProtection(conf)

    def new_resource(self):
        number = next(self._numbers)
        return Resource('OS::Cinder::Volume', f'v{number}', f'vol{number}')


class NoopOnceTest(once.OnceContract, RegistryCase):
    protect_labels = ('backup',)
    restore_labels = ('restored',)


class RegistryTest(RegistryCase):

    def test_objects_come_and_go(self):
        first = self.registry.create(TAG, {'n': 1})
        second = self.registry.create(TAG, {'n': 2})
        self.assertEqual([first, second], self.registry.find(TAG))
        self.assertEqual({'n': 2}, self.registry.get(second))
        self.registry.update(second, m=3)
        self.assertEqual({first: {'n': 1}, second: {'n': 2, 'm': 3}},
                         self.registry.objects())
        self.registry.remove(first)
        self.registry.remove(first)
        self.assertEqual([second], self.registry.find(TAG))
        self.registry.remove(second)
        self.assertEqual([], self.registry.find(TAG))
        self.assertIsNone(self.registry.get(second))

    def test_ids_can_not_leave_the_registry(self):
        for bad in ('../../x.y', 'plain', '/etc/passwd.d'):
            self.assertRaises(KeyError, self.registry.get, bad)

    def test_update_of_what_is_gone(self):
        self.assertRaises(KeyError, self.registry.update, f'{TAG}.aa', n=1)

    def test_making_and_removing_at_once_loses_nothing(self):
        def make_and_remove(number):
            self.registry.remove(self.registry.create(TAG, {'n': number}))
            return self.registry.create(TAG, {'n': number})

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            made = list(pool.map(make_and_remove, range(200)))
        self.assertEqual(set(made), set(self.registry.find(TAG)))
        self.assertEqual(200, len(self.registry.objects()))

    def test_unknown_actions_are_refused(self):
        self.assertRaises(ValueError, self.registry.control, {'explode': {}})

    def test_other_processes_hear_a_control_at_once(self):
        other = noop.Registry(self.path)
        self.assertFalse(other.is_told('fail', 'v1', 'on_main'))
        self.registry.control({'fail': {'v1': ['on_main']}})
        self.assertTrue(other.is_told('fail', 'v1', 'on_main'))
        self.assertFalse(other.is_told('fail', 'v2', 'on_main'))
        self.registry.control({'fail': {'*': ['on_main']}})
        self.assertTrue(other.is_told('fail', 'v2', 'on_main'))
        self.registry.control({})
        self.assertFalse(other.is_told('fail', 'v2', 'on_main'))


class HooksTest(RegistryCase):

    def test_protect_restore_delete(self):
        resource = self.new_resource()
        protect = self.frame.protect(resource, {'name': 'nightly'})
        self.assertEqual(list(work.api.HOOKS), protect.done)
        content = self.registry.get(protect.saved['backup_id'])
        self.assertEqual('nightly', content['name'])
        self.assertEqual(resource.id, content['resource'])
        restore = self.frame.restore(protect, resource,
                                     {'restore_name': 'again'})
        self.assertEqual('again', self.registry.get(
            restore.restored[resource.id])['name'])
        self.assertEqual(list(work.api.HOOKS),
                         self.frame.verify(protect, resource).done)
        self.frame.delete(protect, resource)
        self.assertEqual([restore.restored[resource.id]],
                         list(self.registry.objects()))

    def test_it_fails_where_it_is_told_to(self):
        resource = self.new_resource()
        for point in (*work.api.HOOKS, 'backup'):
            self.registry.control({'fail': {resource.id: [point]}})
            self.assertIn(point, self.frame.refusal(self.frame.protect,
                                                    resource))
        self.registry.control({})
        protect = self.frame.protect(resource)
        self.registry.control({'fail': {resource.id: ['on_main']}})
        self.frame.refusal(self.frame.delete, protect, resource)
        self.frame.refusal(self.frame.restore, protect, resource)

    def test_a_lost_reply_is_adopted(self):
        resource = self.new_resource()
        self.registry.control({'lose_reply': {resource.id: ['backup']}})
        protect = self.frame.protect(resource)
        self.assertEqual([protect.saved['backup_id']],
                         list(self.registry.objects()))

    def test_it_hangs_until_it_is_let_go(self):
        resource = self.new_resource()
        for point in ('on_prepare_begin', 'backup'):
            with self.subTest(point=point):
                self._hang_and_go_on(resource, point)

    def _hang_and_go_on(self, resource, point):
        looked = threading.Event()
        self.frame.sleep = lambda seconds: looked.set()
        self.registry.control({'hang': {resource.id: [point]}})
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            running = pool.submit(self.frame.protect, resource)
            self.assertTrue(looked.wait(10))
            self.assertFalse(running.done())
            self.registry.control({})
            self.assertIn('backup_id', running.result(10).saved)

    def test_a_hang_ends_with_the_timeout(self):
        resource = self.new_resource()
        self.registry.control({'hang': {resource.id: ['on_main']}})
        self.frame.plugin = self.new_plugin(timeout=1)
        self.frame.sleep = time.sleep
        text = self.frame.refusal(self.frame.protect, resource)
        self.assertIn('after 1 seconds', text)

    def test_a_vanished_backup_can_not_be_restored(self):
        resource = self.new_resource()
        protect = self.frame.protect(resource)
        self.registry.remove(protect.saved['backup_id'])
        for verb in (self.frame.restore, self.frame.verify):
            text = self.frame.refusal(verb, protect, resource)
            self.assertIn(protect.saved['backup_id'], text)

    def test_a_restored_parent_names_its_restored_children(self):
        self.registry.put_graph(GRAPH)
        restored = {}
        for item in reversed(GRAPH):
            resource = Resource(item['type'], item['id'])
            protect = self.frame.protect(resource)
            restore = work.Operation('Restore', saved=protect.saved,
                                     restored=restored)
            self.frame.run(restore, resource)
        server = self.registry.get(restored['s1'])
        self.assertEqual({name: restored[name]
                          for name in ('v1', 'v2', 'i1')},
                         server['children'])


class ProtectableTest(RegistryCase):

    def setUp(self):
        super().setUp()
        self.registry.put_graph(GRAPH)
        self.by_type = {item.resource_type: item for item
                        in noop.protectables(self.path)}
        self.volumes = self.by_type['OS::Cinder::Volume']

    def _ids(self, **kwargs):
        return [resource.id for resource in self.volumes.list(
            None, project_id='p', **kwargs)]

    def test_list(self):
        self.assertEqual(['v1', 'v2'], self._ids())
        self.assertEqual(['v1'], self._ids(limit=1))
        self.assertEqual(['v2'], self._ids(marker='v1'))
        self.assertEqual(['v2'], self._ids(filters={'name': 'data'}))
        self.assertRaises(errors.Invalid, self._ids, marker='v9')

    def test_show(self):
        shown = self.volumes.show(None, 'v1')
        self.assertEqual(('root', {'availability_zone': 'nova'}),
                         (shown.name, shown.extra_info))
        self.assertIsNone(self.volumes.show(None, 's1'))

    def test_children(self):
        self.assertEqual(('OS::Nova::Server',), self.volumes.parent_types)
        self.assertEqual((), self.by_type['OS::Nova::Server'].parent_types)
        servers = self.by_type['OS::Nova::Server'].list(None, project_id='p')
        found = self.by_type['OS::Glance::Image'].children(None, servers)
        self.assertEqual({'s1': ['i1'], 's2': ['i1']}, {
            parent.id: [child.id for child in children]
            for parent, children in found.items()})
