# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Restoring a server: its root disk as an image, then the server itself.

Apart from protecting. Everything is given to Nova in the one request that
makes the server, so that nothing has to be attached afterwards and a worker
that dies leaves a whole server or none.
"""

import copy
import functools
import re

from novaclient import api_versions
from novaclient import exceptions

from karbor_ng import clients
from karbor_ng import errors
from karbor_ng.plugins import api
from karbor_ng.plugins import image
from karbor_ng.plugins.server import description
from karbor_ng.plugins.server import fitting
from karbor_ng.plugins.server import network
from karbor_ng.plugins.server import protect
from karbor_ng.plugins.server import protectable

#: From these on Nova lets host names be chosen, and an attached volume be
#: kept when its server goes.
_HOSTNAME = api_versions.APIVersion('2.90')
_KEEPING = api_versions.APIVersion('2.85')

#: What Nova's faults say when an address is the reason.
_ABOUT_NETWORK = re.compile(r'network|address|\bport', re.IGNORECASE)
#: Characters of a server's name in that of its root disk; Glance takes 255.
LONGEST = 240
#: The server, and a second try without addresses.
LABELS = ('server', 'server-2')


class RestoredServer(api.Kind):
    """A server that a restore has made."""

    name = 'server'
    service = 'nova'

    def find(self, session, tag, resource):
        found = clients.nova(session).servers.list(
            search_opts={'tags': description.TAG + tag})
        return [item.id for item in sorted(
            found, key=lambda item: (item.created, item.id))]

    def remove(self, session, external_id):
        nova = clients.nova(session)
        try:
            server = nova.servers.get(external_id)
            if server.status == 'DELETED':
                return True
            if server.status == 'SOFT_DELETED':
                server.force_delete()
            elif protect.task_of(server) != 'deleting':
                keep_volumes(nova, external_id)
                server.delete()
        except exceptions.NotFound:
            return True
        except exceptions.Conflict as refusal:
            raise errors.ResourceError(
                f'Nova refuses to delete server {external_id}: {refusal}'
            ) from refusal
        return False


def keep_volumes(nova, server_id):
    """Have the volumes of a server stay when it is deleted.

    They are restored resources of their own.
    """
    if nova.api_version < _KEEPING:
        return
    for item in nova.volumes.get_server_volumes(server_id):
        if item.delete_on_termination:
            nova.volumes.update_server_volume(
                server_id, item.volumeId, item.volumeId,
                delete_on_termination=False)


class Restore(api.Operation):
    """Makes the server again, on restored volumes and its own root disk."""

    def on_main(self):
        # What can not be is found before gigabytes are moved.
        self._fit()
        if 'root_disk' in self.saved:
            kept = self.saved['root_disk']
            self.saved['root_image_id'] = image.make_image(
                self, 'root-image', protect.ROOT_DISK,
                dict(kept['properties'],
                     name=f'{self._name[:LONGEST]} root disk'),
                kept['data'])

    def on_complete(self):
        fit = self._fit()
        server = self._make(fit)
        for text in fit.notes:
            self.note(text)
        self._finish(server, fit)
        self.restored_as(server.id)

    @functools.cached_property
    def nova(self):
        return clients.nova(self.session)

    @functools.cached_property
    def neutron(self):
        return clients.neutron(self.session)

    @property
    def _kept(self):
        return self.saved['server']

    @property
    def _name(self):
        return self.parameters.get('restore_name') or self._kept['name']

    def _fit(self):
        around = fitting.Surroundings(
            self.session, [self._kept],
            filter(None, [self.parameters.get('restore_net_id')]))
        fit = fitting.Fit(self._kept, self.parameters, around, {
            item.external_id for item in self.externals
            if item.kind == RestoredServer.name})
        if fit.problems:
            raise errors.ResourceError(' '.join(fit.problems))
        return fit

    # Making

    def _make(self, fit):
        """Return the server, up; without addresses if Nova insists."""
        asked = dict(self._optional(fit),
                     block_device_mapping_v2=self._mappings())
        server = self._try(LABELS[0], fit, asked)
        if server is None or _is_about_network(server, fit):
            _give_addresses_up(fit, server)
            self.discard(LABELS[0])
            self._await_volumes(asked['block_device_mapping_v2'])
            server = self._try(LABELS[1], fit, asked)
        if server is None:
            raise errors.ResourceError(
                'The restored server was deleted by somebody else.')
        if server.status == 'ERROR':
            raise errors.ResourceError(
                f'The restored server {server.id} is in ERROR: '
                f'{_fault(server)}')
        return server

    def _try(self, label, fit, asked):
        """Return the server in a state that lasts, or None without one."""
        server_id = self.once(
            label, functools.partial(self._create, fit, asked),
            self.plugin.kind(RestoredServer.name))
        return self.wait(
            functools.partial(self._server, server_id),
            ('ACTIVE', 'SHUTOFF', 'ERROR', 'gone'), status=_status)

    def _server(self, server_id):
        return protectable.server_or_none(self.nova, server_id)

    def _create(self, fit, asked, tag):
        try:
            return self._ask_nova(fit, asked, tag)
        except exceptions.BadRequest as refusal:
            # Somebody was faster with an address.
            if not (_has_addresses(fit)
                    and _ABOUT_NETWORK.search(str(refusal))):
                raise
            _give_addresses_up(fit, refusal=refusal)
        return self._ask_nova(fit, asked, tag)

    def _optional(self, fit):
        """Return arguments that some servers, or some Novas, have not."""
        hostname = self._kept['hostname']
        optional = {'userdata': self._user_data()}
        if hostname and self.nova.api_version >= _HOSTNAME:
            optional['hostname'] = hostname
        if fit.group_id:
            optional['scheduler_hints'] = {'group': fit.group_id}
        return optional

    def _user_data(self):
        """User data in bytes; a server without it is better than none."""
        if 'user_data' not in self.saved:
            return None
        try:
            return protect.user_data(self, self.saved['user_data'])
        except errors.ResourceError as problem:
            self.note('The restored server has no user data, which could '
                      f'not be decrypted: {problem}')
            return None

    def _ask_nova(self, fit, asked, tag):
        kept = self._kept
        # The client puts the root disk into the list of devices.
        asked = copy.deepcopy(asked)
        return self.nova.servers.create(
            self._name, self.saved.get('root_image_id'), fit.flavor_id,
            meta=kept['metadata'], key_name=fit.key_name,
            availability_zone=fit.zone, security_groups=fit.group_ids,
            nics=[_as_asked(nic) for nic in fit.nics] or 'none',
            config_drive=kept['config_drive'] or None,
            description=kept['description'],
            tags=[*fit.tags, description.TAG + tag], **asked).id

    # Volumes

    def _mappings(self):
        """Return the volumes as Nova is asked for them."""
        mappings = []
        for volume in self._kept['volumes']:
            restored_id = self.restored.get(volume['volume_id'])
            if restored_id is not None:
                mappings.append(_mapping(volume, restored_id))
            elif volume['is_root']:
                raise errors.ResourceError(
                    f'Volume {volume["volume_id"]}, from which the server '
                    'boots, was not restored.')
            else:
                self.note(f'Volume {volume["volume_id"]} is not attached: '
                          'it was not restored.')
        return mappings

    def _await_volumes(self, mappings):
        """Wait until a server that failed has let its volumes go."""
        cinder = clients.cinder(self.session)
        for item in mappings:
            self.wait(functools.partial(cinder.volumes.get, item['uuid']),
                      ('free',), status=_is_free)

    def _set_ends(self, server):
        """Say which volumes go with the server, now that it is whole."""
        ends = [self.restored[volume['volume_id']]
                for volume in self._kept['volumes']
                if volume['delete_on_termination']
                and volume['volume_id'] in self.restored]
        if ends and self.nova.api_version < _KEEPING:
            self.note('Volumes that were deleted with the original stay '
                      'when the restored server is deleted: this Nova can '
                      'not be told so afterwards.')
            return
        for volume_id in ends:
            self.nova.volumes.update_server_volume(
                server.id, volume_id, volume_id, delete_on_termination=True)

    # What Nova is not asked for at once

    def _finish(self, server, fit):
        self._set_ends(server)
        ports = network.ports_of(self.neutron, [server.id])[server.id]
        for nic, port in pairs(fit.nics, description.in_order(
                server, ports)):
            self._finish_port(nic, port)
        if self._kept['status'] == 'SHUTOFF':
            self._stop(server)

    def _finish_port(self, nic, port):
        name = nic.kept['name']
        if name and name != port['name']:
            self._change(port, f'the name "{name}"', name=name)
        self._secure(nic, port)
        if nic.address and len(nic.kept['addresses']) > 1:
            port = self._add_addresses(nic, port)
        text = nic.difference([item['ip_address']
                               for item in port['fixed_ips']])
        if text:
            self.note(text)
        for place, address in enumerate(nic.kept['addresses']):
            if address['floating_ip']:
                self._give(address['floating_ip'], port, place)

    def _secure(self, nic, port):
        """Give a port the groups of the original's, if Nova did not."""
        if not nic.kept['port_security']:
            if port.get('port_security_enabled', True):
                self._change(port, 'to be without port security',
                             security_groups=[],
                             port_security_enabled=False)
            return
        lost_all = nic.kept['security_groups'] and not nic.group_ids
        if lost_all or sorted(port.get('security_groups', ())) == sorted(
                nic.group_ids):
            return
        self._change(port, 'its security groups',
                     security_groups=nic.group_ids)

    def _change(self, port, what, **values):
        try:
            network.change(self.neutron, 'port', port, **values)
        except network.Refusal as refusal:
            self.note(f'The port on network {port["network_id"]} did not '
                      f'get {what}: {refusal}')

    def _add_addresses(self, nic, port):
        wanted = [{'subnet_id': item['subnet_id'], 'ip_address': item['ip']}
                  for item in nic.kept['addresses']]
        try:
            return network.change(self.neutron, 'port', port,
                                  fixed_ips=wanted)
        except network.Refusal as refusal:
            nic.reason = str(refusal)
            return port

    # Floating IPs

    def _give(self, kept, port, place):
        """Give a floating IP to the port, if nobody else has it."""
        address = port['fixed_ips'][
            min(place, len(port['fixed_ips']) - 1)]['ip_address']
        why = self._why_not_given(kept, port, address)
        if why:
            self.note(f'The floating IP {kept["address"]} is not at '
                      f'{address}: {why}.')

    def _why_not_given(self, kept, port, address):
        found = network.listed(self.neutron, 'floatingips', id=[kept['id']])
        floating = found[0] if found else None
        if floating and floating['port_id'] == port['id']:
            return None
        obstacle = fitting.floating_ip_obstacle(floating)
        if obstacle:
            return obstacle
        try:
            network.change(self.neutron, 'floatingip', floating,
                           as_read=True, port_id=port['id'],
                           fixed_ip_address=address)
        except network.Refusal as refusal:
            return str(refusal)
        return None

    def _stop(self, server):
        if server.status != 'SHUTOFF':
            try:
                server.stop()
            except exceptions.Conflict:
                # Is it being stopped? What is at rest will not stop.
                if protect.task_of(server.manager.get(server.id)) is None:
                    raise
        self.wait(functools.partial(self._server, server.id),
                  ('SHUTOFF',), ('ERROR', 'gone'), status=_status)


