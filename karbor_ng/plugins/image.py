# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Image: what servers are booted from, with its data kept in the bank.

Images never change, so a checkpoint stores only what the bank has not yet.
Making an image of stored data exactly once is here for other plugins as
well: a server's root disk is an image on its way.
"""

import contextlib
import functools
import hashlib
import itertools
import logging
import time

from glanceclient import exc as exceptions
from keystoneauth1 import exceptions as keystone_exceptions
from novaclient import exceptions as nova_exceptions
from oslo_config import cfg
import requests

from karbor_ng import clients
from karbor_ng import errors
from karbor_ng.plugins import api

LOG = logging.getLogger(__name__)

RESOURCE_TYPE = 'OS::Glance::Image'
SERVER = 'OS::Nova::Server'
PROJECT = 'OS::Keystone::Project'

#: Property of images that exist only while a backup is made.
TAG = 'karbor_tag'

#: Images in these states are as good as not there.
LOST = ('killed', 'deleted', 'pending_delete')
#: Images in these states are about to be active, or to fail.
PASSING = ('saving', 'uploading', 'importing')
SETTLED = ('active', 'queued', 'deactivated', *LOST)
#: Seconds in which an image must leave a passing state.
READY_SECONDS = 3600

#: Ids that are asked for one by one, and in one request.
FEW = 2
MANY = 50

MIB = 1024 ** 2
#: Bytes that are sent at once: web servers limit the pieces of a body.
SENT_AT_ONCE = MIB // 2

#: HTTP statuses with which Glance says that it will not take data.
REFUSALS = (400, 401, 403, 413)
#: And those with which it takes none now, but will.
BUSY = (429, 503)

#: How often an image is made anew when Glance loses it, how often sending
#: its data is tried for each, and for how many seconds Glance may be busy
#: with data after the connection through which it came has ended.
IMAGES = 5
UPLOADS = 3
SAVING_SECONDS = 600

#: What Glance makes itself, or keeps for itself.
_GLANCES_OWN = {
    'id', 'status', 'owner', 'size', 'virtual_size', 'checksum',
    'os_hash_algo', 'os_hash_value', 'visibility', 'created_at',
    'updated_at', 'file', 'schema', 'self', 'locations', 'direct_url',
    'stores', 'owner_specified'}
#: Properties that would not be true of a copy: of its store, signature and
#: import, of who built it, and whether a key goes when the image goes.
_OF_THE_ORIGINAL = (
    'os_glance_', 'img_signature', 'owner_specified.',
    'cinder_encryption_key_deletion_policy', TAG)
#: What describes an image beside its custom properties.
_BASE = ('name', 'disk_format', 'container_format', 'min_disk', 'min_ram',
         'protected', 'os_hidden', 'tags')


class ImageProtectable(api.Protectable):
    """Images of the project, and those that servers were booted from."""

    resource_type = RESOURCE_TYPE
    parent_types = (SERVER, PROJECT)

    def list(self, session, *, project_id, marker=None, limit=None,
             filters=None):
        wanted = {'owner': project_id, 'status': 'active',
                  **(filters or {})}
        images = clients.glance(session).images.list(
            filters=dict(wanted), marker=marker, page_size=limit)
        usable = (_resource(item) for item in images
                  if item.owner == project_id
                  and (item.name or '') == wanted.get('name',
                                                      item.name or '')
                  and _is_offered(item))
        try:
            return list(itertools.islice(usable, limit))
        except exceptions.HTTPBadRequest as problem:
            if marker is None:
                raise
            raise errors.Invalid(
                f'marker: there is no image {marker}') from problem

    def show(self, session, resource_id, parameters=None):
        image = find_image(clients.glance(session), resource_id)
        return image and _resource(image)

    def children(self, session, parents):
        """Find the images of all parents together.

        A project's image is its child in whatever state it is: protecting
        it says what is wrong. Of a server it is only when it can be read,
        or belongs to others: no other one is missed, since what the server
        has made of it is in the server's own backup.
        """
        glance = clients.glance(session)
        found = {parent: _owned(glance, parent.id) for parent in parents
                 if parent.type == PROJECT}
        servers = [parent for parent in parents if parent.type == SERVER]
        booted_from = _booted_from(session, servers)
        images = images_by_id(glance, set(booted_from.values()))
        own_project = session.get_project_id()
        for server, image_id in booted_from.items():
            boot = images.get(image_id)
            if boot and (boot.owner != own_project or _is_offered(boot)):
                found[server] = [_resource(boot)]
        return found


def _is_offered(image):
    return (image.status == 'active' and TAG not in image
            and bool(image.size))


def _resource(image):
    return api.Resource(RESOURCE_TYPE, image.id, image.name or '', {
        'size': image.size, 'disk_format': image.disk_format,
        'visibility': image.visibility})


def _owned(glance, project_id):
    # Glance lists hidden images only on their own.
    found = []
    for is_hidden in ('false', 'true'):
        found += list(glance.images.list(filters={
            'owner': project_id, 'os_hidden': is_hidden}))
    return [_resource(item) for item in found
            if item.status not in LOST and TAG not in item
            and item.owner == project_id]


def _booted_from(session, servers):
    """Return ``{server: image id}``; servers on volumes have none."""
    if not servers:
        return {}
    nova = clients.nova(session)
    known = {}
    if len(servers) > FEW:
        known = {item.id: item for item in nova.servers.list(limit=-1)}
    found = {}
    for server in servers:
        item = known.get(server.id) or _server(nova, server.id)
        if item is not None and item.image:
            found[server] = item.image['id']
    return found


def _server(nova, server_id):
    try:
        return nova.servers.get(server_id)
    except nova_exceptions.NotFound:
        return None


def find_image(glance, image_id):
    """Return an image as Glance's client has it; None without it."""
    try:
        image = glance.images.get(image_id)
    except exceptions.HTTPNotFound:
        return None
    return None if image.status in ('deleted', 'pending_delete') else image


