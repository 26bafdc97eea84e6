# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""A project of a test's own, with servers in it.

Separate from the stack's users, whose projects other tests fill meanwhile:
here everything can be listed, and nothing may be left.
"""

import contextlib
import os
import uuid

import openstack
from openstack import exceptions

from karbor_ng.tests.functional import base
from karbor_ng.tests.functional import secrecy

KEY = 'the-key'
NETWORK = 'net'
GROUP = 'web-and-db'
FLAVOR = 'm1.nano'


class Tenant(base.User):
    """A project with one user, a network, a security group, a key pair.

    The administrator makes it and removes it.

    :ivar password: of the user
    """

    def __init__(self):
        self._admin = base.User('admin').cloud
        keystone = self._admin.identity
        name = f'test-{uuid.uuid4().hex[:8]}'
        self.password = secrecy.new_password()
        self._project = keystone.create_project(name=name,
                                                domain_id='default')
        self._user = keystone.create_user(
            name=name, password=self.password, domain_id='default')
        for role in keystone.roles(name='member'):
            keystone.assign_project_role_to_user(self._project, self._user,
                                                 role)
        super().__init__('demo', username=name, project_name=name,
                         password=self.password)
        self._make_surroundings()

    def _make_surroundings(self):
        neutron = self.cloud.network
        self.network_id = neutron.create_network(name=NETWORK).id
        neutron.create_subnet(name=NETWORK, network_id=self.network_id,
                              ip_version=4, cidr='10.30.0.0/24')
        self.group_id = neutron.create_security_group(name=GROUP).id
        self.cloud.compute.create_keypair(name=KEY)

    def remove(self):
        """Remove the project with whatever is in it."""
        base.wait(self._is_emptied, 300, what=f'project {self.project_id} '
                                              'empty')
        self._remove_surroundings()

    def _is_emptied(self):
        """Delete all that can go by now; True when nothing is there."""
        compute, volumes = self.cloud.compute, self.cloud.block_storage
        there = [(proxy, thing) for proxy, things in (
            (compute, compute.servers()),
            (self.cloud.image, self.images()),
            (volumes, volumes.backups()),
            (volumes, volumes.snapshots()),
            (volumes, volumes.volumes())) for thing in things]
        for proxy, thing in there:
            # What is busy, or attached, goes a little later.
            with contextlib.suppress(exceptions.HttpException):
                thing.delete(proxy)
        return not there

    def _remove_surroundings(self):
        neutron = self._admin.network
        neutron.delete_network(self.network_id)
        for group in neutron.security_groups(project_id=self._project.id):
            neutron.delete_security_group(group)
        self.cloud.compute.delete_keypair(KEY)
        self._admin.identity.delete_user(self._user)
        self._admin.identity.delete_project(self._project)

    # What is there

    def images(self):
        return list(self.cloud.image.images(owner=self.project_id))

    def everything(self):
        """Return what the project has of all that can be left behind."""
        volumes = self.cloud.block_storage
        return {
            'servers': [one.id for one in self.cloud.compute.servers()],
            'images': [one.id for one in self.images()],
            'volumes': [one.id for one in volumes.volumes()],
            'backups': [one.id for one in volumes.backups()],
            'snapshots': [one.id for one in volumes.snapshots()],
            'ports': [one.id for one in self.cloud.network.ports(
                project_id=self.project_id)],
        }

    def bank_keys(self, provider):
        """Return the project's keys in a bank, read past karbor."""
        if provider == base.FILESYSTEM_PROVIDER:
            bank = base.STACK / 'bank'
            return [str(found) for found in bank.rglob('*')
                    if found.is_file() and self.project_id in str(found)]
        swift = openstack.connect(cloud='karbor').object_store
        return [found.name for found in swift.objects('karbor')
                if self.project_id in found.name]

    # Servers

    def create_server(self, name, volumes, image_id=None, fixed_ip=None):
        """Make a server and wait for it; return its id.

        :param volumes: ids; without an image it boots from the first one
        """
        devices = [('volume', volume_id) for volume_id in volumes]
        if image_id:
            devices.insert(0, ('image', image_id))
        server = self.cloud.compute.create_server(
            name=name, flavor_id=self.cloud.compute.find_flavor(FLAVOR).id,
            key_name=KEY, metadata={'tier': name}, description=f'The {name}.',
            security_groups=[{'name': GROUP}],
            networks=[{'uuid': self.network_id, **(
                {'fixed_ip': fixed_ip} if fixed_ip else {})}],
            block_device_mapping=[
                {'source_type': kind, 'uuid': thing_id,
                 'destination_type': 'local' if kind == 'image' else kind,
                 'boot_index': -1 if number else 0,
                 'delete_on_termination': kind == 'image'}
                for number, (kind, thing_id) in enumerate(devices)],
            **({'image_id': image_id} if image_id else {}))
        return self.server_in(server.id, 'ACTIVE').id

    def server_in(self, server_id, status):
        def look():
            server = self.cloud.compute.get_server(server_id)
            if server.status == 'ERROR' != status:
                raise AssertionError(f'server {server_id}: {server.fault}')
            return server if server.status == status else None
        return base.wait(look, what=f'server {server_id} {status}')

    def break_server(self, server_id):
        """Bring a server into ERROR, as a failing host would."""
        self._admin.compute.reset_server_state(server_id, 'error')
        self.server_in(server_id, 'ERROR')

    def write_as_guest(self, server_id):
        """Write into a running server's root disk."""
        with _root_disk(server_id).open('r+b') as disk:
            disk.seek(base.MIB // 2)
            disk.write(os.urandom(4096))

    def delete_server(self, server_id):
        compute = self.cloud.compute
        compute.delete_server(server_id, ignore_missing=True)
        base.wait(lambda: compute.find_server(server_id) is None,
                  what=f'server {server_id} gone')

    def portrait(self, server_id):
        """Return what of a server is worth to be restored, and its bytes.

        Disks are read where the stack keeps them: so bytes count that no
        service has had in its hands.
        """
        compute = self.cloud.compute
        server = compute.get_server(server_id)
        root = _root_disk(server_id)
        return {
            'name': server.name,
            'status': server.status,
            'description': server.description,
            'flavor': server.flavor.original_name,
            'key': server.key_name,
            'metadata': server.metadata,
            'security groups': sorted({
                group['name'] for group in server.security_groups}),
            'root disk': base.digest(root) if root.exists() else None,
            'volumes': sorted(
                (one.device, one.delete_on_termination,
                 base.volume_digest(one.volume_id))
                for one in compute.volume_attachments(server_id)),
        }

    def addresses(self, server_id):
        server = self.cloud.compute.get_server(server_id)
        return [one['addr'] for addresses in server.addresses.values()
                for one in addresses]


def _root_disk(server_id):
    return base.STACK / 'nova' / 'disks' / server_id
