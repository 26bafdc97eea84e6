# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""A protection service that kills itself at a named point.

``python -m karbor_ng.tests.functional.crash_worker POINT PLAN FILE CONFIG``
takes operations of one plan only, waits at the point until FILE exists, and
dies there of SIGKILL: no clean-up, no last words.
"""

import functools
import os
import pathlib
import signal
import sys
import time

from karbor_ng import conf as configuration
from karbor_ng import credentials
from karbor_ng import keystone
from karbor_ng import protectables
from karbor_ng.plugins import api
from karbor_ng.plugins import image
from karbor_ng.protection import manifest
from karbor_ng.protection import providers
from karbor_ng.protection import service
from karbor_ng.protection import streams
from karbor_ng.protection import work
from karbor_ng.store import models
from karbor_ng.store import operations
from karbor_ng.store import session


def _die(ready):
    """Die once FILE is there, leaving a sign that the point was reached."""
    reached = pathlib.Path(f'{ready}.reached')
    reached.touch()
    while not ready.exists():
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGKILL)


def after(owner, name, die, when=lambda result, *args: True):
    """Die after ``owner.name`` has returned something that ``when`` takes."""
    real = getattr(owner, name)

    @functools.wraps(real)
    def wrapped(*args, **kwargs):
        result = real(*args, **kwargs)
        if when(result, *args):
            die()
        return result
    setattr(owner, name, wrapped)


def _accepted(name):
    """A cloud has accepted such a thing; its id is not journalled."""
    def set_trap(die):
        after(work.Work, '_create', die,
              lambda result, frame, create, kind, tag: kind.name == name)
    return set_trap


def _backup_creating(die):
    """The id is journalled; Cinder says ``creating``."""
    real = api.Operation.wait

    def wait(self, poll, *args, **kwargs):
        def look():
            polled = poll()
            if getattr(polled, 'status', None) == 'creating' and any(
                    external.kind == 'backup'
                    for external in self.externals):
                die()
            return polled
        return real(self, look, *args, **kwargs)
    api.Operation.wait = wait


def _manifest_written(die):
    """The manifest lies in the bank; the rows know nothing of it."""
    after(manifest, 'write', die)


def _part_recorded(die):
    """Two parts of a stream lie in the bank and in rows, more will follow."""
    after(streams._Parts, 'record', die,
          lambda result, journal, part: part.key.endswith('/00000001'))


def _first_part_recorded(resource_type):
    """Of a stream of such a resource one part is there."""
    def set_trap(die):
        after(streams._Parts, 'record', die,
              lambda result, parts, part: part.key.endswith('/00000000')
              and parts._stream.resource_type == resource_type)
    return set_trap


def _stream_stored(die):
    """All of a stream is there; the hook that wrote it has not ended."""
    after(work.Work, 'put_stream', die)


def _image_empty(die):
    """The image is there and journalled; none of its data was sent."""
    after(image, '_once', die, lambda result, *args: result is not None)


def _image_half_sent(die):
    """Glance has got a part of the image's data, more would follow."""
    real = streams.Streams.get

    def get(self, label):
        for number, part in enumerate(real(self, label)):
            if number:
                die()
            yield part
    streams.Streams.get = get


POINTS = {'snapshot-accepted': _accepted('snapshot'),
          'root-disk-accepted': _accepted('root-disk-snapshot'),
          'backup-accepted': _accepted('backup'),
          'backup-creating': _backup_creating,
          'image-part-recorded': _first_part_recorded('OS::Glance::Image'),
          'root-disk-part-recorded': _first_part_recorded(
              'OS::Nova::Server'),
          'volume-accepted': _accepted('volume'),
          'image-accepted': _accepted('image'),
          'image-empty': _image_empty,
          'image-half-sent': _image_half_sent,
          'server-accepted': _accepted('server'),
          'manifest-written': _manifest_written,
          'part-recorded': _part_recorded,
          'stream-stored': _stream_stored}


def _kind(name):
    return work.Work, 'once', lambda frame, label, create, kind: (
        kind.name == name)


def _stream_of(resource_type):
    return streams.Streams, 'put', lambda own, *args: (
        own._work.resource.type == resource_type)


#: What leads to a point: ``(owner, name, whether a call is meant)``.
_WAYS = {'snapshot-accepted': _kind('snapshot'),
         'root-disk-accepted': _kind('root-disk-snapshot'),
         'backup-accepted': _kind('backup'),
         'image-part-recorded': _stream_of('OS::Glance::Image'),
         'root-disk-part-recorded': _stream_of('OS::Nova::Server'),
         'volume-accepted': _kind('volume'),
         'image-accepted': _kind('image'),
         'server-accepted': _kind('server')}


def hold_back(point):
    """Let nothing come near a point in this process.

    A worker works on many things at once, and what it has done before it
    dies can not be interrupted in the next one.
    """
    if point not in _WAYS:
        return
    owner, name, is_meant = _WAYS[point]
    real = getattr(owner, name)

    @functools.wraps(real)
    def wrapped(*args):
        while is_meant(*args):
            time.sleep(60)
        return real(*args)
    setattr(owner, name, wrapped)


def _only_plan(plan_id):
    """Leave what belongs to other plans to other workers."""
    real = operations.claimable

    def claimable(db_session, banks, limit, *turns):
        found = real(db_session, banks, 1000, *turns)
        return [operation_id for operation_id in found
                if db_session.get(models.Operation,
                                  operation_id).plan_id == plan_id][:limit]
    operations.claimable = claimable


def main(point, plan_id, ready, config):
    POINTS[point](functools.partial(_die, pathlib.Path(ready)))
    _only_plan(plan_id)
    start_worker(configuration.load([], config_files=[config]))
    pathlib.Path(f'{ready}.started').touch()
    while True:
        time.sleep(60)


def start_worker(conf):
    """Start what a protection service runs, but no messages."""
    worker = service.ProtectionService(
        conf, session.Database.from_conf(conf), keystone.Cloud(conf),
        credentials.Sealer(conf.credentials['keys']),
        providers.load_all(conf.protection.provider_config_dir),
        protectables.Protectables())
    worker.start()


if __name__ == '__main__':
    main(*sys.argv[1:])
