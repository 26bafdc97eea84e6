# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The server's plugin over a real Nova, Neutron and Glance."""

import base64
import hashlib
import os
import time
import uuid

import openstack
from oslo_config import cfg

from karbor_ng import errors
from karbor_ng import keystone
from karbor_ng.plugins.server import fitting
from karbor_ng.plugins.server import protectable
from karbor_ng.plugins.server import protection
from karbor_ng.resource import Resource
from karbor_ng.tests.contracts import once
from karbor_ng.tests.contracts import work
from karbor_ng.tests.functional import base

SERVER = protectable.RESOURCE_TYPE
DISKS = base.STACK / 'nova' / 'disks'
CIDR = '10.77.0.0/24'
#: Enough for Glance to believe that it is an ISO 9660 image.
ISO = bytes(0x8000) + b'\x01CD001\x01' + bytes(0x8000)


def new_plugin(**options):
    conf = cfg.ConfigOpts()
    conf([])
    group = protection.ServerProtection.GROUP
    conf.register_opts(protection.ServerProtection.OPTS, group=group)
    for name, value in dict(options, poll_interval=1).items():
        conf.set_override(name, value, group=group)
    return protection.ServerProtection(conf)


def hash_of(server_id):
    """Return the hash of a root disk, read where the hypervisor has it."""
    return hashlib.sha256((DISKS / server_id).read_bytes()).hexdigest()


class ServerCase(base.StackTestCase):
    """A test that works with the plugin itself, no karbor in between."""

    def setUp(self):
        super().setUp()
        self.session = keystone.SingleUserCloud('demo').user_session(None)
        self.frame = work.Frame(new_plugin(), self.session, time.sleep)
        self.compute = self.demo.cloud.compute
        self.network = self.demo.cloud.network
        self.volumes = self.demo.cloud.block_storage
        self.flavor = self.compute.find_flavor('m1.nano')
        self.name = f'server-{uuid.uuid4().hex[:8]}'

    # Making things; each is removed in the end

    def new_network(self, cloud=None, cidr=CIDR, **values):
        network = (cloud or self.demo.cloud).network
        made = network.create_network(name=self.name, **values)
        self.addCleanup(network.delete_network, made)
        network.create_subnet(name=self.name, network_id=made.id,
                              ip_version=4, cidr=cidr)
        return made

    def new_image(self, data=None, disk_format='raw', **properties):
        made = self.demo.cloud.image.create_image(
            name=f'image-{uuid.uuid4().hex[:8]}', disk_format=disk_format,
            data=data or os.urandom(base.MIB), container_format='bare',
            validate_checksum=False, **properties)
        self.addCleanup(self.demo.cloud.image.delete_image, made.id)
        return made

    def new_group(self, name):
        made = self.network.create_security_group(name=name)
        self.addCleanup(self.network.delete_security_group, made)
        return made

    def new_key(self):
        self.compute.create_keypair(name=self.name)
        self.addCleanup(self.compute.delete_keypair, self.name)

    def new_volume(self, image=None, **values):
        if image is not None:
            values['image_id'] = image.id
        made = self.volumes.create_volume(name=self.name, size=1, **values)
        self.addCleanup(self.demo.delete_volume, made.id)
        return self.demo.volume_in(made.id, 'available')

    def new_server(self, wait=True, networks='none', **values):
        values.setdefault('flavor_id', self.flavor.id)
        made = self.compute.create_server(
            name=self.name, networks=networks, **values)
        self.addCleanup(self.remove_server, made.id)
        if wait:
            made = self.compute.wait_for_server(made)
        return Resource(SERVER, made.id, made.name)

    def remove_server(self, server_id):
        self.compute.delete_server(server_id, ignore_missing=True)
        base.wait(lambda: self.compute.find_server(server_id) is None,
                  what=f'server {server_id} gone')

    # Protecting and restoring

    def restore(self, protect, resource, parameters=None, **kwargs):
        """Restore; return the new server, removed in the end."""
        operation = self.frame.restore(protect, resource, parameters,
                                       **kwargs)
        new_id = operation.restored[resource.id]
        for row in operation.journal:
            if row.kind == 'image':
                self.addCleanup(self.demo.cloud.image.delete_image,
                                row.external_id, ignore_missing=True)
        self.addCleanup(self.remove_server, new_id)
        return self.compute.get_server(new_id), operation.saved.get(
            'notes', [])

    def ports(self, server_id):
        return list(self.network.ports(device_id=server_id))

    def addresses(self, server_id):
        return sorted(ip['ip_address'] for port in self.ports(server_id)
                      for ip in port.fixed_ips)

    def devices(self, server_id):
        return {item.volume_id: item.device for item
                in self.compute.volume_attachments(server_id)}

    def tags(self, server_id):
        return self.compute.get(f'/servers/{server_id}/tags',
                                microversion='2.26').json()['tags']

    def group_of(self, server_id):
        found, = self.compute.get_server(server_id).server_groups
        return found

    def status(self, server_id, status):
        base.wait(lambda: self.compute.get_server(
            server_id).status == status, what=f'{server_id} {status}')

    def found(self, operation, resource):
        """Return what there still is of temporary things."""
        kinds = {kind.name: kind for kind in self.frame.plugin.kinds}
        return [found for row in operation.journal
                if kinds[row.kind].temporary
                for found in kinds[row.kind].find(
                    self.session, row.tag, resource)]


