# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The operation engine: does what is scheduled, when it is due.

Any number of these work on one database, without a leader. Each looks at
rows, again and again, and nothing that matters is only in memory: an engine
that dies is late for nobody by more than one pause of the others.
"""

import logging
import random
import threading
import time

from karbor_ng import delegation
from karbor_ng import presence
from karbor_ng import triggers
from karbor_ng import trouble
from karbor_ng.operationengine import kinds
from karbor_ng.operationengine import retainer
from karbor_ng.operationengine import runner
from karbor_ng.operationengine import scheduler
from karbor_ng.operationengine import trusts
from karbor_ng.store import services
from karbor_ng.store import session as store_session

LOG = logging.getLogger(__name__)

#: What the rows of services call this program.
BINARY = 'karbor-operationengine'
#: Seconds between two looks for trusts that nobody uses.
TRUSTS_SECONDS = 3600
#: Part of a pause by which it is longer, at most.
_JITTER = 0.1
#: Seconds that a turn may last beyond its pause.
_TURN_SECONDS = 300
#: Seconds that a turn gets to end when the engine stops.
_GOODBYE_SECONDS = 30


class OperationEngine:
    """One engine.

    :param conf: has ``host``, ``[operationengine]`` and the options of the
        types of triggers
    :param cloud: one of the clouds of ``karbor_ng.keystone``
    :param sealer: seals credentials of operations; None where there are none
    :param client: a :class:`karbor_ng.protection.client.ProtectionClient`
    :param clock: returns the present time, given a session
    :raises errors.ConfigError: a type of triggers can not be loaded
    """

    def __init__(self, conf, db, cloud, sealer, client,
                 clock=store_session.now):
        self._conf = conf.operationengine
        self._host = conf.host
        self._db = db
        self._presence = presence.Presence(conf, db, BINARY)
        types, known = triggers.load(conf), kinds.load()
        self._trusts = trusts.Trusts(db, delegation.Delegation(
            cloud, conf.delegation.withheld_roles))
        self._scheduler = scheduler.Scheduler(db, types, clock)
        self._runner = runner.Runner(db, client, sealer, types, known, clock)
        self._retainer = retainer.Retainer(
            db, client, sealer, known, clock,
            self._conf.retention_retry_seconds)
        self._database = trouble.Trouble(
            LOG, 'The database is away; what is due waits for it')
        self._sweep_at = 0.0
        self._turned_at = time.monotonic()
        self._looked = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name='engine',
                                        daemon=True)

    def start(self):
        """Start looking; returns at once."""
        LOG.info('Operation engine %s starts', self._presence.id)
        self._presence.start()
        self._thread.start()

    def stop(self):
        """Let the transaction that goes on end, and return."""
        self._stopping.set()
        self._thread.join(_GOODBYE_SECONDS)
        self._presence.stop()
        LOG.info('Operation engine %s has stopped', self._presence.id)

    def wait_until_ready(self):
        """Return when it has looked once."""
        self._looked.wait()

    def is_alive(self):
        """Whether the loop turns; not whether what it does succeeds."""
        limit = _TURN_SECONDS + 2 * self._conf.poll_interval
        return (self._stopping.is_set()
                or time.monotonic() - self._turned_at < limit)

    def describe(self):
        """Return one line for operators."""
        ago = round(time.monotonic() - self._turned_at)
        return f'looked for due triggers {ago} s ago'

    def _run(self):
        while not self._stopping.is_set():
            self._turned_at = time.monotonic()
            self.turn()
            self._looked.set()
            pause = self._conf.poll_interval
            late = random.random() * _JITTER  # nosec B311: only jitter
            self._stopping.wait(pause * (1 + late))

    def turn(self):
        """Do once all that there is to do now; never raises."""
        # What has ended makes room for what begins.
        steps = [self._runner.settle]
        if not self._is_disabled():
            steps += [self._scheduler.tick, self._runner.start]
        for step in (*steps, self._retainer.retain, self._sweep_trusts):
            try:
                step(self._is_stopping)
            except store_session.AWAY as problem:
                self._database.meet(problem)
            except Exception:
                # Nothing is lost: the rows are there in the next turn.
                LOG.exception('A turn of the operation engine failed')

    def _is_stopping(self):
        """Asked between transactions, which shows that all goes on."""
        self._turned_at = time.monotonic()
        return self._stopping.is_set()

    def _is_disabled(self):
        """A database that can not tell can not be worked on either."""
        try:
            found = self._db.read(services.is_disabled, BINARY, self._host)
            self._database.end()
            return found
        except store_session.AWAY as problem:
            self._database.meet(problem)
            return True
        except Exception:
            LOG.exception('Whether this engine is disabled is not known')
            return True

    def _sweep_trusts(self, _is_stopping):
        if time.monotonic() >= self._sweep_at:
            self._sweep_at = time.monotonic() + TRUSTS_SECONDS
            self._trusts.sweep()
