# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Banks that fail: a driver around a driver, and a disk below one.

The first keeps the contract of drivers, of which failing is a part, around
any driver. The second is for the driver that keeps files: what is torn or has
no room is only seen from below.
"""

import errno
import os
import threading
import time

from karbor_ng import errors
from karbor_ng.bank import driver

#: Seconds for which reads and listings show what was before.
STALE_SECONDS = 0.3
SLOW_SECONDS = 0.2
_NUMBERS = {'torn write': errno.EIO, 'disk full': errno.ENOSPC,
            'server away': errno.ESTALE}


class FaultyBank(driver.BankDriver):
    """A driver, some calls of which fail.

    :param inner: the driver
    :param injection: see :class:`injection.Injection`
    """

    def __init__(self, inner, injection):
        self.KIND = inner.KIND
        self.SETTLE_SECONDS = inner.SETTLE_SECONDS
        self.retry_attempts = inner.retry_attempts
        self.retry_backoff = inner.retry_backoff
        self._inner = inner
        self._injection = injection
        #: {key: (what was there or None, until when it is shown)}
        self._shown = {}
        self._lock = threading.Lock()

    def put(self, key, data, if_absent=False):
        self._call('put', key, lambda: self._inner.put(key, data, if_absent))

    def get(self, key):
        return self._call('get', key, lambda: self._get(key))

    def list(self, prefix, after=None, limit=1000):
        return self._call('list', prefix,
                          lambda: self._list(prefix, after, limit))

    def delete(self, key):
        self._call('delete', key, lambda: self._inner.delete(key))

    def age(self, key):
        return self._inner.age(key)

    def _call(self, verb, key, call):
        kind = self._injection.meet(verb, f'{verb} {key}')
        if kind == 'stale':
            self._remember(key)
        elif kind == 'slow':
            time.sleep(SLOW_SECONDS)
        elif kind and 'after' not in kind:
            raise _problem(kind, key)
        answer = call()
        if kind and 'after' in kind:
            raise _problem(kind, key)
        return answer

    # Staleness

    def _remember(self, key):
        """Let readers see for a while what is there now."""
        try:
            before = self._inner.get(key)
        except errors.NotFound:
            before = None
        with self._lock:
            self._shown[key] = before, time.monotonic() + STALE_SECONDS

    def _stale(self):
        now = time.monotonic()
        with self._lock:
            return {key: before for key, (before, until)
                    in self._shown.items() if now < until}

    def _get(self, key):
        # What never was there is not remembered by any server: those that
        # have it are asked in the end.
        return self._stale().get(key) or self._inner.get(key)

    def _list(self, prefix, after, limit):
        stale = {key: before for key, before in self._stale().items()
                 if key.startswith(prefix) and (after is None or key > after)}
        there = set(self._inner.list(prefix, after, limit + len(stale)))
        shown = there - stale.keys() | {
            key for key, before in stale.items() if before is not None}
        return sorted(shown, key=str.encode)[:limit]


def _problem(kind, key):
    failure = (driver.Interrupted if kind.startswith('interrupted')
               else errors.BankError)
    return failure(f'The bank failed at "{key}", as it was told to.')


class FaultyDisk:
    """What opens files; writing to some of them fails half way.

    Takes the place of ``open`` in the module of a driver.
    """

    def __init__(self, injection):
        self._injection = injection

    def __call__(self, path, mode, **options):
        file = open(path, mode, **options)
        if 'x' not in mode and 'w' not in mode:
            return file
        return _FaultyFile(file, self._injection)


class _FaultyFile:

    def __init__(self, file, injection):
        self._file = file
        self._injection = injection

    def __enter__(self):
        return self

    def __exit__(self, *problem):
        self._file.close()

    def __getattr__(self, name):
        return getattr(self._file, name)

    def write(self, data):
        kind = self._injection.meet('file', 'write to a file of the bank')
        if kind is None:
            return self._file.write(data)
        self._file.write(data[:len(data) // 2])
        self._file.flush()
        number = _NUMBERS[kind]
        raise OSError(number, os.strerror(number))
