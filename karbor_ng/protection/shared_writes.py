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

    One thread writes for all that came while another one was writing, and
    then lets the next one do so.

    :param write: ``write(function)`` runs ``function(session)`` in one
        transaction and returns its result
    """

    def __init__(self, write):
        self._write = write
        self._waiting = collections.deque()
        self._is_busy = False
        self._lock = threading.Lock()

    def write(self, function, *args):
        """Run ``function(session, ...)``; return its result.

        It is committed then. If it fails, it takes nothing with it: the
        others run again without it.
        """
        call = _Call(function, args)
        with self._lock:
            self._waiting.append(call)
            leads, self._is_busy = not self._is_busy, True
        if not leads:
            call.wait()
        if not call.has_ended:
            self._write_for_all(call)
        return self._write(call) if call.must_run_alone else call.result

    def _write_for_all(self, own):
        calls = self._take()
        try:
            self._write_together(calls)
        finally:
            self._let_next_lead()
            for call in calls:
                if call is not own:
                    call.wake()

    def _take(self):
        """Return the calls that wait, one's own first."""
        with self._lock:
            number = min(len(self._waiting), MOST)
            return [self._waiting.popleft() for _ in range(number)]

    def _write_together(self, calls):
        """Run calls together; where that fails each thread runs its own."""
        # Until it is known better: nobody shall wait for a thread that died.
        for call in calls:
            call.has_ended = call.must_run_alone = True
        try:
            results = self._write(
                lambda session: [call(session) for call in calls])
        except Exception:
            LOG.debug('Writing %s together failed', len(calls), exc_info=True)
            return
        for call, result in zip(calls, results, strict=True):
            call.result, call.must_run_alone = result, False

    def _let_next_lead(self):
        with self._lock:
            if self._waiting:
                self._waiting[0].wake()
            else:
                self._is_busy = False


class _Call:
    """A write that waits for its transaction."""

    def __init__(self, function, args):
        self.has_ended = False
        self.must_run_alone = False
        self.result = None
        self._function = function
        self._args = args
        self._sleep = threading.Lock()
        self._sleep.acquire()

    def __call__(self, session):
        return self._function(session, *self._args)

    def wait(self):
        """Sleep until somebody wakes this call's thread."""
        self._sleep.acquire()

    def wake(self):
        self._sleep.release()
