# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Protect: from a plan to a committed checkpoint."""

import datetime

from karbor_ng import errors
from karbor_ng import graph as graph_module
from karbor_ng import parameters as parameter_rules
from karbor_ng.plugins import api
from karbor_ng.protection import flow
from karbor_ng.protection import hooks
from karbor_ng.protection import making
from karbor_ng.protection import work
from karbor_ng.resource import Resource
from karbor_ng.store import checkpoints


class Protect(making.Making):
    """Protects everything that a plan's resources consist of."""

    UNFINISHED = 'protecting'

    def make(self):
        graph, rows = self._graph_and_rows()
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

    # Preparing

    def _graph_and_rows(self):
        """Return the graph, and its rows by type and id; write both once."""
        if self.checkpoint.graph != checkpoints.EMPTY_GRAPH:
            return graph_module.unpack(self.checkpoint.graph), {
                (row.type, row.id): row for row in self.journal.resources()}
        planned = self._planned()
        graph = graph_module.build(planned, self._children_of)
        rows = [self._row(node, node in planned) for node in graph.nodes]
        text = graph_module.pack(graph)
        self.journal.write_later(self._put_graph, text, rows)
        self.checkpoint.graph = text
        return graph, self.journal.new_rows(rows)

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
               'status': self.UNFINISHED, 'reason': None, 'saved': {},
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
        steps = self.journal.steps_before()
        if not steps:
            return
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
        # By one clock: another host's worker may have prepared it.
        if self.journal.lease.now() - min(ended) > window:
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


def checked(operation_class, parameters, schema):
    """Return the class, or one that only refuses wrong parameters."""
    problem = parameter_rules.problem(parameters, schema)
    if problem is None:
        return operation_class

    class Refused(api.Operation):
        def on_prepare_begin(self):
            raise errors.ResourceError(problem)

    return Refused
