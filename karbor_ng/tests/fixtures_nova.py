# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""A small Nova in memory, over the Glance, Cinder and Neutron beside it.

It behaves as the real one was seen to: what a server is made of is checked
at once, building and snapshots take a few looks, a snapshot holds what the
disk had when it was frozen, and a server that goes takes its ports and some
of its volumes along.
"""

import copy
import datetime
import itertools
import uuid

from karbor_ng.tests import fixtures_cloud
from karbor_ng.tests import fixtures_glance
from karbor_ng.tests import fixtures_neutron
from karbor_ng.tests import fixtures_service
from karbor_ng.tests.fixtures_service import Refused

URL = 'http://nova.test/v2.1/'

#: What Nova is doing, step by step, while it takes a snapshot.
SNAPSHOT_STEPS = ('image_snapshot_pending', 'image_snapshot',
                  'image_pending_upload', 'image_uploading')
_TASK = 'OS-EXT-STS:task_state'
_MAC = 'OS-EXT-IPS-MAC:mac_addr'
_FROZEN = ('image_pending_upload', 'image_uploading')


class _Glance(fixtures_glance.Glance):
    """A Glance at which Nova is working: time passes at each look."""

    def __init__(self, nova):
        super().__init__()
        self._nova = nova

    def check(self, request):
        self._nova.go_on_with_snapshots()


class Nova(fixtures_service.Service):
    """The service, as a user of one project sees it.

    :ivar servers: ``{id: record}``, as the API shows them; ``_disk`` is
        what the root disk holds, ``_volumes`` what is attached
    :ivar flavors: records of the API
    :ivar keys: names of the user's key pairs
    :ivar groups: ``{id: record}`` of server groups
    :ivar zones: names of availability zones
    :ivar looks: how often a passing status is seen
    :ivar faults: messages; each next server ends in ERROR with one of them
    :ivar breaks: whether a snapshot that is begun is never gone on with
    :ivar actions: ``{server id: records}``
    """

    type = 'compute'
    url = URL

    def __init__(self, newest='2.104'):
        super().__init__()
        self.glance = _Glance(self)
        self.cinder = fixtures_cloud.Cinder()
        self.neutron = fixtures_neutron.Neutron()
        self.servers = {}
        self.flavors = []
        self.keys = set()
        self.groups = {}
        self.zones = ['nova', 'east']
        self.looks = 1
        self.faults = []
        self.breaks = False
        self.actions = {}
        self._newest = newest
        self._seconds = itertools.count()
        self.add_flavor('small')

    def session(self):
        """Return a session of all four services."""
        return fixtures_service.session_of(self, self.glance, self.cinder,
                                           self.neutron)

    def add_flavor(self, name, **values):
        """Add a flavor; return its record."""
        flavor = {'id': str(uuid.uuid4()), 'name': name, 'vcpus': 1,
                  'ram': 64, 'disk': 1, 'swap': 0,
                  'OS-FLV-EXT-DATA:ephemeral': 0, 'extra_specs': {},
                  **values}
        self.flavors.append(flavor)
        return flavor

    def add(self, image=None, flavor=None, **values):
        """Put a server there that nobody asked for; return its record.

        :param image: a record of Glance, unless it runs on a volume
        """
        flavor = flavor or self.flavors[0]
        moment = datetime.datetime(2026, 1, 1) + datetime.timedelta(
            seconds=next(self._seconds))
        record = {
            'id': str(uuid.uuid4()), 'name': 'web', 'status': 'ACTIVE',
            'description': None, 'key_name': None, 'metadata': {},
            'tags': [], 'config_drive': '', 'locked': False,
            'server_groups': [], 'created': f'{moment.isoformat()}Z',
            'image': {'id': image['id'], 'links': []} if image else '',
            'OS-EXT-AZ:availability_zone': 'nova',
            'OS-EXT-SRV-ATTR:hostname': 'web', _TASK: None,
            'flavor': _embedded(flavor), '_looks': self.looks,
            '_disk': image['_data'] if image else None, '_volumes': [],
            '_snapshot': None, '_user_data': None, '_asked': {}}
        record.update(values)
        self.servers[record['id']] = record
        return record

    def attach(self, server, volume, **values):
        """Attach a volume of Cinder's; both are records."""
        device = f'/dev/vd{"abcdefgh"[len(server["_volumes"])]}'
        server['_volumes'].append({
            'volumeId': volume['id'], 'device': device,
            'serverId': server['id'], 'tag': None,
            'delete_on_termination': False, **values})
        volume['status'] = 'in-use'
        volume['attachments'].append({'server_id': server['id']})

    def connect(self, server, network, address=None, **values):
        """Give a server a port; return Neutron's record."""
        return self.neutron.add_port(
            network['id'], address, device_id=server['id'],
            device_owner='compute:nova', **values)

    def get(self, server_id):
        """Return a record; a refusal with 404 without it."""
        try:
            return self.servers[server_id]
        except KeyError:
            raise Refused(404, f'Instance {server_id} could not be '
                               'found.') from None

    def versions(self):
        return {'versions': [{
            'id': 'v2.1', 'status': 'CURRENT', 'min_version': '2.1',
            'version': self._newest,
            'links': [{'rel': 'self', 'href': URL}]}]}

    # Reading

    def _list(self, body, filters):
        found = sorted(self.servers.values(), reverse=True,
                       key=lambda item: (item['created'], item['id']))
        marker = filters.pop('marker', None)
        if marker:
            ids = [item['id'] for item in found]
            if marker not in ids:
                raise Refused(400, f'marker [{marker}] not found')
            found = found[ids.index(marker) + 1:]
        limit = int(filters.pop('limit', 1000))
        tag = filters.pop('tags', None)
        found = [item for item in found
                 if (tag is None or tag in item['tags'])
                 and all(item[name] == value
                         for name, value in filters.items())]
        return {'servers': [self._view(item) for item in found[:limit]]}

    def _show(self, server_id, body, filters):
        record = self.get(server_id)
        view = self._view(record)
        self._pass_time(record)
        return {'server': view}

    def _view(self, record):
        view = {name: value for name, value in record.items()
                if not name.startswith('_')}
        addresses = {}
        for port in self.neutron.ports_of(record['id']):
            network = self.neutron.get('networks', port['network_id'])
            addresses.setdefault(network['name'], []).extend(
                {'addr': item['ip_address'], _MAC: port['mac_address']}
                for item in port['fixed_ips'])
        return copy.deepcopy(dict(view, addresses=addresses))

    # What takes time

    def go_on_with_snapshots(self):
        """Let some time pass for all snapshots."""
        for record in self.servers.values():
            if record['_snapshot']:
                self._go_on_with_snapshot(record)

    def _pass_time(self, record):
        self.go_on_with_snapshots()
        if record['status'] not in ('BUILD', 'REBOOT'):
            return
        record['_looks'] -= 1
        if record['_looks'] <= 0:
            self._finish(record)

    def _finish(self, record):
        if self.faults:
            record.update(status='ERROR', fault={
                'code': 500, 'message': self.faults.pop(0)})
            return
        record.update({'status': 'ACTIVE', _TASK: None})

    def _go_on_with_snapshot(self, record):
        if self.breaks:
            record[_TASK] = None
            return
        step = SNAPSHOT_STEPS.index(record[_TASK])
        if step + 1 < len(SNAPSHOT_STEPS):
            record[_TASK] = SNAPSHOT_STEPS[step + 1]
            if record[_TASK] == 'image_pending_upload':
                record['_frozen'] = record['_disk']
            return
        image = self.glance.images.get(record['_snapshot'])
        record.update({_TASK: None, '_snapshot': None})
        if image is not None:
            self.glance._keep(image, record['_frozen'])

    # Making

    def _create(self, body, filters):
        given = body['server']
        mappings = given.get('block_device_mapping_v2', [])
        self._check(given, mappings)
        image = (self.glance.get(given['imageRef'])
                 if given['imageRef'] else None)
        record = self.add(
            image, self._flavor(given['flavorRef']), name=given['name'],
            status='BUILD', description=given.get('description'),
            key_name=given.get('key_name'), _asked=given,
            metadata=given.get('metadata', {}), tags=given.get('tags', []),
            config_drive='True' if given.get('config_drive') else '',
            server_groups=list(filter(None, [body.get(
                'os:scheduler_hints', {}).get('group')])),
            _user_data=given.get('user_data'))
        self._connect_all(record, given)
        for mapping in mappings:
            if mapping['source_type'] == 'volume':
                self.attach(record, self.cinder.get(
                    'volumes', mapping['uuid']), **{
                        name: mapping[name] for name in
                        ('delete_on_termination', 'tag') if name in mapping},
                    device=mapping['device_name'])
        return {'server': {'id': record['id'], 'links': []}}

    def _check(self, given, mappings):
        if given.get('key_name') not in (None, *self.keys):
            raise Refused(400, 'Invalid key_name provided.')
        if given.get('availability_zone') not in (None, *self.zones):
            raise Refused(400, 'The requested availability zone is not '
                               'available')
        if len(given.get('tags', [])) > 50:
            raise Refused(400, 'Invalid input for field/attribute tags.')
        if not given['imageRef'] and not any(
                item['boot_index'] == 0 for item in mappings):
            raise Refused(400, 'Block Device Mapping is Invalid: Boot '
                               'sequence for the instance is invalid.')
        for item in mappings:
            self._check_volume(item)

    def _check_volume(self, mapping):
        if mapping['source_type'] != 'volume':
            return
        volume = self.cinder.get('volumes', mapping['uuid'])
        if volume['status'] != 'available' and not (
                volume['multiattach'] and volume['status'] == 'in-use'):
            raise Refused(400, f'Invalid volume: volume {volume["id"]} is '
                               f'{volume["status"]}')

    def _flavor(self, flavor_id):
        for flavor in self.flavors:
            if flavor['id'] == flavor_id:
                return flavor
        raise Refused(400, f'Flavor {flavor_id} could not be found.')

    def _connect_all(self, record, given):
        if given['networks'] == 'none':
            return
        groups = [item['name'] for item in given.get('security_groups', [])]
        for asked in given['networks']:
            try:
                self.connect(record, {'id': asked['uuid']},
                             asked.get('fixed_ip'),
                             security_groups=groups or ['default'])
            except Refused as refusal:
                self._remove(record)
                raise Refused(400, f'Fixed IP address {asked["fixed_ip"]} is '
                                   'already in use') from refusal

    # Changing

    def _act(self, server_id, body, filters):
        record = self.get(server_id)
        (action, given), = body.items()
        if action == 'createImage':
            return self._create_image(record, given)
        if action == 'os-stop':
            if record['status'] != 'ACTIVE':
                raise Refused(409, "Cannot 'stop' instance")
            record['status'] = 'SHUTOFF'
        elif action == 'forceDelete':
            self._remove(record)
        return None

    def _create_image(self, record, given):
        if record[_TASK] is not None:
            raise Refused(409, "Cannot 'createImage' instance while it is "
                               f'in task_state {record[_TASK]}')
        image = self.glance.add(
            None, name=given['name'], image_type='snapshot',
            instance_uuid=record['id'], visibility='private',
            base_image_ref=record['image']['id'], min_disk=1,
            hw_disk_bus='virtio', **given['metadata'])
        record.update({_TASK: SNAPSHOT_STEPS[0], '_snapshot': image['id']})
        self.actions.setdefault(record['id'], []).insert(0, {
            'action': 'createImage', 'message': None,
            'request_id': 'req-1'})
        return {'image_id': image['id']}

    def _delete(self, server_id, body, filters):
        record = self.get(server_id)
        if record['locked']:
            raise Refused(409, f'Instance {server_id} is locked')
        self._remove(record)

    def _remove(self, record):
        for port in self.neutron.ports_of(record['id']):
            self.neutron.remove('ports', port['id'])
        for item in record['_volumes']:
            volume = self.cinder.get('volumes', item['volumeId'])
            volume['attachments'] = [
                one for one in volume['attachments']
                if one['server_id'] != record['id']]
            if not volume['attachments']:
                volume['status'] = 'available'
            if item['delete_on_termination']:
                del self.cinder.things['volumes'][volume['id']]
        del self.servers[record['id']]

    def _list_attachments(self, server_id, body, filters):
        return {'volumeAttachments': copy.deepcopy(
            self.get(server_id)['_volumes'])}

    def _update_attachment(self, server_id, volume_id, body, filters):
        for item in self.get(server_id)['_volumes']:
            if item['volumeId'] == volume_id:
                item['delete_on_termination'] = body['volumeAttachment'][
                    'delete_on_termination']

    def _list_interfaces(self, server_id, body, filters):
        return {'interfaceAttachments': [
            {'port_id': port['id'], 'tag': port.get('_tag')}
            for port in self.neutron.ports_of(server_id)]}

    # Around servers

    def _list_flavors(self, body, filters):
        return {'flavors': copy.deepcopy(self.flavors)}

    def _list_keys(self, body, filters):
        return {'keypairs': [{'keypair': {'name': name}}
                             for name in sorted(self.keys)]}

    def _list_zones(self, body, filters):
        return {'availabilityZoneInfo': [
            {'zoneName': name, 'zoneState': {'available': True}}
            for name in self.zones]}

    def _list_groups(self, body, filters):
        return {'server_groups': list(self.groups.values())}

    def _show_group(self, group_id, body, filters):
        return {'server_group': self.groups[group_id]}

    def _list_actions(self, server_id, body, filters):
        return {'instanceActions': self.actions.get(server_id, [])}


