# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Streams: data of resources in the bank, which checkpoints may share.

Apart from ``work`` because a stream outlives its operation, and often its
checkpoint: its rows say who uses it (``store/streams.py``), its objects lie
beside those of checkpoints, and the last deletion takes both away.
"""

import collections
from concurrent import futures
import contextlib
import functools
import hashlib
import logging
import secrets
import threading
import time
import uuid

from karbor_ng import context
from karbor_ng import errors
from karbor_ng.bank import bank as bank_module
from karbor_ng.plugins import api
from karbor_ng.protection import manifest
from karbor_ng.store import streams as rows

LOG = logging.getLogger(__name__)

FOLDER = manifest.STREAMS
#: Seconds between two looks whether a slot is worth waiting for.
LOOK_SECONDS = 0.5
#: Parts in memory while a stream is copied: one is stored, one is read.
PARTS_AT_ONCE = 2


def prefix(project_id, stream_id):
    """Return where all objects of a stream lie."""
    return f'{FOLDER}{project_id}/{stream_id}'


def is_key(key):
    """Return whether a whole key is that of a stream's part."""
    return key.startswith(FOLDER)


class Slots:
    """Bounds how many streams a process reads and writes at once."""

    def __init__(self, count):
        self._free = threading.Semaphore(count)

    def take(self, check):
        """Wait for a slot.

        :param check: called meanwhile; what it raises ends the waiting
        """
        check()
        while not self._free.acquire(timeout=LOOK_SECONDS):
            check()

    def give_back(self):
        self._free.release()