def on(network, **values):
    return {'uuid': network.id, **values}


def disk_from(image):
    return {'source_type': 'image', 'uuid': image.id, 'boot_index': 0,
            'destination_type': 'local', 'delete_on_termination': True}


def attached(volume_id, device, boot_index=-1, ends=False, **values):
    return {'source_type': 'volume', 'uuid': volume_id,
            'destination_type': 'volume', 'boot_index': boot_index,
            'device_name': device, 'delete_on_termination': ends, **values}


class ServerOnceTest(once.OnceContract, ServerCase):
    """One server is enough: the contract looks at things by their tags."""

    protect_labels = ('snapshot',)
    restore_labels = ('root-image', 'server')

    def setUp(self):
        super().setUp()
        self.resource = None
        self.addCleanup(self.remove_restored)

    def new_resource(self):
        if self.resource is None:
            self.resource = self.new_server(image_id=self.new_image().id)
        return self.resource

    def remove_restored(self):
        for server in list(self.compute.servers(name=self.name)):
            self.remove_server(server.id)
        for image in self.demo.cloud.image.images(
                name=f'{self.name} root disk'):
            self.demo.cloud.image.delete_image(image)


class ImageBootedTest(ServerCase):

    def test_everything_comes_back(self):
        resource, data = self._make()
        with (DISKS / resource.id).open('r+b') as disk:
            disk.write(b'what the guest wrote')
        frozen = hash_of(resource.id)
        protect = self.frame.protect(resource)
        self.assertEqual(base.MIB, protect.saved['size'])
        self.assertEqual([], self.found(protect, resource))
        original = self._portrait(resource.id, data)
        addresses = self.addresses(resource.id)
        restored = [self.new_volume().id for _ in data]
        beside, notes = self._restore(protect, resource, data, restored)
        self.assertEqual(2, len([note for note in notes
                                 if f'in use by {resource.id}' in note]))
        self.assertEqual(frozen, hash_of(beside.id))
        self.assertEqual(original, self._portrait(beside.id, restored))
        self.remove_server(beside.id)
        self.remove_server(resource.id)
        base.wait(lambda: self.volumes.find_volume(restored[0]) is None,
                  what='end of the volume that goes with its server')
        restored[0] = self.new_volume().id
        after, notes = self._restore(protect, resource, data, restored)
        self.assertEqual([], notes)
        self.assertEqual(addresses, self.addresses(after.id))
        self.assertEqual(frozen, hash_of(after.id))
        self.assertEqual(original, self._portrait(after.id, restored))

    def _make(self):
        """Make a server with two of whatever it can have two of."""
        inner = self.new_network()
        outer = self.new_network(cidr='10.78.0.0/24')
        groups = [self.new_group(f'{self.name}-{end}') for end in 'ab']
        self.new_key()
        image = self.new_image(hw_disk_bus='virtio')
        data = [self.new_volume().id, self.new_volume().id]
        resource = self.new_server(
            image_id=image.id, key_name=self.name, config_drive=True,
            description='words', metadata={'tier': 'web'},
            tags=['blue', 'web'], availability_zone='nova',
            security_groups=[{'name': groups[0].id}],
            networks=[on(outer, fixed_ip='10.78.0.99', tag='front'),
                      on(inner, fixed_ip='10.77.0.42')],
            block_device_mapping=[
                disk_from(image), attached(data[0], '/dev/vdf', ends=True),
                attached(data[1], '/dev/vdc', tag='logs')])
        front, back = self.ports(resource.id)
        if front.network_id == inner.id:
            front, back = back, front
        self.network.update_port(front, security_groups=[groups[1].id],
                                 name='the front')
        self.network.update_port(back, security_groups=[])
        return resource, data

    def _restore(self, protect, resource, data, restored):
        return self.restore(protect, resource, restored=dict(
            zip(data, restored, strict=True)))

    def _portrait(self, server_id, volume_ids):
        server = self.compute.get_server(server_id)
        told = {name: getattr(server, name) for name in
                ('name', 'description', 'key_name', 'metadata',
                 'availability_zone', 'has_config_drive', 'hostname')}
        told['flavor'] = server.flavor.original_name
        told['tags'] = sorted(tag for tag in self.tags(server_id)
                              if not tag.startswith('karbor:'))
        told['ports'] = sorted(
            (port.network_id, port.name, port.security_group_ids)
            for port in self.ports(server_id))
        attachments = {item.volume_id: item for item in
                       self.compute.volume_attachments(server_id)}
        told['volumes'] = [
            (item.device, item.tag, item.delete_on_termination)
            for item in map(attachments.pop, volume_ids)]
        self.assertEqual({}, attachments)
        return told


