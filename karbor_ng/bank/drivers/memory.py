# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""A bank in the memory of one process.

A real bank that keeps the whole contract, and forgets everything when the
process ends: for tests, and for trying things out.
"""

import bisect
import threading
import time

from oslo_config import cfg

from karbor_ng import errors
from karbor_ng.bank import driver

GROUP = 'memory_bank_plugin'


class _Shelf:
    """The objects of one named bank, and their keys in order."""

    def __init__(self):
        self.lock = threading.Lock()
        self.objects = {}
        self.put_at = {}
        self.order = []


class MemoryBank(driver.BankDriver):
    """Keeps objects in a dict that all banks of one name share.

    For tests: they are gone with the process.
    """

    KIND = 'memory'
    OPTS = [(GROUP, [
        cfg.StrOpt('name', default='default',
                   help='Name of the bank. Providers of one process that give '
                        'the same name share the objects. They are lost when '
                        'the process ends.'),
    ])]

    _shelves: dict = {}
    _shelves_lock = threading.Lock()

    def __init__(self, conf):
        super().__init__(conf)
        with self._shelves_lock:
            self._shelf = self._shelves.setdefault(conf[GROUP].name, _Shelf())

    def put(self, key, data, if_absent=False):
        name = key.encode()
        with self._shelf.lock:
            taken = name in self._shelf.objects
            if taken and if_absent:
                raise errors.Exists(f'The bank already has "{key}".')
            if not taken:
                bisect.insort(self._shelf.order, name)
            self._shelf.objects[name] = bytes(data)
            self._shelf.put_at[name] = time.monotonic()

    def get(self, key):
        with self._shelf.lock:
            try:
                return self._shelf.objects[key.encode()]
            except KeyError:
                raise errors.NotFound(
                    f'The bank has no "{key}".') from None

    def age(self, key):
        with self._shelf.lock:
            try:
                return time.monotonic() - self._shelf.put_at[key.encode()]
            except KeyError:
                raise errors.NotFound(
                    f'The bank has no "{key}".') from None

    def list(self, prefix, after=None, limit=1000):
        first = prefix.encode()
        with self._shelf.lock:
            order = self._shelf.order
            start = bisect.bisect_left(order, first)
            if after is not None:
                start = max(start, bisect.bisect_right(order, after.encode()))
            page = order[start:start + limit]
        return [name.decode() for name in page if name.startswith(first)]

    def delete(self, key):
        name = key.encode()
        with self._shelf.lock:
            if self._shelf.objects.pop(name, None) is not None:
                del self._shelf.put_at[name]
                del self._shelf.order[bisect.bisect_left(
                    self._shelf.order, name)]
