# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""From the storm to the moment when nothing goes on any more.

Separate from the proof, which looks at what stands still. A cloud that was
restarted at the wrong moment may have lost what it was just doing, and say
"creating" for ever: whoever operates it resets that, and so is done here,
visibly.
"""

import time

import sqlalchemy as sa

from karbor_ng.store import models
from karbor_ng.tests.functional import base

#: Seconds for all operations to end, and without progress after which a
#: cloud is suspected.
PATIENCE = 1200
_STUCK = 90
#: Of which Cinder says that it is at work on it.
_BUSY = ('creating', 'deleting', 'restoring', 'backing-up',
         'restoring-backup', 'downloading', 'uploading')


class Calm:
    """Waits for the end of all operations.

    :param owners: tenants' ``[(Api, Goods)]``
    """

    def __init__(self, site, tally, owners):
        self._site = site
        self._tally = tally
        self._owners = owners
        self._admin = base.User('admin').cloud.block_storage
        self._changed = time.monotonic()
        self._seen = None

    def wait(self):
        """Return when all has ended; what never does is a violation."""
        base.wait(self._site.is_cloud_well, 180, 2, 'the cloud well again')
        for api, _own in self._owners:
            api.surely('GET', '/plans')
        end = time.monotonic() + PATIENCE
        while not self._has_ended():
            if time.monotonic() > end:
                self._tally.violation(f'operations never end: {self._seen}')
                return
            self._help()
            time.sleep(1)

    def _has_ended(self):
        """Return whether rows stand still; remember since when they do."""
        unended = self._site.db.read(_unended)
        if unended != self._seen:
            self._seen, self._changed = unended, time.monotonic()
        return not unended

    def _help(self):
        """Reset what Cinder has forgotten, if that may be what is awaited."""
        if time.monotonic() - self._changed < _STUCK:
            return
        self._changed = time.monotonic()
        for _api, own in self._owners:
            volumes = own.tenant.cloud.block_storage
            for kind, things in (('backup', volumes.backups()),
                                 ('snapshot', volumes.snapshots()),
                                 ('volume', volumes.volumes())):
                for thing in things:
                    if thing.status in _BUSY:
                        self._reset(kind, thing)

    def _reset(self, kind, thing):
        self._tally.excuse(f'Cinder left {kind} {thing.id} {thing.status}')
        self._tally.count('excused', kind)
        getattr(self._admin, f'reset_{kind}_status')(thing, status='error')


def _unended(session):
    """Return what has not ended: (table, id, how far it is)."""
    found = [('operations', row.id, row.attempt) for row in session.execute(
        sa.select(models.Operation.id, models.Operation.attempt)
        .where(models.Operation.state.in_(('queued', 'running'))))]
    run = models.ScheduledOperationRun
    return found + [
        ('runs', row.id, row.state) for row in session.execute(
            sa.select(run.id, run.state)
            .where(run.state.in_(('due', 'started', 'retaining'))))]
