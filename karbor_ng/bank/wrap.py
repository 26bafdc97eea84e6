# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Trying again: a driver around a driver.

Apart from the drivers so that each of them holds its service's calls only,
and all of them are patient in the same way.
"""

import logging
import random
import time

from karbor_ng import context
from karbor_ng import errors
from karbor_ng.bank import driver

LOG = logging.getLogger(__name__)

#: No pause between two attempts is longer, in seconds.
LONGEST_PAUSE = 60
#: Seconds for which an operation waits for a bank that is away, once all
#: repetitions are used up, and the pause between two attempts meanwhile.
PATIENCE = 600
PATIENT_PAUSE = 10


class Retrying(driver.BankDriver):
    """Repeats what was interrupted, as often as the driver's options say.

    What an operation wants is repeated for some minutes more: the bank may be
    away, and come back, while whoever asks otherwise wants to know that.

    :param inner: the driver
    :param sleep: called with seconds; by default it ends, by raising, with
        the operation that the thread works for
    """

    def __init__(self, inner, sleep=context.sleep):
        self.KIND = inner.KIND
        self._inner = inner
        self._sleep = sleep

    def put(self, key, data, if_absent=False):
        """See the contract.

        An interrupted put may have arrived all the same. Then its repetition
        finds the key taken, by its own data: that is success.
        """
        earlier = []

        def attempt():
            try:
                self._inner.put(key, data, if_absent)
            except errors.Exists:
                if not earlier or not self._holds(key, data):
                    raise
            except driver.Interrupted:
                earlier.append(True)
                raise

        self._repeat('put', key, attempt)

    def get(self, key):
        return self._repeat('get', key, lambda: self._inner.get(key))

    def list(self, prefix, after=None, limit=1000):
        return self._repeat(
            'list', prefix, lambda: self._inner.list(prefix, after, limit))

    def delete(self, key):
        self._repeat('delete', key, lambda: self._inner.delete(key))

    def age(self, key):
        return self._repeat('age', key, lambda: self._inner.age(key))

    def _repeat(self, verb, key, attempt):
        pauses = self._pauses()
        while True:
            try:
                return attempt()
            except driver.Interrupted as problem:
                pause = next(pauses, None)
                if pause is None:
                    raise
                pause += min(problem.retry_after or 0, LONGEST_PAUSE)
                LOG.warning('Bank: %s of "%s" was interrupted, next attempt '
                            'in %.1f s: %s', verb, key, pause, problem)
            self._sleep(pause)

    def _pauses(self):
        for number in range(self._inner.retry_attempts):
            pause = min(self._inner.retry_backoff * 2 ** number,
                        LONGEST_PAUSE)
            # Jitter, no secret.
            yield pause * random.uniform(0.8, 1.2)  # nosec B311
        until = time.monotonic() + PATIENCE
        while context.is_operation() and time.monotonic() < until:
            yield PATIENT_PAUSE * random.uniform(0.8, 1.2)  # nosec B311

    def _holds(self, key, data):
        try:
            return self._inner.get(key) == data
        except errors.NotFound:
            return False
