# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The demonstration's things in a cloud, through the cloud's API alone.

Separate because nothing here knows of karbor: what it says about volumes and
their bytes is what the cloud itself says.
"""

import concurrent.futures
import hashlib
import os
import threading
import time

from keystoneauth1 import exceptions as keystone_exceptions
import openstack
from openstack import exceptions

MIB = 1 << 20
GIB = 1 << 30
#: Seconds that one wait for the cloud may take.
PATIENCE = 1800
#: Seconds that something gets to become deletable.
_LEAVING_SECONDS = 300
#: Statuses in which things stay until somebody does something about them.
_BAD = ('error', 'error_deleting', 'error_restoring', 'error_extending',
        'killed', 'deactivated')


class Problem(Exception):
    """Something that ends the demonstration; the text is for its user."""


class Stopped(Problem):
    """Somebody wants the demonstration to end."""


#: Why something can not be deleted now, but perhaps a little later.
_NOT_NOW = (Problem, exceptions.SDKException,
            keystone_exceptions.ClientException)


class Cloud:
    """A cloud, and the volumes that one run has there.

    :param name: in ``clouds.yaml``, None for the ``OS_*`` variables
    :param prefix: begins the name of everything that the run makes
    """

    def __init__(self, name, prefix):
        self.prefix = prefix
        self.stopping = threading.Event()
        #: Every volume that this run has had: what Cinder made of them is
        #: known by it.
        self.volume_ids = set()
        try:
            connection = openstack.connect(cloud=name)
            connection.authorize()
            self.session = connection.session
            self._volumes = connection.block_storage
            self._images = connection.image
        except Exception as error:  # whatever keystoneauth and the SDK raise
            raise Problem(f'The cloud can not be used: {error}') from error

    # Volumes

    def make_volume(self, name, size, data, say):
        """Return a new volume of ``size`` GiB that begins with ``data``.

        :param say: called with each new state
        """
        name = f'{self.prefix}-{name}'
        say('uploading an image')
        image_id = self._upload(name, data)
        say('creating')
        volume = self._volumes.create_volume(
            name=name, size=size, image_id=image_id)
        self.volume_ids.add(volume.id)
        self._await_volume(volume.id, say)
        self._images.delete_image(image_id)
        return self._volumes.get_volume(volume.id)

    def replace_volume(self, old, size, data, say):
        """Put a new volume with ``data`` in the place of another one."""
        volume = self.make_volume('replaced', size, data, say)
        self.delete_volume(old, say)
        return volume

    def volume(self, volume_id):
        """Return a volume; counts as one of the run's from now on."""
        self.volume_ids.add(volume_id)
        return self._volumes.get_volume(volume_id)

    def delete_volume(self, volume_id, say):
        """Delete a volume; returns when the cloud knows it no more."""
        self._delete('volumes', volume_id, say)

    def sha256(self, volume_id, say):
        """Return the SHA-256 of all bytes of a volume.

        The bytes come the way that any user of a cloud can go: the volume
        becomes an image, and the image is downloaded.

        :param say: called with a state, or with bytes done and in all
        """
        say('making an image of it')
        image_id = self._image_of(volume_id)
        try:
            self._await_image(image_id, say)
            size = self._volumes.get_volume(volume_id).size * GIB
            return self._download_sha256(image_id, size, say)
        finally:
            self._images.delete_image(image_id, ignore_missing=True)

    def _image_of(self, volume_id):
        answer = self._volumes.post(
            f'/volumes/{volume_id}/action', json={
                'os-volume_upload_image': {
                    'image_name': f'{self.prefix}-read',
                    'disk_format': 'raw', 'container_format': 'bare'}})
        _check(answer, 'make an image of a volume')
        return answer.json()['os-volume_upload_image']['image_id']

    def _download_sha256(self, image_id, size, say):
        answer = self._images.get(f'/images/{image_id}/file', stream=True)
        _check(answer, 'download an image')
        digest, done = hashlib.sha256(), 0
        for chunk in answer.iter_content(4 * MIB):
            digest.update(chunk)
            done += len(chunk)
            say(done, size)
            self._check_stopping()
        if done != size:
            raise Problem(f'The cloud sent {done} bytes of a volume that has '
                          f'{size}.')
        return digest.hexdigest()

    def _upload(self, name, data):
        answer = self._images.post('/images', json={
            'name': name, 'disk_format': 'raw', 'container_format': 'bare'})
        _check(answer, 'create an image')
        image_id = answer.json()['id']
        answer = self._images.put(
            f'/images/{image_id}/file', data=data,
            headers={'Content-Type': 'application/octet-stream'})
        _check(answer, 'upload an image')
        return image_id

    def _await_volume(self, volume_id, say):
        self._await(lambda: self._volumes.get_volume(volume_id).status,
                    'available', f'volume {volume_id}', say)

    def _await_image(self, image_id, say):
        self._await(lambda: self._images.get_image(image_id).status,
                    'active', f'image {image_id}', say)

    def _await(self, status, wanted, what, say):
        end = time.monotonic() + PATIENCE
        while (seen := status()) != wanted:
            say(seen)
            if seen in _BAD:
                raise Problem(f'{what} is {seen}.')
            if time.monotonic() > end:
                raise Problem(f'{what} is still {seen}.')
            self._check_stopping(0.5)
        say(wanted)

    def _check_stopping(self, pause=0):
        if self.stopping.wait(pause):
            raise Stopped('stopped')

    # What is left

    def left(self, *kinds):
        """Return ``[(kind, id, name)]`` of all that the run has made.

        :param kinds: of ``images``, ``backups``, ``snapshots``,
            ``volumes``; all when none is named
        """
        found = []
        for kind in kinds or ('images', 'backups', 'snapshots', 'volumes'):
            found += [(kind, thing.id, thing.name)
                      for thing in self._list(kind) if self._is_ours(thing)]
        return found

    def clean(self, say=lambda *state: None):
        """Remove all that the run has made; return what would not go."""
        self.stopping.clear()
        self._remember_volumes()
        for kind in ('images', 'backups', 'snapshots', 'volumes'):
            ours = self.left(kind)
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                list(pool.map(lambda thing: self._try_delete(*thing, say),
                              ours))
        return self.left()

    def _remember_volumes(self):
        self.volume_ids |= {volume_id for _kind, volume_id, _name
                            in self.left('volumes')}

    def _list(self, kind):
        if kind == 'images':
            return self._images.images(visibility='private')
        return getattr(self._volumes, kind)(details=True)

    def _is_ours(self, thing):
        return ((thing.name or '').startswith(self.prefix)
                or thing.id in self.volume_ids
                or getattr(thing, 'volume_id', None) in self.volume_ids)

    def _try_delete(self, kind, thing_id, name, say):
        """Delete something as soon as the cloud lets it go.

        A volume that becomes an image, and a backup that is restored, can
        not be deleted before that has ended.
        """
        end = time.monotonic() + _LEAVING_SECONDS
        while True:
            say(f'{kind[:-1]} {name or thing_id}')
            try:
                return self._delete(kind, thing_id, lambda *state: None)
            except _NOT_NOW as error:
                if time.monotonic() > end:
                    return say(f'{kind[:-1]} {thing_id} stays: {error}')
            self._check_stopping(1)

    def _delete(self, kind, thing_id, say):
        proxy = self._images if kind == 'images' else self._volumes
        one = kind[:-1]
        getattr(proxy, f'delete_{one}')(thing_id, ignore_missing=True)

        def status():
            try:
                return getattr(proxy, f'get_{one}')(thing_id).status
            except exceptions.NotFoundException:
                return 'deleted'
        self._await(status, 'deleted', f'{one} {thing_id}', say)


def random_bytes(mebibytes):
    return os.urandom(mebibytes * MIB)


def flip_one_byte(data):
    """Return the same bytes with the one in the middle changed."""
    changed = bytearray(data)
    changed[len(changed) // 2] ^= 0xff
    return bytes(changed)


def _check(answer, what):
    if answer.status_code >= 400:
        raise Problem(f'The cloud refuses to {what}: HTTP '
                      f'{answer.status_code} {answer.text[:300]}')
