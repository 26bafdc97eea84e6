# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The flow: the order of hooks, whatever the graph and however it is cut."""

import threading

import futurist
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from oslotest import base

from karbor_ng import graph
from karbor_ng.plugins import api
from karbor_ng.protection import flow
from karbor_ng.resource import Resource

SIZE = 8


def node(number):
    return Resource('T', str(number))


class Recorder:
    """Runs hooks and notes when each started and ended."""

    def __init__(self, act=None):
        self.started, self.ended = {}, {}
        self._clock, self._lock = 0, threading.Lock()
        self._act = act

    def run(self, resource, hook):
        self._note(self.started, resource, hook)
        if self._act:
            self._act(resource, hook)
        self._note(self.ended, resource, hook)

    def _note(self, times, resource, hook):
        with self._lock:
            self._clock += 1
            assert (resource, hook) not in times, 'ran twice'
            times[resource, hook] = self._clock


class FlowTestCase(base.BaseTestCase):

    def setUp(self):
        super().setUp()
        self.pools = flow.Pools(
            SIZE, futurist.ThreadPoolExecutor(max_workers=SIZE))
        self.addCleanup(self.pools.shutdown)

    def run_graph(self, built, hooks_of=lambda node: api.HOOKS, act=None):
        recorder = Recorder(act)
        flow.run(self.pools, built, hooks_of, recorder.run)
        return recorder

    def assert_before(self, recorder, first, second):
        if first in recorder.ended and second in recorder.started:
            self.assertLess(recorder.ended[first], recorder.started[second],
                            f'{second} did not wait for {first}')


def descend(built, hooks, top, hook):
    """Yield the nearest nodes below that have the hook.

    Nodes between them must have no hook at all to be passed: those with
    others are bound by the rules one by one.
    """
    todo, seen = list(built.children(top)), set()
    while todo:
        child = todo.pop()
        if child in seen:
            continue
        seen.add(child)
        if hook in hooks[child]:
            yield child
        elif not hooks[child]:
            todo.extend(built.children(child))


class OrderTest(FlowTestCase):

    @settings(max_examples=60, deadline=None)
    @given(st.integers(1, 60), st.data())
    def test_contract_holds(self, count, data):
        pairs = data.draw(st.lists(
            st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)),
            max_size=2 * count))
        edges = {}
        for one, other in pairs:
            if one < other:
                edges.setdefault(node(one), set()).add(node(other))
        built = graph.Graph([node(n) for n in range(count)], edges)
        hooks = {n: data.draw(st.sampled_from([
            api.HOOKS, ('on_main',), ('on_prepare_finish', 'on_main'),
            (), ('on_main', 'on_complete'), ('on_prepare_begin',)]))
            for n in built.nodes}
        recorder = self.run_graph(built, hooks.__getitem__)
        self.assertEqual({(n, hook) for n in built.nodes
                          for hook in hooks[n]}, set(recorder.ended))
        self.check(built, hooks, recorder)

    def check(self, built, hooks, recorder):
        last_prepare = max([time for (_n, hook), time
                            in recorder.ended.items()
                            if hook in flow.PREPARE], default=0)
        for (_n, hook), time in recorder.started.items():
            if hook in flow.MAIN:
                self.assertLess(last_prepare, time)
        for top in built.nodes:
            for one, other in zip(api.HOOKS, api.HOOKS[1:]):
                self.assert_before(recorder, (top, one), (top, other))
            for child in descend(built, hooks, top, 'on_prepare_begin'):
                self.assert_before(recorder, (top, 'on_prepare_begin'),
                                   (child, 'on_prepare_begin'))
            for hook in ('on_prepare_finish', 'on_complete'):
                for child in descend(built, hooks, top, hook):
                    self.assert_before(recorder, (child, hook), (top, hook))

    def test_parent_waits_for_main_of_child_without_complete(self):
        built = graph.Graph([node(1), node(2)], {node(1): [node(2)]})
        hooks = {node(1): api.HOOKS, node(2): ('on_main',)}
        recorder = self.run_graph(built, hooks.__getitem__)
        self.assert_before(recorder, (node(2), 'on_main'),
                           (node(1), 'on_complete'))

    def test_completion_does_not_wait_for_strangers(self):
        """Two families; one's child hangs until the other has finished."""
        built = graph.Graph(
            [node(n) for n in (1, 2, 3, 4)],
            {node(1): [node(2)], node(3): [node(4)]})
        finished = threading.Event()

        def act(resource, hook):
            if (resource, hook) == (node(2), 'on_main'):
                self.assertTrue(finished.wait(30), 'waited for a stranger')
            if (resource, hook) == (node(3), 'on_complete'):
                finished.set()

        recorder = self.run_graph(built, act=act)
        self.assertEqual(16, len(recorder.ended))

    def test_shared_child_of_others_is_a_stranger(self):
        """Servers of image A finish although image B hangs."""
        image_a, image_b = node('a'), node('b')
        edges = {node(n): [image_a] for n in range(3)}
        edges.update({node(n): [image_b] for n in range(3, 6)})
        built = graph.Graph([*edges, image_a, image_b], edges)
        finished = threading.Barrier(4)

        def act(resource, hook):
            if hook == 'on_complete' and resource in (node(0), node(1),
                                                      node(2)):
                finished.wait(30)
            if (resource, hook) == (image_b, 'on_main'):
                finished.wait(30)

        self.run_graph(built, act=act)
        self.assertFalse(finished.broken)


