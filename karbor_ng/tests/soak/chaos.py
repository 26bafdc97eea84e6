# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What goes wrong: programs are killed, paused, started again, at random.

Separate from those who suffer from it. What it has taken down it brings back
itself; what ends without having been killed is told, and started again as an
operator's service manager would.
"""

import dataclasses
import random
import threading
import time

from karbor_ng.tests.soak import site as sites

_TICK = 0.2
#: Seconds in which a program that starts may end, as there is no database.
_START = 90
_CLOUD = ('keystone', 'swift-proxy', 'cinder-api')


@dataclasses.dataclass(frozen=True)
class Habit:
    """How a kind of program is treated.

    :ivar weight: how often it is its turn
    :ivar down: longest time in seconds that it is gone
    :ivar paused: longest time in seconds that it stands still
    """

    weight: float
    down: float
    paused: float


#: By the beginning of the name. Workers and engines stand still for longer
#: than their leases last.
HABITS = {
    'karbor-protection': Habit(4, 8, 1.7 * sites.LEASE),
    'karbor-operationengine': Habit(2, 8, 1.7 * sites.LEASE),
    'karbor-api': Habit(2, 4, 12),
    'rabbitmq': Habit(2, 15, 15),
    'mariadb': Habit(2, 8, 12),
    'cloud': Habit(1.5, 4, 0)}


class Chaos(threading.Thread):
    """Disturbs until it is told to stop; then everything runs again.

    :param pause: mean time between two disturbances
    """

    def __init__(self, site, watch, tally, seed, pause):
        super().__init__(name='chaos', daemon=True)
        self._site = site
        self._watch = watch
        self._tally = tally
        self._random = random.Random(f'{seed} chaos')
        self._pause = pause
        self._stopping = threading.Event()
        #: {name: (moment to bring it back, how)}
        self._away = {}
        #: {name: when it was started}
        self._since = dict.fromkeys(site.programs, time.monotonic())
        self._database_back = time.monotonic()
        self._targets = {
            name: next(habit for begin, habit in HABITS.items()
                       if name.startswith(begin))
            for name in site.programs}
        self._targets['cloud'] = HABITS['cloud']

    def run(self):
        following = time.monotonic() + self._pause
        while not self._stopping.wait(_TICK):
            now = time.monotonic()
            self._bring_back(now)
            self._revive(now)
            if now >= following:
                self._strike()
                following = time.monotonic() + min(
                    self._random.expovariate(1 / self._pause),
                    3 * self._pause)

    def stop(self):
        """End; return when everything was brought back."""
        self._stopping.set()
        self.join()
        self._bring_back(float('inf'))

    def _strike(self):
        names = list(self._targets)
        name, = self._random.choices(
            names, [habit.weight for habit in self._targets.values()])
        habit = self._targets[name]
        if name == 'cloud':
            self._restart_in_cloud(habit)
        elif name not in self._away:
            if self._random.random() < 0.6:
                self._kill(name, habit)
            else:
                self._hold(name, habit)

    def _restart_in_cloud(self, habit):
        name = self._random.choice(_CLOUD)
        seconds = self._random.uniform(0, habit.down)
        self._told('restarted', name, f'restarted after {seconds:.1f} s')
        self._site.restart_in_cloud(name, lambda: time.sleep(seconds))

    def _kill(self, name, habit):
        # A third comes back at once, as service managers have it.
        seconds = max(0, self._random.uniform(-habit.down / 2, habit.down))
        self._site.kill(name)
        what = self._told('killed', name, f'killed for {seconds:.1f} s')
        self._lose(name, what)
        self._away[name] = (time.monotonic() + seconds, 'start')

    def _hold(self, name, habit):
        seconds = self._random.uniform(1, habit.paused)
        self._site.pause(name)
        what = self._told('paused', name, f'paused for {seconds:.1f} s')
        if seconds > sites.LEASE:
            self._lose(name, what)
        self._away[name] = (time.monotonic() + seconds, 'resume')

    def _told(self, how, name, text):
        self._tally.count(how, name)
        self._tally.note(f'--- {name} {text}')
        self._watch.struck(f'{name} {text}')
        return f'{name} {text}'

    def _lose(self, name, what):
        kind, _dash, number = name.rpartition('-')
        if kind == 'karbor-protection':
            self._watch.lost(sites.HOSTS[int(number) - 1], what)

    def _bring_back(self, now):
        for name, (moment, how) in list(self._away.items()):
            if now < moment:
                continue
            getattr(self._site, how)(name)
            self._tally.note(f'+++ {name}: {how}')
            del self._away[name]
            if how == 'start':
                self._since[name] = time.monotonic()
            if name == 'mariadb':
                self._database_back = time.monotonic()

    def _revive(self, now):
        """Start again what has ended by itself."""
        for name in self._site.programs:
            if name in self._away or self._site.is_running(name):
                continue
            is_database_away = ('mariadb' in self._away
                                or now - self._database_back < _START)
            text = f'{name} ended by itself'
            if is_database_away and now - self._since[name] < _START:
                self._tally.count('ended at the start', name)
                self._tally.note(f'{text}: there was no database')
            else:
                self._tally.violation(f'{text}; see its log')
            self._site.start(name)
            self._since[name] = now