class VolumeBootedTest(ServerCase):

    def test_it_boots_from_the_restored_volume(self):
        volumes = [self.new_volume(self.new_image()), self.new_volume(),
                   self.new_volume(self.new_image())]
        resource = self.new_server(block_device_mapping=[
            attached(volumes[0].id, '/dev/vda', 0),
            attached(volumes[1].id, '/dev/vdb'),
            attached(volumes[2].id, '/dev/vdd')])
        protect = self.frame.protect(resource)
        self.assertEqual([], protect.journal)
        self.assertNotIn('streams', protect.saved)
        copies = [self.new_volume(self.new_image()), self.new_volume(),
                  self.new_volume(self.new_image())]
        restored = {old.id: new.id for old, new
                    in zip(volumes, copies, strict=True)}
        server, notes = self.restore(protect, resource, restored=restored)
        self.assertEqual([], notes)
        self.assertFalse(server.image)
        self.assertEqual(
            {copies[0].id: '/dev/vda', copies[1].id: '/dev/vdb',
             copies[2].id: '/dev/vdd'}, self.devices(server.id))
        self.remove_server(server.id)
        self._assert_what_may_be_missing(protect, resource, restored)

    def _assert_what_may_be_missing(self, protect, resource, restored):
        root, data, _ = restored
        server, notes = self.restore(protect, resource, restored={
            old: new for old, new in restored.items() if old != data})
        self.assertIn(data, *notes)
        self.assertEqual(2, len(self.devices(server.id)))
        self.assertIn(root, self.frame.refusal(
            self.frame.restore, protect, resource,
            restored={data: restored[data]}))

    def test_two_servers_share_a_volume(self):
        admin = base.User('admin').cloud.block_storage
        made = admin.create_type(name=self.name,
                                 extra_specs={'multiattach': '<is> True'})
        self.addCleanup(admin.delete_type, made)
        shared = self.new_volume(volume_type=self.name)
        image = self.new_image()
        servers = [self.new_server(
            image_id=image.id, block_device_mapping=[
                disk_from(image), attached(shared.id, '/dev/vdb')])
            for _ in range(2)]
        copy = self.new_volume(volume_type=self.name)
        restored = [self.restore(
            self.frame.protect(server), server,
            restored={shared.id: copy.id})[0] for server in servers]
        self.assertEqual(
            {server.id for server in restored},
            {item['server_id'] for item
             in self.volumes.get_volume(copy.id).attachments})