def _embedded(flavor):
    """Return a flavor as servers show theirs: without its id."""
    return {'original_name': flavor['name'], 'vcpus': flavor['vcpus'],
            'ram': flavor['ram'], 'disk': flavor['disk'],
            'swap': flavor['swap'], 'extra_specs': flavor['extra_specs'],
            'ephemeral': flavor['OS-FLV-EXT-DATA:ephemeral']}


_SERVER = 'servers/([^/]+)'
Nova.routes = (
    ('GET', 'servers/detail', Nova._list),
    ('POST', 'servers', Nova._create),
    ('GET', _SERVER, Nova._show),
    ('DELETE', _SERVER, Nova._delete),
    ('POST', f'{_SERVER}/action', Nova._act),
    ('GET', f'{_SERVER}/os-volume_attachments', Nova._list_attachments),
    ('PUT', f'{_SERVER}/os-volume_attachments/([^/]+)',
     Nova._update_attachment),
    ('GET', f'{_SERVER}/os-interface', Nova._list_interfaces),
    ('GET', f'{_SERVER}/os-instance-actions', Nova._list_actions),
    ('GET', 'flavors/detail', Nova._list_flavors),
    ('GET', 'os-keypairs', Nova._list_keys),
    ('GET', 'os-availability-zone', Nova._list_zones),
    ('GET', 'os-server-groups', Nova._list_groups),
    ('GET', 'os-server-groups/([^/]+)', Nova._show_group),
)
