# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The flow: running the hooks of a graph with TaskFlow, cut into pieces.

TaskFlow's compile time grows with the square of a flow's size, and servers
that share one image make one connected graph. So the graph is cut wherever a
node has several parents, and wherever a tree grows large; each piece is a
small tree. Pieces become units that wait for each other, and units that wait
for the same are put into one flow.

Hooks that only one other hook waits for, which waits for nothing else, are one
atom with it. Where no atom waits for another there is nothing for TaskFlow to
order: they go straight to the threads.

The atoms never raise: a hook's outcome is data, and an exception would make
TaskFlow cancel and revert what has nothing to do with it.
"""

from concurrent import futures
import contextlib
import dataclasses
import logging
import queue

from taskflow import engines
from taskflow import task
from taskflow.patterns import graph_flow

from karbor_ng import context

LOG = logging.getLogger(__name__)

#: Seconds between two looks at what hooks have left, while they run.
LOOK_SECONDS = 1
#: Nodes of one piece, and tasks of one flow, at most (roughly).
PIECE_NODES = 24
FLOW_TASKS = 64

PREPARE = ('on_prepare_begin', 'on_prepare_finish')
MAIN = ('on_main', 'on_complete')


@dataclasses.dataclass(eq=False)
class Unit:
    """Hooks that run in one flow, once other units are done.

    :ivar tasks: ``{(node, hook): [(node, hook) before it in this unit]}``
    :ivar after: units that must be done before
    """

    tasks: dict
    after: set

    def merge(self, other):
        self.tasks.update(other.tasks)


class _Atom(task.Task):
    """Hooks that run one after the other."""

    def __init__(self, name, run_hook, chain):
        super().__init__(name=name)
        self._call = context.carried(lambda: _run_chain(run_hook, chain))

    def execute(self):
        self._call()


def _run_chain(run_hook, chain):
    for node, hook in chain:
        with context.about(node):
            run_hook(node, hook)


class Pools:
    """The threads of a protection service, shared by all its operations.

    TaskFlow's atoms and those who call its engines need different pools: an
    engine whose caller sits in its own pool waits for itself.
    """

    def __init__(self, size, executor):
        """:param executor: a futurist executor of ``size`` threads"""
        self.size = size
        self.atoms = executor
        self.runners = futures.ThreadPoolExecutor(
            size, thread_name_prefix='flow')

    def shutdown(self):
        self.runners.shutdown(wait=False)
        self.atoms.shutdown(wait=False)


def run(pools, graph, hooks_of, run_hook, look=lambda: None):
    """Run all hooks in the order that the plugin contract promises.

    All prepare hooks end before the first main hook starts. Returns when
    every hook was called, or would have been: ``run_hook`` decides.

    :param hooks_of: ``hooks_of(node)`` tells which hooks exist
    :param run_hook: ``run_hook(node, hook)``; must not raise, and is called
        from many threads
    :param look: called about once in a second while hooks run; must not
        raise
    """
    hooks = {node: frozenset(hooks_of(node)) for node in graph.nodes}
    shape = _Shape(graph, hooks)
    _run_units(pools, prepare_units(shape), run_hook, look)
    _run_units(pools, main_units(shape), run_hook, look)


class _Shape:
    """The graph of the nodes that have hooks, cut into pieces.

    Nodes without hooks (containers) are bridged: their parents wait for
    their children.
    """

    def __init__(self, graph, hooks):
        self.hooks = hooks
        self.children = {}
        for node in graph.nodes:
            if hooks[node]:
                self.children[node] = _bridge(graph, hooks, node)
        self.nodes = list(self.children)
        self.parents = {node: [] for node in self.nodes}
        for node in self.nodes:
            for child in self.children[node]:
                self.parents[child].append(node)
        self.root_of = _cut(self)
        self.pieces = {}
        for node in self.nodes:
            self.pieces.setdefault(self.root_of[node], []).append(node)

    def inner(self, node):
        """Children in the node's own piece."""
        return [child for child in self.children[node]
                if self.root_of[child] is self.root_of[node]]

    def below(self, root):
        """Roots of the pieces that this piece's nodes need."""
        return {self.root_of[child] for node in self.pieces[root]
                for child in self.children[node]} - {root}


