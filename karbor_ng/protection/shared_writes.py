# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Shared writes: what many threads write at once becomes one transaction.

Apart from the journal because it knows nothing of what is written. Every
transaction waits for a disk, and those of one operation for each other; the
hooks of many resources end at the same time. Those that come while a
transaction is under way go into the next one together, and what nobody waits
for goes with it.
"""

import collections
import logging
import threading
import time

LOG = logging.getLogger(__name__)

#: Writes of one transaction at most: others wait for the rows it locks.
MOST = 64
#: Writes that may be left for later, and for how many seconds.
MOST_LATER, LATER_SECONDS = 256, 1


class SharedWrites:
    """Runs functions in transactions that they share.

    A function is called once in each transaction, as ``function(session,
    calls)`` with the arguments of all its calls, and returns a list of their
    results. One thread writes for all that came while another one was
    writing, and then lets the next one do so.

    :param write: ``write(function)`` runs ``function(session)`` in one
        transaction and returns its result
    """

    def __init__(self, write):
        self._write = write
        self._waiting = collections.deque()
        self._later = []
        self._later_since = None
        self._is_writing_later = False
        self._is_busy = False
        self._lock = threading.Lock()

    def write(self, function, *args):
        """Write, and return the result; it is committed then.

        If it fails, it takes nothing with it: the others run again without
        it. What was left for later comes before it in any case.
        """
        call = _Call(function, args)
        with self._lock:
            self._waiting.append(call)
            leads, self._is_busy = not self._is_busy, True
        if not leads:
            call.wait()
        if not call.has_ended:
            self._write_for_all(call)
        return self._alone(call) if call.must_run_alone else call.result

    def write_later(self, function, *args, failed):
        """Write with the next transaction.

        Which is that of the next write, or of :meth:`settle`.

        :param failed: called with the problem if that can not be written
        """
        call = _Call(function, args, failed)
        with self._lock:
            if not self._later:
                self._later_since = time.monotonic()
            self._later.append(call)
            is_enough = len(self._later) > MOST_LATER
        if is_enough:
            self.settle()

    def settle(self):
        """Return when nothing is left for later any more.

        What another thread is just writing counts as left: it is waited for.
        """
        with self._lock:
            is_left = self._later or self._is_writing_later
        if is_left:
            self.write(_nothing)

    @property
    def is_overdue(self):
        """Whether something has been left for long."""
        with self._lock:
            return bool(self._later) and (
                time.monotonic() - self._later_since > LATER_SECONDS)

    def _write_for_all(self, own):
        later, calls = self._take()
        try:
            self._write_together(later, calls)
        finally:
            self._let_next_lead()
            for call in calls:
                if call is not own:
                    call.wake()

    def _take(self):
        """Return what was left, and the calls that wait, one's own first."""
        with self._lock:
            later, self._later = self._later, []
            self._is_writing_later = bool(later)
            number = min(len(self._waiting), MOST)
            return later, [self._waiting.popleft() for _ in range(number)]

    def _write_together(self, later, calls):
        """Run calls together; where that fails each thread runs its own."""
        # Until it is known better: nobody shall wait for a thread that died.
        for call in calls:
            call.has_ended = call.must_run_alone = True
        try:
            self._write(lambda session: _run(session, [*later, *calls]))
        except Exception:
            LOG.debug('Writing %s together failed', len(later) + len(calls),
                      exc_info=True)
            self._write_one_by_one(later)
            return
        for call in calls:
            call.must_run_alone = False

    def _write_one_by_one(self, later):
        """Write what nobody waits for, and tell of each that fails."""
        for call in later:
            try:
                self._alone(call)
            except Exception as problem:  # noqa: BLE001  (it is told)
                call.failed(problem)

    def _alone(self, call):
        self._write(lambda session: _run(session, [call]))
        return call.result

    def _let_next_lead(self):
        with self._lock:
            self._is_writing_later = False
            if self._waiting:
                self._waiting[0].wake()
            else:
                self._is_busy = False


class _Call:
    """A write that waits for its transaction."""

    def __init__(self, function, args, failed=None):
        self.has_ended = False
        self.must_run_alone = False
        self.result = None
        self.function = function
        self.args = args
        self.failed = failed
        self._sleep = threading.Lock()
        self._sleep.acquire()

    def wait(self):
        """Sleep until somebody wakes this call's thread."""
        self._sleep.acquire()

    def wake(self):
        self._sleep.release()


def _run(session, calls):
    """Run calls in the order of their functions' first ones."""
    by_function = {}
    for call in calls:
        by_function.setdefault(call.function, []).append(call)
    for function, own in by_function.items():
        results = function(session, [call.args for call in own])
        for call, result in zip(own, results, strict=True):
            call.result = result


def _nothing(session, calls):
    """What is written by who only waits for the rest."""
    return [None for _ in calls]
