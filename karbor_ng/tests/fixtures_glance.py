# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""A small Glance in memory, behind a real client and a real session.

It behaves as the real one was seen to: a deleted id stays used up, an upload
that breaks off makes its image wait for data again, listings leave out what
is hidden, and every image has a size and two hashes.
"""

import copy
import datetime
import hashlib
import itertools
import urllib.parse
import uuid

from karbor_ng.tests import fixtures_service
from karbor_ng.tests.fixtures_service import PROJECT
from karbor_ng.tests.fixtures_service import Refused

URL = 'http://glance.test/'

_TEXT = {'type': ['null', 'string']}
_SCHEMA = {
    'name': 'image', 'additionalProperties': {'type': 'string'},
    'links': [], 'properties': {
        **dict.fromkeys((
            'id', 'name', 'status', 'owner', 'visibility', 'checksum',
            'os_hash_algo', 'os_hash_value', 'disk_format', 'created_at',
            'updated_at', 'container_format', 'file', 'schema'), _TEXT),
        **{name: {'type': ['null', 'integer']} for name in (
            'size', 'virtual_size', 'min_disk', 'min_ram')},
        **{name: {'type': 'boolean'} for name in ('protected', 'os_hidden')},
        'tags': {'type': 'array'}, 'locations': {'type': 'array'}}}


class Glance(fixtures_service.Service):
    """The service, as one project sees it.

    :ivar images: ``{id: record}``, as the API shows them; ``_data`` is what
        one holds, ``_members`` with whom it is shared
    :ivar algorithm: of the second hash
    :ivar looks: how often an image is seen saving after its upload
    :ivar spoil: what an upload's data is changed by before it is kept
    :ivar serve: what downloaded data is changed by; may return
        :class:`fixtures_service.Broken` data
    """

    type = 'image'
    url = URL

    def __init__(self):
        super().__init__()
        self.images = {}
        self.used_up = set()
        self.algorithm = 'sha512'
        self.looks = 0
        self.spoil = self.serve = lambda data: data
        self._seconds = itertools.count()

    def add(self, data=None, **values):
        """Put an image there that nobody asked for; return its record."""
        moment = datetime.datetime(2026, 1, 1) + datetime.timedelta(
            seconds=next(self._seconds))
        record = {'id': str(uuid.uuid4()), 'name': None, 'tags': [],
                  'status': 'queued', 'owner': PROJECT, 'size': None,
                  'virtual_size': None, 'visibility': 'shared',
                  'disk_format': 'raw', 'container_format': 'bare',
                  'min_disk': 0, 'min_ram': 0, 'protected': False,
                  'os_hidden': False, 'checksum': None,
                  'os_hash_algo': None, 'os_hash_value': None,
                  'created_at': moment.isoformat() + 'Z',
                  'updated_at': moment.isoformat() + 'Z',
                  '_data': None, '_members': [], '_looks': 0}
        if data is not None:
            self._keep(record, data)
        record.update(values, file=f'/v2/images/{record["id"]}/file',
                      schema='/v2/schemas/image')
        self.images[record['id']] = record
        return record

    def lose(self, image_id):
        """Delete an image as somebody else would; its id is used up."""
        del self.images[image_id]
        self.used_up.add(image_id)

    def get(self, image_id):
        """Return a record; a refusal with 404 without it."""
        record = self.images.get(image_id)
        if record is None or not self._is_visible(record):
            raise Refused(404, f'No image found with ID {image_id}')
        return record

    def versions(self):
        return {'versions': [{'id': 'v2.15', 'status': 'CURRENT', 'links': [
            {'rel': 'self', 'href': URL + 'v2/'}]}]}

    def read(self, request, path):
        image_id = path.split('/')[-2] if path.endswith('/file') else None
        try:
            return super().read(request, path)
        except BaseException:
            if image_id in self.images:
                self.images[image_id]['status'] = 'queued'
            raise

    def _is_visible(self, record):
        return (record['owner'] == PROJECT or PROJECT in record['_members']
                or record['visibility'] in ('public', 'community'))

    def _keep(self, record, data):
        record.update(
            status='active', size=len(data), virtual_size=len(data),
            checksum=hashlib.new('md5', data,
                                 usedforsecurity=False).hexdigest(),
            os_hash_algo=self.algorithm, _data=data,
            os_hash_value=hashlib.new(self.algorithm, data).hexdigest())

    # Handlers

    def _schema(self, body, filters):
        return _SCHEMA

    def _list(self, body, filters):
        query = dict(filters)
        marker, limit = filters.pop('marker', None), filters.pop('limit')
        found = sorted(filter(self._is_visible, self.images.values()),
                       key=lambda item: (item['created_at'], item['id']),
                       reverse=True)
        if marker:
            ids = [item['id'] for item in found]
            if marker not in ids:
                raise Refused(400, f'No image found with ID {marker}')
            found = found[ids.index(marker) + 1:]
        hidden = filters.pop('os_hidden', 'false') == 'true'
        if filters.get('visibility') == 'all':
            del filters['visibility']
        else:
            found = [item for item in found if item['owner'] == PROJECT
                     or item['visibility'] != 'community']
        found = [item for item in found if item['os_hidden'] == hidden
                 and all(_fits(item.get(name), value)
                         for name, value in filters.items())]
        page = found[:int(limit)]
        answer = {'images': [self._view(item) for item in page]}
        if len(page) < len(found):
            query['marker'] = page[-1]['id']
            answer['next'] = f'/v2/images?{urllib.parse.urlencode(query)}'
        return answer

    def _show(self, image_id, body, filters):
        record = self.get(image_id)
        view = self._view(record)
        if record['status'] == 'saving':
            record['_looks'] -= 1
            if record['_looks'] <= 0:
                record['status'] = 'active'
        return view

    def _view(self, record):
        return copy.deepcopy({name: value for name, value in record.items()
                              if not name.startswith('_')})

    def _create(self, body, filters):
        image_id = body.setdefault('id', str(uuid.uuid4()))
        if image_id in self.images or image_id in self.used_up:
            raise Refused(409, f'Image ID {image_id} already exists!')
        if any(name.startswith('os_glance') for name in body):
            raise Refused(403, 'Attribute is reserved.')
        return self._view(self.add(**body))

    def _upload(self, image_id, body, filters):
        record = self.get(image_id)
        if record['status'] != 'queued':
            raise Refused(409, 'Image status transition from '
                               f'{record["status"]} to saving is not allowed')
        self._keep(record, self.spoil(body or b''))
        if self.looks:
            record.update(status='saving', _looks=self.looks)

    def _download(self, image_id, body, filters):
        record = self.get(image_id)
        if record['status'] == 'deactivated':
            raise Refused(403, 'The requested image has been deactivated.')
        return self.serve(record['_data'] or b'')

    def _update(self, image_id, body, filters):
        record = self.get(image_id)
        for change in body:
            record[change['path'].strip('/')] = change['value']
        return self._view(record)

    def _delete(self, image_id, body, filters):
        if self.get(image_id)['protected']:
            raise Refused(403, f'Image {image_id} is protected and cannot '
                               'be deleted.')
        self.lose(image_id)

    def _list_members(self, image_id, body, filters):
        return {'members': [{'member_id': member, 'image_id': image_id,
                             'status': 'accepted'}
                            for member in self.get(image_id)['_members']]}


def _fits(value, wanted):
    if wanted.startswith('in:'):
        return value in wanted.removeprefix('in:').split(',')
    return value == wanted


Glance.routes = (
    ('GET', 'v2/schemas/(?:image|member)', Glance._schema),
    ('GET', 'v2/images', Glance._list),
    ('POST', 'v2/images', Glance._create),
    ('GET', 'v2/images/([^/]+)', Glance._show),
    ('PATCH', 'v2/images/([^/]+)', Glance._update),
    ('DELETE', 'v2/images/([^/]+)', Glance._delete),
    ('PUT', 'v2/images/([^/]+)/file', Glance._upload),
    ('GET', 'v2/images/([^/]+)/file', Glance._download),
    ('GET', 'v2/images/([^/]+)/members', Glance._list_members),
)
