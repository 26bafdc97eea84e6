# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Tests of the server's plugin over a Nova and its neighbours in memory."""

import base64
import time
import unittest
from unittest import mock

from oslo_config import cfg

from karbor_ng import clients
from karbor_ng import errors
from karbor_ng.plugins.server import description
from karbor_ng.plugins.server import fitting
from karbor_ng.plugins.server import network
from karbor_ng.plugins.server import protect
from karbor_ng.plugins.server import protectable
from karbor_ng.plugins.server import protection
from karbor_ng.plugins.server import restore
from karbor_ng.resource import Resource
from karbor_ng.tests import fixtures_nova
from karbor_ng.tests import fixtures_service
from karbor_ng.tests.contracts import once
from karbor_ng.tests.contracts import work

PROJECT = Resource('OS::Keystone::Project', fixtures_service.PROJECT)
GIB = 1024 ** 3
_TASK = 'OS-EXT-STS:task_state'


def new_plugin(**options):
    conf = cfg.ConfigOpts()
    conf([])
    group = protection.ServerProtection.GROUP
    conf.register_opts(protection.ServerProtection.OPTS, group=group)
    for name, value in options.items():
        conf.set_override(name, value, group=group)
    return protection.ServerProtection(conf)


class ServerCase(unittest.TestCase):
    """A test with a cloud of its own."""

    def setUp(self):
        super().setUp()
        self.nova = fixtures_nova.Nova()
        self.neutron = self.nova.neutron
        self.glance = self.nova.glance
        self.session = self.nova.session()
        self.frame = work.Frame(new_plugin(), self.session,
                                lambda seconds: None)

    def make(self, image=True, **values):
        """Make a server; return its record."""
        if image is True:
            image = self.glance.add(b'what it boots from', name='base')
        return self.nova.add(image, **values)

    def resource(self, server):
        return Resource(protectable.RESOURCE_TYPE, server['id'], 'web')

    def new_resource(self):
        return self.resource(self.make())

    def protect(self, server, **faults):
        return self.frame.protect(self.resource(server), **faults)

    def restore(self, operation, server, parameters=None, **kwargs):
        """Restore; return the new record and the notes."""
        done = self.frame.restore(operation, self.resource(server),
                                  parameters, **kwargs)
        made = self.nova.servers[done.restored[server['id']]]
        return made, done.saved.get('notes', [])

    def refusal(self, server):
        return self.frame.refusal(self.protect, server)

    def restored_from(self, server, parameters=None, **kwargs):
        return self.restore(self.protect(server), server, parameters,
                            **kwargs)

    def new_volume(self, **values):
        return self.nova.cinder.add('volumes', **values)

    def counted(self, service, method, path):
        return service.requests.count((method, path))


class OnceTest(once.OnceContract, ServerCase):
    protect_labels = ('snapshot',)
    restore_labels = ('root-image', 'server')


class ClientsTest(ServerCase):

    def test_the_newest_common_version_is_spoken(self):
        for offered, spoken in (('2.79', '2.79'), ('2.90', '2.90'),
                                ('2.104', '2.96')):
            session = fixtures_nova.Nova(offered).session()
            self.assertEqual(
                spoken, clients.nova(session).api_version.get_string())

    def test_a_nova_that_is_too_old_is_refused(self):
        with self.assertRaisesRegex(errors.Error, r'2\.78.*2\.79'):
            clients.nova(fixtures_nova.Nova('2.78').session())

    def test_a_cloud_without_neutron_is_refused(self):
        session = fixtures_service.session_of(self.nova)
        with self.assertRaisesRegex(errors.Unavailable, 'network'):
            clients.neutron(session)


class NetworkTest(ServerCase):

    def setUp(self):
        super().setUp()
        self.client = clients.neutron(self.session)

    def test_long_answers_come_in_pages(self):
        made = [self.neutron.add('networks')['id'] for _ in range(7)]
        for page in (1, 3, 7, 8):
            self.neutron.page = page
            found = network.listed(self.client, 'networks')
            self.assertEqual(made, [item['id'] for item in found])

    def test_long_questions_are_cut(self):
        made = {self.neutron.add('security-groups')['id']
                for _ in range(network.IDS_AT_ONCE * 2 + 1)}
        self.neutron.requests.clear()
        found = network.listed(self.client, 'security-groups', id=made)
        self.assertEqual(made, {item['id'] for item in found})
        self.assertEqual(3, self.counted(self.neutron, 'GET',
                                         'v2.0/security-groups'))

    def test_changes_can_depend_on_what_was_read(self):
        thing = self.neutron.add('floatingips')
        read = dict(thing)
        thing['revision_number'] += 1
        network.change(self.client, 'floatingip', read, port_id='a')
        with self.assertRaises(network.Refusal) as caught:
            network.change(self.client, 'floatingip', read, as_read=True,
                           port_id='b')
        self.assertEqual('Constrained to revision (HTTP 412)',
                         str(caught.exception))
        self.assertEqual('a', thing['port_id'])


