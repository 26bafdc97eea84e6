# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Makes operations on nothing last a while now and then.

Separate because it speaks to the registry of the no-op plugin alone. Such
operations take milliseconds otherwise, and nobody would die amid one.
"""

import random
import threading

from karbor_ng.plugins import noop
from karbor_ng.tests.soak import providers

_POINTS = ('on_prepare_begin', 'on_prepare_finish', 'on_main', 'on_complete',
           'backup', 'restored')


class Weather(threading.Thread):
    """Lets all hooks hang at one point for some seconds, then at none."""

    def __init__(self, seed):
        super().__init__(name='weather', daemon=True)
        self._registry = noop.Registry(providers.HOME / 'noop')
        self._random = random.Random(f'{seed} weather')
        self._stopping = threading.Event()

    def run(self):
        while not self._stopping.wait(self._random.uniform(0.5, 6)):
            point = self._random.choice(_POINTS)
            self._registry.control({'hang': {'*': [point]}})
            self._stopping.wait(self._random.uniform(1, 8))
            self._registry.control({})

    def stop(self):
        self._stopping.set()
        self.join()
        self._registry.control({})
