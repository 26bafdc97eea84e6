# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Fitting a kept server into the cloud as it is today.

Apart from restoring, because a preview tells the same without doing it.
What can not be as it was becomes a note, or a problem when there is no
server without it.
"""

import dataclasses
import functools
import ipaddress

from karbor_ng import clients
from karbor_ng.plugins.server import description
from karbor_ng.plugins.server import network

#: As many tags as Nova takes; one of them is ours.
MOST_TAGS = 50

#: What becomes of originals that did not run.
_STATES = {
    'SHUTOFF': 'The original was shut off: the restored server is stopped '
               'after its first start.',
    'PAUSED': 'The original was paused: the restored server runs.',
    'SUSPENDED': 'The original was suspended: the restored server runs.',
}


class Surroundings:
    """What the cloud has for servers now; each listing is read once.

    :param kept: descriptions of all servers that are asked about
    :param extra_networks: ids of networks that they may be put on
    """

    def __init__(self, session, kept, extra_networks=()):
        self._session = session
        self._ports = [port for server in kept for port in server['ports']]
        self._network_ids = {port['network_id'] for port in self._ports}
        self._network_ids.update(extra_networks)
        self.project_id = session.get_project_id()

    @functools.cached_property
    def _nova(self):
        return clients.nova(self._session)

    @functools.cached_property
    def _neutron(self):
        return clients.neutron(self._session)

    @functools.cached_property
    def flavors(self):
        return description.flavors(self._nova)

    @functools.cached_property
    def zones(self):
        return {zone.zoneName for zone
                in self._nova.availability_zones.list(detailed=False)
                if zone.zoneState['available']}

    @functools.cached_property
    def key_names(self):
        return {key.name for key in self._nova.keypairs.list()}

    @functools.cached_property
    def group_ids(self):
        return {group.id for group in self._nova.server_groups.list()}

    @functools.cached_property
    def networks(self):
        return self._by_id('networks', id=self._network_ids)

    @functools.cached_property
    def security_group_ids(self):
        return set(self._by_id('security-groups', id={
            group['id'] for port in self._ports
            for group in port['security_groups']}))

    @functools.cached_property
    def subnets(self):
        return self._by_id('subnets', network_id=self._network_ids)

    @functools.cached_property
    def users(self):
        """Return ``{(network id, address): id of the server there}``."""
        ports = self._by_id('ports', network_id=self._network_ids)
        return {(port['network_id'], item['ip_address']): port['device_id']
                for port in ports.values() for item in port['fixed_ips']}

    @functools.cached_property
    def floating_ips(self):
        return self._by_id('floatingips', id={
            item['floating_ip']['id'] for port in self._ports
            for item in port['addresses'] if item['floating_ip']})

    def _by_id(self, collection, **filters):
        if not all(filters.values()):
            return {}
        return {item['id']: item for item in network.listed(
            self._neutron, collection, **filters)}


@dataclasses.dataclass
class Nic:
    """One port of a server, as it is asked of Nova.

    :ivar network: Neutron's record of it
    :ivar kept: the port that was, as described
    :ivar address: the one to ask for, or None
    :ivar reason: why it is not the address that it was, or None
    :ivar group_ids: the security groups that there still are
    """

    network: dict
    kept: dict
    address: str | None
    reason: str | None
    group_ids: list

    @property
    def old_addresses(self):
        return [item['ip'] for item in self.kept['addresses']]

    def difference(self, new_addresses=None):
        """Say which addresses it has lost, or None when it has them all.

        :param new_addresses: those it has; None before there are any
        """
        old = self.old_addresses
        if new_addresses is None:
            lost, new = (old if self.reason else []), 'a new address'
        else:
            lost = [ip for ip in old if ip not in new_addresses]
            new = ' and '.join(
                ip for ip in new_addresses if ip not in old) or 'no address'
        if not lost:
            return None
        reason = self.reason or 'it was not free when the server was made'
        return (f'On network "{self.network["name"]}" it has {new} instead '
                f'of {" and ".join(lost)}: {reason}.')


class Fit:
    """How one kept server would be made now.

    :ivar problems: why it can not be made
    :ivar notes: what would be different
    """

    def __init__(self, kept, parameters, surroundings, own_ids=()):
        """Compare; ``own_ids`` are servers whose addresses are its own."""
        self._kept = kept
        self._parameters = parameters
        self._around = surroundings
        self._own_ids = own_ids
        self.problems = []
        self.notes = []
        self.flavor_id = self._flavor()
        self.zone = self._zone()
        self.key_name = self._key_name()
        self.group_id = self._group()
        self.tags = self._tags()
        self.nics = self._nics()
        if kept['status'] in _STATES:
            self.notes.append(_STATES[kept['status']])

    @property
    def group_ids(self):
        """Security groups to make the server with, or None.

        Only what is the same for all ports can be asked of Nova.
        """
        wanted = [sorted(nic.group_ids) for nic in self.nics]
        is_secured = all(nic.network.get('port_security_enabled', True)
                         and nic.kept['port_security'] for nic in self.nics)
        if wanted and is_secured and wanted.count(wanted[0]) == len(wanted):
            return wanted[0] or None
        return None

    def _flavor(self):
        kept, wanted = self._kept['flavor'], self._parameters.get(
            'restore_flavor_id')
        if wanted:
            return self._wanted_flavor(wanted)
        alike = [item for item in self._around.flavors
                 if description.flavor_sizes(item).items() <= kept.items()]
        for name in ('id', 'name'):
            for item in alike:
                if getattr(item, name) == kept[name]:
                    return item.id
        self.problems.append(
            f'There is no flavor "{kept["name"]}" with {kept["vcpus"]} '
            f'VCPUs, {kept["ram"]} MiB of memory and {kept["disk"]} GiB of '
            'disk any more: say with restore_flavor_id which one to use.')
        return None

    def _wanted_flavor(self, wanted):
        for item in self._around.flavors:
            if wanted in (item.id, item.name):
                return item.id
        self.problems.append(
            f'restore_flavor_id: there is no flavor "{wanted}".')
        return None

    def _zone(self):
        wanted = self._kept['availability_zone']
        if wanted is None or wanted in self._around.zones:
            return wanted
        self.notes.append(f'The availability zone "{wanted}" is gone: the '
                          'restored server is where Nova puts it.')
        return None

    def _key_name(self):
        wanted = self._kept['key_name']
        if wanted is None or wanted in self._around.key_names:
            return wanted
        self.notes.append(f'The user who restores has no key pair "{wanted}"'
                          ': the restored server is made without one.')
        return None

    def _group(self):
        wanted = self._kept['server_group']
        if wanted is None or wanted['id'] in self._around.group_ids:
            return wanted and wanted['id']
        self.notes.append(f'The server group "{wanted["name"]}" is gone: '
                          'the restored server is in none.')
        return None

    def _tags(self):
        tags = self._kept['tags']
        for tag in tags[MOST_TAGS - 1:]:
            self.notes.append(f'The tag "{tag}" is left out: Nova takes '
                              f'{MOST_TAGS}, and one is karbor\'s.')
        return tags[:MOST_TAGS - 1]

    # Networks

    def _nics(self):
        wanted = self._parameters.get('restore_net_id')
        if wanted:
            return self._wanted_nic(wanted)
        nics = []
        for port in self._kept['ports']:
            found = self._around.networks.get(port['network_id'])
            if found is None:
                self.problems.append(
                    f'The network {port["network_id"]} is gone: say with '
                    'restore_net_id on which one to put the server.')
                continue
            nics.append(self._nic(port, found))
        return nics

    def _wanted_nic(self, wanted):
        found = self._around.networks.get(wanted)
        if found is None:
            self.problems.append(
                f'restore_net_id: there is no network {wanted}.')
            return []
        ports = self._kept['ports']
        if len(ports) > 1:
            self.notes.append(f'The original had {len(ports)} ports: the '
                              'restored server has one, as restore_net_id '
                              'asks for.')
        port = next((item for item in ports
                     if item['network_id'] == wanted),
                    ports[0] if ports else _NO_PORT)
        return [self._nic(port, found)]

    def _nic(self, port, found):
        nic = Nic(found, port, None, None, self._groups(port))
        if port['addresses']:
            nic.reason = self._why_not(port, found)
        if port['addresses'] and nic.reason is None:
            nic.address = port['addresses'][0]['ip']
        return nic

    def _why_not(self, port, found):
        """Return why a port can not have its first address, or None."""
        address = port['addresses'][0]['ip']
        if found['id'] != port['network_id']:
            return 'restore_net_id asks for this network'
        if found['project_id'] != self._around.project_id:
            return ('the network belongs to another project, and only its '
                    'owner may choose addresses')
        if not self._is_in_a_subnet(address, found['id']):
            return 'no subnet of the network has it any more'
        user = self._around.users.get((found['id'], address))
        if user is not None and user not in self._own_ids:
            return 'it is in use' + (f' by {user}' if user else '')
        return None

    def _is_in_a_subnet(self, address, network_id):
        return any(
            ipaddress.ip_address(address) in ipaddress.ip_network(
                subnet['cidr'])
            for subnet in self._around.subnets.values()
            if subnet['network_id'] == network_id)

    def _groups(self, port):
        found = []
        for group in port['security_groups']:
            if group['id'] in self._around.security_group_ids:
                found.append(group['id'])
                continue
            note = (f'The security group "{group["name"] or group["id"]}" '
                    'is gone: the restored server is without it.')
            if note not in self.notes:
                self.notes.append(note)
        return found


def floating_ip_obstacle(floating):
    """Return why a floating IP is not given to a server, or None.

    :param floating: Neutron's record, or None without one
    """
    if floating is None:
        return 'the project does not have it any more'
    if floating['port_id']:
        return 'another port uses it, from which it is not taken'
    return None


def floating_ip_notes(kept, around):
    """Return which floating IPs a kept server would not get."""
    texts = []
    for port in kept['ports']:
        for address in port['addresses']:
            wanted = address['floating_ip']
            why = wanted and floating_ip_obstacle(
                around.floating_ips.get(wanted['id']))
            if why:
                texts.append(f'It does not get the floating IP '
                             f'{wanted["address"]}: {why}.')
    return texts


_NO_PORT = {'network_id': None, 'name': '', 'addresses': [], 'tag': None,
            'security_groups': [], 'port_security': True}
