# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What happens in a soak, counted and written down.

Separate because everybody tells it something and nobody asks: the report is
made of it in the end. Each event is a line of a file as well, with its time,
so that what went wrong can be looked up in the logs of programs.
"""

import collections
import datetime
import threading
import time


class Tally:
    """Counts, violations and excuses; safe to use in all threads.

    :param path: of the file with all events
    """

    def __init__(self, path):
        self._file = open(path, 'a', buffering=1)
        self._lock = threading.Lock()
        self._began = time.monotonic()
        #: {what: Counter}
        self.counts = collections.defaultdict(collections.Counter)
        self.violations = []
        self.excused = []

    def note(self, text):
        """Write an event down."""
        now = datetime.datetime.now(datetime.timezone.utc)
        with self._lock:
            self._file.write(f'{now:%H:%M:%S.%f} {text}\n')

    def say(self, text):
        """Write an event down, and tell whoever watches."""
        self.note(text)
        print(f'[{time.monotonic() - self._began:6.1f}s] {text}', flush=True)

    def count(self, what, which, number=1):
        with self._lock:
            self.counts[what][which] += number

    def violation(self, text):
        """Tell of something that must never be; the soak goes on."""
        moment = datetime.datetime.now(datetime.timezone.utc)
        with self._lock:
            self.violations.append(f'{moment:%H:%M:%S} {text}')
        self.say(f'VIOLATION {text}')

    def excuse(self, text):
        """Tell of something that a cloud has lost by itself."""
        with self._lock:
            self.excused.append(text)
        self.say(f'excused: {text}')

    def close(self):
        self._file.close()
