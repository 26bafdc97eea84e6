# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""A small Cinder in memory, behind a real client and a real session.

It answers HTTP requests, keeps volumes with content, snapshots and backups,
and behaves as the real one was seen to: who may be deleted when, which
parent an incremental backup gets, and that restoring replaces metadata.
Whatever takes time takes a few looks at it instead.
"""

import ast
import copy
import datetime
import itertools
import uuid

from karbor_ng.tests import fixtures_service
from karbor_ng.tests.fixtures_service import PROJECT
from karbor_ng.tests.fixtures_service import Refused

URL = 'http://cinder.test/v3/'

#: Where a passing status leads to.
_NEXT = {'creating': 'available', 'restoring-backup': 'available',
         'backing-up': 'available', 'restoring': 'available',
         'attaching': 'in-use', 'detaching': 'available'}
_DELETABLE = {'volumes': ('available', 'error', 'error_restoring'),
              'snapshots': ('available', 'error'),
              'backups': ('available', 'error')}


class Cinder(fixtures_service.Service):
    """The service; hand :meth:`session` to what is tested.

    :ivar things: ``{collection: {id: record}}``, as the API shows them;
        ``_content`` is what a volume or a backup holds
    :ivar looks: how often a passing status is seen
    """

    type = 'block-storage'
    url = URL

    def __init__(self, newest='3.71'):
        super().__init__()
        self.things = {'volumes': {}, 'snapshots': {}, 'backups': {}}
        self.types = ['__DEFAULT__', 'fast', 'safe']
        self.encrypted_types = {'safe'}
        self.zones = ['nova', 'east']
        self.messages = {}
        self.looks = 1
        self._newest = newest
        self._seconds = itertools.count()

    def add(self, collection, **values):
        """Put a thing there that nobody asked for; return its record."""
        moment = datetime.datetime(2026, 1, 1) + datetime.timedelta(
            seconds=next(self._seconds))
        created_at = moment.strftime('%Y-%m-%dT%H:%M:%S.%f')
        record = {'id': str(uuid.uuid4()), 'name': None, 'description': None,
                  'status': 'available', 'size': 1, 'metadata': {},
                  'created_at': created_at, '_looks': self.looks}
        record.update({'volumes': {
            'availability_zone': 'nova', 'volume_type': '__DEFAULT__',
            'bootable': 'false', 'attachments': [], 'multiattach': False,
            '_content': b'',
            'encrypted': False, 'group_id': None,
            'os-vol-tenant-attr:tenant_id': PROJECT},
            'snapshots': {'_content': b''},
            'backups': {'fail_reason': None, 'is_incremental': False,
                        'data_timestamp': created_at, '_content': b'',
                        'snapshot_id': None, '_parent': None,
                        '_metadata': {}}}[collection])
        record.update(values)
        self.things[collection][record['id']] = record
        return record

    def get(self, collection, thing_id):
        """Return a record; a refusal with 404 without it."""
        try:
            return self.things[collection][thing_id]
        except KeyError:
            raise Refused(404, f'{thing_id} could not be found.') from None

    def versions(self):
        return {'versions': [{
            'id': 'v3.0', 'status': 'CURRENT', 'min_version': '3.0',
            'version': self._newest,
            'links': [{'rel': 'self', 'href': URL}]}]}

    def check(self, request):
        wanted = request.headers.get('OpenStack-API-Version', '')
        if _version(wanted.partition(' ')[2]) > _version(self._newest):
            raise Refused(406, f'{wanted} is not supported')

    # Handlers

    def _list(self, collection, body, filters):
        found = sorted(self.things[collection].values(), reverse=True,
                       key=lambda item: (item['created_at'], item['id']))
        # All things here are those of one project.
        filters.pop('all_tenants', None)
        marker, limit = filters.pop('marker', None), filters.pop(
            'limit', None)
        if marker:
            self.get(collection, marker)
            ids = [item['id'] for item in found]
            found = found[ids.index(marker) + 1:]
        metadata = ast.literal_eval(filters.pop('metadata', '{}'))
        found = [item for item in found
                 if metadata.items() <= item['metadata'].items()
                 and all(item.get(name) == value
                         for name, value in filters.items())]
        return {collection: [self._view(collection, item) for item in
                             found[:int(limit) if limit else None]]}

    def _show(self, collection, thing_id, body, filters):
        record = self.get(collection, thing_id)
        view = self._view(collection, record)
        self._pass_time(collection, record)
        return {collection[:-1]: view}

    def _view(self, collection, record):
        view = {name: value for name, value in record.items()
                if not name.startswith('_')}
        if collection == 'backups':
            view['has_dependent_backups'] = self._has_dependants(record)
        return copy.deepcopy(view)

    def _pass_time(self, collection, record):
        if record['status'] == 'deleting':
            del self.things[collection][record['id']]
        elif record['status'] in _NEXT:
            record['_looks'] -= 1
            if record['_looks'] <= 0:
                self._finish(collection, record)

    def _finish(self, collection, record):
        record['status'] = record.pop('_then', None) or _NEXT[
            record['status']]
        for name, value in record.pop('_effects', {}).items():
            record[name] = value
        if collection == 'backups' and record['snapshot_id'] in self.things[
                'snapshots']:
            self.get('snapshots', record['snapshot_id'])[
                'status'] = 'available'

    def _has_dependants(self, record):
        return any(item['_parent'] == record['id']
                   for item in self.things['backups'].values())

    def _create_volume(self, body, filters):
        given = body['volume']
        if given.get('volume_type') not in (None, *self.types):
            raise Refused(404, 'Volume type could not be found.')
        if given.get('availability_zone') not in (None, *self.zones):
            raise Refused(400, 'Availability zone is invalid.')
        record = self.add(
            'volumes', status='creating', size=given['size'],
            name=given['name'], description=given['description'],
            volume_type=given['volume_type'] or '__DEFAULT__',
            encrypted=given['volume_type'] in self.encrypted_types,
            availability_zone=given['availability_zone'] or 'nova',
            metadata=dict(given['metadata']))
        return {'volume': self._view('volumes', record)}

    def _create_snapshot(self, body, filters):
        given = body['snapshot']
        volume = self.get('volumes', given['volume_id'])
        record = self.add('snapshots', status='creating',
                          volume_id=volume['id'], name=given['name'],
                          metadata=dict(given['metadata']),
                          _content=volume['_content'])
        return {'snapshot': self._view('snapshots', record)}

    def _create_backup(self, body, filters):
        given = body['backup']
        volume = self.get('volumes', given['volume_id'])
        snapshot = given['snapshot_id'] and self.get(
            'snapshots', given['snapshot_id'])
        if snapshot and snapshot['status'] != 'available':
            raise Refused(400, 'Snapshot to be backed up must be available')
        if (not snapshot and volume['status'] == 'in-use'
                and not given['force']):
            raise Refused(400, 'Backing up an in-use volume must use the '
                               'force flag.')
        parent = (self._parent(volume, snapshot)
                  if given['incremental'] else None)
        record = self.add(
            'backups', status='creating', volume_id=volume['id'],
            name=given['name'], description=given['description'],
            container=given['container'], size=volume['size'],
            metadata=dict(given['metadata']),
            snapshot_id=given['snapshot_id'],
            is_incremental=bool(parent), _parent=parent['id'] if parent else None,
            _content=(snapshot or volume)['_content'],
            _metadata=dict(volume['metadata']))
        if snapshot:
            snapshot['status'] = 'backing-up'
            record['data_timestamp'] = snapshot['created_at']
        return {'backup': {'id': record['id'], 'name': record['name'],
                           'links': []}}

    def _parent(self, volume, snapshot):
        usable = [item for item in self.things['backups'].values()
                  if item['volume_id'] == volume['id']
                  and item['status'] == 'available'
                  and (not snapshot
                       or item['data_timestamp'] < snapshot['created_at'])]
        if not usable:
            raise Refused(400, 'No backups available to do an incremental '
                               'backup.')
        return max(usable, key=lambda item: item['data_timestamp'])

    def _restore(self, backup_id, body, filters):
        backup = self.get('backups', backup_id)
        if backup['status'] != 'available':
            raise Refused(400, 'Backup status must be available')
        volume = self.get('volumes', body['restore']['volume_id'])
        if volume['status'] != 'available':
            raise Refused(400, 'Volume to be restored to must be available')
        metadata = backup['_metadata'] or volume['metadata']
        backup.update(status='restoring', _looks=self.looks)
        volume.update(
            status='restoring-backup', _looks=self.looks, _effects={
                '_content': backup['_content'],
                'metadata': dict(metadata, src_backup_id=backup_id)})
        return {'restore': {'backup_id': backup_id,
                            'volume_id': volume['id'],
                            'volume_name': volume['name']}}

    def _delete(self, collection, thing_id, body, filters):
        record = self.get(collection, thing_id)
        if record['status'] not in _DELETABLE[collection]:
            raise Refused(400, f'Status must be one of '
                               f'{", ".join(_DELETABLE[collection])}')
        if collection == 'backups' and self._has_dependants(record):
            raise Refused(400, 'Incremental backups exist for this backup.')
        record['status'] = 'deleting'

    def _set_metadata(self, volume_id, body, filters):
        metadata = self.get('volumes', volume_id)['metadata']
        metadata.update(body['metadata'])
        return {'metadata': dict(metadata)}

    def _volume_action(self, volume_id, body, filters):
        volume = self.get('volumes', volume_id)
        flag = body['os-set_bootable']['bootable']
        volume['bootable'] = 'true' if flag else 'false'

    def _list_types(self, body, filters):
        return {'volume_types': [{'id': name, 'name': name}
                                 for name in self.types]}

    def _list_zones(self, body, filters):
        return {'availabilityZoneInfo': [
            {'zoneName': name, 'zoneState': {'available': True}}
            for name in self.zones]}

    def _list_messages(self, body, filters):
        text = self.messages.get(filters['resource_uuid'])
        return {'messages': [{'id': '1', 'user_message': text}]
                if text else []}


_THING = '(volumes|snapshots|backups)'
Cinder.routes = (
    ('GET', f'{_THING}/detail', Cinder._list),
    ('GET', f'{_THING}/([^/]+)', Cinder._show),
    ('DELETE', f'{_THING}/([^/]+)', Cinder._delete),
    ('POST', 'volumes', Cinder._create_volume),
    ('POST', 'snapshots', Cinder._create_snapshot),
    ('POST', 'backups', Cinder._create_backup),
    ('POST', 'backups/([^/]+)/restore', Cinder._restore),
    ('POST', 'volumes/([^/]+)/metadata', Cinder._set_metadata),
    ('POST', 'volumes/([^/]+)/action', Cinder._volume_action),
    ('GET', 'types', Cinder._list_types),
    ('GET', 'os-availability-zone', Cinder._list_zones),
    ('GET', 'messages', Cinder._list_messages),
)


def _version(text):
    return tuple(int(part) for part in text.split('.')) if text else (0,)