def _bridge(graph, hooks, node):
    found, seen, todo = [], set(), list(reversed(graph.children(node)))
    while todo:
        child = todo.pop()
        if child in seen:
            continue
        seen.add(child)
        if hooks[child]:
            found.append(child)
        else:
            todo.extend(reversed(graph.children(child)))
    return found


def _cut(shape):
    """Return ``{node: root of its piece}``; nodes come children first."""
    cut, size = set(), {}
    for node in shape.nodes:
        kids = [child for child in shape.children[node]
                if child not in cut and len(shape.parents[child]) == 1]
        size[node] = 1 + sum(size[child] for child in kids)
        if size[node] > PIECE_NODES:
            cut.update(kids)
            size[node] = 1
    root_of = {}
    for node in reversed(shape.nodes):
        parents = shape.parents[node]
        own = len(parents) != 1 or node in cut
        root_of[node] = node if own else root_of[parents[0]]
    return root_of


def prepare_units(shape):
    """Begin parents first, finish children first.

    A piece without links to others does both in one unit.
    """
    begin, finish, alone = {}, {}, []
    above = {root: set() for root in shape.pieces}
    for root in shape.pieces:
        for needed in shape.below(root):
            above[needed].add(root)
    for root, nodes in shape.pieces.items():
        if not above[root] and not shape.below(root):
            alone.append(Unit(_prepare_tasks(shape, nodes, PREPARE), set()))
        else:
            begin[root] = Unit(_prepare_tasks(
                shape, nodes, ('on_prepare_begin',)), set())
            finish[root] = Unit(_prepare_tasks(
                shape, nodes, ('on_prepare_finish',)), {begin[root]})
    for root in begin:
        begin[root].after |= {begin[parent] for parent in above[root]}
        finish[root].after |= {finish[child] for child in shape.below(root)}
    return [*alone, *begin.values(), *finish.values()]


def _prepare_tasks(shape, nodes, wanted):
    begun, finished, tasks = {}, {}, {}
    hooks = {node: shape.hooks[node].intersection(wanted) for node in nodes}
    for node in reversed(nodes):            # parents first
        before = [name for parent in shape.parents[node]
                  for name in begun.get(parent, ())]
        before = begun[node] = list(dict.fromkeys(before))
        if 'on_prepare_begin' in hooks[node]:
            tasks[node, 'on_prepare_begin'] = before
            begun[node] = [(node, 'on_prepare_begin')]
    for node in nodes:                      # children first
        before = [name for child in shape.inner(node)
                  for name in finished[child]]
        before += [name for name in begun[node] if name[0] is node]
        finished[node] = before
        if 'on_prepare_finish' in hooks[node]:
            tasks[node, 'on_prepare_finish'] = before
            finished[node] = [(node, 'on_prepare_finish')]
    return tasks


def main_units(shape):
    """Main in any order, complete children first, one unit for each piece."""
    units = {root: Unit(_main_tasks(shape, nodes), set())
             for root, nodes in shape.pieces.items()}
    for root, unit in units.items():
        unit.after |= {units[needed] for needed in shape.below(root)}
    return list(units.values())


def _main_tasks(shape, nodes):
    done, tasks = {}, {}
    for node in nodes:                      # children first
        own = []
        if 'on_main' in shape.hooks[node]:
            tasks[node, 'on_main'] = []
            own = [(node, 'on_main')]
        done[node] = own + [name for child in shape.inner(node)
                            for name in done[child]]
        if 'on_complete' in shape.hooks[node]:
            tasks[node, 'on_complete'] = done[node]
            done[node] = [(node, 'on_complete')]
    return tasks


