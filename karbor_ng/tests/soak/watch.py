# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Watches the rows from outside: how long does it take to go on?

Separate because it must not depend on anything that is killed but the
database, and must not disturb what it watches.
"""

import dataclasses
import threading
import time

import sqlalchemy as sa

from karbor_ng.store import models

Operation = models.Operation
_PAUSE = 0.5


@dataclasses.dataclass
class Wait:
    """How long something took to go on after a disturbance."""

    what: str
    seconds: float = 0

    def longer(self, what, seconds):
        if seconds > self.seconds:
            self.what, self.seconds = what, seconds


class Watch(threading.Thread):
    """Looks twice a second, as long as there is a database.

    :ivar anything: from a disturbance to whatever went on next
    :ivar one: from the loss of its worker until an operation went on
    """

    def __init__(self, db):
        super().__init__(name='watch', daemon=True)
        self._db = db
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._last = (0, 0, 0)
        self._running = {}
        #: what has not been followed by anything: [(moment, what)]
        self._struck = []
        #: {operation id: (moment, what, attempt)}
        self._lost = {}
        self.anything = Wait('-')
        self.one = Wait('-')

    def struck(self, what):
        """Tell that something was killed or paused just now."""
        with self._lock:
            self._struck.append((time.monotonic(), what))

    def lost(self, host, what):
        """Tell that the worker of a host was killed just now."""
        with self._lock:
            moment = time.monotonic()
            for number, (owner, attempt) in self._running.items():
                if (owner or '').startswith(f'{host}:'):
                    self._lost.setdefault(number, (moment, what, attempt))

    def run(self):
        while not self._stopping.wait(_PAUSE):
            try:
                found = self._db.read(_look)
            except Exception:  # noqa: BLE001  the database is just killed
                continue
            with self._lock:
                self._compare(*found)

    def stop(self):
        self._stopping.set()
        self.join()

    def is_idle(self):
        """Return whether no operation waits or runs."""
        return not self._db.read(_look)[1]

    def _compare(self, numbers, unended):
        now = time.monotonic()
        if numbers != self._last or not unended:
            for moment, what in self._struck:
                self.anything.longer(what, now - moment)
            self._struck = []
        for number, (moment, what, attempt) in list(self._lost.items()):
            owner, current = unended.get(number, (None, None))
            if current != attempt:
                self.one.longer(f'{what}, operation {number}', now - moment)
                del self._lost[number]
        self._last, self._running = numbers, unended


def _look(session):
    """Return what grows whenever something goes on, and what has not ended.

    :return: numbers, and ``{operation id: (owner, attempt)}``
    """
    attempts, ended = session.execute(sa.select(
        sa.func.sum(Operation.attempt),
        sa.func.count(Operation.ended_at))).one()
    steps = session.execute(sa.select(
        sa.func.count()).select_from(models.Step)).scalar()
    rows = session.execute(
        sa.select(Operation.id, Operation.owner, Operation.attempt)
        .where(Operation.state.in_(('queued', 'running'))))
    return (int(attempts or 0), ended, steps), {
        row.id: (row.owner, row.attempt) for row in rows}
