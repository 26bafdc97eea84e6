# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Bytes on their way into a cloud's images and volumes, and out of them.

Separate because they go the ways that are open to every user of a cloud:
what is uploaded becomes an image, what is downloaded was one.
"""

import hashlib
import os

import cloud

MIB = 1 << 20
GIB = 1 << 30


class Disks:
    """Images and volumes with known bytes."""

    def __init__(self, of_cloud):
        self._cloud = of_cloud
        self._images = of_cloud.images
        self._volumes = of_cloud.volumes

    def make_image(self, name, data, say, **properties):
        """Return a new image's id."""
        say('uploading')
        answer = self._images.post('/images', json={
            'name': f'{self._cloud.prefix}-{name}', 'disk_format': 'raw',
            'container_format': 'bare', **properties})
        cloud.check(answer, 'create an image')
        image_id = answer.json()['id']
        self._cloud.ids.add(image_id)
        cloud.check(self._images.put(
            f'/images/{image_id}/file', data=data,
            headers={'Content-Type': 'application/octet-stream'}),
            'upload an image')
        self._cloud.wait('image', image_id, 'active', say)
        return image_id

    def make_volume(self, name, size, data, say):
        """Return the id of a new volume of ``size`` GiB that begins with
        ``data``."""
        image_id = self.make_image(f'{name}-bytes', data, say)
        say('creating')
        volume_id = self._make_volume(name, size, say, image_id=image_id)
        self._cloud.delete('image', image_id, lambda *state: None)
        return volume_id

    def _make_volume(self, name, size, say, **source):
        volume = self._volumes.create_volume(
            name=f'{self._cloud.prefix}-{name}', size=size, **source)
        self._cloud.ids.add(volume.id)
        self._cloud.wait('volume', volume.id, 'available', say)
        return volume.id

    def image_sha256(self, image_id, say):
        """Return the SHA-256 of all bytes of an image.

        :param say: called with a state, or with bytes done and in all
        """
        size = self._images.get_image(image_id).size
        answer = self._images.get(f'/images/{image_id}/file', stream=True)
        cloud.check(answer, 'download an image')
        digest, done = hashlib.sha256(), 0
        for chunk in answer.iter_content(4 * MIB):
            digest.update(chunk)
            done += len(chunk)
            say(done, size)
            self._cloud.check_stopping()
        if done != size:
            raise cloud.Problem(f'The cloud sent {done} bytes of an image '
                                f'that has {size}.')
        return digest.hexdigest()

    def volume_sha256(self, volume_id, say):
        """Return the SHA-256 of all bytes of a volume.

        The volume becomes an image; one that is attached can not, so its
        clone does.
        """
        volume = self._volumes.get_volume(volume_id)
        if volume.status == 'available':
            return self._idle_volume_sha256(volume_id, say)
        say('cloning')
        clone_id = self._make_volume('read', volume.size, say,
                                     source_volume_id=volume_id)
        try:
            return self._idle_volume_sha256(clone_id, say)
        finally:
            self._volumes.delete_volume(clone_id, ignore_missing=True)

    def _idle_volume_sha256(self, volume_id, say):
        say('making an image of it')
        image_id = self._image_of_volume(volume_id)
        try:
            image = self._cloud.wait('image', image_id, 'active', say)
            size = self._volumes.get_volume(volume_id).size * GIB
            if image.size != size:
                raise cloud.Problem(f'The cloud made {image.size} bytes of a '
                                    f'volume that has {size}.')
            digest = self.image_sha256(image_id, say)
            self._cloud.wait('volume', volume_id, 'available',
                             lambda *state: None)
            return digest
        finally:
            self._images.delete_image(image_id, ignore_missing=True)

    def _image_of_volume(self, volume_id):
        answer = self._volumes.post(
            f'/volumes/{volume_id}/action', json={
                'os-volume_upload_image': {
                    'image_name': f'{self._cloud.prefix}-read',
                    'disk_format': 'raw', 'container_format': 'bare'}})
        cloud.check(answer, 'make an image of a volume')
        return answer.json()['os-volume_upload_image']['image_id']

    def root_sha256(self, server_id, say):
        """Return the SHA-256 of the root disk of a server.

        Read off a snapshot of the server. Equal disks can make different
        qcow2 files; so what is not raw becomes a volume, of which Cinder
        makes raw bytes.
        """
        say('making a snapshot of it')
        servers = self._cloud.servers
        image_id = servers.create_server_image(
            server_id, f'{self._cloud.prefix}-read').id
        try:
            image = self._cloud.wait('image', image_id, 'active', say)
            if image.disk_format == 'raw':
                return self.image_sha256(image_id, say)
            volume_id = self._make_volume(
                'read', servers.get_server(server_id).flavor.disk, say,
                image_id=image_id)
        finally:
            self._images.delete_image(image_id, ignore_missing=True)
        try:
            return self._idle_volume_sha256(volume_id, say)
        finally:
            self._volumes.delete_volume(volume_id, ignore_missing=True)


def random_bytes(mebibytes):
    return os.urandom(mebibytes * MIB)


def flip_one_byte(data):
    """Return the same bytes with the one in the middle changed."""
    changed = bytearray(data)
    changed[len(changed) // 2] ^= 0xff
    return bytes(changed)
