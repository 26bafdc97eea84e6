# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The journal: all that a running operation writes into SQL.

Every transaction first makes sure that the attempt still owns the operation;
what threads write at the same time shares one. A database that is away is
waited for as long as the lease allows; a write may then happen twice, which
each of them bears.
"""

import logging
import time
import uuid

from karbor_ng import errors
from karbor_ng import trouble
from karbor_ng.protection import shared_writes
from karbor_ng.store import checkpoints
from karbor_ng.store import externals
from karbor_ng.store import operations
from karbor_ng.store import restores
from karbor_ng.store import session as store_session
from karbor_ng.store import steps
from karbor_ng.store import verifications

LOG = logging.getLogger(__name__)

#: Columns that a plugin fills by saving these keys.
SAVED_COLUMNS = {'backup_id': 'backup_id', 'parent_backup': 'parent_backup',
                 'chain_id': 'chain_id', 'size': 'size'}
#: Whose resources an operation is about, and the column that names it.
CHECKPOINT_ROWS = (checkpoints, 'checkpoint_id')
ROWS = {'restore': (restores, 'restore_id'),
        'verify': (verifications, 'verification_id')}


class Journal:
    """Writes of one attempt at one operation.

    :param operation: the claimed row
    """

    def __init__(self, db, operation, lease):
        self.db = db
        self.operation = operation
        self.lease = lease
        self._rows, column = ROWS.get(operation.type, CHECKPOINT_ROWS)
        self._owner_id = getattr(operation, column)
        self._shared = shared_writes.SharedWrites(self.write)
        self._away = trouble.Trouble(
            LOG, f'The database is away; operation {operation.id} waits')

    def write(self, function, *args, **kwargs):
        """Run ``function(session, ...)`` if the attempt is still the owner.

        :raises errors.Fenced: it is not; nothing was written
        """
        self.lease.check_owned()
        return self._waiting(lambda: self.db.write(
            self._guarded, function, args, kwargs))

    def _waiting(self, run):
        """Run until the database is there, for as long as the lease lasts."""
        pause = 0.2
        while True:
            try:
                found = run()
                self._away.end()
                return found
            except store_session.AWAY as problem:
                self._away.meet(problem)
            if self.lease.is_stopping:
                raise errors.Stopping('The database is away.') from None
            time.sleep(pause)
            pause = min(pause * 2, 5)
            self.lease.check_owned()

    def _guarded(self, session, function, args, kwargs):
        try:
            operations.guard(session, self.operation.id,
                             self.operation.attempt)
        except errors.Fenced:
            self.lease.lose()
            raise
        return function(session, *args, **kwargs)

    def read(self, function, *args, **kwargs):
        """Run ``function(session, ...)`` that only reads.

        :raises errors.Fenced: the lease ran out before the database was there
        """
        return self._waiting(lambda: self.db.read(function, *args, **kwargs))

    def has_ended(self):
        """Return whether the operation goes on with nobody any more."""
        row = self.read(operations.get, self.operation.id)
        return row.state in ('done', 'failed')

    # Resources and steps

    def resources(self):
        """Return the operation's resource rows."""
        return self.read(self._rows.resources, self._owner_id)

    def put_resources(self, rows):
        self.write(self._rows.put_resources, self._owner_id, rows)

    def set_resource(self, resource, **values):
        """Set columns of one resource's row."""
        self._shared.write(self._rows.change_resource, self._owner_id,
                           resource.type, resource.id, values)

    def steps(self):
        """Return ``{(type, id, hook): step}`` of what has ended."""
        return self.read(steps.ended, self.operation.id)

    def end_step(self, resource, hook, state, started_at, result, values):
        """Write the end of a hook and the resource's columns as one."""
        self._shared.write(self._end_step, resource, hook, {
            'state': state, 'result': result, 'started_at': started_at,
            'ended_at': self.lease.now(),
            'attempt': self.operation.attempt},
            values)

    def _end_step(self, session, resource, hook, step, values):
        steps.put(session, dict(
            step, operation_id=self.operation.id, hook=hook,
            resource_type=resource.type, resource_id=resource.id))
        self._rows.change_resource(session, self._owner_id, resource.type,
                                   resource.id, values)

    def forget_steps(self, resources, hooks):
        """Let hooks run again that had ended."""
        self.write(steps.remove, self.operation.id,
                   [(resource.type, resource.id) for resource in resources],
                   hooks)

    # Externals

    def intend(self, resource, label, kind):
        """Write that a thing is about to be created.

        Return the row and whether it was there before.
        """
        tag = tag_of(self.operation.id, resource, label)
        return self._shared.write(self._intend, resource, label, kind, tag)

    def _intend(self, session, resource, label, kind, tag):
        row = externals.by_tag(session, self.operation.id, tag)
        if row is None:
            return externals.put(session, {
                'id': str(uuid.uuid4()), 'operation_id': self.operation.id,
                'checkpoint_id': self.operation.checkpoint_id,
                'resource_type': resource.type, 'resource_id': resource.id,
                'label': label, 'tag': tag, 'service': kind.service,
                'kind': kind.name, 'created_at': self.lease.now(),
                'attempt': self.operation.attempt}), False
        if row.state == 'gone':
            row.state, row.external_id = 'intended', None
            session.flush()
        return row, True

    def exists(self, row_id, external_id):
        """Write under which id the thing exists."""
        self._shared.write(self._change_external, row_id, {
            'external_id': external_id, 'state': 'exists',
            'attempt': self.operation.attempt})

    def gone(self, row_id):
        """Write that the thing does not exist any more."""
        self._shared.write(self._change_external, row_id, {'state': 'gone'})

    def _change_external(self, session, row_id, values):
        externals.change(session, row_id, **values)

    def external(self, resource, label):
        """Return the row of one thing, or None."""
        return self.read(externals.by_tag, self.operation.id,
                         tag_of(self.operation.id, resource, label))

    def externals_of(self, operation_id, resource=None):
        """Return rows of an operation, or of one of its resources."""
        if resource is None:
            return self.read(externals.of_operation, operation_id)
        return self.read(externals.of_resource, operation_id,
                         resource.type, resource.id)


def tag_of(operation_id, resource, label):
    """Return the tag of a thing: the same for the same question.

    It names the operation and not the checkpoint: a second restore of one
    checkpoint must not adopt what the first one made.
    """
    return str(uuid.uuid5(uuid.UUID(operation_id),
                          f'{resource.type}/{resource.id}/{label}'))


def saved_values(saved):
    """Return the columns that go with ``saved``."""
    values = {'saved': saved}
    values.update({column: saved.get(key)
                   for key, column in SAVED_COLUMNS.items()})
    return values
