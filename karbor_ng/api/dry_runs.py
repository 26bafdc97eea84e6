# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Dry runs: what protecting or restoring would do, and nothing of it done.

Apart from the dialects, because it is the same question for all of them. It
is answered where it is asked: with the caller's own session, without a row,
a message or a bank.
"""

import dataclasses

from karbor_ng import errors
from karbor_ng import graph as graph_module
from karbor_ng import parameters as parameter_rules
from karbor_ng import previews
from karbor_ng.api import validation
from karbor_ng.resource import Resource

#: What requests for operations can have in their query.
QUERY = validation.Query({'dry_run': {'type': 'boolean', 'default': False}})

#: From so many resources of a type on, their list is asked for first.
MANY = 4


@dataclasses.dataclass(frozen=True)
class DryRun:
    """What would be done.

    :ivar graph: of the resources
    :ivar planned: those that somebody asked for
    :ivar previews: ``{resource: Preview}`` of all
    """

    graph: graph_module.Graph
    planned: frozenset
    previews: dict

    @property
    def is_possible(self):
        return not any(item.problems for item in self.previews.values())

    @property
    def size(self):
        """Estimated bytes of all whose size is known; None without any."""
        sizes = [item.size for item in self.previews.values()
                 if item.size is not None]
        return sum(sizes) if sizes else None


def is_wanted(req):
    """Return whether a request for an operation asks for a dry run.

    :raises errors.Invalid: the query string has something else
    """
    return QUERY.read(req).get('dry_run', False)


class _Asking:
    """One dry run: a provider, a session, and what is found out by then."""

    def __init__(self, session, provider):
        self._session = session
        self._provider = provider
        self._plugins = previews.Previews(provider.plugins)
        self._found = {}

    def _can(self, verb, resource):
        return verb in self._provider.capabilities.get(resource.type, ())

    def _container(self, resource):
        """Return the plugin's class if it is a container's, or None."""
        plugin = self._plugins.get(resource.type)
        return plugin if plugin is not None and plugin.container else None

    def _options(self, resources, given, schema_name):
        """Return the options of each; wrong ones become problems later."""
        schemas = self._provider.schemas[schema_name]
        return {item: parameter_rules.effective(
            item, given, schemas.get(item.type, {})) for item in resources}

    def _add_wrong_options(self, options, schema_name):
        schemas = self._provider.schemas[schema_name]
        for item, values in options.items():
            problem = parameter_rules.problem(
                values, schemas.get(item.type, {}))
            if problem:
                self._add(item, problems=(problem,))

    def _add(self, resource, **texts):
        """Put texts before those that a preview has."""
        known = self._found[resource]
        self._found[resource] = dataclasses.replace(known, **{
            name: tuple(dict.fromkeys((*new, *getattr(known, name))))
            for name, new in texts.items()})

    def _settle_skipped(self, graph, planned, indifferent):
        """Decide, parents first, who may be skipped that can not be done.

        :param indifferent: what does not need its children
        """
        parents = graph.parents()
        for node in reversed(graph.nodes):
            reason = self._found[node].skipped
            if reason is None:
                continue
            if graph_module.can_be_skipped(node, planned, parents,
                                           indifferent):
                self._found[node] = _skipped(reason)
                indifferent |= {node}
            else:
                self._add(node, problems=(reason,))


class Protecting(_Asking):
    """Asks what protecting a plan would do.

    :param protectables: a :class:`karbor_ng.protectables.Protectables`
    """

    def __init__(self, session, provider, protectables):
        super().__init__(session, provider)
        self._protectables = protectables

    def run(self, plan):
        """Return the :class:`DryRun` of a plan's row.

        :raises errors.Error: the cloud refuses or fails
        """
        planned = [Resource(item['type'], item['id'], item.get('name') or '')
                   for item in plan.resources]
        graph = graph_module.build(planned, self._children_of)
        self._add_missing(planned, plan.project_id)
        asked = [node for node in graph.nodes
                 if node not in self._found and not self._settle(node)]
        options = self._options(asked, plan.parameters, 'options_schema')
        self._found.update(
            self._plugins.protect(self._session, asked, options))
        self._add_wrong_options(options, 'options_schema')
        planned = frozenset(planned)
        self._settle_skipped(graph, planned, frozenset(
            node for node in graph.nodes if self._container(node)
            or not self._can('protect', node)))
        return DryRun(graph, planned, self._found)

    def _children_of(self, parents):
        return self._protectables.children_of(self._session, parents)

    def _settle(self, node):
        """Say what becomes of a resource without asking its plugin."""
        container = self._container(node)
        if not self._can('protect', node):
            self._found[node] = _skipped(
                f'provider {self._provider.name} has no plugin for '
                f'{node.type}.')
        elif container:
            self._found[node] = previews.Preview(
                'What it holds is protected.',
                not_included=tuple(container.leaves_out))
        return node in self._found

    def _add_missing(self, planned, project_id):
        by_type = {}
        for resource in planned:
            by_type.setdefault(resource.type, []).append(resource)
        for resource_type, resources in by_type.items():
            for resource in self._missing(resource_type, resources,
                                          project_id):
                self._found[resource] = previews.Preview(
                    'Fails.', problems=(f'There is no {resource}.',))

    def _missing(self, resource_type, resources, project_id):
        if resource_type not in self._protectables.types():
            return []
        try:
            if len(resources) >= MANY:
                listed = set(self._protectables.list(
                    self._session, resource_type, project_id=project_id))
                resources = [item for item in resources
                             if item not in listed]
            return [item for item in resources if self._protectables.show(
                self._session, resource_type, item.id) is None]
        except errors.Unavailable:
            if self._session is None:
                return []  # There is no cloud that could lack it.
            raise


class Restoring(_Asking):
    """Asks what restoring a checkpoint would do."""

    def run(self, checkpoint, rows, parameters):
        """Return the :class:`DryRun` of a checkpoint.

        :param rows: of its resources
        :param parameters: as the front door has checked them
        :raises errors.Error: the cloud refuses or fails
        """
        graph = graph_module.unpack(checkpoint.graph)
        by_key = {(row.type, row.id): row for row in rows}
        rows = {node: by_key[node.type, node.id] for node in graph.nodes}
        kept = {node: row.saved for node, row in rows.items()
                if not self._settle(node, row)}
        options = self._options(kept, parameters, 'restore_schema')
        self._found.update(
            self._plugins.restore(self._session, kept, options))
        self._add_wrong_options(options, 'restore_schema')
        planned = frozenset(node for node, row in rows.items()
                            if row.in_plan)
        self._settle_skipped(graph, planned, frozenset(graph.nodes))
        for node, row in rows.items():
            self._add(node, not_included=row.saved.get('not_included', ()))
        return DryRun(graph, planned, self._found)

    def _settle(self, node, row):
        """Say what becomes of a resource without asking its plugin."""
        if row.status == 'skipped':
            self._found[node] = _skipped(row.reason)
        elif not self._can('restore', node):
            self._found[node] = _skipped(
                f'provider {self._provider.name} can not restore '
                f'{node.type}.')
        elif self._container(node):
            self._found[node] = previews.Preview('What it held is restored.')
        return node in self._found


def _skipped(reason):
    return previews.Preview(f'Skipped: {reason}')
