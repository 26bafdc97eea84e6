# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Verify: whether all that a checkpoint consists of is there, and right.

The manifest, every object in the bank, and through the plugins what the
clouds have. Nothing of the checkpoint is changed.
"""

from karbor_ng import errors
from karbor_ng import graph as graph_module
from karbor_ng import parameters as parameter_rules
from karbor_ng.plugins import api
from karbor_ng.protection import bank_import
from karbor_ng.protection import data_check
from karbor_ng.protection import hooks
from karbor_ng.protection import manifest
from karbor_ng.protection import protect
from karbor_ng.protection import verb
from karbor_ng.store import checkpoints
from karbor_ng.store import models
from karbor_ng.store import operations
from karbor_ng.store import verifications

#: What rows and manifest must agree about.
AGREED = ('status', 'saved', 'objects')


class Verify(verb.Verb):
    """Verifies a checkpoint. Each resource has its own result."""

    CHILDREN_COUNT = False

    def work(self):
        found = self._manifest()
        verification = self.journal.read(
            verifications.get, self.operation.verification_id)
        graph = graph_module.unpack(found['graph'])
        items = {(item['type'], item['id']): item
                 for item in found['resources']}
        rows = self.journal.put_resources([
            self._row(node, items[node.type, node.id],
                      verification.parameters) for node in graph.nodes])
        # What a restore would do without is no failure here either.
        self.run_hooks(
            graph, self._members(graph, items, rows), self._source_operation_id(),
            indifferent=graph.nodes, planned=verb.planned(found))
        self._end_containers(graph)

    def _manifest(self):
        """Return the manifest, which must be what was committed."""
        project_id = self.operation.project_id
        checkpoint_id = self.operation.checkpoint_id
        found = manifest.read(self.bank, project_id, checkpoint_id)
        if found is None:
            raise errors.BankError(
                f'"{manifest.key(project_id, checkpoint_id)}", the manifest, '
                f'is missing.')
        bank_import.check(found, self.provider)
        named = {(item['type'], item['id']) for item in found['resources']}
        lost = [f'{row.type} {row.id}' for row in self._known()
                if (row.type, row.id) not in named]
        if lost or found['status'] != 'available':
            raise errors.BankError(
                f'The manifest is not the one that was written: its status '
                f'is {found["status"]}, and it lacks '
                f'{", ".join(lost) or "nothing"}.')
        return found

    def _known(self):
        return self.journal.read(checkpoints.resources,
                                 self.operation.checkpoint_id)

    def _row(self, node, item, parameters):
        row = {'type': node.type, 'id': node.id, 'name': node.name,
               'status': 'verifying', 'reason': None, 'progress': 0,
               'saved': verb.without_notes(item['saved']),
               'parameters': parameter_rules.effective(
                   node, parameters, self._plugin(node).verify_schema)}
        if item['status'] == 'skipped':
            row.update(status='skipped', reason=item['reason'])
        return row

    def _plugin(self, node):
        """Return the type's plugin, or one that knows nothing."""
        return self.provider.protections.get(node.type) or api.Protection(
            None)

    def _members(self, graph, items, rows):
        known = {(row.type, row.id): row for row in self._known()}
        members = {}
        for node in graph.nodes:
            key = node.type, node.id
            row, plugin = rows[key], self._plugin(node)
            if row.status == 'skipped' or plugin.container:
                continue
            members[node] = hooks.Member(
                plugin=plugin, operation_class=_with_data(
                    self._operation_class(node, plugin, row, items[key]),
                    items[key]['objects'],
                    _differences(items[key], known.get(key))),
                parameters=row.parameters, bank=self.section(node),
                saved=row.saved, objects=items[key]['objects'])
        return members

    def _operation_class(self, node, plugin, row, item):
        if plugin.Verify is None:
            return _without_plugin(self._unchecked(node, item))
        return protect.checked(plugin.Verify, row.parameters,
                               plugin.verify_schema)

    def _unchecked(self, node, item):
        """Return what nobody looks at, as a text, or None."""
        things = ', '.join(f'{thing["kind"]} {thing["id"]}'
                           for thing in item['externals']
                           if thing['state'] == 'exists')
        if not things:
            return None
        return (f'Not looked at: {things}. Provider {self.provider.name} has '
                f'no plugin for {node.type} that can verify it.')

    def _source_operation_id(self):
        """Return the operation that made what is in clouds."""
        made = self.journal.read(operations.making_of,
                                 self.operation.checkpoint_id)
        return made.id if made else self.operation.id

    def _end_containers(self, graph):
        """Let containers end as what they contain."""
        broken = set(self.hooks.failures)
        for node in graph.nodes:
            failed = [child for child in graph.children(node)
                      if child in broken]
            if failed:
                broken.add(node)
            if self.is_container(node.type):
                self.journal.set_resource(
                    node, status='error' if failed else self.AVAILABLE,
                    reason=f'{failed[0]} failed' if failed else None,
                    progress=100)

    def is_unwanted(self, resource):
        """What was made to look at a backup is of no use afterwards."""
        return True

    def finish(self, reason):
        rows = self.ended_rows('verifying', reason)
        self.tidy()
        reason = reason or self.failed_texts(rows)
        state = 'failed' if reason else 'done'
        self.journal.write(self._write_end, state, reason)
        return state

    def _write_end(self, session, state, reason):
        verifications.move(session, self.operation.verification_id,
                           'success' if state == 'done' else 'failed',
                           finished_at=models.utcnow())
        operations.finish(session, self.operation.id,
                          self.operation.attempt, state, reason)


def _differences(item, row):
    """Return what the manifest says otherwise than our row, as texts."""
    differing = [name for name in AGREED
                 if row is not None and item[name] != getattr(row, name)]
    if not differing:
        return []
    return [f'Manifest and database differ about its '
            f'{", ".join(differing)}.']


def _without_plugin(unchecked):
    """Return an operation that looks at nothing, and says so."""
    class Unchecked(api.Operation):
        def on_main(self):
            if unchecked:
                self.note(unchecked)

    return Unchecked


def _with_data(operation_class, objects, problems):
    """Return the class, which also looks at the data in the bank.

    What the bank has is told together with what the plugin finds.

    :param problems: what is known to be wrong already, as texts
    """
    class WithData(operation_class):
        def on_main(self):
            found = [*problems,
                     *data_check.DataCheck(self._work, objects).run()]
            try:
                super().on_main()
            except (*hooks.INTERRUPTIONS, errors.Aborted):
                raise
            except Exception as problem:
                if not found:
                    raise
                found.append(hooks.describe(problem))
                raise errors.ResourceError(' '.join(found)) from problem
            if found:
                raise errors.ResourceError(' '.join(found))

    return WithData