class ProtectableTest(ServerCase):

    def setUp(self):
        super().setUp()
        self.servers = protectable.ServerProtectable()

    def _list(self, **kwargs):
        return self.servers.list(self.session, **kwargs,
                                 project_id=fixtures_service.PROJECT)

    def test_what_is_lost_is_not_listed_but_shown(self):
        good = self.make()
        lost = [self.make(status=status) for status in protectable.LOST]
        self.assertEqual([self.resource(good)], self._list())
        self.assertEqual({'availability_zone': 'nova', 'flavor': 'small'},
                         self._list()[0].extra_info)
        for server in lost:
            self.assertEqual('web', self.servers.show(
                self.session, server['id']).name)
        self.assertIsNone(self.servers.show(self.session, 'nowhere'))

    def test_pages_are_full_in_spite_of_what_is_lost(self):
        made = [self.make(status=status) for status in
                ('ACTIVE', 'ERROR', 'ERROR', 'SHUTOFF', 'ACTIVE')]
        newest_first = [self.resource(made[place]) for place in (4, 3, 0)]
        self.assertEqual(newest_first[:2], self._list(limit=2))
        self.assertEqual(newest_first[2:],
                         self._list(limit=2, marker=made[3]['id']))
        self.assertEqual(newest_first, self._list(limit=9))
        self.assertEqual([], self._list(limit=0))
        with self.assertRaisesRegex(errors.Invalid, 'marker.*nowhere'):
            self._list(marker='nowhere')

    def test_filters_are_exact(self):
        mine = self.make(name='web', status='SHUTOFF')
        self.make(name='web-2')
        self.assertEqual([self.resource(mine)],
                         self._list(filters={'name': 'web'}))
        self.assertEqual([self.resource(mine)],
                         self._list(filters={'status': 'SHUTOFF'}))
        self.assertEqual([], self._list(filters={'name': '.*'}))

    def test_children_of_a_project(self):
        made = [self.make(status=status) for status in
                ('ACTIVE', 'ERROR', 'SHELVED', 'DELETED', 'SOFT_DELETED')]
        other = Resource('OS::Keystone::Project', 'another')
        self.nova.requests.clear()
        found = self.servers.children(self.session, [PROJECT, other])
        self.assertEqual({self.resource(item) for item in made[:3]},
                         set(found[PROJECT]))
        self.assertEqual([], found[other])
        # One page, and one that says that there is no more.
        self.assertEqual(2, self.counted(self.nova, 'GET',
                                         'servers/detail'))

    def test_a_server_of_a_part_of_nova_that_is_down(self):
        hidden = self.make(status='UNKNOWN')
        for name in ('name', 'flavor', 'OS-EXT-AZ:availability_zone'):
            del hidden[name]
        found = self.servers.children(self.session, [PROJECT])[PROJECT]
        self.assertEqual([''], [item.name for item in found])


class ProtectStatesTest(ServerCase):

    def test_all_that_can_be_frozen(self):
        for status in protect.READY:
            server = self.make(status=status)
            saved = self.protect(server).saved
            self.assertEqual(status, saved['server']['status'])

    def test_refusals(self):
        for status, words in (
                ('SHELVED', 'unshelve'), ('SHELVED_OFFLOADED', 'unshelve'),
                ('RESCUE', 'unrescue'), ('VERIFY_RESIZE', 'confirmed'),
                ('DELETED', 'is deleted'), ('SOFT_DELETED', 'is deleted')):
            server = self.make(status=status)
            with self.assertRaisesRegex(errors.Skipped, words):
                self.protect(server)
        self.assertEqual(set(protect.REFUSED) - {'ERROR'}, {
            'SHELVED', 'SHELVED_OFFLOADED', 'RESCUE', 'VERIFY_RESIZE',
            'DELETED', 'SOFT_DELETED'})

    def test_an_error_is_quoted(self):
        server = self.make(status='ERROR', fault={
            'message': 'No valid host', 'code': 500})
        self.assertIn('is in ERROR: No valid host.', self.refusal(server))
        server = self.make(status='ERROR')
        self.assertIn('gives no reason', self.refusal(server))

    def test_passing_states_are_waited_for(self):
        server = self.make(status='BUILD')
        self.assertEqual('ACTIVE', self.protect(server).saved[
            'server']['status'])

    def test_one_that_never_comes_to_rest(self):
        self.frame.plugin = new_plugin(timeout=1)
        server = self.make(**{_TASK: 'rebooting'})
        with mock.patch.object(time, 'monotonic', side_effect=range(99)):
            text = self.refusal(server)
        self.assertIn('does not come to rest', text)
        self.assertIn('ACTIVE (rebooting)', text)

    def test_one_that_is_gone(self):
        server = self.make()
        del self.nova.servers[server['id']]
        self.assertRaises(errors.Skipped, self.protect, server)

    def test_an_iso_image(self):
        server = self.make(self.glance.add(b'iso', disk_format='iso'))
        self.assertIn('ISO', self.refusal(server))

    def test_the_hooks_of_a_refused_one_do_nothing(self):
        server = self.make(status='ERROR')
        operation = work.Operation('Protect')
        for hook in ('on_prepare_begin', 'on_prepare_finish'):
            operation.done = ['on_prepare_begin'] if (
                hook == 'on_prepare_finish') else []
            attempt = work.Work(
                operation, self.frame.plugin, self.resource(server),
                self.session, {}, self.frame.sleep,
                streams=self.frame.streams)
            run = getattr(protect.Protect(attempt), hook)
            if hook == 'on_prepare_begin':
                self.assertRaises(errors.Skipped, run)
            else:
                run()
        self.assertEqual([], operation.journal)
        self.assertNotIn('server', attempt.saved)


