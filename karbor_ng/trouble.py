# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Trouble that lasts: told when it begins, once a minute, and when it ends.

Apart from those who meet it because loops that try again, many times a second
some of them, would all fill their logs with what one line says.
"""

import threading
import time

#: Seconds between two lines about the same trouble.
TELL_SECONDS = 60


class Trouble:
    """Something that we need and that may be away; met by any thread.

    :param log: the logger of whoever needs it
    :param what: how a line about it begins, such as "The broker is away"
    """

    def __init__(self, log, what):
        self._log = log
        self._what = what
        self._lock = threading.Lock()
        self._since = None
        self._tell_at = 0.0
        self._times = 0

    def meet(self, problem):
        """Note that it is away once more; tell that if it is time.

        :param problem: why; its first line is told
        """
        now = time.monotonic()
        with self._lock:
            self._times += 1
            if self._since is None:
                self._since = now
            elif now < self._tell_at:
                return
            self._tell_at = now + TELL_SECONDS
            times, self._times = self._times, 0
        again = f' ({times} times since this was said)' if times > 1 else ''
        self._log.warning('%s%s: %s', self._what, again, first_line(problem))

    def end(self):
        """Note that it is there; may be called whenever it is."""
        if self._since is None:
            return
        with self._lock:
            since, self._since, self._times = self._since, None, 0
        if since is not None:
            self._log.warning('No more, after %.0f seconds: %s',
                              time.monotonic() - since, self._what)


def first_line(problem):
    """Return what an error says first: databases quote whole statements."""
    return (str(problem).splitlines() or [type(problem).__name__])[0]
