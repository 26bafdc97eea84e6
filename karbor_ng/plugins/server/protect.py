# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Protecting a server: its description, and its root disk as a stream.

Apart from restoring, with which it shares only the description. Volumes are
resources of their own; a server that runs on one has no root disk here.
"""

import base64
import functools

from novaclient import exceptions

from karbor_ng import clients
from karbor_ng import errors
from karbor_ng.plugins import api
from karbor_ng.plugins import image
from karbor_ng.plugins.server import description

#: The labels of the root disk: as an image, and in the bank.
SNAPSHOT = 'snapshot'
ROOT_DISK = 'root-disk'
#: Servers in these states can be frozen.
READY = ('ACTIVE', 'SHUTOFF', 'PAUSED', 'SUSPENDED')
#: Servers in these states can not, however long one waits.
REFUSED = {
    'ERROR': 'is in ERROR: {fault}. Repair it (reset its state, rebuild it) '
             'and protect it again',
    'SHELVED': 'is shelved: unshelve it to have it protected',
    'SHELVED_OFFLOADED': 'is shelved: unshelve it to have it protected',
    'RESCUE': 'is in rescue mode, in which its root disk is not the one it '
              'runs on: unrescue it to have it protected',
    'VERIFY_RESIZE': 'has been resized, which nobody has confirmed or '
                     'reverted yet: do one of the two',
    'DELETED': 'is deleted',
    'SOFT_DELETED': 'is deleted',
}
#: Seconds in which a server must leave a passing state, such as BUILD.
READY_SECONDS = 3600

#: While Nova says this of a server its disk is not frozen yet.
FREEZING = ('image_snapshot_pending', 'image_snapshot')
#: Looks at an image that Nova neither fills nor removes.
PATIENT_LOOKS = 8
_UNUSABLE = ('killed', 'deleted', 'pending_delete', 'deactivated')

#: What is said where a provider does not keep it, or might not.
NO_USER_DATA = ('User data, if it has any: it often holds secrets and is kept '
                'only where the provider has "save_user_data".')
_USER_DATA = 'OS-EXT-SRV-ATTR:user_data'


#: What Nova writes on a snapshot that is not true of a restored disk.
_OF_THE_SNAPSHOT = {
    'base_image_ref', 'boot_roles', 'clean_attempts', 'image_location',
    'image_state', 'image_type', 'instance_uuid', 'owner_id',
    'owner_project_name', 'owner_user_name', 'user_id'}


class RootDiskSnapshot(image.RestoredImage):
    """The image that Nova makes of a root disk, until it is in the bank."""

    name = 'root-disk-snapshot'
    temporary = True

    def find(self, session, tag, resource):
        # Nova gives images their ids: the tag is a property here.
        found = clients.glance(session).images.list(
            filters={image.TAG: tag})
        return [item.id for item in sorted(
            found, key=lambda item: (item.created_at, item.id))]


class Protect(api.Operation):
    """Freezes the root disk with all else, and stores it afterwards."""

    def on_prepare_begin(self):
        """Refuse early: nothing of a refused server is frozen."""
        server = self._await_settled()
        self._refuse_iso(server)
        self.saved['server'] = {}

    def on_prepare_finish(self):
        if 'server' not in self.saved:
            return  # It was refused.
        server = self._await_settled()
        self.saved['name'] = server.name
        self.saved['server'] = description.describe(self.session, server)
        for text in description.left_out(self.saved['server']):
            self.leave_out(text)
        self._keep_user_data(server)
        if self._has_root_disk:
            self._freeze()

    def on_main(self):
        if self._has_root_disk:
            self._store_root_disk()

    def on_complete(self):
        if self._has_root_disk:
            # Not before: the end of on_main says that it is not needed.
            try:
                self.discard(SNAPSHOT)
            except errors.ResourceError as problem:
                self.note(f'The temporary snapshot is left over: {problem}')

    @functools.cached_property
    def nova(self):
        return clients.nova(self.session)

    @functools.cached_property
    def glance(self):
        return clients.glance(self.session)

    @property
    def _has_root_disk(self):
        return self.saved['server'].get('image_id') is not None

    # States

    def _await_settled(self):
        """Return the server once it can be frozen.

        :raises errors.Skipped: it can not
        """
        try:
            server = self.wait(
                self._server, (*READY, *REFUSED),
                timeout=min(READY_SECONDS, self.plugin.timeout),
                status=_settled_status)
        except errors.Timeout as problem:
            raise errors.Skipped(
                f'Server {self.resource.id} does not come to rest: '
                f'{problem}.') from None
        if server.status in REFUSED:
            raise errors.Skipped(refusal(server))
        return server

    def _server(self):
        try:
            return self.nova.servers.get(self.resource.id)
        except exceptions.NotFound:
            raise errors.Skipped(
                f'Server {self.resource.id} does not exist any more.'
            ) from None

    def _refuse_iso(self, server):
        image_id = description.boot_image_id(server)
        found = image_id and image.find_image(self.glance, image_id)
        if found and found.disk_format == 'iso':
            raise errors.Skipped(iso_refusal(server))

    # User data

    def _keep_user_data(self, server):
        if not self.plugin.conf.save_user_data:
            self.leave_out(NO_USER_DATA)
        elif not hasattr(server, _USER_DATA):
            self.leave_out(
                'User data, if it has any: Nova shows it to administrators '
                'only.')
        elif getattr(server, _USER_DATA):
            self.saved['user_data'] = self.seal(
                getattr(server, _USER_DATA))

    # Root disk

    def _freeze(self):
        """Have Nova take a snapshot; return when the disk is frozen."""
        image_id = self.once(SNAPSHOT, self._take_snapshot,
                             self.plugin.kind(RootDiskSnapshot.name))
        look = _SnapshotLook(self, image_id)
        self.wait(look, ('frozen',), ('lost',), status=lambda state: state,
                  reason=lambda state: self._why_lost())

    def _take_snapshot(self, tag):
        name = f'{self.checkpoint_id}@{self.resource.id}'
        while True:
            try:
                return self.nova.servers.create_image(
                    self.resource.id, name, {image.TAG: tag})
            except exceptions.Conflict:
                # Something else has begun since: wait for its end. What is
                # at rest and refuses all the same will go on refusing.
                busy = self._server()
                if _settled_status(busy) in READY:
                    raise
                self._await_settled()

    def _why_lost(self):
        """Return what Nova wrote down about the snapshot that failed."""
        for action in self.nova.instance_action.list(self.resource.id):
            if action.action == 'createImage':
                return (action.message or 'Nova gives no reason') + (
                    f' (request {action.request_id})')
        return None

    def _store_root_disk(self):
        snapshot = self._await_upload()
        data = image.fingerprint(snapshot)
        self.saved['root_disk'] = {
            'data': data, 'properties': {
                name: value for name, value
                in image.properties_of(snapshot).items()
                if name not in _OF_THE_SNAPSHOT}}
        stream = self.put_stream(
            ROOT_DISK,
            functools.partial(image.download, self.glance, snapshot),
            size=snapshot.size, identity=image.identity(data))
        self.saved['size'] = stream.size

    def _await_upload(self):
        image_id, = (item.external_id for item in self.externals
                     if item.label == SNAPSHOT)
        snapshot = self.wait(
            lambda: image.find_image(self.glance, image_id), ('active',),
            (*_UNUSABLE, 'lost'), status=_image_status,
            reason=lambda found: self._why_lost())
        if snapshot.disk_format == 'iso':
            raise errors.ResourceError(
                iso_refusal(self._server()))
        return snapshot


class _SnapshotLook:
    """Looks at a snapshot that is being taken.

    Nova removes the image when it fails, unless it dies itself: then the
    image waits for ever, of a server that is at rest.
    """

    def __init__(self, operation, image_id):
        self._operation = operation
        self._image_id = image_id
        self._looks = PATIENT_LOOKS

    def __call__(self):
        """Return ``freezing``, ``frozen`` or ``lost``."""
        found = image.find_image(self._operation.glance, self._image_id)
        if _image_status(found) in (*_UNUSABLE, 'lost'):
            return 'lost'
        task = task_of(self._operation.nova.servers.get(
            self._operation.resource.id))
        if task in FREEZING:
            return 'freezing'
        if found.status == 'queued' and task is None:
            self._looks -= 1
            return 'freezing' if self._looks else 'lost'
        return 'frozen'


def _image_status(found):
    return found.status if found else 'lost'


def _settled_status(server):
    """Return the status; with what is being done, if anything is."""
    task = task_of(server)
    if task is None or server.status in REFUSED:
        return server.status
    return f'{server.status} ({task})'


def task_of(server):
    """Return what Nova is doing with a server, or None."""
    return getattr(server, 'OS-EXT-STS:task_state', None)


def refusal(server):
    """Return why a server in a state of REFUSED is not protected."""
    fault = getattr(server, 'fault', None) or {}
    said = REFUSED[server.status].format(
        fault=fault.get('message') or 'Nova gives no reason')
    return f'Server {server.id} {said}.'


def iso_refusal(server):
    """Return why a server that runs on an ISO image is not protected."""
    return (f'Server {server.id} was booted from an ISO image, and a '
            'snapshot of such a disk does not start. Install onto a volume '
            'and boot from that, or protect the volumes without the '
            'server.')


def user_data(operation, sealed):
    """Return user data as it was given, in bytes."""
    return base64.b64decode(operation.unseal(sealed))