def images_by_id(glance, image_ids):
    """Return ``{id: image}`` of those that are there for the caller."""
    found = {}
    if len(image_ids) > FEW:
        for ids in _batches(sorted(image_ids)):
            listed = glance.images.list(filters={
                'id': f'in:{",".join(ids)}', 'visibility': 'all'})
            found.update((item.id, item) for item in listed)
    # Listings leave out hidden images and shares that nobody accepted.
    for image_id in sorted(set(image_ids) - found.keys()):
        image = find_image(glance, image_id)
        if image is not None:
            found[image_id] = image
    return found


def _batches(ids):
    return [ids[start:start + MANY] for start in range(0, len(ids), MANY)]


# Data out of Glance


def fingerprint(image):
    """Return what Glance says of an image's data, as a dict.

    ``size`` in bytes, ``checksum`` (MD5), ``os_hash_algo`` and
    ``os_hash_value``; None for what it does not say.
    """
    return {name: image.get(name) for name in
            ('size', 'checksum', 'os_hash_algo', 'os_hash_value')}


def identity(data):
    """Return a text that is the same for the same data only, or None.

    :param data: a :func:`fingerprint`
    """
    if data['os_hash_value']:
        return f'{data["os_hash_algo"]}:{data["os_hash_value"]}'
    return f'md5:{data["checksum"]}' if data['checksum'] else None


def is_same_data(image, data):
    """Return whether an image holds the data of a :func:`fingerprint`."""
    own = fingerprint(image)
    same_size = data['size'] in (None, own['size'])
    for algorithm, value in (('os_hash_algo', 'os_hash_value'),
                             (None, 'checksum')):
        if (own[value] and data[value]
                and (algorithm is None
                     or own[algorithm] == data[algorithm])):
            return same_size and own[value] == data[value]
    return same_size


def download(glance, image):
    """Yield the data of an image, checked against Glance's own hash.

    :param image: as Glance's client returns it
    :raises errors.ResourceError: at the end, the data is not what Glance
        says that it is; or the image is gone
    :raises ConnectionError: the connection broke; begin again
    """
    digest, expected = _digest(image)
    size = 0
    for piece in _pieces(glance, image.id):
        size += len(piece)
        digest.update(piece)
        yield piece
    if image.size not in (None, size):
        raise errors.ResourceError(
            f'Glance gave {size} bytes of image {image.id}, which has '
            f'{image.size}')
    if expected not in (None, digest.hexdigest()):
        raise errors.ResourceError(
            f'The data of image {image.id} is damaged in Glance: its '
            f'{digest.name} is {digest.hexdigest()}, not {expected}')