class RootDiskTest(ServerCase):

    def test_it_is_stored_as_it_was_frozen(self):
        server = self.make(_disk=b'frozen')
        operation = self.protect(server)
        self.assertEqual(6, operation.saved['size'])
        self.assertEqual(['base'], [image['name'] for image
                                    in self.glance.images.values()])
        server['_disk'] = b'later'
        made, _ = self.restore(operation, server)
        self.assertEqual(b'frozen', made['_disk'])
        root = self.glance.images[made['image']['id']]
        self.assertEqual('web root disk', root['name'])
        self.assertEqual('virtio', root['hw_disk_bus'])
        for name in ('instance_uuid', 'base_image_ref', 'image_type',
                     'karbor_tag'):
            self.assertNotIn(name, root)

    def test_it_is_frozen_before_others_go_on(self):
        server = self.make()
        seen = []
        on_main = protect.Protect.on_main

        def look(operation):
            seen.append(server[_TASK])
            on_main(operation)
        with mock.patch.object(protect.Protect, 'on_main', look):
            self.protect(server)
        self.assertIn(seen[0], ('image_pending_upload', 'image_uploading'))

    def test_a_server_on_a_volume_has_none(self):
        server = self.make(None)
        self.nova.attach(server, self.new_volume())
        operation = self.protect(server)
        self.assertEqual([], operation.journal)
        self.assertNotIn('size', operation.saved)
        self.assertEqual({}, self.glance.images)

    def test_another_action_comes_in_between(self):
        server = self.make()

        def interfere(method, path, body):
            if body and 'createImage' in body:
                server.update({_TASK: 'rebooting', 'status': 'REBOOT'})
                self.nova.intercept = lambda *args: None
        self.nova.intercept = interfere
        self.assertEqual(18, self.protect(server).saved['size'])

    def test_a_refusal_that_stays_ends_it(self):
        server = self.make()

        def refuse(method, path, body):
            if body and 'createImage' in body:
                raise fixtures_service.Refused(409, 'can not be quiesced')
        self.nova.intercept = refuse
        self.assertRaisesRegex(Exception, 'can not be quiesced',
                               self.protect, server)

    def test_a_snapshot_that_nova_removes(self):
        server = self.make()

        def remove(method, path, body):
            if body and 'createImage' in body:
                self.glance.lose(server['_snapshot'])
                self.nova.actions[server['id']][0]['message'] = 'disk full'
        self.nova.after = remove
        text = self.refusal(server)
        self.assertIn('disk full', text)
        self.assertIn('req-1', text)

    def test_a_snapshot_that_nova_forgets(self):
        self.nova.breaks = True
        self.assertIn('lost', self.refusal(self.make()))

    def test_a_snapshot_that_can_not_be_removed(self):
        server = self.make()

        def refuse(method, path, body):
            if method == 'DELETE':
                raise fixtures_service.Refused(409, 'it is in use')
        self.glance.intercept = refuse
        saved = self.protect(server).saved
        self.assertIn('it is in use', *saved['notes'])
        self.assertEqual(18, saved['size'])

    def test_long_names(self):
        made, _ = self.restored_from(self.make(name='n' * 255))
        root = self.glance.images[made['image']['id']]
        self.assertLessEqual(len(root['name']), 255)
        self.assertEqual('n' * 255, made['name'])

    def test_a_snapshot_whose_data_is_damaged(self):
        server = self.make()
        self.glance.serve = lambda data: data[:-1] + b'?'
        self.assertIn('damaged', self.refusal(server))

    def test_equal_disks_are_stored_once(self):
        server = self.make()
        first, second = self.protect(server), self.protect(server)
        self.assertEqual(first.saved['streams'], second.saved['streams'])
        server['_disk'] += b'more'
        self.assertNotEqual(first.saved['streams'],
                            self.protect(server).saved['streams'])


class DescriptionTest(ServerCase):

    def _left_out(self, **values):
        return ' '.join(self.protect(self.make(**values)).saved[
            'not_included'])

    def test_what_is_told(self):
        server = self.make(
            name='db', description='words', key_name='mine', locked=True,
            metadata={'tier': 'db'}, tags=['blue', 'karbor:old'],
            config_drive='True')
        told = self.protect(server).saved['server']
        flavor = self.nova.flavors[0]
        self.assertEqual({
            'server_id': server['id'], 'name': 'db', 'hostname': 'web',
            'description': 'words', 'status': 'ACTIVE', 'ports': [],
            'availability_zone': 'nova', 'key_name': 'mine', 'locked': True,
            'metadata': {'tier': 'db'}, 'tags': ['blue'], 'volumes': [],
            'config_drive': True, 'trusted_certificates': False,
            'server_group': None, 'image_id': server['image']['id'],
            'hidden_addresses': [],
            'flavor': {'id': flavor['id'], 'name': 'small', 'vcpus': 1,
                       'ram': 64, 'disk': 1, 'ephemeral': 0, 'swap': 0,
                       'extra_specs': {}}}, told)

    def test_a_flavor_that_is_gone_has_no_id(self):
        flavor = self.nova.add_flavor('large', vcpus=4)
        server = self.make(flavor=flavor)
        flavor['vcpus'] = 8
        told = self.protect(server).saved['server']['flavor']
        self.assertEqual((None, 'large', 4), (
            told['id'], told['name'], told['vcpus']))

    def test_ports(self):
        server = self.make()
        nets = [self.neutron.add_network(name=name) for name in 'ab']
        group = self.neutron.add('security-groups', name='web')
        second = self.nova.connect(server, nets[1], '10.0.0.9', name='back',
                                   security_groups=[group['id'], 'gone'])
        first = self.nova.connect(server, nets[0], port_security_enabled=False,
                                  _tag='front')
        self.neutron.add('floatingips', id='f', port_id=second['id'],
                         floating_ip_address='192.0.2.1',
                         fixed_ip_address='10.0.0.9')
        told = self.protect(server).saved['server']['ports']
        by_network = {port['network_id']: port for port in told}
        back = by_network[nets[1]['id']]
        self.assertEqual([{
            'ip': '10.0.0.9', 'floating_ip': {
                'id': 'f', 'address': '192.0.2.1'},
            'subnet_id': second['fixed_ips'][0]['subnet_id']}],
            back['addresses'])
        self.assertEqual([{'id': group['id'], 'name': 'web'},
                          {'id': 'gone', 'name': None}],
                         back['security_groups'])
        front = by_network[nets[0]['id']]
        self.assertEqual(('front', False, first['mac_address']), (
            front['tag'], front['port_security'], front['mac_address']))

    def test_ports_are_in_the_order_of_the_server(self):
        macs = ['c', 'a', 'b']
        server = mock.Mock(addresses={'net': [
            {'OS-EXT-IPS-MAC:mac_addr': mac} for mac in macs]})
        ports = [{'mac_address': mac} for mac in ('x', 'a', 'b', 'c')]
        self.assertEqual(['c', 'a', 'b', 'x'], [
            port['mac_address'] for port
            in description.in_order(server, ports)])

    def test_the_group(self):
        self.nova.groups['g'] = {'id': 'g', 'name': 'apart',
                                 'policy': 'anti-affinity'}
        server = self.make(server_groups=['g'])
        self.assertEqual(self.nova.groups['g'], self.protect(
            server).saved['server']['server_group'])

    def _root_of(self, volumes, **values):
        server = self.make(None, **values)
        for device, bootable in volumes:
            self.nova.attach(server, self.new_volume(bootable=bootable),
                             device=device)
        return [item['device'] for item in
                self.protect(server).saved['server']['volumes']
                if item['is_root']]

    def test_the_volume_that_it_boots_from(self):
        yes, no = 'true', 'false'
        for expected, volumes in (
                ('/dev/vda', [('/dev/vda', no)]),
                ('/dev/vda', [('/dev/vdaa', yes), ('/dev/vdb', yes),
                              ('/dev/vda', yes)]),
                ('/dev/vdc', [('/dev/vdb', no), ('/dev/vdc', yes)]),
                ('/dev/sda', [('/dev/sdb', no), ('/dev/sda', no)]),
                ('/dev/xvda', [('/dev/xvdb', yes), ('/dev/xvda', yes)])):
            self.assertEqual([expected], self._root_of(volumes))
        self.assertEqual(['/dev/vdb'], self._root_of(
            [('/dev/vda', yes), ('/dev/vdb', yes)],
            **{'OS-EXT-SRV-ATTR:root_device_name': '/dev/vdb'}))

    def test_what_is_left_out(self):
        self.assertIn('memory', self._left_out())
        self.assertNotIn('memory', self._left_out(status='SHUTOFF'))
        self.assertIn('lock', self._left_out(locked=True))
        self.assertIn('certificates', self._left_out(
            trusted_image_certificates=['one']))
        flavor = self.nova.add_flavor('large', swap=512, **{
            'OS-FLV-EXT-DATA:ephemeral': 20})
        text = self._left_out(flavor=flavor)
        self.assertIn('ephemeral disk of 20 GiB', text)
        self.assertIn('swap disk of 512 MiB', text)

    def test_a_port_of_another_project(self):
        server = self.make()
        where = self.neutron.add_network(project_id='another', shared=True)
        port = self.nova.connect(server, where)
        port['project_id'] = 'another'
        saved = self.protect(server).saved
        self.assertEqual([], saved['server']['ports'])
        self.assertIn('The port 10.0.0.1: it belongs to another project.',
                      saved['not_included'])

    def test_a_neutron_without_extensions(self):
        server = self.make()
        port = self.nova.connect(server, self.neutron.add_network())
        for name in ('security_groups', 'port_security_enabled',
                     'created_at', 'allowed_address_pairs'):
            del port[name]

        def lack(method, path, body):
            if path.endswith(('floatingips', 'security-groups')):
                raise fixtures_service.Refused(404, 'no such resource')
        self.neutron.intercept = lack
        told, = self.protect(server).saved['server']['ports']
        self.assertEqual(([], True), (told['security_groups'],
                                      told['port_security']))

    def test_what_is_left_out_of_ports(self):
        server = self.make()
        where = self.neutron.add_network()
        self.nova.connect(server, where, '10.0.0.7', **{
            'binding:vnic_type': 'direct', 'qos_policy_id': 'slow',
            'allowed_address_pairs': [{}], 'trunk_details': {'x': 1},
            'extra_dhcp_opts': [{}]})
        texts = self.protect(server).saved['not_included']
        about_port = [text for text in texts
                      if text.startswith('Port 10.0.0.7')]
        self.assertEqual(5, len(about_port), texts)
        self.assertIn('MAC addresses', ' '.join(texts))