class Streams:
    """The streams of one resource, as one hook meets them.

    :param work: the hook's ``work.Work``
    :param objects: the resource's objects in the bank, as its row or the
        manifest lists them
    """

    def __init__(self, work, objects):
        self._work = work
        self._journal = work.journal
        self._bank = work.job.provider.bank
        self._slots = work.job.tools.stream_slots
        self._objects = [item for item in objects if is_key(item['key'])]
        self._open = 0
        self._lock = threading.Lock()

    def objects(self):
        """Return the parts of all streams by now, as rows list them."""
        return list(self._objects)

    # Writing

    def put(self, label, source, size, identity):
        """See ``api.Operation.put_stream``."""
        if identity is not None:
            identity = hash_of(identity)
        stream = self._whole_or_begun(label, identity)
        return self._have(label, stream, functools.partial(
            self._store, stream, source, size))

    def copy(self, label, bank, parts, kept, identity):
        """Store what lies in another bank, part by part.

        :param bank: the other one
        :param parts: its objects there, in order
        :param kept: what was saved of it there
        :param identity: as rows have it; what has it here already is shared
        :raises errors.BankError: a part there is missing or damaged
        """
        stream = self._whole_or_begun(label, identity)
        if stream.state == 'complete' and stream.sha256 != kept['sha256']:
            LOG.warning('Stream %s, said to be the same as %s, is not: that '
                        'is copied', stream.id, kept['id'])
            stream = self._whole_or_begun(label, None)
        return self._have(label, stream, functools.partial(
            self._copy, stream, bank, parts, kept))

    def _whole_or_begun(self, label, identity):
        """Return a stream that is there, or one that is to be written."""
        stream = self._begin(label, identity)
        while stream.state == 'complete' and self._is_damaged(stream):
            LOG.warning('Stream %s is damaged: %s is stored once more',
                        stream.id, self._work.resource)
            stream = self._begin(label, identity, instead_of=stream.id)
            self._remove_unused()
        return stream

    def _have(self, label, stream, store):
        """Keep a stream, once it is stored, with the resource."""
        if stream.state == 'complete':
            parts = _infos(self._journal.read(rows.parts, stream.id))
            stored = api.Stream(stream.id, stream.size, stream.sha256)
        else:
            parts, stored = store()
        self._keep(label, stored, parts)
        return stored

    def _begin(self, label, identity, instead_of=None):
        work = self._work
        whose = {'resource_type': work.resource.type,
                 'resource_id': work.resource.id}
        use = {'checkpoint_id': work.checkpoint_id, 'label': label, **whose}
        values = {'id': str(uuid.uuid4()), 'identity': identity,
                  'project_id': work.project_id,
                  'bank_uuid': work.job.provider.bank_uuid, **whose}
        return self._journal.write(rows.begin, use, values, instead_of)

    def _is_damaged(self, stream):
        """Return whether a part is missing, by a look at their names."""
        parts = _infos(self._journal.read(rows.parts, stream.id))
        return bool(_missing(self._bank, stream, parts))

    def _remove_unused(self):
        remove_unused(self._journal, self._bank,
                      self._work.job.provider.bank_uuid)

    def _store(self, stream, source, size):
        with self._slot():
            recorded = _Parts(self._journal, self._bank, stream)
            written = self._work.patiently(
                functools.partial(self._pass, stream, source, size,
                                  recorded),
                lambda: recorded.moved_at)
            self._journal.write(rows.complete, stream.id,
                                len(written.objects), written.size,
                                written.sha256)
        return written.objects, api.Stream(stream.id, written.size,
                                           written.sha256)

    def _pass(self, stream, source, size, recorded):
        """Read the source once, and write what is not there.

        Each pass writes under a name of its own, so that nobody ever writes
        over a part that is recorded: neither a worker that was given up, nor
        a source that says something else today.
        """
        section = self._bank.section(prefix(stream.project_id, stream.id))
        return section.write_stream(
            self._new_pass(), self._watched(source, size), recorded,
            self._work.check)

    def _new_pass(self):
        return (f'{self._work.job.operation.attempt}.'
                f'{secrets.token_hex(4)}')

    def _watched(self, source, size):
        done = 0
        for chunk in source():
            done += len(chunk)
            if size:
                self._work.progress(done, size)
            yield chunk

    def _copy(self, stream, bank, parts, kept):
        """Copy what is not there yet; what is recorded is not read again."""
        with self._slot():
            recorded = _Parts(self._journal, self._bank, stream)
            there = {_number(part.key): part for part in recorded.done()
                     if _is_same(part, parts)}
            section = self._bank.section(
                f'{prefix(stream.project_id, stream.id)}/{self._new_pass()}')
            missing = [part for part in parts
                       if _number(part.key) not in there]
            for part, data in _read_ahead(bank, missing):
                self._work.check()
                copied = section.put(part.key.rpartition('/')[2], data)
                del data
                recorded.record(copied)
                there[_number(copied.key)] = copied
                self._work.progress(len(there), len(parts))
            self._journal.write(rows.complete, stream.id, len(parts),
                                kept['size'], kept['sha256'])
        return ([there[number] for number in range(len(parts))],
                api.Stream(stream.id, kept['size'], kept['sha256']))

    def _keep(self, label, stored, parts):
        kept = self._work.saved.setdefault('streams', {})
        kept[label] = {'id': stored.id, 'size': stored.size,
                       'sha256': stored.sha256}
        mine = {stream['id'] for stream in kept.values()} - {stored.id}
        self._objects = [item for item in self._objects
                         if _stream_id(item['key']) in mine]
        self._objects.extend(
            {'key': part.key, 'size': part.size, 'sha256': part.sha256}
            for part in parts)

    # Reading

    def get(self, label):
        """See ``api.Operation.get_stream``."""
        kept = self._work.saved.get('streams', {}).get(label)
        if kept is None:
            raise errors.BankError(
                f'The backup of {self._work.resource} has no "{label}".')
        parts = parts_of(self._work.resource, kept, self._objects)
        whole = hashlib.sha256()
        with self._slot():
            for data in self._bank.read_stream(parts):
                self._work.check()
                whole.update(data)
                yield data
        problem = difference(kept, whole)
        if problem:
            raise errors.BankError(problem)

    @contextlib.contextmanager
    def _slot(self):
        """Have a slot; one for all streams of a hook.

        A hook that writes what it reads from another stream would else wait
        for itself.
        """
        with self._lock:
            self._open += 1
            is_first = self._open == 1
        taken = False
        try:
            if is_first:
                self._slots.take(self._work.check)
                taken = True
            yield
        finally:
            with self._lock:
                self._open -= 1
            if taken:
                self._slots.give_back()


class _Parts:
    """The journal of a stream's parts, for the bank.

    :ivar moved_at: ``time.monotonic()`` when it last grew
    """

    def __init__(self, journal, bank, stream):
        self._journal = journal
        self._bank = bank
        self._stream = stream
        self.moved_at = time.monotonic()

    def done(self):
        parts = _infos(self._journal.read(rows.parts, self._stream.id))
        missing = _missing(self._bank, self._stream, parts)
        return [part for part in parts if part not in missing]

    def record(self, part):
        number = _number(part.key)
        try:
            self._journal.write(rows.put_part, {
                'stream_id': self._stream.id, 'number': number,
                'key': part.key, 'size': part.size, 'sha256': part.sha256})
        except errors.Fenced:
            self._withdraw(number, part.key)
            raise
        self.moved_at = time.monotonic()

    def _withdraw(self, number, key):
        """Remove a part that nobody will ever know of.

        Its stream may be gone already, and with it the one who would do it.
        An answer of the database may have been lost, so it is asked.
        """
        if not self._journal.read(rows.has_key, self._stream.id, number,
                                  key):
            self._bank.delete(key)


