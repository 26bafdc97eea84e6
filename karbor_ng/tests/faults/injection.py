# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Which call of a process fails, and how.

Each call has a name that is the same in every run, and a number among those
of its name: one run tells which calls there are, another one has faults at
some of them. What a fault does is up to the wrappers, which ask here.
"""

import collections
import contextlib
import dataclasses
import json
import re
import threading
import time

from karbor_ng.tests.crashes import points
from karbor_ng.tests.faults import kinds

#: Seconds that nobody sleeps longer.
LONGEST_SLEEP = 0.02
#: The number of a call, behind its name.
_NUMBER = re.compile(r' #(\d+)$')


@dataclasses.dataclass(frozen=True, order=True)
class Fault:
    """A way to fail at one call; see :mod:`kinds`."""

    call: str
    kind: str

    def __str__(self):
        return f'{self.kind} at {self.call}'

    @property
    def name(self):
        """Return the call's name without its number."""
        return _NUMBER.sub('', self.call)

    @property
    def numbers(self):
        """Return the numbers of the calls that meet it."""
        first = int(_NUMBER.search(self.call).group(1))
        return range(first, first + kinds.KINDS[self.kind].times)


class Injection:
    """The faults of this process.

    :param faults: of which each call meets at most one
    :param diary: a file that gets a line for each thing that happens
    """

    def __init__(self, faults, diary):
        self._diary = diary
        self._faults = {(fault.name, number): fault
                        for fault in faults for number in fault.numbers}
        self._met = collections.Counter()
        self._waits = threading.local()
        self._owed = {}
        self._lock = threading.Lock()

    def meet(self, sort, what):
        """Return the kind of fault that a call meets, or None."""
        name = points.CHANCE.sub('*', what)
        with self._lock:
            self._met[name] += 1
            number = self._met[name]
            fault = self._faults.get((name, number))
            self._note({'sort': sort, 'call': f'{name} #{number}',
                        'fault': fault and dataclasses.astuple(fault)})
            self._check_pause(name)
        return fault and fault.kind

    # Pauses

    def owe_pause(self, what, seconds):
        """Hold this thread to a pause before it makes this call again."""
        self._waits.seconds = 0
        name = points.CHANCE.sub('*', what)
        with self._lock:
            self._owed[threading.get_ident(), name] = seconds

    def sleep(self, seconds):
        """Sleep, but not long: what counts is how long it would have been."""
        self._waits.seconds = getattr(self._waits, 'seconds', 0) + seconds
        _sleep(min(seconds, LONGEST_SLEEP))

    def slept(self, seconds):
        """This thread would have slept, and has not."""
        self._waits.seconds = getattr(self._waits, 'seconds', 0) + seconds

    def _check_pause(self, name):
        owed = self._owed.pop((threading.get_ident(), name), 0)
        slept = getattr(self._waits, 'seconds', 0)
        if slept < owed:
            self._note({'complaint': f'{name} came again after {slept:.1f} s '
                                     f'instead of {owed} s'})

    def _note(self, thing):
        with open(self._diary, 'a') as file:
            file.write(json.dumps(thing) + '\n')


_sleep = time.sleep


class Diary:
    """What happened in a process that had faults.

    :param path: what its :class:`Injection` was told to write to
    """

    def __init__(self, path):
        self.path = path

    def calls(self):
        """Return ``{call: sort}`` of all calls, in their order."""
        return {item['call']: item['sort'] for item in self._items()
                if 'call' in item}

    def met(self):
        """Return the faults that happened."""
        return {Fault(*item['fault']) for item in self._items()
                if item.get('fault')}

    def complaints(self):
        """Return what was done too soon, as texts."""
        return [item['complaint'] for item in self._items()
                if 'complaint' in item]

    def _items(self):
        with contextlib.suppress(FileNotFoundError), open(
                self.path) as file:
            for line in file:
                yield json.loads(line)