class UserDataTest(ServerCase):

    DATA = base64.b64encode(b'#cloud-config \xff').decode()

    def _server(self, **values):
        return self.make(**{'OS-EXT-SRV-ATTR:user_data': self.DATA, **values})

    def test_it_is_left_out(self):
        saved = self.protect(self._server()).saved
        self.assertNotIn('user_data', saved)
        self.assertIn('save_user_data', ' '.join(saved['not_included']))

    def test_it_is_kept_encrypted(self):
        self.frame.plugin = new_plugin(save_user_data=True)
        server = self._server()
        operation = self.protect(server)
        self.assertNotIn(self.DATA, str(operation.saved))
        made, _ = self.restore(operation, server)
        self.assertEqual(self.DATA, made['_user_data'])

    def test_servers_without_it(self):
        self.frame.plugin = new_plugin(save_user_data=True)
        server = self._server(**{'OS-EXT-SRV-ATTR:user_data': None})
        operation = self.protect(server)
        self.assertNotIn('User data', ' '.join(
            operation.saved['not_included']))
        made, _ = self.restore(operation, server)
        self.assertIsNone(made['_user_data'])

    def test_it_is_hidden_from_others(self):
        self.frame.plugin = new_plugin(save_user_data=True)
        saved = self.protect(self.make()).saved
        self.assertIn('administrators only', ' '.join(
            saved['not_included']))

    def test_keys_that_are_lost_do_not_keep_a_server_away(self):
        self.frame.plugin = new_plugin(save_user_data=True)
        server = self._server()
        operation = self.protect(server)
        self.frame.sealer = None
        made, notes = self.restore(operation, server)
        self.assertIsNone(made['_user_data'])
        self.assertIn('there are no keys', *notes)

    def test_a_deployment_without_keys(self):
        self.frame.plugin = new_plugin(save_user_data=True)
        self.frame.sealer = None
        self.refusal(self._server())


class VerifyTest(ServerCase):

    def setUp(self):
        super().setUp()
        self.server = self.make()
        self.operation = self.protect(self.server)

    def verify(self):
        return self.frame.verify(self.operation, self.resource(self.server))

    def refused(self):
        return self.frame.refusal(self.verify)

    def test_nobody_is_asked(self):
        self.nova.requests.clear()
        self.verify()
        self.assertEqual([], self.nova.requests)

    def test_servers_on_volumes_have_no_root_disk(self):
        self.server = self.make(image=None)
        self.operation = self.protect(self.server)
        self.verify()

    def test_a_root_disk_that_is_not_there(self):
        self.operation.saved['streams'][protect.ROOT_DISK]['size'] += 1
        self.assertIn('The bank has', self.refused())
        del self.operation.saved['streams']
        self.assertIn('not in the bank', self.refused())

    def test_user_data_that_nobody_can_read(self):
        self.frame.plugin = new_plugin(save_user_data=True)
        self.server = self.make(**{
            'OS-EXT-SRV-ATTR:user_data': UserDataTest.DATA})
        self.operation = self.protect(self.server)
        self.verify()
        self.frame.sealer = None
        self.assertIn('no keys', self.refused())


