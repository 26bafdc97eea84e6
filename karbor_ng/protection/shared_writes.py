# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Shared writes: what many threads write at once becomes one transaction.

Apart from the journal because it knows nothing of what is written. Every
transaction waits for a disk, and those of one operation for each other; the
hooks of many resources end at the same time. Those that come while a
transaction is under way go into the next one together.
"""

import collections
import logging
import threading

LOG = logging.getLogger(__name__)

#: Writes of one transaction at most: others wait for the rows it locks.
MOST = 64


class SharedWrites:
    """Runs functions in transactions that they share.

    :param write: ``write(function)`` runs ``function(session)`` in one
        transaction and returns its result
    """

    def __init__(self, write):
        self._write = write
        self._waiting = collections.deque()
        self._turn = threading.Lock()

    def write(self, function, *args):
        """Run ``function(session, ...)``; return its result.

        It is committed then. If it fails, it takes nothing with it: the
        others run again without it.
        """
        call = _Call(function, args)
        self._waiting.append(call)
        with self._turn:
            while call.is_waiting:
                calls = self._take()
                if calls == [call]:
                    return self._write(call)
                self._try(calls)
        return self._write(call) if call.must_run_alone else call.result

    def _take(self):
        number = min(len(self._waiting), MOST)
        return [self._waiting.popleft() for _ in range(number)]

    def _try(self, calls):
        """Run calls together; where that fails each thread runs its own."""
        try:
            results = self._write(
                lambda session: [call(session) for call in calls])
        except Exception:
            LOG.debug('Writing %s together failed', len(calls), exc_info=True)
            for call in calls:
                call.end(must_run_alone=True)
        else:
            for call, result in zip(calls, results, strict=True):
                call.end(result)


class _Call:
    """A write that waits for its transaction."""

    def __init__(self, function, args):
        self.is_waiting = True
        self.must_run_alone = False
        self.result = None
        self._function = function
        self._args = args

    def __call__(self, session):
        return self._function(session, *self._args)

    def end(self, result=None, must_run_alone=False):
        self.result = result
        self.must_run_alone = must_run_alone
        self.is_waiting = False