def _digest(image):
    """Return a hash object and the value that it should arrive at."""
    data = fingerprint(image)
    if data['os_hash_value'] and (data['os_hash_algo']
                                  in hashlib.algorithms_available):
        return hashlib.new(data['os_hash_algo']), data['os_hash_value']
    return hashlib.new('md5', usedforsecurity=False), data['checksum']


def _pieces(glance, image_id):
    try:
        response, _ = glance.http_client.get(f'/v2/images/{image_id}/file')
    except exceptions.HTTPNotFound:
        raise errors.ResourceError(
            f'Image {image_id} does not exist in Glance any more') from None
    with contextlib.closing(response):
        try:
            yield from response.iter_content(MIB)
        except requests.RequestException as problem:
            raise ConnectionError(
                f'Reading image {image_id} broke off: {problem}') from problem


# Data into Glance


class RestoredImage(api.Kind):
    """An image made of stored data; its id is the tag."""

    name = 'image'
    service = 'glance'

    def find(self, session, tag, resource):
        image = find_image(clients.glance(session), tag)
        return [image.id] if image else []

    def remove(self, session, external_id):
        glance = clients.glance(session)
        image = find_image(glance, external_id)
        if image is None:
            return True
        try:
            if image.protected:
                glance.images.update(external_id, protected=False)
            glance.images.delete(external_id)
        except exceptions.HTTPNotFound:
            return True
        except (exceptions.HTTPConflict, exceptions.HTTPForbidden) as refusal:
            raise errors.ResourceError(
                f'Glance refuses to delete image {external_id}: '
                f'{refusal}') from refusal
        return False


def make_image(operation, label, stream_label, properties, data):
    """Make an image of a stream exactly once; return its id.

    A deleted id can never be used again in Glance, and an image whose data
    was lost on the way not always be filled again. Such an image is
    discarded, and another one made under a further label (``label-2`` and
    so on).

    :param operation: an :class:`api.Operation` whose plugin has the kind
        :class:`RestoredImage`
    :param label: unique within the resource's operation
    :param stream_label: what :meth:`api.Operation.get_stream` is asked for
    :param properties: dict: ``name``, ``disk_format``, ``container_format``
        and what else Glance shall keep with it; private when it does not
        name a ``visibility``
    :param data: the :func:`fingerprint` that it must have in the end
    :raises errors.BankError: the stream is damaged; no image is left
    :raises errors.ResourceError: Glance does not take it
    """
    glance = clients.glance(operation.session)
    create = functools.partial(_create, glance, properties)
    for attempt in _labels(label):
        image_id = _once(operation, attempt, create)
        if image_id and _fill(operation, glance, image_id, stream_label,
                              data, attempt):
            return image_id
        operation.discard(attempt)
    raise errors.ResourceError(
        f'Glance lost or changed the data of {IMAGES} images one after the '
        'other')


def _labels(label):
    return [label] + [f'{label}-{number}'
                      for number in range(2, IMAGES + 1)]


def _create(glance, properties, tag):
    given = {name: value for name, value in properties.items()
             if value is not None}
    return glance.images.create(**{'visibility': 'private', **given,
                                   'id': tag}).id


def _once(operation, label, create):
    """Return the image's id; None when somebody deleted that image."""
    try:
        return operation.once(label, create,
                              operation.plugin.kind(RestoredImage.name))
    except exceptions.HTTPConflict:
        return None


def _fill(operation, glance, image_id, stream_label, data, label):
    """Send the data; return whether the image is as it should be."""
    filling = _Filling(operation, glance, image_id, stream_label, data)
    try:
        operation.wait(filling.poll, _Filling.ends, status=str)
    except (errors.BankError, errors.ResourceError,
            exceptions.HTTPException) as problem:
        LOG.info('Giving up image %s of %s: %s', image_id,
                 operation.resource, problem)
        operation.discard(label)
        raise
    image = find_image(glance, image_id)
    return (image is not None and image.status == 'active'
            and is_same_data(image, data))