class RestoreTest(ServerCase):

    def test_everything_is_asked_for_at_once(self):
        self.nova.keys.add('mine')
        self.nova.groups['g'] = {'id': 'g', 'name': 'apart', 'policy': 'x'}
        server = self.make(
            name='db', description='words', key_name='mine',
            metadata={'tier': 'db'}, tags=['blue'], config_drive='True',
            server_groups=['g'], **{
                'OS-EXT-SRV-ATTR:hostname': 'db-1',
                'OS-EXT-AZ:availability_zone': 'east'})
        operation = self.protect(server)
        self.nova.requests.clear()
        made, notes = self.restore(operation, server)
        self.assertEqual([], notes)
        for name in ('name', 'description', 'key_name', 'metadata',
                     'config_drive', 'server_groups', 'flavor', '_disk'):
            self.assertEqual(server[name], made[name], name)
        self.assertEqual('blue', made['tags'][0])
        self.assertEqual(2, len(made['tags']))
        self.assertEqual('east', made['_asked']['availability_zone'])
        self.assertEqual('db-1', made['_asked']['hostname'])
        self.assertEqual('none', made['_asked']['networks'])
        self.assertEqual([('POST', 'servers')], [
            item for item in self.nova.requests if item[0] != 'GET'])

    def test_parameters(self):
        other = self.nova.add_flavor('other')
        server = self.make()
        for flavor in (other['id'], 'other'):
            made, _ = self.restored_from(server, {
                'restore_name': 'new', 'restore_flavor_id': flavor})
            self.assertEqual(('new', 'other'), (
                made['name'], made['flavor']['original_name']))

    def test_a_flavor_of_another_id(self):
        server = self.make()
        operation = self.protect(server)
        self.nova.flavors[0]['id'] = 'another'
        made, notes = self.restore(operation, server)
        self.assertEqual(([], 'another'), (
            notes, made['_asked']['flavorRef']))

    def test_a_flavor_that_is_gone(self):
        server = self.make()
        operation = self.protect(server)
        self.nova.flavors[0]['ram'] = 65
        for parameters, words in (
                ({}, '"small".*restore_flavor_id'),
                ({'restore_flavor_id': 'no'}, 'no flavor "no"')):
            with self.assertRaisesRegex(errors.ResourceError, words):
                self.restore(operation, server, parameters)
        self.assertEqual([server['id']], list(self.nova.servers))
        # Nothing was uploaded for nothing.
        self.assertEqual(1, len(self.glance.images))

    def test_what_is_gone_is_noted(self):
        self.nova.keys.add('mine')
        self.nova.groups['g'] = {'id': 'g', 'name': 'apart', 'policy': 'x'}
        server = self.make(key_name='mine', server_groups=['g'], **{
            'OS-EXT-AZ:availability_zone': 'east'})
        operation = self.protect(server)
        self.nova.keys.clear()
        self.nova.groups.clear()
        self.nova.zones.remove('east')
        made, notes = self.restore(operation, server)
        self.assertEqual((None, []), (
            made['key_name'], made['server_groups']))
        for words, note in zip(('zone "east"', 'key pair "mine"',
                                'group "apart"'), notes, strict=True):
            self.assertIn(words, note)

    def test_as_many_tags_as_nova_takes(self):
        tags = [f'tag-{number:02}' for number in range(50)]
        made, notes = self.restored_from(self.make(tags=tags))
        self.assertEqual(tags[:49], made['tags'][:-1])
        self.assertIn('"tag-49"', *notes)

    def test_states(self):
        for status, becomes, words in (
                ('SHUTOFF', 'SHUTOFF', 'shut off'),
                ('PAUSED', 'ACTIVE', 'paused'),
                ('SUSPENDED', 'ACTIVE', 'suspended')):
            made, notes = self.restored_from(self.make(status=status))
            self.assertEqual(becomes, made['status'])
            self.assertIn(words, *notes)

    def test_a_server_that_can_not_be_stopped(self):
        server = self.make(status='SHUTOFF')
        operation = self.protect(server)

        def refuse(method, path, body):
            if body and 'os-stop' in body:
                raise fixtures_service.Refused(409, 'it is locked')
        self.nova.intercept = refuse
        self.assertRaisesRegex(Exception, 'it is locked', self.restore,
                               operation, server)

    def test_a_fault_is_quoted(self):
        server = self.make()
        operation = self.protect(server)
        self.nova.faults = ['No valid host was found']
        with self.assertRaisesRegex(errors.ResourceError,
                                    'ERROR: No valid host'):
            self.restore(operation, server)

    def test_somebody_deletes_it_meanwhile(self):
        server = self.make()
        operation = self.protect(server)

        def remove(method, path, body):
            if (method, path) == ('POST', 'servers'):
                self.nova._remove(list(self.nova.servers.values())[-1])
        self.nova.after = remove
        with self.assertRaisesRegex(errors.ResourceError,
                                    'deleted by somebody else'):
            self.restore(operation, server)

    def test_an_old_nova(self):
        self.nova._newest = '2.79'
        server = self.make()
        volume = self.new_volume()
        self.nova.attach(server, volume, delete_on_termination=True)
        made, notes = self.restored_from(
            server, restored={volume['id']: self.new_volume()['id']})
        self.assertNotIn('hostname', made['_asked'])
        self.assertFalse(made['_volumes'][0]['delete_on_termination'])
        self.assertIn('stay when the restored server is deleted', *notes)


