# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The lease: how long this worker may still believe that it owns a job.

Rows keep the lease in the database's time. The worker itself measures with
its own monotonic clock from the moment before the last successful renewal,
and stops well before the row's lease ends: clouds can not be fenced, so a
worker that was paused must notice before its next call.
"""

import datetime
import threading
import time

from karbor_ng import errors

#: Part of the lease after which a worker that could not renew stops.
TRUSTED = 0.75


class Lease:
    """One claimed operation's right to go on; used by many threads."""

    def __init__(self, operation_id, attempt, seconds, since, claimed_at):
        """Begin with the claim.

        :param since: ``time.monotonic()`` just before it
        :param claimed_at: the same moment in the database's time
        """
        self.operation_id = operation_id
        self.attempt = attempt
        self._trusted_seconds = seconds * TRUSTED
        self._renewed_at = self._since = since
        self._claimed_at = claimed_at
        self._interrupt = None
        self._hears_aborts = True
        self._wake = threading.Event()
        self._lock = threading.Lock()

    def now(self):
        """Return the database's present time, without asking it.

        What the attempts at an operation write down is compared, and their
        hosts' clocks may differ by minutes, or be set while they work. This
        one never goes back within an attempt.
        """
        return self._claimed_at + datetime.timedelta(
            seconds=time.monotonic() - self._since)

    def renewed(self, since):
        """The row's lease was prolonged by a statement sent at ``since``."""
        self._renewed_at = since

    def lose(self):
        """Another attempt has the operation."""
        self._end(errors.Fenced(
            f'Operation {self.operation_id} was taken over.'))

    def stop(self):
        """This worker stops: let somebody else go on."""
        self._end(errors.Stopping('The service is stopping.'))

    def abort(self):
        """Somebody wants the operation to end."""
        self._end(errors.Aborted('Aborted on request.'))

    def stop_hearing_aborts(self):
        """Let what is left be done in any case: it brings things in order.

        Return whether an abort was asked for before.
        """
        with self._lock:
            self._hears_aborts = False
            if not self._is_aborted:
                return False
            self._interrupt = None
            self._wake.clear()
            return True

    def check(self, is_ending=False):
        """Raise what forbids to work on.

        :param is_ending: this ends what was begun: an abort does not forbid
            it
        :raises errors.Fenced: the lease is lost, or may be by now
        :raises errors.Stopping: the service is stopping
        :raises errors.Aborted: the operation shall end
        """
        self.check_owned()
        interrupt = self._interrupt
        if interrupt is not None and not (
                is_ending and isinstance(interrupt, errors.Aborted)):
            raise interrupt

    def check_owned(self):
        """Raise what forbids to write down what was done.

        :raises errors.Fenced: as :meth:`check`
        """
        if isinstance(self._interrupt, errors.Fenced):
            raise self._interrupt
        if time.monotonic() - self._renewed_at > self._trusted_seconds:
            raise errors.Fenced(
                f'The lease on operation {self.operation_id} was not renewed '
                f'in time.')

    @property
    def is_lost(self):
        return (isinstance(self._interrupt, errors.Fenced)
                or time.monotonic() - self._renewed_at
                > self._trusted_seconds)

    @property
    def is_stopping(self):
        return isinstance(self._interrupt, errors.Stopping)

    def sleep(self, seconds):
        """Sleep, but not beyond an interruption; raises as :meth:`check`."""
        self._wake.wait(seconds)
        self.check()

    @property
    def _is_aborted(self):
        return isinstance(self._interrupt, errors.Aborted)

    def _end(self, error):
        """Take the weightier one of two reasons to end."""
        with self._lock:
            if isinstance(error, errors.Aborted) and not self._hears_aborts:
                return
            if self._interrupt is None or (
                    _weight(error) > _weight(self._interrupt)):
                self._interrupt = error
            self._wake.set()


def _weight(error):
    return (errors.Aborted, errors.Stopping, errors.Fenced).index(
        type(error))