class AtomTest(FlowTestCase):

    def atoms(self, built, units):
        shape = flow._Shape(built, {n: frozenset(api.HOOKS)
                                    for n in built.nodes})
        return [([hook for _node, hook in chain], len(before))
                for unit in flow._merged(flow._without_empty(units(shape)))
                for chain, before in flow._chains(unit.tasks)]

    def test_hooks_of_one_resource_are_one(self):
        built = graph.Graph([node(1), node(2)], {})
        for units, hooks in ((flow.prepare_units, flow.PREPARE),
                             (flow.main_units, flow.MAIN)):
            self.assertEqual([(list(hooks), 0)] * 2,
                             self.atoms(built, units))

    def test_parents_wait(self):
        built = graph.Graph([node(1), node(2), node(3)],
                            {node(1): [node(2), node(3)]})
        self.assertCountEqual(
            [(['on_main'], 0), (['on_complete'], 3),
             (['on_main', 'on_complete'], 0),
             (['on_main', 'on_complete'], 0)],
            self.atoms(built, flow.main_units))

    def test_somebody_looks_while_hooks_run(self):
        looked = threading.Event()
        recorder = Recorder(lambda node, hook: self.assertTrue(
            looked.wait(30)))
        flow.run(self.pools, graph.Graph([node(1)], {}),
                 lambda node: ('on_main',), recorder.run, looked.set)
        self.assertEqual(1, len(recorder.ended))


class CutTest(FlowTestCase):

    def units(self, built):
        hooks = {n: frozenset(api.HOOKS) for n in built.nodes}
        shape = flow._Shape(built, hooks)
        return (flow._merged(flow._without_empty(flow.prepare_units(shape)))
                + flow._merged(flow._without_empty(flow.main_units(shape))))

    def test_flows_stay_small(self):
        roots = graph.Graph([node(n) for n in range(1000)], {})
        shared = {node(n): [node('image'), node(f'v{n}'), node(f'w{n}')]
                  for n in range(1000)}
        family = graph.Graph(
            [*shared, *{kid for kids in shared.values() for kid in kids}],
            shared)
        wide = graph.Graph(
            [node('project'), *(node(n) for n in range(1000))],
            {node('project'): [node(n) for n in range(1000)]})
        for built in (roots, family, wide):
            for unit in self.units(built):
                self.assertLessEqual(len(unit.tasks), flow.FLOW_TASKS)

    def test_hooks_that_break_end_the_run(self):
        """run_hook must not raise; when it does, that is not swallowed."""
        built = graph.Graph([node(1)], {})

        def act(resource, hook):
            raise ValueError('a defect')

        self.assertRaises(ValueError, self.run_graph, built, act=act)