class StatesTest(ServerCase):

    def test_a_stopped_one(self):
        resource = self.new_server(image_id=self.new_image().id)
        self.compute.stop_server(resource.id)
        self.status(resource.id, 'SHUTOFF')
        protect = self.frame.protect(resource)
        self.assertNotIn('memory', ' '.join(protect.saved['not_included']))
        server, notes = self.restore(protect, resource)
        self.assertEqual('SHUTOFF', server.status)
        self.assertIn('shut off', *notes)

    def test_paused_and_suspended_ones(self):
        resource = self.new_server(image_id=self.new_image().id)
        for ask, undo, status in (
                ('pause_server', 'unpause_server', 'PAUSED'),
                ('suspend_server', 'resume_server', 'SUSPENDED')):
            getattr(self.compute, ask)(resource.id)
            self.status(resource.id, status)
            server, notes = self.restore(self.frame.protect(resource),
                                         resource)
            self.assertEqual('ACTIVE', server.status)
            self.assertIn(status.lower(), *notes)
            getattr(self.compute, undo)(resource.id)
            self.status(resource.id, 'ACTIVE')

    def test_one_in_error_is_refused_with_its_fault(self):
        admin = base.User('admin').cloud.compute
        giant = admin.create_flavor(name=self.name, ram=1 << 29, vcpus=1,
                                    disk=1)
        self.addCleanup(admin.delete_flavor, giant)
        resource = self.new_server(wait=False, flavor_id=giant.id,
                                   image_id=self.new_image().id)
        self.status(resource.id, 'ERROR')
        text = self.frame.refusal(self.frame.protect, resource)
        self.assertIn('is in ERROR: No valid host', text)
        plugin = self.frame.plugin
        preview = plugin.preview_protect(self.session, [resource], {})
        self.assertEqual(text, preview[resource].skipped)
        servers = protectable.ServerProtectable()
        parent = Resource(base.PROJECT, self.demo.project_id)
        self.assertIn(resource, servers.children(
            self.session, [parent])[parent])
        self.assertNotIn(resource, servers.list(
            self.session, project_id=parent.id))

    def test_a_shelved_one_is_refused(self):
        resource = self.new_server(image_id=self.new_image().id)
        self.compute.shelve_server(resource.id)
        self.status(resource.id, 'SHELVED_OFFLOADED')
        self.assertIn('unshelve', self.frame.refusal(
            self.frame.protect, resource))
        image, = self.demo.cloud.image.images(name=f'{self.name}-shelved')
        self.addCleanup(self.demo.cloud.image.delete_image, image.id,
                        ignore_missing=True)

    def test_one_that_runs_on_an_iso_image_is_refused(self):
        image = self.new_image(ISO, 'iso')
        resource = self.new_server(image_id=image.id)
        self.assertIn('ISO', self.frame.refusal(
            self.frame.protect, resource))

    def test_one_that_is_not_there(self):
        gone = Resource(SERVER, str(uuid.uuid4()))
        self.assertIn(gone.id, self.frame.refusal(self.frame.protect, gone))


