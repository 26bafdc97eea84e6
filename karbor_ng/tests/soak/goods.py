# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What a tenant has in the cloud, and which bytes it had when.

Separate because it knows clouds and no karbor: what was protected at a
moment is told by what was there then.
"""

import contextlib
import datetime
import hashlib
import os

from openstack import exceptions

from karbor_ng.tests.functional import base
from karbor_ng.tests.functional import tenant

IMAGE = 'OS::Glance::Image'
SERVER = 'OS::Nova::Server'
VOLUME = base.VOLUME
PROJECT = base.PROJECT
MIB = base.MIB
#: In which order restored things can go.
ORDER = (SERVER, VOLUME, IMAGE)


def now():
    return datetime.datetime.now(datetime.timezone.utc)


class Goods:
    """One project with an image, volumes, and perhaps a server.

    :ivar volume_id: one that is rewritten now and then
    """

    def __init__(self, has_server):
        self.tenant = tenant.Tenant()
        #: {id: [(since, portrait or None while it changes)]}
        self._history = {}
        image = self.tenant.cloud.image.create_image(
            name='soak', data=os.urandom(2 * MIB), disk_format='raw',
            container_format='bare', validate_checksum=False, min_disk=1)
        self.image_id = image.id
        self.volume_id = self.tenant.create_volume(os.urandom(MIB)).id
        self.server_id = self._make_server() if has_server else None
        for kind, thing_id in self.things():
            self._history[thing_id] = [(now(), self.portrait(kind,
                                                             thing_id))]
        #: what was there before anybody protected it
        self.originals = self.tenant.everything()

    def _make_server(self):
        self.disk_id = self.tenant.create_volume(os.urandom(MIB)).id
        server_id = self.tenant.create_server(
            'soak', [self.disk_id], self.image_id)
        self.tenant.write_as_guest(server_id)
        return server_id

    def things(self):
        """Return (type, id) of all that is protected."""
        found = [(IMAGE, self.image_id), (VOLUME, self.volume_id)]
        if self.server_id:
            found += [(SERVER, self.server_id), (VOLUME, self.disk_id)]
        return found

    def rewrite(self):
        """Put other bytes into the volume."""
        cloud = self.tenant.cloud
        history = self._history[self.volume_id]
        history.append((now(), None))
        self.tenant.overwrite_volume(
            cloud.block_storage.get_volume(self.volume_id),
            os.urandom(MIB))
        history.append((now(), self.portrait(VOLUME, self.volume_id)))

    # What is there

    def portrait(self, kind, thing_id):
        """Return what must be equal in what is restored."""
        if kind == VOLUME:
            return base.volume_digest(thing_id)
        if kind == SERVER:
            return self.tenant.portrait(thing_id)
        digest = hashlib.sha256()
        answer = self.tenant.cloud.image.download_image(thing_id,
                                                        stream=True)
        for piece in answer.iter_content(MIB):
            digest.update(piece)
        return digest.hexdigest()

    def at(self, thing_id, begin, end):
        """Return the one portrait of a time; None if there were several."""
        history = self._history.get(thing_id, ())
        found = [portrait for number, (since, portrait) in enumerate(history)
                 if since <= end and (number + 1 == len(history)
                                      or history[number + 1][0] > begin)]
        return found[0] if len(found) == 1 else None

    # What was restored

    def remove(self, kind, thing_id):
        """Remove something restored; it may be gone already."""
        if kind == SERVER:
            self.tenant.delete_server(thing_id)
        elif kind == VOLUME:
            self.tenant.delete_volume(thing_id)
        else:
            self.tenant.cloud.image.delete_image(thing_id,
                                                 ignore_missing=True)

    def destroy(self):
        """Remove all that was protected; the surroundings stay."""
        for kind, thing_id in sorted(
                self.things(), key=lambda thing: ORDER.index(thing[0])):
            self.remove(kind, thing_id)
        for ids in self.originals.values():
            ids.clear()

    def is_original(self, thing_id):
        return any(thing_id in ids for ids in self.originals.values())

    def remove_all_but_originals(self):
        """Remove servers, volumes and images; return what is left else."""
        found = self.added()
        for kind, name in ((SERVER, 'servers'), (VOLUME, 'volumes'),
                           (IMAGE, 'images')):
            for thing_id in found.get(name, ()):
                with contextlib.suppress(exceptions.HttpException):
                    self.remove(kind, thing_id)
        return self.added()

    def added(self):
        """Return ``{kind: ids}`` of what there was not at first."""
        found = {kind: sorted(set(ids) - set(self.originals[kind]))
                 for kind, ids in self.tenant.everything().items()}
        return {kind: ids for kind, ids in found.items() if ids}