class RestoreVolumesTest(ServerCase):

    def _server(self, **values):
        server = self.make(**values)
        self.volumes = [self.new_volume(bootable='true') for _ in range(3)]
        for volume, device, ends in zip(
                self.volumes, ('/dev/vda', '/dev/vdc', '/dev/vdb'),
                (False, True, False), strict=True):
            self.nova.attach(server, volume, device=device,
                             delete_on_termination=ends)
        return server

    def _copies(self):
        return {volume['id']: self.new_volume()['id']
                for volume in self.volumes}

    def test_all_of_them(self):
        server = self._server(image=None)
        copies = self._copies()
        made, notes = self.restored_from(server, restored=copies)
        self.assertEqual([], notes)
        self.assertEqual(
            [(copies[item['volumeId']], item['device'],
              item['delete_on_termination'])
             for item in server['_volumes']],
            [(item['volumeId'], item['device'],
              item['delete_on_termination']) for item in made['_volumes']])
        self.assertEqual([0, -1, -1], [
            item['boot_index'] for item
            in made['_asked']['block_device_mapping_v2']])

    def test_beside_a_root_disk(self):
        made, _ = self.restored_from(server := self._server(),
                                     restored=self._copies())
        image, *volumes = made['_asked']['block_device_mapping_v2']
        self.assertEqual(('local', 0), (image['destination_type'],
                                        image['boot_index']))
        self.assertEqual([-1] * 3, [item['boot_index'] for item in volumes])
        self.assertEqual(server['_disk'], made['_disk'])

    def test_one_that_was_not_restored(self):
        server = self._server(image=None)
        operation = self.protect(server)
        root, data, other = self._copies().items()
        made, notes = self.restore(operation, server,
                                   restored=dict([root, other]))
        self.assertEqual(2, len(made['_volumes']))
        self.assertIn(data[0], *notes)
        with self.assertRaisesRegex(errors.ResourceError, root[0]):
            self.restore(operation, server, restored=dict([data, other]))

    def test_a_server_that_fails_leaves_them(self):
        server = self._server(image=None)
        operation = self.protect(server)
        copies = self._copies()
        self.nova.faults = ['No valid host']
        restoring = work.Operation('Restore', saved=operation.saved,
                                   restored=copies)
        self.assertRaises(errors.ResourceError, self.frame.run, restoring,
                          self.resource(server))
        failed, = [item for item in restoring.journal
                   if item.kind == 'server']
        kind = self.frame.plugin.kind('server')
        while not kind.remove(self.session, failed.external_id):
            pass
        self.assertLessEqual(set(copies.values()),
                             set(self.nova.cinder.things['volumes']))

    def test_removing_a_whole_one_leaves_them(self):
        copies_of = self._server()
        made, _ = self.restored_from(copies_of, restored=self._copies())
        kept = [item['volumeId'] for item in made['_volumes']]
        kind = self.frame.plugin.kind('server')
        while not kind.remove(self.session, made['id']):
            pass
        self.assertTrue(kind.remove(self.session, made['id']))
        self.assertLessEqual(set(kept),
                             set(self.nova.cinder.things['volumes']))

    def test_one_that_two_servers_share(self):
        shared = self.new_volume(multiattach=True)
        copy = self.new_volume(multiattach=True)
        servers = [self.make(), self.make()]
        for server in servers:
            self.nova.attach(server, shared)
        for server in servers:
            made, notes = self.restored_from(
                server, restored={shared['id']: copy['id']})
            self.assertEqual([], notes)
        self.assertEqual(2, len(copy['attachments']))


class RemovingTest(ServerCase):

    def setUp(self):
        super().setUp()
        self.kind = restore.RestoredServer()

    def test_one_that_waits_to_be_reclaimed(self):
        server = self.make(status='SOFT_DELETED')
        self.assertFalse(self.kind.remove(self.session, server['id']))
        self.assertTrue(self.kind.remove(self.session, server['id']))

    def test_one_that_is_being_deleted_is_waited_for(self):
        server = self.make(**{_TASK: 'deleting'})
        self.assertFalse(self.kind.remove(self.session, server['id']))
        self.assertIn(server['id'], self.nova.servers)
        server['status'] = 'DELETED'
        self.assertTrue(self.kind.remove(self.session, server['id']))

    def test_one_that_somebody_has_locked(self):
        server = self.make(locked=True)
        with self.assertRaisesRegex(errors.ResourceError, 'is locked'):
            self.kind.remove(self.session, server['id'])

    def test_they_are_found_oldest_first(self):
        made = [self.make(tags=[f'karbor:{tag}'])['id'] for tag in 'aab']
        self.assertEqual(made[:2], self.kind.find(self.session, 'a', None))


