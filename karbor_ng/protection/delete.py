# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Delete: removing a checkpoint and all that exists because of it.

The manifest goes first, so that nobody restores what is half gone; then the
things in clouds, the bank's objects, and the status of the rows.
"""

from karbor_ng import errors
from karbor_ng import graph as graph_module
from karbor_ng.protection import hooks
from karbor_ng.protection import manifest
from karbor_ng.protection import streams
from karbor_ng.protection import verb
from karbor_ng.protection import work
from karbor_ng.resource import Resource
from karbor_ng.store import checkpoints
from karbor_ng.store import models
from karbor_ng.store import operations


class Delete(verb.Verb):
    """Deletes a checkpoint."""

    AVAILABLE = 'deleted'
    CHILDREN_COUNT = False

    def __init__(self, attempt):
        super().__init__(attempt)
        self.checkpoint, self.making, self._streams = self.journal.read(
            self._read)
        #: the status to go back to, while nothing is removed yet
        self.refused_to = None
        #: resources, and what is left in clouds, once the hooks have run
        self._rows = self._left = None

    def _read(self, session):
        where = self.operation.checkpoint_id
        making = operations.making_of(session, where)
        if making is not None:
            self.journal.look(session, making.id)
        return (checkpoints.get(session, where), making,
                streams.used_and_unused(session, where,
                                        self.provider.bank_uuid))

    def work(self):
        self._refuse_conflicts()
        self.bank.delete(manifest.key(self.operation.project_id,
                                      self.checkpoint.id))
        graph = graph_module.unpack(self.checkpoint.graph)
        self.run_hooks(graph, self._members(graph), self.making.id)
        self._look_at_rest()
        if not self._left:
            self._delete_objects()

    def _look_at_rest(self):
        self._rows = self.journal.resources()
        self._left = [row for row in self._externals() if row.state != 'gone']

    def _delete_objects(self):
        """Delete what is known by key, then whatever a listing still finds.

        Listings of some banks lag behind; what died with an attempt that
        could not write it down is only in listings.
        """
        for row in self._rows:
            for item in row.objects:
                if not streams.is_key(item['key']):
                    self.journal.lease.check()
                    self.bank.delete(item['key'])
        self.bank.section(self.prefix).delete_prefix('')
        streams.release(self.journal, self.bank, self.provider.bank_uuid,
                        self.checkpoint.id, self._streams)

    def _externals(self):
        return self.journal.externals_of(self.making.id)

    def _refuse_conflicts(self):
        """Ask the plugins whether the clouds will let us, before we begin."""
        if not self._is_committed():
            return
        texts, by_type = [], {}
        for row in self._externals():
            if row.state == 'exists':
                by_type.setdefault(row.resource_type, []).append(
                    work.as_external(row))
        for resource_type, plugin in self.provider.protections.items():
            if rows := by_type.get(resource_type):
                texts.extend(plugin.conflicts(self.attempt.session, rows))
        if texts:
            self.refused_to = ('available' if self.making.state == 'done'
                               else 'error')
            raise errors.InUse('; '.join(texts))

    def _is_committed(self):
        """Whether the manifest is there: what it says counts for nothing."""
        try:
            self.bank.get(manifest.key(self.operation.project_id,
                                       self.checkpoint.id))
        except errors.NotFound:
            return False
        return True

    def _members(self, graph):
        rows = {(row.type, row.id): row for row in self.journal.resources()}
        members = {}
        for node in graph.nodes:
            row = rows[node.type, node.id]
            plugin = self.provider.protections.get(node.type)
            if row.status == 'deleted' or not (plugin and plugin.Delete):
                continue
            members[node] = hooks.Member(
                plugin=plugin, operation_class=plugin.Delete,
                parameters=row.parameters, bank=self.section(node),
                saved=row.saved, objects=row.objects)
        return members

    def finish(self, reason):
        if self.refused_to is not None:
            return self._end(self.refused_to, reason)
        reason = reason or self._reason_of_rest()
        if reason:
            return self._end('error-deleting', reason)
        return self._end('deleted', None)

    def _reason_of_rest(self):
        failed = self.failed_texts([
            row for row in self._rows
            if self.hooks.reason(Resource(row.type, row.id))])
        left = [f'{row.kind} {row.external_id or row.tag}'
                for row in self._left]
        if left and not failed:
            return f'Still there: {", ".join(left)}.'
        return failed

    def _end(self, status, reason):
        state = 'failed' if reason else 'done'
        self.journal.write(self._write_end, status, state, reason)
        return state

    def _write_end(self, session, status, state, reason):
        values = {}
        if status == 'deleted':
            values['deleted_at'] = models.utcnow()
            checkpoints.change_resources(session, self.checkpoint.id,
                                         {'status': 'deleted'})
        checkpoints.move(session, self.checkpoint.id, status, **values)
        operations.finish(session, self.operation.id,
                          self.operation.attempt, state, reason)
