# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The graph: discovery, its order, and the text that clients decode."""

import json

from hypothesis import given
from hypothesis import strategies as st
from oslotest import base

from karbor_ng import errors
from karbor_ng import graph
from karbor_ng.resource import Resource


def server(number):
    return Resource('OS::Nova::Server', f's{number}', f'server {number}')


def volume(number, name='', extra=None):
    return Resource('OS::Cinder::Volume', f'v{number}', name, extra)


def discovery(edges, asked=None):
    """Return children_of over a dict of edges, noting each question."""
    def children_of(parents):
        if asked is not None:
            asked.append(list(parents))
        return {parent: edges[parent] for parent in parents
                if parent in edges}
    return children_of


class BuildTest(base.BaseTestCase):

    def test_one_question_for_each_level(self):
        project = Resource('OS::Keystone::Project', 'p')
        edges = {project: [server(n) for n in range(50)]}
        edges.update({server(n): [volume(n)] for n in range(50)})
        asked = []
        built = graph.build([project], discovery(edges, asked))
        self.assertEqual([1, 50, 50], [len(level) for level in asked])
        self.assertEqual(101, len(built.nodes))

    def test_one_node_when_planned_and_discovered(self):
        planned = [volume(1, 'old name', {'from': 'plan'}), server(1)]
        found = volume(1, 'new name', {'availability_zone': 'az'})
        built = graph.build(planned, discovery({server(1): [found]}))
        self.assertEqual(2, len(built.nodes))
        node = [n for n in built.nodes if n.id == 'v1'][0]
        self.assertEqual('new name', node.name)
        self.assertEqual({'availability_zone': 'az'}, node.extra_info)

    def test_children_stand_before_parents(self):
        edges = {server(1): [volume(1), volume(2)], server(2): [volume(2)]}
        built = graph.build([server(1), server(2)], discovery(edges))
        places = {node: place for place, node in enumerate(built.nodes)}
        self.assertLess(places[volume(2)], places[server(1)])
        self.assertLess(places[volume(2)], places[server(2)])

    def test_cycle_is_refused_and_named(self):
        edges = {server(1): [server(2)], server(2): [server(1)]}
        problem = self.assertRaises(errors.Error, graph.build, [server(1)],
                                    discovery(edges))
        self.assertIn('s1', str(problem))
        self.assertIn('s2', str(problem))

    def test_failing_listing_is_not_swallowed(self):
        def children_of(parents):
            raise errors.Error('cinder is away')
        self.assertRaises(errors.Error, graph.build, [server(1)],
                          children_of)

    def test_deep_graph_needs_no_recursion(self):
        edges = {server(n): [server(n + 1)] for n in range(3000)}
        built = graph.build([server(0)], discovery(edges))
        self.assertEqual(3001, len(built.nodes))
        self.assertEqual('s3000', built.nodes[0].id)


class TextTest(base.BaseTestCase):

    def test_shape_that_clients_decode(self):
        built = graph.Graph(
            [volume(1, 'data', {'availability_zone': 'nova'}), server(1)],
            {server(1): [volume(1)]})
        self.assertEqual(
            [{'0x0': ['OS::Cinder::Volume', 'v1', 'data',
                      {'availability_zone': 'nova'}],
              '0x1': ['OS::Nova::Server', 's1', 'server 1', None]},
             [['0x1', ['0x0']]]],
            json.loads(graph.pack(built)))

    def test_older_nodes_without_extra_info(self):
        read = graph.unpack('[{"0x0": ["T", "i", "n"]}, []]')
        self.assertEqual([Resource('T', 'i')], read.nodes)

    @given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)),
                    max_size=40))
    def test_round_trip(self, pairs):
        edges = {}
        for one, other in pairs:
            if one < other and server(other) not in edges.get(
                    server(one), []):
                edges.setdefault(server(one), []).append(server(other))
        built = graph.Graph([server(n) for n in range(13)], edges)
        read = graph.unpack(graph.pack(built))
        self.assertEqual(set(built.nodes), set(read.nodes))
        for node in built.nodes:
            self.assertEqual(set(built.children(node)),
                             set(read.children(node)))
