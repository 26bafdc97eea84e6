# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Protection services that die one after the other, each at its own point.

``python -m karbor_ng.tests.functional.crash_chain FOLDER CONFIG POINT...``
serves the providers in FOLDER/providers.d and no others. Each worker is
killed with SIGKILL when it comes to its point, and the next one takes over;
the last one has no point. FOLDER/died has a line for each that is dead.

Separate from ``crash_worker``, which serves the stack's own providers: here
nobody else interferes, so that leases can be short and nothing else has to
be stopped meanwhile.
"""

import os
import pathlib
import signal
import sys
import time

from karbor_ng import conf as configuration
from karbor_ng.store import providers as provider_rows
from karbor_ng.store import session
from karbor_ng.tests.functional import crash_worker

#: As short as a busy machine allows; takes over within it and a sweep.
OPTIONS = {'lease_seconds': 4, 'sweep_seconds': 0.5, 'max_take_overs': 100}


class Chain:
    """The process whose children are the workers."""

    def __init__(self, folder, config):
        self._folder = pathlib.Path(folder)
        self._conf = configuration.load([], config_files=[config])
        # What a host does not serve any more it withdraws: be another one.
        self._conf.set_override('host', f'crash-{os.getpid()}')
        self._conf.set_override('provider_config_dir',
                                f'{folder}/providers.d', 'protection')
        for name, value in OPTIONS.items():
            self._conf.set_override(name, value, 'protection')
        self._worker = None

    def run(self, points):
        """Run workers until told to stop; raise if one ends by itself."""
        signal.signal(signal.SIGTERM, self._stop)
        for number, point in enumerate([*points, None]):
            self._worker = os.fork()
            if not self._worker:
                self._be_worker(point, points[number + 1:])
            _, status = os.waitpid(self._worker, 0)
            if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
                raise SystemExit(f'The worker of {point}: status {status}')
            with open(self._folder / 'died', 'a') as died:
                died.write(f'{point}\n')

    def _be_worker(self, point, later):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if point:
            crash_worker.POINTS[point](_die)
        for other in later:
            crash_worker.hold_back(other)
        crash_worker.start_worker(self._conf)
        while True:
            time.sleep(60)

    def _stop(self, _signal, _frame):
        os.kill(self._worker, signal.SIGKILL)
        os.waitpid(self._worker, 0)
        db = session.Database.from_conf(self._conf)
        db.write(provider_rows.withdraw, self._conf.host, [])
        raise SystemExit(0)


def _die():
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


if __name__ == '__main__':
    Chain(*sys.argv[1:3]).run(sys.argv[3:])
