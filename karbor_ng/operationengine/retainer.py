# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Deleting checkpoints that the rules of a scheduled operation do not keep.

Begins when a run has succeeded, and goes on until nothing is left that is to
go: a checkpoint that others build on goes after these, one that could not be
deleted is tried again. Nothing is remembered but the state of the run, so
any engine may go on, and two at once do no harm.
"""

import datetime
import logging

from karbor_ng import errors
from karbor_ng.operationengine import own_checkpoints
from karbor_ng.operationengine import runner
from karbor_ng.store import operations
from karbor_ng.store import runs
from karbor_ng.store import scheduled_operations
from karbor_ng.store import triggers

LOG = logging.getLogger(__name__)

BATCH = 100
_LONGEST_PAUSE = datetime.timedelta(hours=6)


class Retainer:
    """Settles runs that have succeeded and still have to delete.

    :param client: a :class:`karbor_ng.protection.client.ProtectionClient`
    :param kinds: ``{operation type: Kind}``
    :param clock: returns the present time, given a session
    :param retry_seconds: before a deletion that failed once is repeated
    """

    def __init__(self, db, client, sealer, kinds, clock, retry_seconds):
        self._db = db
        self._client = client
        self._sealer = sealer
        self._kinds = kinds
        self._clock = clock
        self._retry = datetime.timedelta(seconds=retry_seconds)

    def retain(self, is_stopping=lambda: False):
        """Go on with all such runs.

        :param is_stopping: asked between runs
        """
        after = None
        while not is_stopping():
            page = self._db.read(runs.in_state, 'retaining', BATCH, after)
            if not page:
                return
            for run in page:
                if is_stopping():
                    return
                self._try(run)
            after = page[-1]

    def _try(self, run):
        try:
            self._retain(run)
        except Exception:
            LOG.exception('Deleting what run %s of scheduled operation %s '
                          'does not keep failed', run.id,
                          run.scheduled_operation_id)
            self._db.write(runs.note, run.id,
                           'Looking for checkpoints that are not kept '
                           'failed; it is tried again.')

    def _retain(self, run):
        row, doomed = self._db.read(self._doomed, run)
        problems = [problem for problem in (
            self._delete(run, row, fate) for fate in doomed) if problem]
        if doomed:
            self._db.write(runs.note, run.id, ' '.join(problems) or None)
        else:
            self._db.write(runs.move, run.id, 'succeeded', reason=None)

    def _doomed(self, session, run):
        """Return the scheduled operation and what it does not keep."""
        row = scheduled_operations.by_ids(
            session, [run.scheduled_operation_id]).get(
            run.scheduled_operation_id)
        if row is None or runs.is_overtaken(session, run):
            return row, []
        trigger = triggers.get(session, row.trigger_id)
        fates = own_checkpoints.decide(
            session, row, own_checkpoints.rules(self._kinds, row, trigger))
        return row, [fate for fate in fates if not fate.is_kept]

    def _delete(self, run, row, fate):
        """Begin to delete a checkpoint; return what hinders that, or None."""
        checkpoint = fate.checkpoint
        if checkpoint.status == 'deleting':
            return None
        if row.disabled_reason:
            return row.disabled_reason
        if checkpoint.status == 'error-deleting':
            problem = self._db.read(self._too_early, checkpoint.id)
            if problem:
                return problem
        try:
            self._client.delete(
                runner.caller(row, f'req-{run.id}', self._sealer),
                checkpoint.id, scheduled_operation_id=row.id)
        except errors.NotFound:
            return None
        except errors.Error as problem:
            return str(problem)
        LOG.info('Run %s of scheduled operation %s deletes checkpoint %s: %s',
                 run.id, row.id, checkpoint.id, ' '.join(fate.reasons))
        return None

    def _too_early(self, session, checkpoint_id):
        """Return why a deletion is not repeated yet; None if it may be."""
        failed = operations.failed_deletions(session, checkpoint_id)
        if not failed:
            return None
        pause = min(self._retry * 2 ** min(len(failed) - 1, 20),
                    _LONGEST_PAUSE)
        if self._clock(session) - failed[0].ended_at >= pause:
            return None
        return (f'Deleting checkpoint {checkpoint_id} failed '
                f'({failed[0].error_info}); it is tried again.')