class RestorePortsTest(ServerCase):

    def setUp(self):
        super().setUp()
        self.net = self.neutron.add_network(name='net')
        self.server = self.make()

    def _gone(self):
        """Delete the original after protecting it; return the operation."""
        operation = self.protect(self.server)
        self.nova._remove(self.server)
        return operation

    def _ports(self, server):
        return self.neutron.ports_of(server['id'])

    def _addresses(self, server):
        return [item['ip_address'] for port in self._ports(server)
                for item in port['fixed_ips']]

    def _restored(self, operation=None, **kwargs):
        return self.restore(operation or self._gone(), self.server, **kwargs)

    def test_addresses_are_kept(self):
        other = self.neutron.add_network('10.1.0.0/24', name='other')
        self.nova.connect(self.server, self.net, '10.0.0.9')
        self.nova.connect(self.server, other, '10.1.0.8')
        made, notes = self._restored()
        self.assertEqual([], notes)
        self.assertEqual(['10.0.0.9', '10.1.0.8'], self._addresses(made))

    def test_of_the_sixth_version_too(self):
        net = self.neutron.add_network('2001:db8::/64')
        self.nova.connect(self.server, net, '2001:db8::9')
        made, _ = self._restored()
        self.assertEqual(['2001:db8::9'], self._addresses(made))

    def test_an_address_in_use(self):
        self.nova.connect(self.server, self.net, '10.0.0.9')
        made, notes = self.restored_from(self.server)
        new, = self._addresses(made)
        self.assertEqual(
            [f'On network "net" it has {new} instead of 10.0.0.9: it is in '
             f'use by {self.server["id"]}.'], notes)

    def test_a_network_of_another_project(self):
        self.net.update(project_id='another', shared=True)
        self.nova.connect(self.server, self.net)
        self.neutron.things['ports'].clear()
        port = self.neutron.add_port(self.net['id'],
                                     device_id=self.server['id'])
        port['fixed_ips'][0]['ip_address'] = '10.0.0.9'
        made, notes = self._restored()
        self.assertIn('10.0.0.1 instead of 10.0.0.9', *notes)
        self.assertIn('another project', *notes)
        self.assertNotIn('fixed_ip', made['_asked']['networks'][0])

    def test_a_subnet_that_has_changed(self):
        self.nova.connect(self.server, self.net, '10.0.0.9')
        operation = self._gone()
        subnet, = self.neutron.things['subnets'].values()
        subnet['cidr'] = '10.5.0.0/24'
        made, notes = self._restored(operation)
        self.assertIn('no subnet', *notes)
        self.assertEqual(['10.5.0.1'], self._addresses(made))

    def test_somebody_is_faster_with_an_address(self):
        self.nova.connect(self.server, self.net, '10.0.0.9')
        operation = self._gone()

        def take(method, path, body):
            if (method, path) == ('POST', 'servers'):
                self.nova.intercept = lambda *args: None
                self.neutron.add_port(self.net['id'], '10.0.0.9')
        self.nova.intercept = take
        made, notes = self._restored(operation)
        self.assertEqual(['10.0.0.1'], self._addresses(made))
        self.assertIn('Nova did not get it', *notes)
        self.assertEqual(1, len(self.nova.servers))

    def test_nova_fails_with_the_network(self):
        self.nova.connect(self.server, self.net, '10.0.0.9')
        volume, copy = self.new_volume(), self.new_volume()
        self.nova.attach(self.server, volume)
        operation = self._gone()
        self.nova.faults = ['Failed to allocate the network(s)']
        restoring = work.Operation('Restore', saved=operation.saved,
                                   restored={volume['id']: copy['id']})
        self.frame.run(restoring, self.resource(self.server))
        self.assertEqual(
            [('root-image', 'exists'), ('server', 'gone'),
             ('server-2', 'exists')],
            [(row.label, row.state) for row in restoring.journal])
        made, = self.nova.servers.values()
        self.assertNotIn('fixed_ip', made['_asked']['networks'][0])
        self.assertEqual(copy['id'], made['_volumes'][0]['volumeId'])
        self.assertIn('Nova did not get it (Failed to allocate',
                      *restoring.saved['notes'])

    def test_a_worker_dies_between_the_two_tries(self):
        self.nova.connect(self.server, self.net, '10.0.0.9')
        operation = self._gone()
        self.nova.faults = ['Failed to allocate the network(s)']
        restoring = work.Operation('Restore', saved=operation.saved,
                                   faults={'server-2': 'kill_before'})
        self.assertRaises(work.Killed, self.frame.run, restoring,
                          self.resource(self.server))
        self.assertEqual({}, self.nova.servers)
        self.frame.run(restoring, self.resource(self.server))
        self.assertEqual(1, len(self.nova.servers))

    def test_the_second_try_fails_as_well(self):
        self.nova.connect(self.server, self.net, '10.0.0.9')
        operation = self._gone()
        self.nova.faults = ['Failed to allocate the network(s)'] * 2
        with self.assertRaisesRegex(errors.ResourceError, 'ERROR: Failed'):
            self._restored(operation)

    def test_several_addresses_of_one_port(self):
        port = self.nova.connect(self.server, self.net, '10.0.0.9')
        port['fixed_ips'].append(dict(port['fixed_ips'][0],
                                      ip_address='10.0.0.19'))
        operation = self._gone()
        made, notes = self._restored(operation)
        self.assertEqual([], notes)
        self.assertEqual(['10.0.0.9', '10.0.0.19'], self._addresses(made))
        self.nova._remove(made)
        self.neutron.add_port(self.net['id'], '10.0.0.19')
        made, notes = self._restored(operation)
        self.assertEqual(['10.0.0.9'], self._addresses(made))
        self.assertIn('no address instead of 10.0.0.19', *notes)
        self.assertIn('already allocated', *notes)

    def test_a_network_that_is_gone(self):
        self.nova.connect(self.server, self.net)
        operation = self._gone()
        self.neutron.remove('networks', self.net['id'])
        with self.assertRaisesRegex(errors.ResourceError,
                                    f'{self.net["id"]}.*restore_net_id'):
            self._restored(operation)
        other = self.neutron.add_network('10.1.0.0/24', name='other')
        made, notes = self._restored(
            operation, parameters={'restore_net_id': other['id']})
        self.assertEqual(['10.1.0.1'], self._addresses(made))
        self.assertIn('restore_net_id', *notes)
        with self.assertRaisesRegex(errors.ResourceError, 'nowhere'):
            self._restored(operation,
                           parameters={'restore_net_id': 'nowhere'})

    def test_one_network_for_several_ports(self):
        other = self.neutron.add_network('10.1.0.0/24', name='other')
        for net in (self.net, other):
            self.nova.connect(self.server, net)
        made, notes = self._restored(
            parameters={'restore_net_id': other['id']})
        self.assertEqual(['10.1.0.1'], self._addresses(made))
        self.assertIn('had 2 ports', *notes)

    def test_one_network_for_a_server_without_ports(self):
        made, notes = self._restored(
            parameters={'restore_net_id': self.net['id']})
        self.assertEqual((['10.0.0.1'], []), (self._addresses(made), notes))

    def test_security_groups_and_names(self):
        groups = [self.neutron.add('security-groups', name=name)['id']
                  for name in 'abc']
        other = self.neutron.add_network('10.1.0.0/24', name='other')
        self.nova.connect(self.server, self.net, name='front',
                          security_groups=groups[:2])
        self.nova.connect(self.server, other, security_groups=groups[1:])
        operation = self._gone()
        made, notes = self._restored(operation)
        front, back = self._ports(made)
        self.assertEqual(([], 'front', groups[:2], groups[1:]), (
            notes, front['name'], front['security_groups'],
            back['security_groups']))
        self.nova._remove(made)
        self.neutron.remove('security-groups', groups[1])
        made, notes = self._restored(operation)
        front, back = self._ports(made)
        self.assertEqual((groups[:1], groups[2:]), (
            front['security_groups'], back['security_groups']))
        self.assertIn('group "b" is gone', *notes)

    def test_groups_that_are_all_the_same_are_asked_of_nova(self):
        group = self.neutron.add('security-groups', name='a')['id']
        self.nova.connect(self.server, self.net, security_groups=[group])
        made, _ = self._restored()
        self.assertEqual([{'name': group}], made['_asked'][
            'security_groups'])
        self.assertEqual([], [item for item in self.neutron.requests
                              if item[0] == 'PUT'])

    def test_ports_without_security(self):
        self.nova.connect(self.server, self.net, port_security_enabled=False)
        made, _ = self._restored()
        port, = self._ports(made)
        self.assertEqual(([], False), (port['security_groups'],
                                       port['port_security_enabled']))

    def test_ports_without_groups(self):
        self.nova.connect(self.server, self.net)
        made, _ = self._restored()
        self.assertEqual([], self._ports(made)[0]['security_groups'])

    def test_what_neutron_refuses_is_noted(self):
        self.nova.connect(self.server, self.net, name='front')
        operation = self._gone()

        def refuse(method, path, body):
            if method == 'PUT' and 'name' in body['port']:
                raise fixtures_service.Refused(403, 'not for you')
        self.neutron.intercept = refuse
        _, notes = self._restored(operation)
        self.assertIn('did not get the name "front": not for you', *notes)

    def _floating(self, server):
        port = self.nova.connect(server, self.net, '10.0.0.9')
        return self.neutron.add(
            'floatingips', port_id=port['id'],
            floating_ip_address='192.0.2.1', fixed_ip_address='10.0.0.9')

    def test_a_floating_ip_that_is_free(self):
        floating = self._floating(self.server)
        operation = self._gone()
        floating['port_id'] = None
        made, notes = self._restored(operation)
        self.assertEqual([], notes)
        self.assertEqual((self._ports(made)[0]['id'], '10.0.0.9'), (
            floating['port_id'], floating['fixed_ip_address']))

    def test_a_floating_ip_is_never_taken(self):
        floating = self._floating(self.server)
        owner = floating['port_id']
        _, notes = self.restored_from(self.server)
        self.assertEqual(owner, floating['port_id'])
        self.assertIn('another port uses it', ' '.join(notes))

    def test_a_floating_ip_that_somebody_takes_meanwhile(self):
        floating = self._floating(self.server)
        operation = self._gone()
        floating['port_id'] = None

        def take(method, path, body):
            if method == 'PUT' and 'floatingips' in path:
                floating.update(port_id='other', revision_number=7)
        self.neutron.intercept = take
        _, notes = self._restored(operation)
        self.assertEqual('other', floating['port_id'])
        self.assertIn('Constrained to revision', *notes)

    def test_a_floating_ip_that_is_gone(self):
        floating = self._floating(self.server)
        operation = self._gone()
        self.neutron.remove('floatingips', floating['id'])
        _, notes = self._restored(operation)
        self.assertIn('does not have it any more', *notes)

    def test_a_worker_dies_after_all_was_done(self):
        floating = self._floating(self.server)
        operation = self._gone()
        floating['port_id'] = None
        restoring = work.Operation('Restore', saved=operation.saved)
        for _ in range(2):
            self.frame.run(restoring, self.resource(self.server))
            self.assertNotIn('notes', restoring.saved)
            restoring.done.remove('on_complete')
        self.assertEqual(1, len(self.nova.servers))