class _Filling:
    """One image that gets its data, again where sending it broke off.

    :cvar ends: what :meth:`poll` returns when there is no more to do
    """

    ends = ('active', 'deactivated', 'gone', 'stuck', *LOST)

    def __init__(self, operation, glance, image_id, stream_label, data):
        self._operation = operation
        self._glance = glance
        self._image_id = image_id
        self._stream_label = stream_label
        self._size = data['size']
        self._uploads = 0
        self._saving_since = None

    def poll(self):
        status = self._status()
        if status == 'queued':
            self._upload()
            status = self._status()
        return status

    def _status(self):
        image = find_image(self._glance, self._image_id)
        if image is None:
            return 'gone'
        if image.status != 'saving':
            self._saving_since = None
            return image.status
        self._saving_since = self._saving_since or time.monotonic()
        patience = min(SAVING_SECONDS, self._operation.plugin.timeout / 2)
        is_stuck = time.monotonic() - self._saving_since >= patience
        return 'stuck' if is_stuck else 'saving'

    def _upload(self):
        try:
            self._glance.images.upload(
                self._image_id, _Body(self._pieces()), self._size)
        except exceptions.HTTPConflict as problem:
            # Another worker was sending; the next look tells.
            LOG.info('Image %s has data: %s', self._image_id, problem)
        except (keystone_exceptions.ConnectionError,
                exceptions.HTTPException) as problem:
            if getattr(problem, 'code', None) in (*REFUSALS, *BUSY):
                # Of what passes the frame knows when to ask again.
                raise
            self._count_break(problem)

    def _count_break(self, problem):
        # Was only the answer lost? The next look tells.
        LOG.info('Sending the data of image %s broke off: %s',
                 self._image_id, problem)
        self._uploads += 1
        if self._uploads >= UPLOADS:
            raise errors.ResourceError(
                f'Sending the data of image {self._image_id} broke off '
                f'{self._uploads} times: {problem}') from problem

    def _pieces(self):
        done = 0
        for part in self._operation.get_stream(self._stream_label):
            for start in range(0, len(part), SENT_AT_ONCE):
                yield part[start:start + SENT_AT_ONCE]
            done += len(part)
            self._operation.progress(done, self._size)


class _Body:
    """What Glance's client can read; it decides on the pieces itself."""

    def __init__(self, pieces):
        self._pieces = pieces

    def read(self, size):
        return next(self._pieces, b'')


# The operations


def properties_of(image):
    """Return what an image is made with to be like this one, as a dict.

    Nobody else sees it: only an owner who looks at it may share it again.
    """
    kept = {name: image.get(name) for name in _BASE}
    kept['visibility'] = ('shared' if image.visibility == 'shared'
                          else 'private')
    custom = {name: value for name, value in image.items()
              if name not in _GLANCES_OWN and value is not None
              and not name.startswith(_OF_THE_ORIGINAL)}
    return {**kept, **custom}


def _obstacle(image):
    """Return why the data of an image can not be kept, or None."""
    if image.status == 'active' and image.size:
        return None
    if image.status == 'active':
        return (f'Image {image.id} has no data of its own: it has 0 bytes, '
                'as images of servers on volumes have, which only name '
                'snapshots.')
    if image.status == 'deactivated':
        return (f'Image {image.id} is deactivated, so that nobody can read '
                'it: have an administrator reactivate it.')
    return f'The status of image {image.id} is "{image.status}".'


def _by_reference(image):
    return (f'The data of image {image.id} ("{image.name}") is not in the '
            'backup: the image belongs to another project, and only its id '
            'is kept.')


class _GlanceOperation(api.Operation):

    @functools.cached_property
    def glance(self):
        return clients.glance(self.session)


