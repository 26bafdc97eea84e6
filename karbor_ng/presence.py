# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Presence: a process that says, as long as it lives, that it does.

For programs that have no leases to renew; those that have say it with each
renewal. Operators see it in the list of services.
"""

import logging
import threading
import uuid

from oslo_db import exception as db_exception

from karbor_ng import trouble
from karbor_ng import version
from karbor_ng.store import models
from karbor_ng.store import services

LOG = logging.getLogger(__name__)

#: How often it is said in the time after which one counts as dead.
_TIMES = 4
#: Seconds to wait for the last word of a process that stops.
_GOODBYE_SECONDS = 5


class Presence:
    """Writes the row of one process in a thread of its own.

    :param conf: has ``host`` and ``[protection] lease_seconds``
    :param binary: name of the program
    """

    def __init__(self, conf, db, binary):
        self._db = db
        self._pause = conf.protection.lease_seconds / _TIMES
        self.id = f'{conf.host}:{uuid.uuid4()}'
        self._values = {'id': self.id, 'binary': binary, 'host': conf.host,
                        'version': version.text(),
                        'started_at': models.utcnow()}
        self._trouble = trouble.Trouble(
            LOG, f'The presence of {self.id} could not be written')
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name='presence',
                                        daemon=True)

    def start(self):
        """Begin; returns at once, whether the database answers or not."""
        self._thread.start()

    def stop(self):
        """Say goodbye; return after a few seconds whatever happens."""
        self._stopping.set()
        self._thread.join(_GOODBYE_SECONDS)

    def _run(self):
        while True:
            self._try(services.seen, self._values)
            if self._stopping.wait(self._pause):
                self._try(services.gone, self.id)
                return

    def _try(self, function, *args):
        try:
            self._db.write(function, *args)
            self._trouble.end()
        except db_exception.DBError as problem:
            # Said again soon; nothing depends on it.
            self._trouble.meet(problem)
        except Exception:
            LOG.exception('The presence of %s could not be written', self.id)
