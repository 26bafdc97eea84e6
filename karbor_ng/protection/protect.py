# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Protect: from a plan to a committed checkpoint."""

import datetime
import logging

from karbor_ng import errors
from karbor_ng import graph as graph_module
from karbor_ng import parameters as parameter_rules
from karbor_ng.plugins import api
from karbor_ng.protection import flow
from karbor_ng.protection import hooks
from karbor_ng.protection import manifest
from karbor_ng.protection import streams
from karbor_ng.protection import verb
from karbor_ng.protection import work
from karbor_ng.resource import Resource
from karbor_ng.store import checkpoints
from karbor_ng.store import models
from karbor_ng.store import operations

LOG = logging.getLogger(__name__)


class Protect(verb.Verb):
    """Protects everything that a plan's resources consist of."""

    def __init__(self, attempt):
        super().__init__(attempt)
        self.checkpoint = self.journal.read(
            checkpoints.get, self.operation.checkpoint_id)
        self.committed = None
        #: known once the work has ended
        self._skipped = frozenset()
        self._is_aborted = False

    def work(self):
        if self._find_committed():
            return
        graph = self._graph()
        rows = {(row.type, row.id): row for row in self.journal.resources()}
        members = {}
        for node in graph.nodes:
            member = self._member(node, rows[node.type, node.id])
            if member is not None:
                members[node] = member
        self._renew_stale_snapshots(members)
        self.run_hooks(graph, members, self.operation.id,
                       planned=self._planned(),
                       indifferent=self._indifferent(rows.values()))
        self.end_containers(graph)

    def _find_committed(self):
        """An earlier attempt may have died between manifest and rows."""
        if self.operation.attempt > 1:
            self.committed = manifest.read(
                self.bank, self.operation.project_id, self.checkpoint.id)
        return self.committed is not None

    # Preparing

    def _graph(self):
        if self.checkpoint.graph != checkpoints.EMPTY_GRAPH:
            return graph_module.unpack(self.checkpoint.graph)
        planned = self._planned()
        graph = graph_module.build(planned, self._children_of)
        text = graph_module.pack(graph)
        self.journal.write(self._put_graph, text,
                           [self._row(node, node in planned)
                            for node in graph.nodes])
        self.checkpoint.graph = text
        return graph

    def _planned(self):
        return [Resource(item['type'], item['id'], item.get('name') or '',
                         item.get('extra_info'))
                for item in self.checkpoint.plan['resources']]

    def _indifferent(self, rows):
        """Return what is complete without its children."""
        return [Resource(row.type, row.id) for row in rows
                if row.status == 'skipped' or self.is_container(row.type)]

    def _children_of(self, parents):
        if self.tools.protectables is None:
            return {}
        return self.tools.protectables.children_of(
            self.attempt.session, parents)

    def _put_graph(self, session, text, rows):
        checkpoint = checkpoints.get(session, self.checkpoint.id)
        checkpoint.graph = text
        checkpoint.bank_uuid = self.provider.bank_uuid
        session.flush()
        checkpoints.put_resources(session, self.checkpoint.id, rows)

    def _row(self, node, in_plan):
        plugin = self.provider.protections.get(node.type)
        row = {'type': node.type, 'id': node.id, 'name': node.name,
               'extra_info': node.extra_info, 'in_plan': in_plan,
               'status': 'protecting', 'reason': None, 'saved': {},
               'objects': [], 'parameters': {}, 'plugin': None,
               'plugin_version': None, 'progress': 0}
        if plugin is None:
            row.update(status='skipped', reason=(
                f'Provider {self.provider.name} has no plugin for '
                f'{node.type}.'))
            return row
        row.update(
            plugin=self.provider.plugin_names[node.type],
            plugin_version=plugin.version,
            parameters=parameter_rules.effective(
                node, self.checkpoint.plan['parameters'],
                plugin.options_schema))
        if plugin.container and plugin.leaves_out:
            row['saved'] = {'not_included': list(plugin.leaves_out)}
        return row

    def _member(self, node, row):
        plugin = self.provider.protections.get(node.type)
        if plugin is None or plugin.container or row.status == 'skipped':
            return None
        return hooks.Member(
            plugin=plugin, operation_class=checked(
                plugin.Protect, row.parameters, plugin.options_schema),
            parameters=row.parameters, bank=self.section(node),
            saved=row.saved, objects=row.objects)

    def _renew_stale_snapshots(self, members):
        """Prepare again what was prepared too long before the rest.

        Only while the prepare round is unfinished: once it is finished all
        snapshots lie close together, however old they are.
        """
        steps = self.journal.steps()
        prepared = {}
        for resource, member in members.items():
            for hook in set(member.hooks()).intersection(flow.PREPARE):
                step = steps.get((resource.type, resource.id, hook))
                prepared.setdefault(resource, []).append(step)
        ended = [step.ended_at for found in prepared.values()
                 for step in found if step is not None]
        unfinished = any(None in found for found in prepared.values())
        if not ended or not unfinished:
            return
        window = datetime.timedelta(
            seconds=self.tools.conf.consistency_window)
        if models.utcnow() - min(ended) > window:
            again = [resource for resource, found in prepared.items()
                     if not any(step is not None and step.state == 'failed'
                                for step in found)]
            self._prepare_again(again, members)

    def _prepare_again(self, resources, members):
        wanted = {(resource.type, resource.id): resource
                  for resource in resources}
        for row in self.journal.externals_of(self.operation.id):
            resource = wanted.get((row.resource_type, row.resource_id))
            if resource is None or row.state == 'gone':
                continue
            plugin = members[resource].plugin
            if plugin.kind(row.kind).temporary:
                self.discard(plugin, work.as_external(row), resource)
        self.journal.forget_steps(resources, flow.PREPARE)

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
        self.tidy()
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
        return self._commit_and_end(verb.ABORTED)

    def _empty_bank(self):
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
        if self.committed is None:
            self._skipped = {Resource(row.type, row.id)
                             for row in self.journal.resources()
                             if row.status == 'skipped'}
            self.tidy()
            return self._commit_and_end(reason)
        return self._end(self.committed['status'], reason)

    def _commit_and_end(self, reason):
        rows, reason = self._ended_rows(reason)
        status = 'error' if reason else 'available'
        try:
            self.committed = self._commit(rows, status)
        except errors.BankError as problem:
            return self._end('error', f'{reason or ""} The manifest '
                             f'could not be written: {problem}'.strip())
        return self._end(self.committed['status'], reason)

    def _ended_rows(self, reason):
        """Return the rows, all of them ended, and why it failed or None."""
        for row in self.journal.resources():
            if row.status == 'protecting':
                self.journal.set_resource(
                    row, status='error', reason=reason or 'Not finished.')
        rows = self.journal.resources()
        return rows, reason or self.failed_texts(rows)

    def _commit(self, rows, status):
        checkpoint = self.journal.read(checkpoints.get, self.checkpoint.id)
        made = manifest.build(
            checkpoint, self.operation, rows,
            self.journal.externals_of(self.operation.id), status,
            checkpoint.graph)
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
        rows = checkpoints.resources(session, self.checkpoint.id)
        sizes = [row.size for row in rows if row.size is not None]
        checkpoints.move(
            session, self.checkpoint.id, status,
            finished_at=models.utcnow(),
            size=sum(sizes) if sizes else None)
        operations.finish(session, self.operation.id,
                          self.operation.attempt, state, reason)


def checked(operation_class, parameters, schema):
    """Return the class, or one that only refuses wrong parameters."""
    problem = parameter_rules.problem(parameters, schema)
    if problem is None:
        return operation_class

    class Refused(api.Operation):
        def on_prepare_begin(self):
            raise errors.ResourceError(problem)

    return Refused