def _run_units(pools, units, run_hook, look):
    """Run units as soon as those before them are done."""
    units = _merged(_without_empty(units))
    waiting = {unit: set(unit.after) for unit in units}
    followers = {unit: [] for unit in units}
    for unit in units:
        for before in unit.after:
            followers[before].append(unit)
    running = _Running(look)
    for unit in units:
        if not waiting[unit]:
            running.add(unit, _submit(pools, unit, run_hook))
    while running:
        ended = running.next()
        for follower in followers[ended]:
            waiting[follower].discard(ended)
            if not waiting[follower]:
                running.add(follower, _submit(pools, follower, run_hook))


class _Running:
    """Units that run, each in one thread or more."""

    def __init__(self, look):
        self._look = look
        self._left = {}
        self._ended = queue.SimpleQueue()

    def __bool__(self):
        return bool(self._left)

    def add(self, unit, submitted):
        """Watch a unit that has ended when all these futures have."""
        self._left[unit] = len(submitted)
        for future in submitted:
            future.add_done_callback(
                lambda done: self._ended.put((unit, done)))

    def next(self):
        """Wait until a unit has ended, and return it."""
        while True:
            self._look()
            with contextlib.suppress(queue.Empty):
                unit, future = self._ended.get(timeout=LOOK_SECONDS)
                future.result()
                self._left[unit] -= 1
                if not self._left[unit]:
                    del self._left[unit]
                    return unit


def _submit(pools, unit, run_hook):
    """Start a unit; return the futures of all its parts."""
    chains = _chains(unit.tasks)
    if any(before for _chain, before in chains):
        return [pools.runners.submit(
            context.carried(_run_flow), pools, chains, run_hook)]
    call = context.carried(_run_chain)
    return [pools.atoms.submit(call, run_hook, chain)
            for chain, _before in chains]


def _chains(tasks):
    """Return ``[(hooks of an atom, last hooks of those before it)]``."""
    followers = {}
    for key, before in tasks.items():
        for other in before:
            followers.setdefault(other, []).append(key)
    chains = []
    for key, before in tasks.items():
        if not _is_joined(key, before, followers):
            chain = [key]
            while _next(chain[-1], tasks, followers):
                chain += followers[chain[-1]]
            chains.append((chain, before))
    return chains


def _next(key, tasks, followers):
    """Return whether a single hook follows that waits for this one alone."""
    found = followers.get(key, ())
    return len(found) == 1 and tasks[found[0]] == [key]


def _is_joined(key, before, followers):
    """Return whether a hook is in the atom of the one before it."""
    return len(before) == 1 and followers[before[0]] == [key]


def _without_empty(units):
    """Drop units without tasks; what waits for them waits for theirs."""
    kept = []
    resolved = {}

    def resolve(unit):
        if unit not in resolved:
            before = set().union(*(resolve(other) for other in unit.after))
            resolved[unit] = {unit} if unit.tasks else before
            unit.after = before
        return resolved[unit]

    for unit in units:
        resolve(unit)
        if unit.tasks:
            kept.append(unit)
    return kept


def _merged(units):
    """Put units that wait for the same, and that nobody waits for, together.

    Nobody's completion then waits for a stranger: inside a flow each task
    still waits for its own predecessors only.
    """
    needed = set().union(*(unit.after for unit in units)) if units else set()
    open_units, result = {}, []
    for unit in units:
        if unit in needed:
            result.append(unit)
            continue
        key = frozenset(unit.after)
        target = open_units.get(key)
        if target is None or (len(target.tasks) + len(unit.tasks)
                              > FLOW_TASKS):
            open_units[key] = unit
            result.append(unit)
        else:
            target.merge(unit)
    return result


def _run_flow(pools, chains, run_hook):
    atoms = {}
    for number, (chain, _before) in enumerate(chains):
        hook, node = chain[0][1], chain[0][0]
        atoms[chain[-1]] = _Atom(f'{number} {hook} {node}', run_hook, chain)
    flow = graph_flow.Flow('unit')
    flow.add(*atoms.values())
    for chain, before in chains:
        for other in before:
            flow.link(atoms[other], atoms[chain[-1]])
    engines.load(flow, engine='parallel', executor=pools.atoms).run()
