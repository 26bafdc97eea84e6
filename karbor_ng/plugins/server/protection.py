# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The protection of servers: options, schemas and previews.

Apart from the operations, which it only names.
"""

from oslo_config import cfg

from karbor_ng import clients
from karbor_ng.plugins import api
from karbor_ng.plugins import image
from karbor_ng.plugins.server import description
from karbor_ng.plugins.server import fitting
from karbor_ng.plugins.server import network
from karbor_ng.plugins.server import protect
from karbor_ng.plugins.server import protectable
from karbor_ng.plugins.server import restore
from karbor_ng.plugins.server import verify

_GIB = 1024 ** 3


class ServerProtection(api.Protection):
    """Protects servers, with the root disks of those booted from images.

    Volumes and images are resources of their own, protected by their own
    plugins. A restored server gets the restored volumes, its root disk as
    it was, and as much of its addresses, groups and keys as there still is.
    """

    resource_types = (protectable.RESOURCE_TYPE,)
    GROUP = 'nova_backup_protection_plugin'
    OPTS = [
        cfg.IntOpt('poll_interval', default=15, min=1,
                   help='Longest pause in seconds between two looks at the '
                        'status of something in Nova or Glance. Waiting '
                        'begins with pauses of one second, which grow up to '
                        'this.'),
        cfg.IntOpt('timeout', default=86400, min=1,
                   help='Seconds after which a snapshot of a root disk, or '
                        'a restored server, that is not ready counts as '
                        'failed; the default is a day.'),
        cfg.BoolOpt('save_user_data', default=False,
                    help='Whether the user data of servers is kept, '
                         'encrypted with the keys of [credentials], and '
                         'given to restored servers. It often holds '
                         'secrets, and Nova shows it to administrators '
                         'only: of servers that others protect it is left '
                         'out all the same.'),
    ]

    kinds = (protect.RootDiskSnapshot(), image.RestoredImage(),
             restore.RestoredServer())

    options_schema = {
        'title': 'Server Protection Options',
        'type': 'object',
        'properties': {},
    }
    saved_info_schema = {
        'title': 'Server Protection Saved Info',
        'type': 'object',
        'properties': {
            'name': {
                'type': 'string', 'title': 'Name',
                'description': 'The name of the server.'},
            'server': {
                'type': 'object', 'title': 'Server',
                'description': 'What describes the server: its flavor, '
                               'ports, volumes, metadata and so on.'},
            'root_disk': {
                'type': 'object', 'title': 'Root Disk',
                'description': 'The properties and the checksums of the '
                               'image that holds the root disk. Servers '
                               'that boot from a volume have none.'},
            'size': {
                'type': 'integer', 'title': 'Size',
                'description': 'The size of the root disk in bytes.'},
        },
        'required': ['name'],
    }
    restore_schema = {
        'title': 'Server Protection Restore',
        'type': 'object',
        'properties': {
            'restore_name': {
                'type': ['string', 'null'], 'default': None,
                'maxLength': 255, 'title': 'Restore Name',
                'description': 'The name of the restored server. Without '
                               'one it has the name of the original.'},
            'restore_net_id': {
                'type': ['string', 'null'], 'default': None,
                'maxLength': 255, 'title': 'Restore Network ID',
                'description': 'The id of the network on which the restored '
                               'server gets its only port, instead of the '
                               'networks of the original.'},
            'restore_flavor_id': {
                'type': ['string', 'null'], 'default': None,
                'maxLength': 255, 'title': 'Restore Flavor ID',
                'description': 'The id or the name of the flavor of the '
                               'restored server, instead of that of the '
                               'original.'},
        },
    }

    verify_schema = {
        'title': 'Server Protection Verify',
        'type': 'object',
        'properties': {},
    }

    Protect = protect.Protect
    Restore = restore.Restore
    Verify = verify.Verify

    @classmethod
    def preview_protect(cls, session, resources, parameters):
        """Ask Nova, Neutron and Glance once each for all servers."""
        servers = _servers(clients.nova(session), resources)
        ports = network.ports_of(clients.neutron(session), list(servers))
        images = image.images_by_id(clients.glance(session), {
            description.boot_image_id(server)
            for server in servers.values()} - {None})
        return {resource: _protect_preview(
            resource, servers.get(resource.id), ports, images)
            for resource in resources}

    @classmethod
    def preview_restore(cls, session, kept, parameters):
        """Read each listing of the cloud once for all servers."""
        described = {resource: saved['server'] for resource, saved
                     in kept.items()}
        around = fitting.Surroundings(session, described.values(), filter(
            None, (parameters.get(resource, {}).get('restore_net_id')
                   for resource in kept)))
        return {resource: _restore_preview(
            described[resource], saved, parameters.get(resource, {}), around)
            for resource, saved in kept.items()}


def _servers(nova, resources):
    """Return ``{id: server}`` of those that are there."""
    wanted = {resource.id for resource in resources}
    if len(wanted) <= image.FEW:
        found = [protectable.server_or_none(nova, server_id)
                 for server_id in wanted]
    else:
        found = nova.servers.list(limit=-1)
    return {server.id: server for server in found
            if server is not None and server.id in wanted}


def _protect_preview(resource, server, ports, images):
    if server is None:
        return api.Preview('Protected.', problems=(
            f'Server {resource.id} does not exist.',))
    kept = dict(description.facts(server),
                hidden_addresses=description.hidden_addresses(
                    server, ports[server.id]),
                ports=[description.port_facts(port)
                       for port in ports[server.id]])
    boot_image = images.get(kept['image_id'])
    problem = _obstacle(server, boot_image)
    if kept['image_id'] is None:
        action, size = ('Its description is kept; its volumes are protected '
                        'on their own.'), 0
    else:
        action = 'Its root disk is stored in the bank, with its description.'
        size = _root_size(kept['flavor'], boot_image)
    return api.Preview(action, size, skipped=problem,
                       not_included=(*description.left_out(kept),
                                     protect.NO_USER_DATA))


def _obstacle(server, boot_image):
    if server.status in protect.REFUSED:
        return protect.refusal(server)
    if boot_image is not None and boot_image.disk_format == 'iso':
        return protect.iso_refusal(server)
    return None


def _root_size(flavor, boot_image):
    """Return the most bytes that the root disk can have, or None."""
    if flavor['disk']:
        return flavor['disk'] * _GIB
    return boot_image.size if boot_image is not None else None


def _restore_preview(kept, saved, parameters, around):
    fit = fitting.Fit(kept, parameters, around)
    name = parameters.get('restore_name') or kept['name']
    action = f'A new server "{name}" is made.'
    notes = [*fit.notes, *filter(None, (nic.difference()
                                        for nic in fit.nics))]
    notes += fitting.floating_ip_notes(kept, around)
    return api.Preview(action, saved.get('size') or 0,
                       tuple(fit.problems), tuple(notes))
