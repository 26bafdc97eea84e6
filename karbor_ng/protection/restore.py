# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Restore: from a committed checkpoint to living resources."""

from karbor_ng import errors
from karbor_ng import graph as graph_module
from karbor_ng import parameters as parameter_rules
from karbor_ng.protection import hooks
from karbor_ng.protection import manifest
from karbor_ng.protection import protect
from karbor_ng.protection import streams
from karbor_ng.protection import verb
from karbor_ng.resource import Resource
from karbor_ng.store import models
from karbor_ng.store import operations
from karbor_ng.store import restores

#: Components of a resource's section: "checkpoints", project, checkpoint,
#: "data", attempt, type and id.
SECTION_DEPTH = 7


class Restore(verb.Verb):
    """Brings back what a checkpoint's manifest describes.

    The manifest is what counts, not our rows: a checkpoint must be
    restorable when the database was lost.
    """

    def __init__(self, attempt):
        super().__init__(attempt)
        #: known once the work has ended
        self._unwanted = frozenset()

    def work(self):
        restore = self.journal.read(restores.get, self.operation.restore_id)
        found = manifest.read(self.bank, self.operation.project_id,
                              self.operation.checkpoint_id)
        if found is None:
            raise errors.Error(
                f'Checkpoint {self.operation.checkpoint_id} has no manifest '
                f'in its bank.')
        kept = {(item['type'], item['id']): item
                for item in found['resources']}
        graph = graph_module.unpack(found['graph'])
        rows = self.journal.put_resources([
            self._row(node, kept[node.type, node.id], restore.parameters)
            for node in graph.nodes])
        self.attempt.restored.update(
            {row.id: row.new_id for row in rows.values() if row.new_id})
        members = {}
        for node in graph.nodes:
            row = rows[node.type, node.id]
            plugin = self.provider.protections.get(node.type)
            if row.status != 'skipped' and not plugin.container:
                members[node] = self._member(
                    node, row, kept[node.type, node.id])
        # Parents see what is missing, and know whether they can do without.
        self.run_hooks(
            graph, members, self.operation.id, indifferent=graph.nodes,
            planned=verb.planned(found))
        self.end_containers(graph)

    def _row(self, node, item, parameters):
        row = {'type': node.type, 'id': node.id, 'name': node.name,
               'status': 'restoring', 'reason': None, 'progress': 0,
               'saved': verb.without_notes(item['saved']), 'parameters': {}}
        plugin = self.provider.protections.get(node.type)
        if plugin is not None:
            row['parameters'] = parameter_rules.effective(
                node, parameters, plugin.restore_schema)
        row['reason'] = self._why_not(plugin, item)
        if row['reason']:
            row['status'] = 'skipped'
        return row

    def _why_not(self, plugin, item):
        if item['status'] == 'skipped':
            return item['reason']
        if plugin is None or not (plugin.Restore or plugin.container):
            return (f'Provider {self.provider.name} can not restore '
                    f'{item["type"]}.')
        return None

    def _member(self, node, row, item):
        plugin = self.provider.protections[node.type]
        if item['status'] != 'available':
            raise errors.Error(f'{node} is {item["status"]} in the '
                               f'checkpoint.')
        return hooks.Member(
            plugin=plugin, operation_class=protect.checked(
                plugin.Restore, row.parameters, plugin.restore_schema),
            parameters=row.parameters, saved=row.saved,
            bank=self._data(item, node), objects=item['objects'])

    def _data(self, item, node):
        """Return the section that the last protecting attempt wrote."""
        own = [found['key'] for found in item['objects']
               if not streams.is_key(found['key'])]
        if not own:
            return self.section(node)
        where = own[-1].split('/')
        return self.bank.section('/'.join(where[:SECTION_DEPTH]))

    def is_unwanted(self, resource):
        """What a restore made that failed, or gave up, is of no use."""
        return resource in self._unwanted

    def abort(self):
        """Remove all that was restored by now."""
        for row in self.journal.resources():
            if row.status != 'skipped':
                self.journal.set_resource(row, status='error', new_id=None,
                                          reason=verb.ABORTED)
        return self.finish(verb.ABORTED)

    def finish(self, reason):
        rows = self.ended_rows('restoring', reason)
        self._unwanted = {Resource(row.type, row.id) for row in rows
                          if row.status in ('error', 'skipped')}
        self.tidy()
        reason = reason or self.failed_texts(rows)
        state = 'failed' if reason else 'done'
        self.journal.write(self._write_end, state, reason)
        return state

    def _write_end(self, session, state, reason):
        restores.move(session, self.operation.restore_id,
                      'success' if state == 'done' else 'failed',
                      finished_at=models.utcnow())
        operations.finish(session, self.operation.id,
                          self.operation.attempt, state, reason)