def pairs(nics, ports):
    """Return ``(nic, port)`` for ports that Nova made for nics."""
    left, found = list(ports), []
    for nic in sorted(nics, key=lambda nic: nic.address is None):
        for port in left:
            addresses = [item['ip_address'] for item in port['fixed_ips']]
            if (port['network_id'] == nic.network['id']
                    and nic.address in (None, *addresses)):
                found.append((nic, port))
                left.remove(port)
                break
    return found


def _as_asked(nic):
    asked = {'net-id': nic.network['id'], 'tag': nic.kept['tag']}
    if nic.address:
        version = 'v6' if ':' in nic.address else 'v4'
        asked[f'{version}-fixed-ip'] = nic.address
    return asked


def _mapping(volume, restored_id):
    # Kept when the server goes, until the server is whole: one that fails
    # must not take restored volumes with it.
    asked = {'uuid': restored_id, 'source_type': 'volume',
             'destination_type': 'volume', 'delete_on_termination': False,
             'boot_index': 0 if volume['is_root'] else -1}
    if volume['device']:
        asked['device_name'] = volume['device']
    if volume['tag']:
        asked['tag'] = volume['tag']
    return asked


def _has_addresses(fit):
    return any(nic.address for nic in fit.nics)


def _give_addresses_up(fit, server=None, refusal=None):
    said = refusal or (server and _fault(server)) or 'it was not free'
    for nic in fit.nics:
        if nic.address:
            nic.reason = f'Nova did not get it ({said})'
            nic.address = None


def _is_about_network(server, fit):
    return (server.status == 'ERROR' and _has_addresses(fit)
            and bool(_ABOUT_NETWORK.search(_fault(server))))


def _fault(server):
    fault = getattr(server, 'fault', None) or {}
    return fault.get('message') or 'Nova gives no reason'


def _status(server):
    if server is None or server.status in ('DELETED', 'SOFT_DELETED'):
        return 'gone'
    return server.status


def _is_free(volume):
    if volume.status == 'in-use' and volume.multiattach:
        return 'free'
    return 'free' if volume.status == 'available' else volume.status
