# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""A small application of two servers and their disks, made and described.

Separate because it is what the demonstration is about: how it is made, what
is true of it, and how it is destroyed. Nothing here knows of karbor.
"""

import os
import pathlib

import cloud
import disks

IMAGE, WEB, DB, DB_DISK = 'image', 'web', 'db', 'db-disk'
SERVERS = (WEB, DB)
WEB_ROOT = 'web: root disk'

_RANGE = '192.168.77.0/24'
_ADDRESSES = {WEB: '192.168.77.10', DB: '192.168.77.20'}
_TCP_PORTS = {WEB: 443, DB: 5432}
#: The root disks of the servers of a cloud that tools/stack has started.
_STACK_DISKS = pathlib.Path(__file__).resolve().parents[2].joinpath(
    '.stack', 'nova', 'disks')


class Application:
    """Web, which boots from an image; db, which boots from a volume; data.

    Networks, security groups and the key pair are its surroundings: they
    stay when it is destroyed.

    :ivar ids: ``{name: id}`` of the image, the servers and the volumes
    """

    def __init__(self, in_cloud, options):
        self._cloud = in_cloud
        self._options = options
        self._disks = disks.Disks(in_cloud)
        self._network_id = None
        self._data = {}
        self.ids = {}
        self.data_volumes = [f'data-{number + 1}'
                             for number in range(options.volumes)]
        self.volumes = [DB_DISK, *self.data_volumes]

    @property
    def names(self):
        return [IMAGE, *SERVERS, *self.volumes]

    def type_of(self, name):
        """Return the kind of a thing, as the cloud's part has it."""
        return ('image' if name == IMAGE else
                'server' if name in SERVERS else 'volume')

    def full_name(self, name):
        return f'{self._cloud.prefix}-{name}'

    # Making it

    def make_surroundings(self):
        """Make network, security groups and key pair."""
        networks = self._cloud.networks
        self._network_id = networks.create_network(
            name=self.full_name('network')).id
        networks.create_subnet(
            name=self.full_name('subnet'), network_id=self._network_id,
            ip_version=4, cidr=_RANGE)
        for server, port in _TCP_PORTS.items():
            group = networks.create_security_group(
                name=self.full_name(server))
            networks.create_security_group_rule(
                security_group_id=group.id, direction='ingress',
                ether_type='IPv4', protocol='tcp', port_range_min=port,
                port_range_max=port)
        self._cloud.servers.create_keypair(name=self.full_name('key'))

    def make_disks(self, lanes):
        """Make image and volumes, each with random bytes."""
        def make(name):
            data = self._data[name] = disks.random_bytes(self._options.data)
            if name == IMAGE:
                self.ids[name] = self._disks.make_image(
                    name, data, lanes[name], os_distro='karbor-demo')
            else:
                self.ids[name] = self._disks.make_volume(
                    name, self._options.size, data, lanes[name])
        self._cloud.each(make, [IMAGE, *self.volumes])

    def make_servers(self, lanes):
        flavor_id = self._flavor().id
        self._cloud.each(
            lambda name: self._make_server(name, flavor_id, lanes[name]),
            SERVERS)

    def _flavor(self):
        """Return the flavor that was named, else the smallest that fits."""
        wanted = self._options.flavor
        gibibytes = -(-self._options.data // 1024)
        fitting = [
            one for one in self._cloud.servers.flavors()
            if (one.name == wanted if wanted else not one.swap
                and not one.ephemeral) and one.disk >= gibibytes]
        if not fitting:
            named = f' "{wanted}"' if wanted else ''
            raise cloud.Problem(
                f'The cloud has no flavor{named} with a root disk of '
                f'{gibibytes} GiB or more: name another one with --flavor, '
                'or give less --data.')
        return min(fitting, key=lambda one: (one.ram, one.vcpus, one.disk))

    def _make_server(self, name, flavor_id, say):
        say('creating')
        server = self._cloud.servers.create_server(
            name=self.full_name(name), flavor_id=flavor_id,
            key_name=self.full_name('key'),
            metadata={'tier': name, 'made-by': 'tools/demo'},
            security_groups=[{'name': self.full_name(name)}],
            networks=[{'uuid': self._network_id,
                       'fixed_ip': _ADDRESSES[name]}],
            block_device_mapping=self._block_devices(name),
            **({'image_id': self.ids[IMAGE]} if name == WEB else {}))
        self.ids[name] = server.id
        self._cloud.ids.add(server.id)
        self._cloud.wait('server', server.id, 'active', say)

    def _block_devices(self, server):
        """Web has every second data volume, db the others."""
        first = (('image', 'local', self.ids[IMAGE]) if server == WEB
                 else ('volume', 'volume', self.ids[DB_DISK]))
        more = [('volume', 'volume', self.ids[name]) for name
                in self.data_volumes[SERVERS[::-1].index(server)::2]]
        return [{'source_type': source, 'destination_type': destination,
                 'uuid': thing_id, 'boot_index': -1 if index else 0,
                 'delete_on_termination': source == 'image'}
                for index, (source, destination, thing_id)
                in enumerate([first, *more])]

    def write_as_guest(self):
        """Write into web's running root disk; False where nobody can.

        The servers of tools/stack have no guests, but disks. Elsewhere the
        disk has what its image had.
        """
        disk = _STACK_DISKS / self.ids[WEB]
        if not disk.exists():
            return False
        with disk.open('r+b') as written:
            written.seek(disk.stat().st_size // 3)
            written.write(os.urandom(4096))
        return True

    # What is true of it

    def sha256(self, ids, lanes):
        """Return ``{name: SHA-256}`` of the image and all disks.

        :param ids: as :attr:`ids`, of the restored ones for these
        """
        readers = {IMAGE: self._disks.image_sha256,
                   WEB: self._disks.root_sha256}
        names = [*self.volumes, IMAGE, WEB]
        digests = self._cloud.each(
            lambda name: readers.get(name, self._disks.volume_sha256)(
                ids[name], lanes[name]), names)
        return {(WEB_ROOT if name == WEB else name): digest
                for name, digest in zip(names, digests, strict=True)}

    def facts(self, ids):
        """Return ``{(name, fact): text}``; ``ids`` as :meth:`sha256`."""
        names = {thing_id: name for name, thing_id in ids.items()}
        found = {}
        for name in SERVERS:
            found |= {(name, fact): text for fact, text
                      in self._of_server(ids[name], names).items()}
        image = self._cloud.images.get_image(ids[IMAGE])
        found[IMAGE, 'name'] = image.name
        found[IMAGE, 'format'] = f'{image.disk_format}, {image.os_distro}'
        for name in self.volumes:
            volume = self._cloud.volumes.get_volume(ids[name])
            found[name, 'name'] = volume.name
            found[name, 'volume'] = (
                f'{volume.size} GiB, {volume.volume_type}, '
                + ('' if volume.is_bootable else 'not ') + 'bootable')
        return found

    def _of_server(self, server_id, names):
        server = self._cloud.servers.get_server(server_id)
        return {
            'name': server.name,
            'status': server.status,
            'flavor': server.flavor.original_name or server.flavor.id,
            'boots from': 'an image' if server.image else 'a volume',
            'key pair': server.key_name,
            'metadata': _text(server.metadata),
            'security groups': ', '.join(sorted(
                {group['name'] for group in server.security_groups or ()})),
            'fixed addresses': _text({
                network: ' '.join(one['addr'] for one in addresses)
                for network, addresses in server.addresses.items()}),
            'volumes': _text({
                one.device: names.get(one.volume_id, one.volume_id)
                + (', goes with it' if one.delete_on_termination else '')
                for one in self._cloud.servers.volume_attachments(
                    server_id)}),
        }

    # Destroying and damaging it

    def destroy(self, lanes):
        """Delete servers, volumes and image; the surroundings stay."""
        for names in (SERVERS, [IMAGE, *self.volumes]):
            self._cloud.each(
                lambda name: self._cloud.delete(
                    self.type_of(name), self.ids[name], lanes[name]), names)
        left = self._cloud.left('server', 'volume', 'image')
        if left:
            raise cloud.Problem(f'Still there after its deletion: {left}')

    def corrupt(self, ids, name, say):
        """Flip a byte of a data volume of the restored application.

        No cloud's API writes into a volume; so one that differs in a byte
        takes its place. ``ids`` knows it afterwards.
        """
        servers = self._cloud.servers
        attached = self._cloud.volumes.get_volume(ids[name]).attachments[0]
        server_id = attached['server_id']
        servers.delete_volume_attachment(server_id, ids[name])
        self._cloud.wait('volume', ids[name], 'available', say)
        self._cloud.delete('volume', ids[name], say)
        ids[name] = self._disks.make_volume(
            name, self._options.size, disks.flip_one_byte(self._data[name]),
            say)
        servers.create_volume_attachment(
            server_id, volume_id=ids[name], device=attached['device'])
        self._cloud.wait('volume', ids[name], 'in-use', say)


def _text(facts):
    return '; '.join(f'{name}: {value}'
                     for name, value in sorted(facts.items()))