class Protect(_GlanceOperation):
    """Puts the data of the project's image into the bank."""

    def on_prepare_finish(self):
        image = self._settled_image()
        is_reference = image.owner != self.project_id
        obstacle = _obstacle(image)
        if obstacle and not is_reference:
            raise errors.Skipped(obstacle)
        self.saved.update(
            name=(self.parameters.get('backup_name')
                  or f'{self.checkpoint_id}@{image.id}'),
            image_id=image.id, image_name=image.name or '',
            visibility=image.visibility, by_reference=is_reference,
            data=fingerprint(image), properties=properties_of(image))
        self._say_what_is_missing(image)

    def on_main(self):
        if self.saved['by_reference']:
            return
        image = self._image()
        self.put_stream('data',
                        functools.partial(download, self.glance, image),
                        image.size, identity(fingerprint(image)))
        self.saved['size'] = image.size

    def _say_what_is_missing(self, image):
        if self.saved['by_reference']:
            self.leave_out(_by_reference(image))
            return
        if image.get('cinder_encryption_key_id'):
            self.leave_out(
                f'The data of image {image.id} is encrypted; its key, '
                f'{image.cinder_encryption_key_id}, stays in the key '
                'manager.')
        if image.visibility == 'shared' and any(
                self.glance.image_members.list(image.id)):
            self.leave_out(
                f'With which projects image {image.id} is shared.')

    def _image(self):
        image = find_image(self.glance, self.resource.id)
        if image is None:
            raise errors.ResourceError(
                f'image {self.resource.id} does not exist in Glance')
        return image

    def _settled_image(self):
        try:
            return self.wait(self._image, SETTLED,
                             timeout=min(READY_SECONDS, self.plugin.timeout))
        except errors.Timeout as problem:
            raise errors.Timeout(
                f'image {self.resource.id}: {problem}') from None


class Restore(_GlanceOperation):
    """Uses the image that is still there, or makes one of stored data."""

    def on_main(self):
        self.progress(0, 100)
        image = find_image(self.glance, self.saved['image_id'])
        if _is_usable(image, self.saved, self.session.get_project_id()):
            self.note(_reused(image))
            self.restored_as(image.id)
        elif self.saved['by_reference']:
            raise errors.Skipped(_unusable(self.saved))
        else:
            self.restored_as(self._make())
            for text in _changes(self.saved):
                self.note(text)
        self.progress(100, 100)

    def _make(self):
        properties = dict(self.saved['properties'])
        properties['name'] = (self.parameters.get('restore_name')
                              or properties['name'])
        return make_image(self, 'image', 'data', properties,
                          self.saved['data'])


class Verify(_GlanceOperation):
    """Looks for what the frame can not know: it reads the data itself."""

    def on_main(self):
        if not self.saved['by_reference']:
            check_stored(self.saved, 'data', self.saved['data'])
        elif not _is_usable(find_image(self.glance, self.saved['image_id']),
                            self.saved, self.project_id):
            raise errors.Skipped(_unusable(self.saved))


def check_stored(saved, stream_label, data):
    """Compare what was stored of an image with what it had.

    :param data: its :func:`fingerprint`
    :raises errors.ResourceError: they differ
    """
    stored = saved.get('streams', {}).get(stream_label)
    if stored is None:
        raise errors.ResourceError('Its data is not in the bank')
    if data['size'] not in (None, stored['size']):
        raise errors.ResourceError(
            f'The bank has {stored["size"]} bytes of its data; it had '
            f'{data["size"]}')


def _is_usable(image, saved, project_id):
    """Return whether a project needs no image but the one that was saved.

    An image that belonged to the project that was protected is none of
    another one's, even if that may read it.
    """
    return (image is not None and image.status == 'active'
            and (saved['by_reference'] or image.owner == project_id)
            and is_same_data(image, saved['data']))


def _reused(image):
    return (f'Image {image.id} ("{image.name}") still exists with the same '
            'data: it is used, no new one was made.')


def _unusable(saved):
    return (f'Image {saved["image_id"]} ("{saved["image_name"]}") can not be '
            'used any more: it is gone, inactive or not shared with this '
            'project. It belonged to another project, so that its data was '
            'not in the backup.')


def _changes(saved):
    """Return what is different with a new image, as texts."""
    if saved['visibility'] in ('private', 'shared'):
        return ()
    return (f'The restored image is private; the original '
            f'was {saved["visibility"]}.',)


