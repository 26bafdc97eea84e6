# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Making: how an operation ends that makes a checkpoint.

Protecting makes one from a cloud, copying from another bank. Whatever they
do until then, afterwards a manifest is put if absent, and the rows say what
it says. Apart from them so that there is one end, and one way to abort.
"""

import logging

from karbor_ng import errors
from karbor_ng.protection import manifest
from karbor_ng.protection import streams
from karbor_ng.protection import verb
from karbor_ng.resource import Resource
from karbor_ng.store import checkpoints
from karbor_ng.store import models
from karbor_ng.store import operations

LOG = logging.getLogger(__name__)


class Making(verb.Verb):
    """The work of an operation that makes a checkpoint.

    :cvar UNFINISHED: what its resources are called that have not ended
    """

    UNFINISHED: str

    def __init__(self, attempt):
        super().__init__(attempt)
        self.checkpoint = self.journal.read(
            checkpoints.get, self.operation.checkpoint_id)
        self.committed = None
        #: known once the work has ended
        self._skipped = frozenset()
        self._is_aborted = False

    def work(self):
        if not self._find_committed():
            self.make()

    def make(self):
        """Do all of it but the end. May run again after a take-over."""
        raise NotImplementedError

    def _find_committed(self):
        """An earlier attempt may have died between manifest and rows."""
        if self.operation.attempt > 1:
            self.committed = manifest.read(
                self.bank, self.operation.project_id, self.checkpoint.id)
        return self.committed is not None

    def withdraw(self):
        """Leave nothing in the bank that no row, and no checkpoint, has.

        Somebody may have deleted the checkpoint, or reset its state, while
        this worker stood still with an object on its way.
        """
        try:
            status = self.journal.read(
                checkpoints.get, self.checkpoint.id).status
        except errors.NotFound:
            status = 'deleted'
        if status == 'deleted':
            self.bank.section(self.prefix).delete_prefix('')
            return
        self._withdraw_objects()
        self._withdraw_manifest(status)

    def _withdraw_objects(self):
        known = {item['key'] for row in self.journal.resources()
                 for item in row.objects}
        own = f'{self.prefix}/data/{self.operation.attempt}'
        for key in list(self.bank.keys(own)):
            if key[len(own)] in './' and key not in known:
                self.bank.delete(key)

    def _withdraw_manifest(self, status):
        """Take back what was committed after the operation was ended."""
        operation = self.journal.read(operations.get, self.operation.id)
        found = manifest.read(self.bank, self.operation.project_id,
                              self.checkpoint.id)
        if (operation.state == 'failed' and found is not None
                and found['status'] != status and found['operation'] == {
                    'id': operation.id, 'attempt': self.operation.attempt}):
            LOG.warning('Removing the manifest of checkpoint %s, which came '
                        'after that was given up', self.checkpoint.id)
            self.bank.delete(manifest.key(self.operation.project_id,
                                          self.checkpoint.id))

    # Finishing

    def is_unwanted(self, resource):
        """What was made of a resource before it was skipped is of no use."""
        return self._is_aborted or resource in self._skipped

    def abort(self):
        """Leave nothing behind, unless all was committed before.

        What a cloud does not let go stays recorded: deleting the checkpoint
        meets it again.
        """
        if self.committed is not None or self._find_committed():
            return self.finish(None)
        self._is_aborted = True
        externals = self.tidy()
        self._empty_bank()
        failed_before = {
            (kind, number): step.result
            for (kind, number, _hook), step in self.journal.steps().items()
            if step.state == 'failed' and step.result != verb.ABORTED}
        for row in self.journal.resources():
            if row.status != 'skipped':
                reason = failed_before.get((row.type, row.id), verb.ABORTED)
                self.journal.set_resource(
                    row, **self._aborted_values(row, reason))
        rows = self.ended_rows(self.UNFINISHED, verb.ABORTED)
        return self._commit_and_end(rows, externals, verb.ABORTED)

    def _empty_bank(self):
        # A new owner may have put the manifest there that tells the end.
        self.journal.lease.check_owned()
        try:
            self.bank.section(self.prefix).delete_prefix('')
            streams.release(self.journal, self.bank,
                            self.provider.bank_uuid, self.checkpoint.id)
        except errors.BankError as problem:
            LOG.warning('The data of checkpoint %s, which was aborted, could '
                        'not be removed: %s', self.checkpoint.id, problem)

    def _aborted_values(self, row, reason):
        """Return columns of a resource of which there is no backup."""
        left = [f'{item.kind} {item.external_id or item.tag}' for item
                in self.journal.externals_of(self.operation.id, row)
                if item.state != 'gone']
        if left:
            return {'status': 'error',
                    'reason': f'{reason} Still there: {", ".join(left)}.'}
        return {'status': 'error', 'reason': reason, 'saved': {},
                'objects': [], 'progress': 0, 'size': None,
                'backup_id': None, 'parent_backup': None, 'chain_id': None}

    def finish(self, reason):
        if self.committed is not None:
            return self._end(self.committed['status'], reason)
        rows = self.ended_rows(self.UNFINISHED, reason)
        self._skipped = {Resource(row.type, row.id) for row in rows
                         if row.status == 'skipped'}
        return self._commit_and_end(rows, self.tidy(), reason)

    def _commit_and_end(self, rows, externals, reason):
        reason = reason or self.failed_texts(rows)
        status = 'error' if reason else 'available'
        try:
            self.committed = self._commit(rows, externals, status)
        except errors.BankError as problem:
            return self._end('error', f'{reason or ""} The manifest '
                             f'could not be written: {problem}'.strip())
        return self._end(self.committed['status'], reason)

    def _commit(self, rows, externals, status):
        checkpoint = self.checkpoint
        made = manifest.build(checkpoint, self.operation, rows, externals,
                              status, checkpoint.graph)
        self.journal.lease.check_owned()
        found = manifest.write(self.bank, made)
        if self._is_aborted and found['status'] != status:
            # A worker that was given up woke up: what it committed is gone.
            self.bank.delete(manifest.key(checkpoint.project_id,
                                          checkpoint.id))
            found = manifest.write(self.bank, made)
        return found

    def _end(self, status, reason):
        state = 'done' if status == 'available' else 'failed'
        if state == 'failed' and reason is None:
            reason = self.failed_texts(self.journal.resources())
        self.journal.write(self._write_end, status, state, reason)
        return state

    def _write_end(self, session, status, state, reason):
        checkpoints.move(
            session, self.checkpoint.id, status,
            finished_at=models.utcnow(),
            size=checkpoints.size_of_resources(session, self.checkpoint.id))
        operations.finish(session, self.operation.id,
                          self.operation.attempt, state, reason)