def parts_of(resource, kept, objects):
    """Return the parts of a stream in order.

    :param kept: what was saved of the stream
    :param objects: the resource's, as rows or the manifest list them
    :raises errors.BankError: not all parts are listed
    """
    parts = {_number(item['key']): bank_module.ObjectInfo(**item)
             for item in objects if is_key(item['key'])
             and _stream_id(item['key']) == kept['id']}
    in_order = [part for _number, part in sorted(parts.items())]
    if (sorted(parts) != list(range(len(parts)))
            or sum(part.size for part in in_order) != kept['size']):
        raise errors.BankError(
            f'Stream {kept["id"]} of {resource} is not complete in the list '
            f'of its objects.')
    return in_order


def difference(kept, whole):
    """Return what is wrong with a stream that was read, or None.

    :param whole: a hash object that has met all of its bytes
    """
    if whole.hexdigest() == kept['sha256']:
        return None
    return (f'Stream {kept["id"]} is damaged: its SHA-256 is not '
            f'{kept["sha256"]}.')


def hash_of(identity):
    """Return an identity as rows have it."""
    return hashlib.sha256(identity.encode()).hexdigest()


def release(journal, bank, bank_uuid, checkpoint_id, found=None):
    """Take a checkpoint's uses back; remove what nobody uses any more.

    Interrupted anywhere, doing it again finishes it.

    :param found: :func:`used_and_unused`, where that is known
    """
    used, unused = found or journal.read(used_and_unused, checkpoint_id,
                                         bank_uuid)
    for stream_id in used:
        journal.lease.check()
        journal.write(rows.release, stream_id, checkpoint_id)
    if used:
        unused = journal.read(rows.to_remove, bank_uuid)
    _remove_each(journal, bank, unused, used)


def used_and_unused(session, checkpoint_id, bank_uuid):
    """Return ids of streams that a checkpoint uses, and what may go anyway."""
    return (rows.used_by(session, checkpoint_id),
            rows.to_remove(session, bank_uuid))


def remove_unused(journal, bank, bank_uuid):
    """Remove the streams of a bank that nobody uses, whoever left them."""
    _remove_each(journal, bank, journal.read(rows.to_remove, bank_uuid))


def _remove_each(journal, bank, streams, own=()):
    """Remove streams.

    :param own: ids of those that must go; others may go another time
    """
    for stream in streams:
        try:
            _remove(journal, bank, stream)
        except errors.BankError as problem:
            if stream.id in own:
                raise
            LOG.warning('Stream %s is still there: %s', stream.id, problem)


def _remove(journal, bank, stream):
    for part in journal.read(rows.parts, stream.id):
        journal.lease.check()
        bank.delete(part.key)
    journal.lease.check()
    # What a listing still finds was never recorded.
    bank.delete_prefix(prefix(stream.project_id, stream.id))
    journal.write(rows.forget, stream.id)
    LOG.info('Removed stream %s', stream.id)


def _missing(bank, stream, parts):
    """Return the parts that the bank has not got."""
    listed = set(bank.keys(f'{prefix(stream.project_id, stream.id)}/'))
    # Listings of some banks lag behind; objects that are read do not.
    return {part for part, _problem in bank.check(
        part for part in parts if part.key not in listed)}


def _is_same(part, wanted):
    """Return whether a part holds the bytes of the one of its number."""
    number = _number(part.key)
    return number < len(wanted) and (
        (part.size, part.sha256)
        == (wanted[number].size, wanted[number].sha256))


def _read_ahead(bank, parts):
    """Yield parts with their bytes; the next one is read meanwhile."""
    def read(part):
        return next(bank.read_stream([part]))

    read = context.carried(read)
    with futures.ThreadPoolExecutor(
            1, thread_name_prefix='stream') as beside:
        coming = collections.deque()
        for part in parts:
            coming.append((part, beside.submit(read, part)))
            if len(coming) == PARTS_AT_ONCE:
                yield coming[0][0], coming.popleft()[1].result()
        while coming:
            yield coming[0][0], coming.popleft()[1].result()


def _infos(parts):
    return [bank_module.ObjectInfo(part.key, part.size, part.sha256)
            for part in parts]


def _stream_id(key):
    return key.split('/')[-3]


def _number(key):
    return int(key.rpartition('/')[2])
