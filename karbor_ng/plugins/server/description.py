# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What is kept of a server beside its disks, and what can not be kept.

Apart from protecting, because a preview tells the same. A description is
plain JSON: it lies in the checkpoint for years.
"""

import re

from karbor_ng import clients
from karbor_ng.plugins.server import network
from karbor_ng.plugins.server import protectable

#: A server tag of ours: says whose the server is.
TAG = 'karbor:'

_ROOT_DEVICE = 'OS-EXT-SRV-ATTR:root_device_name'
_MAC = 'OS-EXT-IPS-MAC:mac_addr'


def describe(session, server):
    """Return what restoring needs to know of a server."""
    nova, neutron = clients.nova(session), clients.neutron(session)
    volumes = _volumes(nova, server)
    _mark_root(session, server, volumes)
    ports = network.ports_of(neutron, [server.id])[server.id]
    return dict(
        facts(server), server_group=_group(nova, server),
        flavor=dict(_flavor(server), id=_flavor_id(nova, server)),
        volumes=volumes, hidden_addresses=hidden_addresses(server, ports),
        ports=_described_ports(nova, neutron, server, ports))


def facts(server):
    """Return what the server's own record tells."""
    return {
        'server_id': server.id,
        'name': protectable.name_of(server),
        'description': server.description,
        'hostname': getattr(server, 'OS-EXT-SRV-ATTR:hostname', None),
        'status': server.status,
        'availability_zone': getattr(
            server, 'OS-EXT-AZ:availability_zone', None) or None,
        'key_name': server.key_name,
        'metadata': dict(server.metadata),
        'tags': [tag for tag in server.tags if not tag.startswith(TAG)],
        'config_drive': server.config_drive == 'True',
        'locked': server.locked,
        'trusted_certificates': bool(getattr(
            server, 'trusted_image_certificates', None)),
        'image_id': boot_image_id(server),
        'flavor': _flavor(server),
    }


def boot_image_id(server):
    """Return the image a server runs on; None when it runs on a volume."""
    return server.image['id'] if server.image else None


def _flavor(server):
    told = server.flavor
    return {'name': told['original_name'],
            'extra_specs': told.get('extra_specs'),
            **{name: told[name] or 0 for name in
               ('vcpus', 'ram', 'disk', 'ephemeral', 'swap')}}


def flavors(nova):
    """Return all flavors that the session may use."""
    # Without None administrators are shown public ones alone.
    return nova.flavors.list(is_public=None)


def flavor_sizes(flavor):
    """Return the sizes of a flavor, as of a server's."""
    return {'vcpus': flavor.vcpus, 'ram': flavor.ram, 'disk': flavor.disk,
            'ephemeral': flavor.ephemeral or 0, 'swap': flavor.swap or 0}


def _flavor_id(nova, server):
    """Nova tells a server's flavor by everything but its id."""
    wanted = _flavor(server)
    for flavor in flavors(nova):
        if (flavor.name == wanted['name']
                and flavor_sizes(flavor).items() <= wanted.items()):
            return flavor.id
    return None


def _group(nova, server):
    for group_id in server.server_groups:
        group = nova.server_groups.get(group_id)
        return {'id': group.id, 'name': group.name, 'policy': group.policy}
    return None


def _volumes(nova, server):
    return [{'volume_id': item.volumeId, 'device': item.device,
             'is_root': False, 'tag': item.tag,
             'delete_on_termination': item.delete_on_termination}
            for item in nova.volumes.get_server_volumes(server.id)]


def _mark_root(session, server, volumes):
    """Find the volume it boots from: Nova tells only administrators."""
    if boot_image_id(server) is not None or not volumes:
        return
    told = getattr(server, _ROOT_DEVICE, None)
    known = [item for item in volumes if item['device'] == told]
    candidates = known or _bootable(session, volumes) or volumes
    min(candidates, key=_device_order)['is_root'] = True


def _bootable(session, volumes):
    if len(volumes) == 1:
        return volumes
    cinder = clients.cinder(session)
    return [item for item in volumes if
            cinder.volumes.get(item['volume_id']).bootable == 'true']


