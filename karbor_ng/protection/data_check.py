# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Reading all that a resource has in the bank, to see whether it is right.

Apart from restoring, which stops at the first thing that is wrong: here all
of it is read, and whatever is wrong is named. One part at a time is in
memory; what was read before a worker died is not read again.
"""

import hashlib

from karbor_ng import errors
from karbor_ng.bank import bank as bank_module
from karbor_ng.protection import streams
from karbor_ng.store import streams as stream_rows

#: Under which name ``saved`` remembers what was read, and with what result.
READ = 'read'
#: So many objects of one stream are named when they are wrong.
MOST_NAMED = 5
#: Where the objects are remembered that belong to no stream.
REST = ''


class DataCheck:
    """Reads what one resource has in the bank.

    :param work: the hook's ``work.Work``
    :param objects: the resource's objects, as the manifest lists them
    """

    def __init__(self, work, objects):
        self._work = work
        self._bank = work.job.provider.bank
        self._objects = objects
        self._streams = work.saved.get('streams', {})
        self._size = sum(item['size'] for item in objects)
        self._done = 0

    def run(self):
        """Return what is wrong, as texts.

        Streams that are damaged are marked, so that no new checkpoint
        shares them.

        :raises errors.BankError: the bank does not answer
        """
        slots = self._work.job.tools.stream_slots
        slots.take(self._work.check)
        try:
            for name in (REST, *sorted(self._streams)):
                self._read(name)
        finally:
            slots.give_back()
        known = self._work.saved.get(READ, {})
        return [text for name in sorted(known) for text in known[name]]

    def _read(self, name):
        """Read a stream, or the rest, unless an earlier worker has."""
        known = self._work.saved.setdefault(READ, {})
        if name in known:
            return
        known[name] = self._stream(name) if name else self._rest()
        if self._objects:
            self._work.journal.set_resource(self._work.resource,
                                            saved=self._work.saved)

    def _rest(self):
        of_streams = {
            part.key for kept in self._streams.values()
            for part in self._parts(kept)[0]}
        return _named(self._look([
            bank_module.ObjectInfo(**item) for item in self._objects
            if item['key'] not in of_streams]))

    def _stream(self, label):
        kept, whole = self._streams[label], hashlib.sha256()
        parts, problems = self._parts(kept)
        problems = problems or self._look(parts, whole)
        if not problems:
            problems = [text for text in [streams.difference(kept, whole)]
                        if text]
        if problems:
            self._work.journal.write(stream_rows.damage, kept['id'])
        return _named(problems)

    def _parts(self, kept):
        try:
            return streams.parts_of(self._work.resource, kept,
                                    self._objects), []
        except errors.BankError as problem:
            return [], [str(problem)]

    def _look(self, infos, whole=None):
        problems = []
        for info in infos:
            self._work.check()
            data, problem = self._bank.examine(info)
            if problem:
                problems.append(problem)
            elif whole is not None:
                whole.update(data)
            # Not beside the next one.
            del data
            self._done += info.size
            self._work.progress(self._done, self._size)
        return problems


def _named(problems):
    more = len(problems) - MOST_NAMED
    if more <= 0:
        return problems
    return [*problems[:MOST_NAMED],
            f'So are {more} more of its objects, missing or damaged.']
