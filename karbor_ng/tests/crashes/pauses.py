# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Pauses: a worker that stands still at a point, and wakes up too late.

As with the dead, another worker takes over. Then the first one gets SIGCONT:
what each of its threads was about to make may still arrive, and is to be
removed; nothing else may be sent or stored, and no row written. Apart from
``points`` because a dead process needs no looking after.
"""

import collections
import contextlib
import functools
import mmap
import os
import pathlib
import re
import signal
import struct
import threading
import time

from karbor_ng.protection import operations
from karbor_ng.protection import work
from karbor_ng.store import session
from karbor_ng.tests.crashes import clouds
from karbor_ng.tests.crashes import points
from karbor_ng.tests.crashes import rounds
from karbor_ng.tests.crashes import site as sites
from karbor_ng.tests.crashes import verbs

#: Seconds for which a worker has stood still when it wakes up.
PAUSE_SECONDS = 3600
#: Looks in a row at which nothing goes on, and seconds between two of them.
LOOKS, LOOK_SECONDS = 4, 0.1
#: Asking where a service is, which may take several requests.
_DISCOVERY = re.compile(r'GET http://[^/]+/(v[0-9.]+/?)?')
#: What need not be counted: removing from banks, rows, which are looked at
#: apart, and what is part of something else.
_HARMLESS = ('no ', 'row ', 'object not in place')


class Clock:
    """``time.monotonic()`` of a process, moved on by another one.

    For all of its threads at once, and not after some of them have gone on:
    as it would be if the time had really passed.
    """

    def __init__(self):
        self._shared = mmap.mmap(-1, 8)

    def move_on(self):
        """Let the time pass for which the process has stood still."""
        self._shared[:] = struct.pack('d', PAUSE_SECONDS)

    def set(self):
        """Let this process go by it."""
        real, shared = time.monotonic, self._shared
        time.monotonic = lambda: real() + struct.unpack('d', shared[:])[0]

    @property
    def has_moved_on(self):
        return any(self._shared[:])


class Pauses(points.Points):
    """Points, at one of which a process stands still until it is woken.

    :param diary: a file; what the process does once it is awake
    """

    def __init__(self, wanted, diary):
        super().__init__(wanted)
        self.clock = Clock()
        self._diary = diary
        self._under_way = collections.Counter()
        self._attempts = 0
        self._thread = threading.local()
        # SQLite has one lock, and takes it for a moment to open and close
        # too: who stops with it stops everybody else.
        self._transaction = threading.RLock()

    def set(self):
        self.clock.set()
        self._watch_transactions()
        self._watch_requests()
        self._count_attempts()
        self._excuse_undoing()
        super().set()

    def end(self):
        """Stand still, together with all threads; go on when woken."""
        with self._transaction, self._lock:
            self._write('under way', *self._under_way.elements())
            os.kill(os.getpid(), signal.SIGSTOP)
            while not self.clock.has_moved_on:
                time.sleep(0.01)
        threading.Thread(target=self._tell_when_at_rest, daemon=True).start()

    @contextlib.contextmanager
    def around(self, what):
        with self._open(what), super().around(what):
            yield

    @contextlib.contextmanager
    def _open(self, what):
        if getattr(self._thread, 'is_undoing', False):
            yield
            return
        what = f'{threading.get_ident()} {what}'
        with self._lock:
            self._under_way[what] += 1
            if self.clock.has_moved_on:
                self._write('began', what)
        try:
            yield
        finally:
            with self._lock:
                self._under_way[what] -= 1

    def _write(self, word, *things):
        with open(self._diary, 'a') as file:
            for thing in things:
                file.write(f'{word}: {thing}\n')

    def _watch_transactions(self):
        real = session.Database.write

        @functools.wraps(real)
        def write(db, function, *args, **kwargs):
            with self._transaction:
                result = real(db, function, *args, **kwargs)
                if (self.clock.has_moved_on
                        and function.__name__ == '_guarded'):
                    self._write('wrote', args[0])
                return result
        session.Database.write = write
        really_read = session.Database.read

        @functools.wraps(really_read)
        def read(db, function, *args, **kwargs):
            with self._transaction:
                return really_read(db, function, *args, **kwargs)
        session.Database.read = read

    def _watch_requests(self):
        """Have those that only read under way too, under no name of theirs."""
        real = clouds.Remote.send

        @functools.wraps(real)
        def send(remote, request, **kwargs):
            if request.method not in ('GET', 'HEAD'):
                return real(remote, request, **kwargs)
            with self._open(f'{request.method} {request.url}'):
                return real(remote, request, **kwargs)
        clouds.Remote.send = send

    def _excuse_undoing(self):
        """Let what was made be looked for and removed."""
        real = work.Work._undo

        @functools.wraps(real)
        def undo(*args):
            self._thread.is_undoing = True
            try:
                return real(*args)
            finally:
                self._thread.is_undoing = False
        work.Work._undo = undo

    def _count_attempts(self):
        real = operations.run

        @functools.wraps(real)
        def run(*args):
            self._attempts += 1
            try:
                return real(*args)
            finally:
                self._attempts -= 1
        operations.run = run

    def _tell_when_at_rest(self):
        looks = 0
        while looks < LOOKS:
            looks = looks + 1 if not self._attempts else 0
            time.sleep(LOOK_SECONDS)
        self._write('at', 'rest')


class Forsake(verbs.Protect):
    """Protecting something, given up by who asked for it."""

    def give_up(self):
        self.site.delete(self.checkpoint_id)

    def problems(self):
        status = self.site.checkpoint(self.checkpoint_id).status
        if status != 'deleted':
            yield f'checkpoint {status}'
        yield from self.nothing()


class Lane(rounds.Lane):
    """A site on which a worker stands still in each round, and wakes up.

    :cvar IS_EARLY: whether it wakes up while the other one is at work, and
        not after that
    """

    VERBS = {**verbs.VERBS, 'forsake': Forsake}
    WAY = 'paused '
    IS_EARLY = False

    def outcome(self, point):
        self._diary = pathlib.Path(
            self.site.path, f'diary-{time.monotonic_ns()}')
        return super().outcome(point)

    def points_at(self, point):
        return Pauses(point, self._diary)

    def _round(self, armed, problems):
        """Have the verb done in spite of all; add what does not hold."""
        self.help()
        self.verb.prepare()
        if not self.keeps_helper:
            self.stop_helping()
        self.verb.begin()
        process = self._run_until_stopped(armed)
        self.verb.give_up()
        attempts = self.site.attempts()
        self.help()
        second = self.site.fork(
            self.verb.work()) if self.keeps_helper else None
        if self.IS_EARLY and process:
            self.site.wait(lambda: self.site.attempts() != attempts
                           or self.verb.has_ended())
            problems.extend(self._wake(process, armed))
        self.site.wait(self.verb.has_ended)
        if not self.IS_EARLY and process:
            problems.extend(self._wake(process, armed))
        self.site.kill(process)
        self.site.kill(second)
        problems.extend(self.verb.problems())

    def _run_until_stopped(self, armed):
        """Let a process do the work until it stops; return its id.

        None if it has done it all instead.
        """
        process = self.site.fork(self.verb.work(), armed)
        ended_at, until = None, time.monotonic() + 2 * sites.PATIENCE
        while not self.site.has_stopped(process):
            if time.monotonic() > until:
                raise TimeoutError(f'It neither ends nor stops; '
                                   f'{self.site.last_words()}')
            if ended_at is None and self.verb.has_ended():
                ended_at = time.monotonic()
            if ended_at and time.monotonic() > (ended_at
                                                + rounds.LAST_SECONDS):
                self.site.kill(process)
                return None
            time.sleep(sites.PAUSE)
        self._was_reached = True
        if not self.keeps_helper:
            self.site.let_leases_run_out()
        return process

    def _wake(self, process, armed):
        """Wake a process; yield what it does that it may not do."""
        sent = self._requests_of(process)
        armed.clock.move_on()
        os.kill(process, signal.SIGCONT)
        self.site.wait(lambda: 'at: rest' in self._told())
        if self.verb.IS_ENGINES:
            # Its transactions decide, and there is no lease.
            return
        told = self._told()
        for thing in told:
            if thing.startswith('wrote: '):
                yield f'the woken one {thing}'
        by_thread = _by_thread(told)
        for things in by_thread.values():
            if len(things) > 1:
                yield f'a thread of the woken one went on: {things}'
        more = [request for request in self._requests_of(process)[len(sent):]
                if request[0] not in ('GET', 'HEAD', 'DELETE')]
        if len(more) > len(by_thread):
            yield f'the woken one sent {more}'

    def _requests_of(self, process):
        return self.site.client_of_cloud.call('requests_of', process)

    def _told(self):
        return (self._diary.read_text().splitlines()
                if self._diary.exists() else [])


class EarlyLane(Lane):
    """A lane whose workers wake up while others are at work."""

    IS_EARLY = True


def _by_thread(told):
    """Return ``{thread: [what was under way or began]}``."""
    found = collections.defaultdict(list)
    for line in told:
        word, _, rest = line.partition(': ')
        thread, _, thing = rest.partition(' ')
        if (word in ('under way', 'began') and not thing.startswith(_HARMLESS)
                and not _DISCOVERY.fullmatch(thing)):
            found[thread].append(f'{word} {thing}')
    return found