class ImageProtection(api.Protection):
    """Protects images by storing their data in the bank.

    The data of one image is stored once, in however many checkpoints it is.
    Of images of other projects only the id is kept.
    """

    resource_types = (RESOURCE_TYPE,)
    GROUP = 'image_backup_plugin'
    OPTS = [
        cfg.IntOpt('poll_interval', default=10, min=1,
                   help='Longest pause in seconds between two looks at the '
                        'status of an image in Glance. Waiting begins with '
                        'pauses of one second, which grow up to this.'),
        cfg.IntOpt('timeout', default=86400, min=1,
                   help='Seconds after which a restored image that Glance '
                        'has not made active counts as failed; the default '
                        'is a day.'),
    ]

    kinds = (RestoredImage(),)

    options_schema = {
        'title': 'Image Protection Options',
        'type': 'object',
        'properties': {
            'backup_name': {
                'type': ['string', 'null'], 'default': None,
                'maxLength': 255, 'title': 'Backup Name',
                'description': 'The name of the backup, shown with the '
                               'checkpoint. Without one it is named after '
                               'the checkpoint and the image.'},
        },
    }
    saved_info_schema = {
        'title': 'Image Protection Saved Info',
        'type': 'object',
        'properties': {
            'name': {
                'type': 'string', 'title': 'Name',
                'description': 'The name of the backup.'},
            'image_id': {
                'type': 'string', 'title': 'Image',
                'description': 'The id of the image that was backed up.'},
            'image_name': {
                'type': 'string', 'title': 'Image Name',
                'description': 'The name of the image.'},
            'by_reference': {
                'type': 'boolean', 'title': 'By Reference',
                'description': 'Whether only the id is kept, because the '
                               'image belongs to another project.'},
            'size': {
                'type': 'integer', 'title': 'Size',
                'description': 'The size of the data in bytes.'},
            'properties': {
                'type': 'object', 'title': 'Properties',
                'description': 'What describes the image: its formats, its '
                               'needs, its tags and its own properties.'},
        },
        'required': ['name'],
    }
    restore_schema = {
        'title': 'Image Protection Restore',
        'type': 'object',
        'properties': {
            'restore_name': {
                'type': ['string', 'null'], 'default': None,
                'maxLength': 255, 'title': 'Restore Name',
                'description': 'The name of the restored image, if one has '
                               'to be made. Without a name it has that of '
                               'the original.'},
        },
    }
    verify_schema = {
        'title': 'Image Protection Verify',
        'type': 'object',
        'properties': {},
    }

    Protect = Protect
    Restore = Restore
    Verify = Verify

    def adopt(self, resource, metadata):
        """Take over the data that Karbor's plugin stored in chunks."""
        kept = metadata.get('image_metadata')
        if not kept or not metadata.get('chunks_num'):
            return None
        formats = {'disk_format': kept['disk_format'],
                   'container_format': kept['container_format']}
        data = dict(dict.fromkeys(('size', 'os_hash_algo', 'os_hash_value')),
                    checksum=kept['checksum'])
        return api.Adopted(
            {'image_id': resource.id, 'image_name': resource.name,
             'visibility': 'private', 'by_reference': False, 'data': data,
             'properties': {'name': resource.name, **formats}},
            stream='data', chunks=metadata['chunks_num'],
            md5=kept['checksum'])

    @classmethod
    def preview_protect(cls, session, resources, parameters):
        glance = clients.glance(session)
        images = images_by_id(glance, {item.id for item in resources})
        project_id = session.get_project_id()
        return {item: _protect_preview(item, images.get(item.id), project_id)
                for item in resources}

    @classmethod
    def preview_restore(cls, session, kept, parameters):
        glance = clients.glance(session)
        images = images_by_id(glance, {saved['image_id']
                                       for saved in kept.values()})
        project_id = session.get_project_id()
        return {item: _restore_preview(
            saved, images.get(saved['image_id']), project_id,
            parameters.get(item) or {}) for item, saved in kept.items()}


def _protect_preview(resource, image, project_id):
    action = 'Its data is stored in the bank, unless it is there already.'
    if image is None:
        return api.Preview(action, problems=(
            f'image {resource.id} does not exist in Glance',))
    if image.owner != project_id:
        return api.Preview('Only its id is kept.', 0,
                           not_included=(_by_reference(image),))
    obstacle = _obstacle(image)
    if obstacle and image.status not in PASSING:
        return api.Preview(action, skipped=obstacle)
    return api.Preview(action, image.size)


def _restore_preview(saved, image, project_id, parameters):
    if _is_usable(image, saved, project_id):
        return api.Preview('Nothing is made: the image still exists.', 0,
                           notes=(_reused(image),))
    name = parameters.get('restore_name') or saved['image_name']
    action = f'A new image "{name}" is made.'
    if saved['by_reference']:
        return api.Preview(action, skipped=_unusable(saved))
    return api.Preview(action, saved.get('size'), notes=_changes(saved))