class PreviewTest(ServerCase):

    def _protect(self, servers):
        previews = self.frame.plugin.preview_protect(
            self.session, [self.resource(item) for item in servers], {})
        return [previews[self.resource(item)] for item in servers]

    def _restore(self, operations, parameters=None):
        kept = {self.resource(server): operation.saved
                for server, operation in operations}
        previews = self.frame.plugin.preview_restore(
            self.session, kept, {resource: parameters or {}
                                 for resource in kept})
        return [previews[resource] for resource in kept]

    def test_protecting(self):
        iso = self.glance.add(b'iso', disk_format='iso')
        diskless = self.nova.add_flavor('diskless', disk=0)
        servers = [self.make(), self.make(None), self.make(iso),
                   self.make(status='ERROR'), self.make(flavor=diskless)]
        gone = self.make()
        del self.nova.servers[gone['id']]
        found = self._protect([*servers, gone])
        self.assertEqual([GIB, 0, GIB, GIB, 18, None],
                         [one.size for one in found])
        self.assertEqual([False, False, True, True, False, False],
                         [bool(one.skipped) for one in found])
        self.assertIn('does not exist', *found[-1].problems)
        for server, one in zip(servers[2:4], found[2:4], strict=True):
            self.assertEqual(one.skipped, self.refusal(server))
        self.assertEqual(
            set(found[0].not_included),
            set(self.protect(servers[0]).saved['not_included']))

    def test_restoring(self):
        net = self.neutron.add_network(name='net')
        server = self.make(status='SHUTOFF')
        self.nova.connect(server, net, '10.0.0.9')
        self.neutron.add('floatingips', floating_ip_address='192.0.2.1',
                         port_id=self.neutron.ports_of(server['id'])[0]['id'],
                         fixed_ip_address='10.0.0.9')
        operation = self.protect(server)
        preview, = self._restore([(server, operation)])
        self.assertEqual((18, ()), (preview.size, preview.problems))
        text = ' '.join(preview.notes)
        for words in ('shut off', 'a new address instead of 10.0.0.9',
                      '192.0.2.1'):
            self.assertIn(words, text)
        self.nova.flavors.clear()
        preview, = self._restore([(server, operation)], {
            'restore_name': 'other'})
        self.assertIn('restore_flavor_id', *preview.problems)
        self.assertIn('"other"', preview.action)

    def test_many_cost_as_little_as_few(self):
        net = self.neutron.add_network(name='net')
        servers = [self.make() for _ in range(20)]
        for server in servers:
            self.nova.connect(server, net)
        operations = [(server, self.protect(server)) for server in servers]
        services = (self.nova, self.neutron, self.glance)
        for preview, most in (
                (lambda: self._protect(servers), 4),
                (lambda: self._restore(operations), 8)):
            for service in services:
                service.requests.clear()
            self.assertEqual(20, len(preview()))
            asked = [path for service in services
                     for _, path in service.requests if path.strip('/')
                     and 'schemas' not in path]
            self.assertLessEqual(len(asked), most, asked)


class FitTest(ServerCase):
    """Words that no service in memory makes come about."""

    def test_an_address_that_was_lost_for_no_known_reason(self):
        nic = fitting.Nic({'id': 'n', 'name': 'net'}, {
            'addresses': [{'ip': '10.0.0.9'}]}, None, None, [])
        self.assertIsNone(nic.difference())
        self.assertIn('was not free', nic.difference(['10.0.0.1']))
        self.assertIsNone(nic.difference(['10.0.0.9']))