def _device_order(volume):
    """Order /dev/vda before /dev/vdb before /dev/vdaa."""
    letters = re.sub(r'^/dev/(xvd|[a-z]d)', '', volume['device'] or '~')
    return len(letters), letters


# Ports

def _described_ports(nova, neutron, server, ports):
    tags = {item.port_id: item.tag
            for item in nova.servers.interface_list(server.id)}
    floating = floating_ips(neutron, ports)
    groups = {group['id']: group['name'] for group in network.listed(
        neutron, 'security-groups')} if ports else {}
    return [dict(port_facts(port), tag=tags.get(port['id']),
                 security_groups=[
                     {'id': group_id, 'name': groups.get(group_id)}
                     for group_id in port.get('security_groups', ())],
                 addresses=_addresses(port, floating))
            for port in in_order(server, ports)]


def in_order(server, ports):
    """Return ports in the order in which the server shows them."""
    macs = [address[_MAC] for addresses in server.addresses.values()
            for address in addresses]
    place = {mac: number for number, mac in reversed(list(enumerate(macs)))}
    return sorted(ports, key=lambda port: place.get(port['mac_address'],
                                                    len(macs)))


def hidden_addresses(server, ports):
    """Return addresses at ports that the project does not see."""
    seen = {port['mac_address'] for port in ports}
    return [address['addr'] for addresses in server.addresses.values()
            for address in addresses
            if address[_MAC] not in seen
            and address.get('OS-EXT-IPS:type') != 'floating']


def port_facts(port):
    """Return what a port's own record tells."""
    return {
        'network_id': port['network_id'],
        'name': port['name'],
        'mac_address': port['mac_address'],
        'vnic_type': port.get('binding:vnic_type', 'normal'),
        'port_security': port.get('port_security_enabled', True),
        'addresses': _addresses(port, {}),
        'extras': [name for key, name in _EXTRAS if port.get(key)],
    }


#: What ports can have that restored ones have not.
_EXTRAS = (('allowed_address_pairs', 'its allowed address pairs'),
           ('extra_dhcp_opts', 'its DHCP options'),
           ('qos_policy_id', 'its QoS policy'),
           ('trunk_details', 'its trunk with the ports in it'))


def _addresses(port, floating):
    return [{'ip': item['ip_address'], 'subnet_id': item['subnet_id'],
             'floating_ip': floating.get((port['id'], item['ip_address']))}
            for item in port['fixed_ips']]


def floating_ips(neutron, ports):
    """Return ``{(port id, fixed address): id and address}``."""
    if not ports:
        return {}
    found = network.listed(neutron, 'floatingips',
                           port_id=[port['id'] for port in ports])
    return {(item['port_id'], item['fixed_ip_address']): {
        'id': item['id'], 'address': item['floating_ip_address']}
        for item in found}


# What is not kept

def left_out(server):
    """Return what a backup of a described server has not, as texts."""
    texts = []
    if server['status'] != 'SHUTOFF':
        texts.append('The memory: the restored server starts from its '
                     'disks.')
    texts += _disks_left_out(server['flavor'])
    if server['locked']:
        texts.append('The lock: the restored server is not locked.')
    if server['trusted_certificates']:
        texts.append('The trusted image certificates: the root disk is '
                     'restored as an image without signature.')
    if server['ports']:
        texts.append('MAC addresses: restored ports get new ones.')
    for address in server['hidden_addresses']:
        texts.append(f'The port {address}: it belongs to another project.')
    for port in server['ports']:
        texts += _port_left_out(port)
    return texts


def _disks_left_out(flavor):
    texts = []
    if flavor['ephemeral']:
        texts.append(f'The ephemeral disk of {flavor["ephemeral"]} GiB: '
                     'Nova makes no snapshots of such disks. The restored '
                     'server has an empty one.')
    if flavor['swap']:
        texts.append(f'The swap disk of {flavor["swap"]} MiB: the restored '
                     'server has an empty one.')
    return texts


def _port_left_out(port):
    where = 'Port ' + (' and '.join(
        address['ip'] for address in port['addresses']) or port['name'])
    texts = [f'{where}: {extra}.' for extra in port['extras']]
    if port['vnic_type'] != 'normal':
        texts.append(f'{where}: its type "{port["vnic_type"]}". The restored '
                     'port is a normal one.')
    return texts