class SurroundingsTest(ServerCase):
    """What was around a server may have changed."""

    def test_a_network_of_somebody_else(self):
        admin = base.User('admin').cloud
        network = self.new_network(admin, is_shared=True)
        resource = self.new_server(image_id=self.new_image().id,
                                   networks=[on(network)])
        protect = self.frame.protect(resource)
        old, = self.addresses(resource.id)
        self.remove_server(resource.id)
        server, notes = self.restore(protect, resource)
        new, = self.addresses(server.id)
        if new != old:
            self.assertIn(f'{new} instead of {old}', *notes)
            self.assertIn('another project', *notes)
        preview = self.frame.plugin.preview_restore(
            self.session, {resource: protect.saved}, {})[resource]
        self.assertIn('another project', *preview.notes)

    def test_an_address_that_is_taken_in_the_last_moment(self):
        network = self.new_network()
        resource = self.new_server(image_id=self.new_image().id,
                                   networks=[on(network)])
        protect = self.frame.protect(resource)
        # As if the original had come while it was being restored.
        self.patch(fitting.Surroundings, 'users', {})
        server, notes = self.restore(protect, resource)
        self.assertEqual(1, len(self.addresses(server.id)))
        self.assertIn('Nova did not get it', *notes)

    def test_what_is_gone(self):
        admin = base.User('admin').cloud.compute
        flavor = admin.create_flavor(name=self.name, ram=64, vcpus=1, disk=1)
        network = self.new_network()
        security = self.new_group(self.name)
        self.new_key()
        group = self.compute.create_server_group(name=self.name,
                                                 policy='soft-affinity')
        resource = self.new_server(
            image_id=self.new_image().id, networks=[on(network)],
            key_name=self.name, flavor_id=flavor.id,
            security_groups=[{'name': security.id}],
            scheduler_hints={'group': group.id})
        protect = self.frame.protect(resource)
        self.assertEqual(group.id, self.group_of(self.restore(
            protect, resource)[0].id))
        admin.delete_flavor(flavor)
        self.assertIn(self.name, self.frame.refusal(
            self.frame.restore, protect, resource))
        self.compute.delete_server_group(group)
        self.compute.delete_keypair(self.name)
        self.remove_server(resource.id)
        self._assert_notes(protect, resource, security)

    def _assert_notes(self, protect, resource, security):
        for server in self.compute.servers(name=self.name):
            self.remove_server(server.id)
        self.network.delete_security_group(security)
        other = self.new_network(cidr='10.79.0.0/24')
        server, notes = self.restore(protect, resource, {
            'restore_flavor_id': self.flavor.id, 'restore_name': 'other',
            'restore_net_id': other.id})
        self.assertEqual(('other', None, 'm1.nano'), (
            server.name, server.key_name, server.flavor.original_name))
        port, = self.ports(server.id)
        self.assertEqual(other.id, port.network_id)
        said = ' '.join(notes)
        for words in ('key pair', 'server group', 'security group',
                      'restore_net_id'):
            self.assertIn(words, said)
        self.assertEqual(4, len(notes))

    def test_a_network_that_is_gone(self):
        network = self.new_network()
        resource = self.new_server(image_id=self.new_image().id,
                                   networks=[on(network)])
        protect = self.frame.protect(resource)
        self.remove_server(resource.id)
        self.network.delete_network(network)
        self.assertIn(network.id, self.frame.refusal(
            self.frame.restore, protect, resource))

    def test_a_floating_ip(self):
        network = self.network.find_network('demo-net')
        resource = self.new_server(image_id=self.new_image().id,
                                   networks=[on(network)])
        floating = self.network.create_ip(floating_network_id=self.network.
                                          find_network('public').id)
        self.addCleanup(self.network.delete_ip, floating)
        port, = self.ports(resource.id)
        self.network.update_ip(floating, port_id=port.id)
        protect = self.frame.protect(resource)
        beside, notes = self.restore(protect, resource)
        self.assertIn('another port uses it', ' '.join(notes))
        self.assertEqual(port.id, self.network.get_ip(floating).port_id)
        self.remove_server(resource.id)
        after, notes = self.restore(protect, resource)
        self.assertEqual([], notes)
        self.assertEqual(self.ports(after.id)[0].id,
                         self.network.get_ip(floating).port_id)


class UserDataTest(ServerCase):

    def setUp(self):
        super().setUp()
        self.user_data = base64.b64encode(os.urandom(64)).decode()
        self.admin = openstack.connect(cloud='admin', auth={
            'project_name': 'demo'})
        self.frame.plugin = new_plugin(save_user_data=True)

    def test_administrators_keep_it_encrypted(self):
        resource = self.new_server(image_id=self.new_image().id,
                                   user_data=self.user_data)
        self.frame.session = self.admin.session
        protect = self.frame.protect(resource)
        self.assertNotIn(self.user_data, str(protect.saved))
        server, _ = self.restore(protect, resource)
        self.assertEqual(self.user_data, self.admin.compute.get_server(
            server.id).user_data)

    def test_others_are_told_that_it_is_left_out(self):
        resource = self.new_server(image_id=self.new_image().id,
                                   user_data=self.user_data)
        protect = self.frame.protect(resource)
        self.assertNotIn('user_data', protect.saved)
        self.assertIn('administrators',
                      ' '.join(protect.saved['not_included']))


class ProtectableTest(ServerCase):

    def test_listing(self):
        servers = protectable.ServerProtectable()
        image_id = self.new_image().id
        made = {self.new_server(image_id=image_id) for _ in range(3)}

        def listed(**kwargs):
            return servers.list(self.session, **kwargs,
                                project_id=self.demo.project_id)
        mine = listed(filters={'name': self.name, 'status': 'ACTIVE'})
        self.assertEqual(made, set(mine))
        self.assertEqual('m1.nano', mine[0].extra_info['flavor'])
        self.assertEqual([], listed(filters={'name': self.name[:-1]}))
        whole = listed()
        place = whole.index(mine[1])
        self.assertEqual(whole[place:place + 1],
                         listed(marker=whole[place - 1].id, limit=1))
        self.assertRaisesRegex(errors.Invalid, 'marker', listed,
                               marker=str(uuid.uuid4()))
        self.assertEqual(self.name,
                         servers.show(self.session, mine[0].id).name)
        self.assertIsNone(servers.show(self.session, str(uuid.uuid4())))
