# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The graph: what a plan's resources consist of.

Nodes are resources, known by type and id; an edge leads from a parent to a
child that it needs. The text form is the one that clients decode: a JSON
list of the nodes by key and of the edges. Beside the rooms of the house,
because the worker builds it to protect, and the API for a dry run.
"""

import json

from karbor_ng import errors
from karbor_ng.resource import Resource


class Graph:
    """Resources and their edges.

    :ivar nodes: all resources; children stand before their parents
    """

    def __init__(self, nodes, children):
        """:param children: ``{parent: [child, ...]}``

        :raises errors.Error: there is a cycle; the text names it
        """
        self._children = {parent: list(kids)
                          for parent, kids in children.items() if kids}
        self.nodes = _children_first(list(nodes), self.children)

    def children(self, node):
        """Return the node's children."""
        return self._children.get(node, [])

    def parents(self):
        """Return ``{child: [parent, ...]}``; roots are left out."""
        found = {}
        for parent in self.nodes:
            for child in self.children(parent):
                found.setdefault(child, []).append(parent)
        return found


def can_be_skipped(node, planned, parents, indifferent):
    """Whether a resource may be left out of a checkpoint.

    That is when nobody asked for it, and nothing that needs it would be
    incomplete without it.

    :param planned: what the plan names
    :param parents: what :meth:`Graph.parents` returned
    :param indifferent: containers, and what is skipped itself
    """
    return node not in planned and all(
        parent in indifferent for parent in parents.get(node, ()))


def build(planned, children_of):
    """Discover everything the planned resources consist of.

    :param planned: resources as the plan names them; discovery knows their
        names better, should it find them too
    :param children_of: ``children_of(parents) -> {parent: [child, ...]}``,
        asked once for each level of the graph
    :raises errors.Error: a listing failed, or there is a cycle
    """
    nodes = {node: node for node in planned}
    edges = {}
    found_by_discovery = set()
    level = list(nodes)
    while level:
        found = children_of(level)
        next_level = []
        for parent in level:
            kids = edges[parent] = []
            for child in found.get(parent, ()):
                if child not in nodes:
                    next_level.append(child)
                if child not in found_by_discovery:
                    found_by_discovery.add(child)
                    nodes.pop(child, None)
                    nodes[child] = child
                if child not in kids:
                    kids.append(child)
        level = next_level
    return Graph(nodes, edges)


def pack(graph):
    """Return the text form."""
    keys = {node: hex(number) for number, node in enumerate(graph.nodes)}
    nodes = {key: [node.type, node.id, node.name, node.extra_info]
             for node, key in keys.items()}
    edges = [[keys[node], [keys[child] for child in graph.children(node)]]
             for node in graph.nodes if graph.children(node)]
    return json.dumps([nodes, edges])


def unpack(text):
    """Return the graph of a text form; older ones lack extra_info."""
    packed, edges = json.loads(text)
    nodes = {key: Resource(*values) for key, values in packed.items()}
    return Graph(nodes.values(), {
        nodes[parent]: [nodes[child] for child in kids]
        for parent, kids in edges})


def _children_first(nodes, children):
    """Sort without recursion: a graph may be deeper than Python's stack."""
    ordered, done, open_nodes = [], set(), set()
    for root in nodes:
        path = [(root, iter(children(root)))]
        while path:
            node, kids = path[-1]
            if node in done:
                path.pop()
                continue
            open_nodes.add(node)
            child = next((kid for kid in kids if kid not in done), None)
            if child is None:
                path.pop()
                open_nodes.discard(node)
                done.add(node)
                ordered.append(node)
            elif child in open_nodes:
                raise errors.Error(
                    f'{child} depends on itself through {node}.')
            else:
                path.append((child, iter(children(child))))
    return ordered
