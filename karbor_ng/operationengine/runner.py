# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""From runs to checkpoints, and from those to how the runs ended.

Starting is one transaction for many runs: the run is not due any more, and
its checkpoint waits for a worker, or neither. A run ends with the operation
that makes its checkpoint, whoever sees that.
"""

import logging

from oslo_db import exception as db_exception
from sqlalchemy import exc

from karbor_ng import context
from karbor_ng import delegation
from karbor_ng import errors
from karbor_ng import quota
from karbor_ng.operationengine import own_checkpoints
from karbor_ng.store import runs
from karbor_ng.store import scheduled_operations
from karbor_ng.store import triggers

LOG = logging.getLogger(__name__)

#: What is no matter of single runs.
_DATABASE_AWAY = (db_exception.DBConnectionError, db_exception.DBDeadlock,
                  exc.TimeoutError)
_DATABASE_ERRORS = (db_exception.DBError, exc.SQLAlchemyError)
#: Runs that are started, or ended, in one transaction.
BATCH = 100


def caller(row, request_id, sealer):
    """Return who asks for what a scheduled operation does.

    :param row: the scheduled operation
    """
    credentials = None
    if row.trust_id is not None and sealer is not None:
        credentials = sealer.seal(delegation.access(row.trust_id))
    return context.Caller(row.project_id, row.user_id, request_id,
                          credentials)


class Runner:
    """Starts due runs and ends those whose checkpoints have ended.

    :param client: a :class:`karbor_ng.protection.client.ProtectionClient`
    :param sealer: as of :class:`karbor_ng.api.v1.base.Tools`
    :param types: ``{name: karbor_ng.triggers.TriggerType}``
    :param kinds: ``{operation type: Kind}``
    :param clock: returns the present time, given a session
    """

    def __init__(self, db, client, sealer, types, kinds, clock):
        self._db = db
        self._client = client
        self._sealer = sealer
        self._types = types
        self._kinds = kinds
        self._clock = clock

    # Starting

    def start(self, is_stopping=lambda: False):
        """Start, or settle otherwise, all due runs.

        :param is_stopping: asked between transactions
        """
        after = None
        while not is_stopping():
            due = self._db.read(runs.in_state, 'due', BATCH, after)
            if not due:
                return
            self._start(due)
            after = due[-1]

    def _start(self, due):
        try:
            queued = self._db.write(self._start_all, due)
        except _DATABASE_AWAY:
            raise
        except Exception as problem:
            LOG.exception('Starting %s runs failed', len(due))
            self._start_singly(due, isinstance(problem, _DATABASE_ERRORS))
            return
        if queued:
            self._client.announce(queued[-1])

    def _start_singly(self, due, is_database):
        """Let one of them that can not be started not hinder the others.

        What the database does not like may be no fault of the run: it stays
        due until its window has passed.
        """
        if len(due) > 1:
            for run in due:
                self._start([run])
        if len(due) > 1 or is_database:
            return
        self._db.write(
            runs.move, due[0].id, 'failed', ended_at=due[0].planned_at,
            reason='The operation engine could not start it; its log says '
                   f'why, at run {due[0].id}.')

    def _start_all(self, session, due):
        """Start those that still are due; return ids of new operations."""
        # Of all that is locked, projects come first.
        for project_id in sorted({run.project_id for run in due}):
            quota.hold(session, project_id)
        due = runs.lock_due(session, [run.id for run in due])
        ids = {run.scheduled_operation_id for run in due}
        rows = scheduled_operations.by_ids(session, ids)
        known = triggers.by_ids(
            session, {row.trigger_id for row in rows.values()})
        busy, now = runs.running(session, ids), self._clock(session)
        queued = []
        for run in due:
            row = rows.get(run.scheduled_operation_id)
            refusal = self._refusal(run, row, known, busy, now)
            if refusal is not None:
                _end(run, now, *refusal)
            elif self._protect(session, run, row, now, queued):
                busy[row.id] = run
        session.flush()
        return queued

    def _refusal(self, run, row, known, busy, now):
        """Return state and reason of a run that must not start, or None."""
        if row is None:
            return 'skipped', 'The scheduled operation was deleted meanwhile.'
        if row.disabled_reason:
            return 'failed', row.disabled_reason
        if not row.is_enabled:
            return 'skipped', ('The scheduled operation was disabled '
                               'meanwhile.')
        late = (now - run.planned_at).total_seconds()
        window = self._window(known[row.trigger_id])
        if late > window:
            return 'missed', (
                f'It could have started within {window} seconds, but no '
                f'operation engine came to it before {round(late)} seconds '
                'had passed.')
        if row.id in busy:
            other = busy[row.id]
            return 'skipped', (
                f'The run of {other.planned_at.isoformat()} still goes on, '
                f'with checkpoint {other.checkpoint_id}.')
        return None

    def _window(self, trigger):
        return self._types[trigger.type].schedule(
            trigger.properties).window_seconds

    def _protect(self, session, run, row, now, queued):
        """Queue the checkpoint of a run; return whether it could be."""
        try:
            checkpoint, operation_id = self._client.protect_within(
                session, caller(row, f'req-{run.id}', self._sealer),
                row.plan_id, row.provider_id,
                {'created_by': 'operation-engine',
                 'scheduled_operation_id': row.id,
                 'trigger_id': row.trigger_id},
                scheduled_operation_id=row.id, scheduled_run_id=run.id)
        except errors.Error as problem:
            _end(run, now, 'failed', str(problem))
            return False
        run.state, run.checkpoint_id = 'started', checkpoint.id
        queued.append(operation_id)
        return True

    # Ending

    def settle(self, is_stopping=lambda: False):
        """End all runs whose checkpoints have ended.

        :param is_stopping: asked between transactions
        """
        after = None
        while not is_stopping():
            ended = self._db.read(runs.ended, BATCH, after)
            if not ended:
                return
            self._db.write(self._settle_all, ended)
            after = ended[-1][0]

    def _settle_all(self, session, ended):
        rows = scheduled_operations.by_ids(
            session, {run.scheduled_operation_id for run, _ in ended})
        now = self._clock(session)
        for run, operation in ended:
            state, reason = self._outcome(
                rows.get(run.scheduled_operation_id), operation)
            runs.move(session, run.id, state, reason=reason,
                      ended_at=operation and operation.ended_at or now)

    def _outcome(self, row, operation):
        if operation is None:
            return 'failed', 'The record of its operation is gone.'
        if operation.state == 'failed':
            return 'failed', operation.error_info
        if row is None or own_checkpoints.rules(self._kinds, row) is None:
            return 'succeeded', None
        return 'retaining', None


def _end(run, now, state, reason):
    run.state, run.reason, run.ended_at = state, reason, now
