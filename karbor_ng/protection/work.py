# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Work: what the frame gives to one hook of one resource.

The plugin contract (``plugins/api.py``) describes it from the plugin's side;
this is the side of the journal and the lease.
"""

import dataclasses
import functools
import itertools
import logging
import time

from keystoneauth1 import exceptions as keystone_exceptions
import requests.exceptions

from karbor_ng import context
from karbor_ng import errors
from karbor_ng import patience
from karbor_ng.plugins import api
from karbor_ng.protection import fence
from karbor_ng.protection import streams

LOG = logging.getLogger(__name__)

#: Seconds between two attempts to write progress that nobody needs sooner.
PROGRESS_SECONDS = 5
#: After these asking again makes sense; those of requests come out of bodies
#: that are read piece by piece.
PASSING = (keystone_exceptions.ConnectFailure,
           keystone_exceptions.ConnectTimeout,
           keystone_exceptions.RetriableConnectionFailure,
           requests.exceptions.ChunkedEncodingError,
           requests.exceptions.ConnectionError,
           requests.exceptions.Timeout,
           ConnectionError, errors.Unavailable)
#: Seconds for which a poll may fail in passing ways before it is a failure.
POLL_PATIENCE = 600
#: Seconds between two polls that fail, if nobody asks for more.
LONGEST_PAUSE = 30
#: Seconds for which the removal of something temporary may hold up the rest.
TEMPORARY_SECONDS = 600


class Work:
    """The frame's half of an :class:`api.Operation`.

    :param job: the running attempt (see ``operations.Attempt``)
    :param objects: what the resource has in the bank so far
    """

    def __init__(self, job, resource, plugin, parameters, bank, saved,
                 source_operation_id, objects=()):
        self.job = job
        self.journal = job.journal
        self.plugin = plugin
        self.resource = resource
        self.parameters = parameters
        self.session = job.session
        self.bank = bank
        self.saved = saved
        self.restored = job.restored
        self.checkpoint_id = job.operation.checkpoint_id
        self.operation_id = job.operation.id
        self.project_id = job.operation.project_id
        self.new_id = None
        self._source_operation_id = source_operation_id
        self._progress_at = 0
        self._streams = streams.Streams(self, objects)

    def check(self):
        self.journal.lease.check()

    def sleep(self, seconds):
        self.journal.lease.sleep(seconds)

    def poll(self, poll):
        """Call ``poll``, with patience for a cloud that stumbles."""
        begun = time.monotonic()
        return self.patiently(poll, lambda: begun)

    def patiently(self, call, since):
        """Call until it does not fail in passing, or patience ends.

        :param since: returns the moment, in ``time.monotonic()``, from which
            on patience counts
        """
        for failures in itertools.count(1):
            try:
                return call()
            except Exception as problem:
                if (not is_passing(problem)
                        or time.monotonic() > since() + POLL_PATIENCE):
                    raise
                LOG.info('Asking for %s failed in passing: %s',
                         self.resource, problem)
                pause = patience.pause(failures, _asked(problem), first=1,
                                       longest=LONGEST_PAUSE)
            self.sleep(pause)

    def progress(self, done, total):
        now = time.monotonic()
        if now - self._progress_at < PROGRESS_SECONDS or not total:
            return
        self._progress_at = now
        self.journal.set_resource(
            self.resource, progress=min(99, int(100 * done / total)))

    def restored_as(self, new_id):
        self.new_id = new_id

    def externals(self):
        rows = self.journal.externals_of(self._source_operation_id,
                                         self.resource)
        return [as_external(row) for row in rows if row.state != 'gone']

    # Secrets and data in the bank

    def seal(self, text):
        return self._sealer().seal(text)

    def unseal(self, text):
        try:
            return self._sealer().open(text)
        except errors.CredentialsError:
            raise errors.ResourceError(
                'What was sealed can not be read: it was encrypted with a '
                'key that is not in [credentials] keys any more.') from None

    def _sealer(self):
        sealer = self.job.tools.sealer
        if sealer is None:
            raise errors.ResourceError(
                'This deployment has no keys, so it can not keep secrets: '
                'set [credentials] keys.')
        return sealer

    def put_stream(self, label, source, size, identity):
        return self._streams.put(label, source, size, identity)

    def copy_stream(self, label, bank, parts, kept, identity):
        """See ``streams.Streams.copy``."""
        return self._streams.copy(label, bank, parts, kept, identity)

    def get_stream(self, label):
        return self._streams.get(label)

    def stream_objects(self):
        """Return the parts of all streams, as rows list objects."""
        return self._streams.objects()

    # Things in clouds

    def once(self, label, create, kind):
        self.check()
        row, known = self.journal.intend(self.resource, label, kind)
        if row.external_id is not None:
            return row.external_id
        external_id = None
        try:
            external_id = self._find(kind, row.tag) if known else None
            if external_id is None:
                external_id = self._create(create, kind, row.tag)
            self.journal.exists(row.id, external_id, functools.partial(
                self._undo, label, kind, external_id))
        except Exception:
            if self.journal.lease.is_lost:
                with context.undisturbed():
                    self._undo(label, kind, external_id)
            raise
        return external_id

    def _create(self, create, kind, tag):
        """Create a thing; again, where that fails in passing.

        Before it is tried again the cloud is asked whether it was done all
        the same. What comes true later than that is met by ``Verb.tidy``.
        """
        begun = time.monotonic()
        attempts = itertools.count()

        def attempt():
            found = None
            if next(attempts):
                self.job.has_repeated = True
                found = self._find(kind, tag)
            return found or self._create_or_adopt(create, kind, tag)

        return self.patiently(attempt, lambda: begun)

    def _create_or_adopt(self, create, kind, tag):
        self.check()
        try:
            return create(tag)
        except Exception:
            if self.journal.lease.is_lost:
                raise
            # The answer may have been lost after the cloud did it.
            found = self._find_quietly(kind, tag)
            if found is None:
                raise
            LOG.info('Adopting %s %s of %s: it was created although its '
                     'creation failed here', kind.name, found, self.resource)
            return found

    def _find(self, kind, tag):
        found = kind.find(self.session, tag, self.resource)
        return found[0] if found else None

    def _find_quietly(self, kind, tag):
        try:
            return self._find(kind, tag)
        except Exception:
            LOG.exception('Could not look for %s of %s', kind.name,
                          self.resource)
            return None

    def _undo(self, label, kind, external_id):
        """Remove what we made while the operation was taken from us.

        Unless its new owner found and adopted it, or may yet do so. Whoever
        creates after that owner looked for the last time comes here later,
        and finds how it ended.

        :param external_id: what we know to have made; None where a request
            may have arrived all the same
        """
        row = self.journal.external(self.resource, label)
        if row is None or (row.state == 'intended'
                           and not self.journal.has_ended()):
            return
        session = fence.unfenced(self.session)
        kept = row.external_id if row.state == 'exists' else None
        found = {external_id, *kind.find(session, row.tag, self.resource)}
        for late in found - {None, kept}:
            LOG.warning('Removing %s %s of %s: it was made after another '
                        'worker had taken over', kind.name, late,
                        self.resource)
            self._remove_late(kind, session, late)

    def _remove_late(self, kind, session, external_id):
        """Remove a thing without a lease to wait with."""
        deadline = time.monotonic() + TEMPORARY_SECONDS
        pause = 0.5
        while not kind.remove(session, external_id):
            if time.monotonic() > deadline:
                raise errors.Timeout(
                    f'{kind.name} {external_id} is still there after '
                    f'{TEMPORARY_SECONDS} seconds')
            time.sleep(min(pause, self.plugin.poll_interval))
            pause *= 1.5

    def discard(self, external):
        if isinstance(external, str):
            row = self.journal.external(self.resource, external)
            if row is None or row.state == 'gone':
                return
            external = as_external(row)
        discard(self, self.plugin, self.session, self.journal, external,
                self.resource)


def discard(waiter, plugin, session, journal, external, resource):
    """Remove one thing, wait until it is gone, and write that down.

    :param waiter: has ``poll`` and ``sleep``
    """
    kind = plugin.kind(external.kind)
    ids = [external.external_id]
    if external.external_id is None:
        ids = kind.find(session, external.tag, resource)
    for external_id in ids:
        remove(waiter, plugin, kind, session, external_id)
    journal.gone(external)


def remove(waiter, plugin, kind, session, external_id):
    """Remove a thing of a kind, and wait until it is gone.

    :param waiter: as :func:`discard` has it
    :raises errors.Timeout: it is still there
    """
    seconds = plugin.timeout
    if kind.temporary:
        seconds = min(seconds, TEMPORARY_SECONDS)
    deadline = time.monotonic() + seconds
    pause = 0.5
    while not waiter.poll(
            functools.partial(kind.remove, session, external_id)):
        if time.monotonic() > deadline:
            raise errors.Timeout(
                f'{kind.name} {external_id} is still there after '
                f'{seconds} seconds')
        waiter.sleep(min(pause, plugin.poll_interval))
        pause *= 1.5


def as_external(row):
    """Return a row as plugins see it."""
    return api.External(
        id=row.id, resource_type=row.resource_type,
        resource_id=row.resource_id, label=row.label, tag=row.tag,
        service=row.service, kind=row.kind, external_id=row.external_id,
        state=row.state)


def replace_id(external, external_id):
    """Return the external under another id of the cloud."""
    return dataclasses.replace(external, external_id=external_id)


def is_passing(problem):
    """Return whether the same question may be answered a moment later."""
    if isinstance(problem, PASSING):
        return True
    code = getattr(problem, 'http_status', getattr(problem, 'code', None))
    return code in patience.PASSING and not isinstance(problem, errors.Error)


def _asked(problem):
    """Return for how long who refused wants to be left alone, or None."""
    response = getattr(problem, 'response', None)
    if response is not None:
        return patience.retry_after(getattr(response, 'headers', None))
    seconds = getattr(problem, 'retry_after', None)
    return min(seconds, patience.LONGEST_PAUSE) if seconds else None
