# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Checking: do a bank, the rows and the clouds tell the same story?

Every service may die at any line, and each of the three may be restored from
an older copy. Apart from what runs every day, because only an operator asks
for all of it at once, and decides what is to be removed.

Repairing only removes what nobody can miss: what is older than a period of
grace, belongs to no operation that has not ended, and to no checkpoint that
is there. Nothing is removed because a row is missing while a manifest is
there: that row can be imported.
"""

import collections
from collections.abc import Callable
import dataclasses
import functools
import time

from karbor_ng import errors
from karbor_ng.bank import bank as bank_module
from karbor_ng.protection import bank_import
from karbor_ng.protection import contents
from karbor_ng.protection import manifest
from karbor_ng.protection import streams
from karbor_ng.resource import Resource
from karbor_ng.store import audit
from karbor_ng.store import externals
from karbor_ng.store import streams as stream_rows

#: Statuses in which nobody works on a checkpoint and its data is there.
_ENDED = ('available', 'error')
#: Seconds to wait until a cloud has removed something, and between looks.
REMOVAL_SECONDS = 600
PAUSE_SECONDS = 1


@dataclasses.dataclass(frozen=True)
class Finding:
    """One difference.

    :ivar what: a few words that say which kind of difference
    :ivar thing: id or key
    :ivar detail: what it means, and what to do if nothing is repaired
    :ivar repair: removes it, twice is harmless; None where nothing may be
        removed, or not yet
    """

    what: str
    project_id: str | None
    thing: str
    detail: str
    repair: Callable | None = None


class BankCheck:
    """Compares the bank of a provider with the rows of its checkpoints.

    :param provider: a :class:`providers.Provider` that is open
    :param grace_seconds: how old a thing must be to be removed
    :param is_reading: read all data, and compare it with the manifests
    """

    def __init__(self, db, provider, grace_seconds, is_reading=False):
        self._db = db
        self._provider = provider
        self._bank = provider.bank
        self._grace = grace_seconds
        self._is_reading = is_reading
        #: streams that manifests name, and whether all could be read
        self._named = set()
        self._all_read = True

    def run(self):
        """Yield findings.

        Rows are read before and after the bank: what begins or ends
        meanwhile is no finding.
        """
        before = {state.id for state in self._states()}
        seen = set()
        for project_id, checkpoint_id in contents.checkpoints(self._bank):
            seen.add(checkpoint_id)
            yield from self._in_bank(project_id, checkpoint_id)
        for state in self._states():
            if state.id in before - seen:
                yield from self._not_in_bank(state)
        yield from self._streams()

    def _states(self):
        return self._db.read(audit.checkpoints, self._provider.id)

    def _state(self, checkpoint_id):
        """Return how things stand now, whosever checkpoint it is."""
        return self._db.read(audit.checkpoint, checkpoint_id)

    # Checkpoints

    def _in_bank(self, project_id, checkpoint_id):
        try:
            found = manifest.read(self._bank, project_id, checkpoint_id)
            if found is not None:
                bank_import.check_shape(found)
        except errors.BankError as problem:
            self._all_read = False
            yield Finding('unreadable manifest', project_id, checkpoint_id,
                          str(problem))
            return
        if found is None:
            yield from self._rest(project_id, checkpoint_id)
            return
        self._named.update(_streams_of(found))
        if found['provider_id'] != self._provider.id:
            return
        state = self._state(checkpoint_id)
        if state is None:
            yield Finding('checkpoint without rows', project_id,
                          checkpoint_id, 'Its manifest is there: "bank '
                          'import" makes its rows.')
        elif state.status == 'deleted':
            yield Finding('deleted checkpoint', project_id, checkpoint_id,
                          'Its row says that it is deleted, but its '
                          'manifest is there.')
        yield from self._objects(project_id, checkpoint_id, found)

    def _rest(self, project_id, checkpoint_id):
        """Judge what has no manifest: not yet, not any more, or never."""
        state = self._state(checkpoint_id)
        if state is not None and state.status != 'deleted':
            yield from self._not_in_bank(state)
            return
        ended = state.ended_seconds if state else float('inf')
        if ended is None:
            # An operation is at work on it.
            return
        yield self._removable(
            'objects of no checkpoint', project_id,
            manifest.prefix(project_id, checkpoint_id),
            'They have no manifest, and no row of a checkpoint that is '
            'there.', ended)

    def _not_in_bank(self, state):
        if state.status != 'available':
            return
        if state.bank_uuid != self._provider.bank_uuid:
            yield Finding('checkpoint in another bank', state.project_id,
                          state.id, f'Its row says bank {state.bank_uuid}.')
        elif manifest.read(self._bank, state.project_id, state.id) is None:
            yield Finding('checkpoint without manifest', state.project_id,
                          state.id, 'It can not be restored. Delete it.')

    def _objects(self, project_id, checkpoint_id, found):
        """Look whether all is there, or read all of it."""
        suspects = [bank_module.ObjectInfo(**item)
                    for resource in found['resources']
                    for item in resource['objects']]
        if not self._is_reading:
            listed = self._listed(suspects)
            suspects = [info for info in suspects if info.key not in listed]
        # Listings of some banks lag behind: what they lack is read.
        problems = self._bank.check(suspects)
        if not problems or self._is_going(project_id, checkpoint_id):
            return
        for _info, problem in problems:
            yield Finding('broken checkpoint', project_id, checkpoint_id,
                          problem)

    def _listed(self, infos):
        """Return all keys beside these, a listing for each stream."""
        folders = {'/'.join(info.key.split('/')[:3]) for info in infos}
        return {key for folder in folders
                for key in self._bank.keys(f'{folder}/')}

    def _is_going(self, project_id, checkpoint_id):
        """Whether somebody has begun to delete it in the meantime."""
        state = self._state(checkpoint_id)
        is_idle = state is None or state.status in _ENDED
        return not is_idle or manifest.read(
            self._bank, project_id, checkpoint_id) is None

    # Streams

    def _streams(self):
        rows = self._db.read(audit.streams, self._provider.bank_uuid)
        for project_id, stream_id in contents.all_streams(self._bank):
            state = rows.get(stream_id)
            if state is None and stream_id not in self._named:
                state = self._db.read(
                    audit.streams, self._provider.bank_uuid).get(stream_id)
                if state is None:
                    yield self._stream_of_nobody(project_id, stream_id)
        for stream_id, state in rows.items():
            if state == 'removing':
                yield Finding(
                    'stream that goes', None, stream_id,
                    'The deletion of its last checkpoint was interrupted; '
                    'the next deletion goes on with it.',
                    functools.partial(self._forget_stream, stream_id))

    def _stream_of_nobody(self, project_id, stream_id):
        prefix = streams.prefix(project_id, stream_id)
        what, detail = 'stream of no checkpoint', (
            'Neither rows nor manifests name it.')
        if not self._all_read:
            return Finding(what, project_id, prefix, detail + ' It stays, '
                           'because not all manifests could be read.')
        return self._removable(what, project_id, prefix, detail)

    def _forget_stream(self, stream_id):
        for stream in self._db.read(stream_rows.to_remove,
                                    self._provider.bank_uuid):
            if stream.id == stream_id:
                for key in self._db.read(audit.stream_keys, stream_id):
                    self._bank.delete(key)
                self._bank.delete_prefix(
                    streams.prefix(stream.project_id, stream_id))
                self._db.write(stream_rows.forget, stream_id)

    # Ages

    def _removable(self, what, project_id, prefix, detail,
                   ended=float('inf')):
        """Return a finding that may be repaired if it is old enough.

        :param ended: seconds since an operation on it has ended
        """
        ages = [self._age(key) for key in self._bank.keys(f'{prefix}/')]
        ages.append(ended)
        repair = None
        if None in ages:
            detail += ' Its age can not be told: it stays.'
        elif min(ages) < self._grace:
            detail += ' It is younger than the period of grace: it stays.'
        else:
            repair = functools.partial(self._bank.delete_prefix, prefix)
        return Finding(what, project_id, prefix, detail, repair)

    def _age(self, key):
        try:
            return self._bank.age(key)
        except errors.NotFound:
            # Somebody is at work here.
            return 0


class CloudCheck:
    """Compares what clouds have with what protecting has made, by rows.

    :param session: of an admin, for all projects, or of one project's user;
        None where there is no cloud
    :param project_id: whose things the session sees; None for all
    """

    def __init__(self, db, provider, session, grace_seconds,
                 project_id=None):
        self._db = db
        self._provider = provider
        self._session = session
        self._grace = grace_seconds
        self._project_id = project_id

    def run(self):
        """Yield findings of all kinds of things that can be surveyed."""
        for plugin in set(self._provider.protections.values()):
            for kind in plugin.kinds:
                yield from self._check(kind)

    def _check(self, kind):
        # Rows first, and once more behind: a row is there before its thing.
        before = self._things(kind)
        found = kind.survey(self._session)
        if found is None:
            return
        by_tag = {thing.external.tag: thing for thing in self._things(kind)}
        for thing in before:
            if thing.provider_id == self._provider.id:
                yield from self._gone(kind, thing, found)
        tags = collections.Counter(found.values())
        for external_id, tag in sorted(found.items()):
            thing = by_tag.get(tag)
            if thing is None:
                yield Finding(
                    f'{kind.name} of somebody', None, external_id,
                    f'It has the tag {tag}, which no row has: another '
                    f'deployment may have made it, or a database that is '
                    f'lost.')
            elif thing.provider_id == self._provider.id:
                yield from self._there(kind, thing, external_id, tags[tag])

    def _things(self, kind):
        return self._db.read(audit.things, kind.service, kind.name,
                             self._project_id)

    def _gone(self, kind, thing, found):
        external = thing.external
        if (external.state == 'exists' and external.external_id not in found
                and thing.ended_seconds is not None
                and thing.checkpoint_status != 'deleted'):
            yield Finding(
                f'missing {kind.name}', thing.project_id,
                external.external_id,
                f'Checkpoint {external.checkpoint_id} needs it for '
                f'{Resource(external.resource_type, external.resource_id)}.')

    def _there(self, kind, thing, external_id, copies):
        external = thing.external
        is_own = external.external_id in (None, external_id) or copies == 1
        if external.state != 'gone' and is_own and not (
                kind.temporary and thing.ended_seconds is not None):
            return
        detail = (f'Operation {external.operation_id} made it for checkpoint '
                  f'{external.checkpoint_id}, which does not need it.')
        repair = None
        if thing.ended_seconds is None:
            detail += ' An operation goes on: it stays.'
        elif thing.ended_seconds < self._grace:
            detail += ' It is younger than the period of grace: it stays.'
        else:
            repair = functools.partial(self._remove, kind, external_id,
                                       is_own and external.id)
        yield Finding(f'left over {kind.name}', thing.project_id,
                      external_id, detail, repair)

    def _remove(self, kind, external_id, row_id):
        give_up = time.monotonic() + REMOVAL_SECONDS
        while not kind.remove(self._session, external_id):
            if time.monotonic() > give_up:
                raise errors.Timeout(
                    f'{kind.name} {external_id} is still there after '
                    f'{REMOVAL_SECONDS} seconds')
            time.sleep(PAUSE_SECONDS)
        if row_id:
            self._db.write(externals.change, row_id, state='gone')


def _streams_of(found):
    """Return the ids of all streams that a manifest names."""
    named = {kept['id'] for resource in found['resources']
             for kept in resource['saved'].get('streams', {}).values()}
    places = [contents.stream_of(item['key'])
              for resource in found['resources']
              for item in resource['objects']]
    return named | {place[0] for place in places if place is not None}
