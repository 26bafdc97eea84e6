# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Puts users, catalogue and first resources into the cloud, by its APIs.

Separate because it runs inside the cloud's own environment, with
openstacksdk: `seed.py catalogue` after keystone, `seed.py seed` at the end.
Every step looks first whether it was done.
"""

import hashlib
import sys
import time

import openstack

import ports

PASSWORD = 'secret'
REGION = 'RegionOne'
CATALOGUE = (
    # type, name, port, path
    ('image', 'glance', 'glance', ''),
    ('block-storage', 'cinder', 'cinder', '/v3/%(project_id)s'),
    ('volumev3', 'cinderv3', 'cinder', '/v3/%(project_id)s'),
    ('placement', 'placement', 'placement', ''),
    ('compute', 'nova', 'nova', '/v2.1'),
    ('network', 'neutron', 'neutron', ''),
    ('object-store', 'swift', 'swift', '/v1/AUTH_%(project_id)s'),
    ('data-protect', 'karbor', 'karbor', '/v1/%(project_id)s'),
)
USERS = (
    # user, project, roles
    ('glance', 'service', ('admin', 'service')),
    ('cinder', 'service', ('admin', 'service')),
    ('placement', 'service', ('admin', 'service')),
    ('nova', 'service', ('admin', 'service')),
    ('neutron', 'service', ('admin', 'service')),
    ('swift', 'service', ('service',)),
    # service: callers' expired tokens are accepted beside karbor's own;
    # member: the bank's container in Swift.  Nothing else.
    ('karbor', 'service', ('service', 'member')),
    ('demo', 'demo', ('member',)),
    ('demo2', 'demo2', ('member',)),
    ('demo_reader', 'demo', ('reader',)),
    ('admin', 'demo', ('admin',)),
)
FLAVOURS = (
    # name, MiB of memory, GiB of root disk, GiB of more disk, MiB of swap
    ('m1.nano', 64, 1, 0, 0),
    ('m1.micro', 128, 0, 0, 0),
    ('m1.small', 256, 5, 0, 0),
    ('m1.scratch', 64, 1, 1, 64),
)
NETWORKS = (
    # name, project, more of the network, range, more of the subnet
    ('public', 'admin', {'is_router_external': True,
                         'provider_network_type': 'flat',
                         'provider_physical_network': 'physnet1'},
     '172.24.0.0/20', {'gateway_ip': '172.24.0.1', 'is_dhcp_enabled': False}),
    ('shared', 'admin', {'is_shared': True}, '10.20.0.0/16', {}),
    ('demo-net', 'demo', {}, '10.10.0.0/16', {}),
)


def catalogue(cloud):
    keystone = cloud.identity
    _projects(keystone)
    _users(keystone)
    known = {service.type for service in keystone.services()
             if any(keystone.endpoints(service_id=service.id))}
    for kind, name, port, path in CATALOGUE:
        if kind not in known:
            _service(keystone, kind, name, ports.url(port) + path)


def _projects(keystone):
    known = {project.name for project in keystone.projects()}
    for name in ('service', 'demo', 'demo2'):
        if name not in known:
            keystone.create_project(name=name, domain_id='default')


def _users(keystone):
    roles = {role.name: role for role in keystone.roles()}
    projects = {project.name: project for project in keystone.projects()}
    users = {user.name: user for user in keystone.users()}
    for name, project, granted in USERS:
        if name not in users:
            users[name] = keystone.create_user(
                name=name, password=PASSWORD, domain_id='default')
        for role in granted:
            keystone.assign_project_role_to_user(
                projects[project], users[name], roles[role])


def _service(keystone, kind, name, url):
    for left in keystone.services(type=kind):
        keystone.delete_service(left)
    service = keystone.create_service(type=kind, name=name)
    for interface in ('public', 'internal', 'admin'):
        keystone.create_endpoint(service_id=service.id, url=url,
                                 interface=interface, region_id=REGION)


def seed(cloud):
    _image(cloud.image)
    _flavours(cloud.compute)
    for network in NETWORKS:
        _network(cloud, *network)
    _router(cloud)
    _hypervisor(cloud.compute)


def _image(glance):
    if list(glance.images(name='tiny', status='active')):
        return
    for left in glance.images(name='tiny'):
        glance.delete_image(left)
    content = b''.join(hashlib.sha256(b'%d' % block).digest()
                       for block in range(65536))
    glance.create_image(name='tiny', data=content, disk_format='raw',
                        container_format='bare', visibility='public',
                        validate_checksum=False)


def _flavours(nova):
    known = {flavour.name for flavour in nova.flavors()}
    for name, ram, disk, ephemeral, swap in FLAVOURS:
        if name not in known:
            nova.create_flavor(name=name, ram=ram, vcpus=1, disk=disk,
                               ephemeral=ephemeral, swap=swap)


def _network(cloud, name, project, more, cidr, more_of_subnet):
    """Make a network with one subnet, called NAME-subnet."""
    neutron = cloud.network
    owner = cloud.identity.find_project(project, ignore_missing=False).id
    network = neutron.find_network(name) or neutron.create_network(
        name=name, project_id=owner, **more)
    if not network.subnet_ids:
        neutron.create_subnet(
            name=f'{name}-subnet', project_id=owner, network_id=network.id,
            ip_version=4, cidr=cidr, **more_of_subnet)


def _router(cloud):
    """Let demo's network reach the outer one, so that servers in it can
    have floating addresses."""
    neutron = cloud.network
    inner = neutron.find_network('demo-net', ignore_missing=False)
    outer = neutron.find_network('public', ignore_missing=False)
    router = neutron.find_router('demo-router') or neutron.create_router(
        name='demo-router', project_id=inner.project_id,
        external_gateway_info={'network_id': outer.id})
    if not any(neutron.ports(device_id=router.id, network_id=inner.id)):
        neutron.add_interface_to_router(router,
                                        subnet_id=inner.subnet_ids[0])


def _hypervisor(nova):
    """Wait until the scheduler has found the one host."""
    end = time.monotonic() + 90
    while not list(nova.hypervisors()):
        if time.monotonic() > end:
            raise SystemExit('nova found no hypervisor within 90 seconds')
        time.sleep(1)


if __name__ == '__main__':
    {'catalogue': catalogue, 'seed': seed}[sys.argv[1]](openstack.connect())
