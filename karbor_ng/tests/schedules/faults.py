# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""A database whose connection, or whose user, does not last.

Apart from the world because this is all that is between the product and its
real database.
"""

import contextlib

from oslo_db import exception as db_exception
from sqlalchemy import event

#: Statements that a transaction does before the worst, at most.
_MOST_STATEMENTS = 12


class Killed(BaseException):
    """The process dies here."""


class Door:
    """The database as one process has it.

    :param clock: tells ``now``
    :param dangers: ``{name of a danger: its chance in each transaction}``.
        ``lost``: the connection, before, in, or just after it;
        ``killed``: the process, at any of these; ``deadlock``: in it.
        ``pause``: the process stands still after it, if it has found
        something that can be out of date then.
    :param pause: called when the process stands still
    :ivar moment: when the last transaction that writes happened
    :ivar was_in_danger: whether anything happened since somebody said no
    """

    def __init__(self, db, dice, clock, dangers, pause):
        self._db = db
        self._dice = dice
        self._clock = clock
        self._dangers = dangers
        self._pause = pause
        self._left, self._worst = None, None
        self.moment = None
        self.was_in_danger = False
        event.listen(db.engine, 'before_cursor_execute', self._execute)

    def close(self):
        """Let go of the database; again is harmless."""
        listener = (self._db.engine, 'before_cursor_execute', self._execute)
        if event.contains(*listener):
            event.remove(*listener)

    def read(self, function, *args, **kwargs):
        return self._pass(self._db.read, function, args, kwargs)

    def write(self, function, *args, **kwargs):
        def noting(session):
            self.moment = self._clock.now
            return function(session, *args, **kwargs)
        return self._pass(self._db.write, noting, (), {})

    def _pass(self, transaction, function, args, kwargs):
        danger, place = self._choose(), self._dice.choice('<|>')
        if place == '<':
            self._happen(danger)
        with self._during(danger if place == '|' else None):
            found = transaction(function, *args, **kwargs)
        if place == '>':
            self._happen(danger)
        if found and self._dice.random() < self._dangers['pause']:
            self.was_in_danger = True
            self._pause()
        return found

    def _choose(self):
        point = self._dice.random()
        for danger, chance in self._dangers.items():
            point -= chance
            if danger != 'pause' and point < 0:
                self.was_in_danger = True
                return danger
        return None

    def _happen(self, danger):
        if danger == 'lost':
            raise db_exception.DBConnectionError('The connection is lost.')
        elif danger == 'killed':
            raise Killed

    @contextlib.contextmanager
    def _during(self, danger):
        """Let the danger come at one of the statements, or at none."""
        if danger is not None:
            self._left = self._dice.randrange(_MOST_STATEMENTS)
            self._worst = danger
        try:
            yield
        finally:
            self._worst = None

    def _execute(self, *_args):
        if self._worst is None:
            return
        self._left -= 1
        if self._left < 0:
            worst, self._worst = self._worst, None
            if worst == 'deadlock':
                raise db_exception.DBDeadlock('Others were first.')
            self._happen(worst)
