# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The journal: all that a running operation writes into SQL.

Every transaction first makes sure that the attempt still owns the operation;
what threads write at the same time shares one. What a hook has saved, that it
has ended, and under which id a thing exists is not waited for: it is committed
with what is written next, after a second at the latest, and always before
anything is asked of a cloud that changes something there. A database that is
away is waited for as long as the lease allows; a write may then happen twice,
which each of them bears.
"""

import functools
import logging
import threading
import time
import uuid

from oslo_db import exception as db_exception

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
        self._shared = shared_writes.SharedWrites(self._transact)
        self._unwritten = None
        #: tags of what this attempt has intended
        self._intended = set()
        #: undoes what no row could tell any more
        self._late = []
        #: what :meth:`look` has found, until something is written
        self._seen = {}
        #: what other operations have made, by their ids
        self._made = {}
        self._making = threading.Lock()
        self._away = trouble.Trouble(
            LOG, f'The database is away; operation {operation.id} waits')

    def write(self, function, *args, **kwargs):
        """Run ``function(session, ...)`` if the attempt is still the owner.

        :raises errors.Fenced: it is not; nothing was written
        """
        self.settle()
        return self._transact(function, *args, **kwargs)

    def write_later(self, function, *args):
        """As :meth:`write`, with what is written next."""
        self._later(function.__name__, self._each, function, args)

    def settle(self):
        """Return when everything is committed that was written before.

        :raises errors.Error: something of it can not be
        """
        self._shared.settle()
        if self._unwritten is not None:
            raise self._unwritten

    def settle_overdue(self):
        """Commit what has waited for long; never raises.

        :meth:`end_hooks` tells what can not be written.
        """
        if self._shared.is_overdue:
            try:
                self._shared.settle()
            except (errors.Error, db_exception.DBError) as problem:
                LOG.warning('Nothing can be written: %s', problem)

    def end_hooks(self, source_operation_id):
        """Commit what hooks have left, and forget what can not be.

        Looks around in the same transaction: see :meth:`look`.

        :raises errors.Error: something can not be; it says what
        """
        try:
            found = self._shared.write(self._look_for_all,
                                       source_operation_id)
            if self._unwritten is not None:
                raise self._unwritten
        finally:
            self._unwritten = None
        self._seen = found

    def look(self, session, source_operation_id):
        """Read what comes next to be asked for, in a transaction that reads.

        That is the operation's resources, and what an operation made. It
        stays true until something is written: nobody else may change it
        while the operation is ours.
        """
        self._seen = self._look(session, source_operation_id)

    def _look_for_all(self, session, calls):
        return [self._look(session, *args) for args in calls]

    def _look(self, session, source_operation_id):
        return {
            None: self._rows.resources(session, self._owner_id),
            source_operation_id: externals.of_operation(
                session, source_operation_id)}

    @property
    def is_broken(self):
        """Whether something can not be written."""
        return self._unwritten is not None

    def _later(self, what, function, *args, undo=None):
        # Whoever is late learns it here, and not after what comes next.
        self.lease.check_owned()
        self._shared.write_later(
            function, *args,
            failed=functools.partial(self._not_written, what, undo))

    def _not_written(self, what, undo, problem):
        if undo is not None:
            self._late.append(undo)
        if not isinstance(problem, (errors.Fenced, errors.Stopping)):
            text = f'{what} could not be written: {problem!r}'
            LOG.error('%s', text)
            problem = errors.Error(text)
        self._unwritten = self._unwritten or problem

    def _each(self, session, calls):
        return [function(session, *args) for function, args in calls]

    def _transact(self, function, *args, **kwargs):
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
        self._seen = {}
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
        return self._seen_or_read(None, self._rows.resources, self._owner_id)

    def _seen_or_read(self, what, function, *args):
        # Who has lost the operation looks at what others have made of it.
        if not self.lease.is_lost:
            self.settle()
            seen = self._seen.get(what)
            if seen is not None:
                return seen
        return self.read(function, *args)

    def _read_settled(self, function, *args):
        if not self.lease.is_lost:
            self.settle()
        return self.read(function, *args)

    def put_resources(self, rows):
        """Insert rows that are not there yet.

        Return ``{(type, id): row}`` of all.
        """
        if self.operation.attempt == 1:
            self.write_later(self._rows.put_resources, self._owner_id, rows)
            return self.new_rows(rows)
        self.write(self._rows.put_resources, self._owner_id, rows)
        return {(row.type, row.id): row for row in self.resources()}

    def new_rows(self, rows):
        """Return rows that are just being written, as they will be read."""
        return {(row['type'], row['id']): self._rows.Resource(**row)
                for row in rows}

    def set_resource(self, resource, **values):
        """Set columns of one resource's row; not waited for."""
        self._later(f'What is known of {resource.type} {resource.id}',
                    self._tell, resource, None, values)

    def steps(self):
        """Return ``{(type, id, hook): step}`` of what has ended."""
        return self._read_settled(steps.ended, self.operation.id)

    def steps_before(self):
        """Return :meth:`steps` of former attempts."""
        return self.steps() if self.operation.attempt > 1 else {}

    def end_step(self, resource, hook, state, started_at, result, values):
        """Write the end of a hook and the resource's columns as one.

        Not waited for.
        """
        self._later(f'The end of {hook} of {resource}', self._tell, resource, {
            'operation_id': self.operation.id, 'hook': hook,
            'resource_type': resource.type, 'resource_id': resource.id,
            'state': state, 'result': result, 'started_at': started_at,
            'ended_at': self.lease.now(), 'attempt': self.operation.attempt,
        }, values)

    def _tell(self, session, calls):
        """Write steps and columns; of the same row's, later ones win."""
        ended, changes = [], {}
        for resource, step, values in calls:
            if step is not None:
                ended.append(step)
            changes.setdefault((resource.type, resource.id), {}).update(
                values)
        steps.put(session, *ended)
        self._rows.change_each(session, self._owner_id, changes)
        return [None for _ in calls]

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
        found = self._shared.write(self._intend, resource, label, kind, tag)
        self._intended.add(tag)
        return found

    def _intend(self, session, calls):
        is_first = self.operation.attempt == 1 and self._intended.isdisjoint(
            tag for _resource, _label, _kind, tag in calls)
        intend = externals.intend_first if is_first else externals.intend
        return intend(session, self.operation.id, [{
            # The same when it is written twice.
            'id': tag,
            'checkpoint_id': self.operation.checkpoint_id,
            'resource_type': resource.type, 'resource_id': resource.id,
            'label': label, 'tag': tag, 'service': kind.service,
            'kind': kind.name, 'created_at': self.lease.now(),
            'attempt': self.operation.attempt}
            for resource, label, kind, tag in calls])

    def exists(self, row_id, external_id, undo=None):
        """Write under which id the thing exists; not waited for.

        Whoever does not know it yet finds the thing by its tag.

        :param undo: for :meth:`undo_late`, if there is anything to undo
        """
        self._later(f'That {external_id} exists', self._change_externals,
                    row_id, {'external_id': external_id, 'state': 'exists',
                             'attempt': self.operation.attempt}, undo=undo)

    def undo_late(self):
        """Undo what came to exist after somebody had taken the operation.

        Once no thread of the attempt works any more; never raises.
        """
        for undo in self._late:
            try:
                undo()
            except Exception:
                # Deleting the checkpoint meets it.
                LOG.exception('Something may be left that operation %s made '
                              'late', self.operation.id)

    def gone(self, external):
        """Write that the thing does not exist any more; not waited for.

        Removing it once more is harmless.
        """
        for rows in self._made.values():
            for row in rows.get((external.resource_type,
                                 external.resource_id), ()):
                if row.id == external.id:
                    row.state = 'gone'
        self._later(f'The end of {external.kind} {external.external_id}',
                    self._change_externals, external.id, {'state': 'gone'})

    def _change_externals(self, session, calls):
        changes = {}
        for row_id, values in calls:
            changes.setdefault(row_id, {}).update(values)
        externals.change_each(session, changes.items())
        return [None for _ in calls]

    def external(self, resource, label):
        """Return the row of one thing, or None."""
        return self._read_settled(
            externals.by_tag, self.operation.id,
            tag_of(self.operation.id, resource, label))

    def externals_of(self, operation_id, resource=None):
        """Return rows of an operation, or of one of its resources.

        Those of resources of another operation are read once: nothing comes
        to them any more.
        """
        if resource is None:
            return self._seen_or_read(operation_id, externals.of_operation,
                                      operation_id)
        if operation_id != self.operation.id:
            return self._made_by(operation_id).get(
                (resource.type, resource.id), ())
        return self._read_settled(externals.of_resource, operation_id,
                                  resource.type, resource.id)

    def _made_by(self, operation_id):
        with self._making:
            if operation_id not in self._made:
                found = self._made[operation_id] = {}
                for row in self.externals_of(operation_id):
                    found.setdefault((row.resource_type, row.resource_id),
                                     []).append(row)
            return self._made[operation_id]


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
