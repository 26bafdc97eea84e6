# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What the demonstration shows: steps, bars, a tree, a table of times.

Separate so that the story reads as one. On a terminal bars move; elsewhere
each step is a line when it begins and a line when it has ended.
"""

import contextlib
import json
import sys
import time

from rich import console
from rich import live
from rich import progress
from rich import spinner
from rich import table
from rich import tree

_COLOURS = {'available': 'green', 'success': 'green', 'deleted': 'green',
            'error': 'red', 'failed': 'red'}


class Screen:

    def __init__(self):
        # What is not a terminal has no width, and lines need not fit.
        self._console = console.Console(
            highlight=False, width=None if sys.stdout.isatty() else 180)
        self._times = []

    def say(self, text, style=None):
        self._console.print(text, style=style, markup=False, soft_wrap=True)

    @contextlib.contextmanager
    def step(self, text, is_quiet=False):
        """One step of the story, with a bar for each thing that it does.

        Yields ``{name: say}``, which has every name as soon as it is asked
        for: ``say(state)`` or ``say(done, total)``.

        :param is_quiet: whether something else writes to the terminal
            meanwhile
        """
        since = time.monotonic()
        if is_quiet or not self._console.is_terminal:
            self.say(f'... {text}')
        if is_quiet:
            yield {}
        else:
            with self._bars(text) as bars:
                yield _Lanes(bars)
        seconds = time.monotonic() - since
        self._times.append((text, seconds))
        self.say(f'\u2714 {text}  ({seconds:.1f} s)', style='green')

    @contextlib.contextmanager
    def _bars(self, text):
        bars = progress.Progress(
            progress.TextColumn('  {task.description}'),
            progress.BarColumn(20), progress.TaskProgressColumn(),
            progress.TimeElapsedColumn(),
            progress.TextColumn('{task.fields[state]}'))
        shown = console.Group(spinner.Spinner('dots', text), bars)
        with live.Live(shown, console=self._console, transient=True,
                       auto_refresh=self._console.is_terminal):
            yield bars

    def graph(self, title, checkpoint):
        """Show a checkpoint's graph as a tree."""
        nodes, edges = json.loads(checkpoint['resource_graph'])
        children = dict(edges)
        inner = {key for keys in children.values() for key in keys}
        states = {(one['type'], one['id']): one for one in checkpoint['resources']}
        root = tree.Tree(title)
        for key in nodes:
            if key not in inner:
                _grow(root, key, nodes, children, states)
        self._console.print(root)

    def texts(self, title, texts):
        """Show ``{name: [texts]}`` below a title, nothing if there is none."""
        if any(texts.values()):
            self.say(title, 'bold')
        for name, said in texts.items():
            for text in said:
                self.say(f'  {name}: {text}')

    def comparison(self, before, after):
        """Show two equal-looking ``{(name, fact): text}`` as a table.

        Return which differ, as texts.
        """
        shown = table.Table('what', table.Column('before', overflow='fold'),
                            table.Column('after', overflow='fold'))
        other = []
        for what, text in before.items():
            name = ': '.join(what)
            is_equal = after.get(what) == text
            shown.add_row(name, text or '-',
                          'the same' if is_equal else after.get(what) or '-',
                          style='green' if is_equal else 'bold red')
            if not is_equal:
                other.append(name)
        self._console.print(shown)
        return other

    def times(self):
        """Show how long each step took."""
        shown = table.Table('step', table.Column('seconds', justify='right'))
        for text, seconds in self._times:
            shown.add_row(text, f'{seconds:.1f}')
        total = sum(seconds for _text, seconds in self._times)
        shown.add_section()
        shown.add_row('together', f'{total:.1f}')
        self._console.print(shown)


class _Lanes(dict):
    """Makes bars as they are asked for."""

    def __init__(self, bars):
        super().__init__()
        self._bars = bars

    def __missing__(self, name):
        return self.setdefault(name, _lane(self._bars, name))


def _lane(bars, name):
    task = bars.add_task(name, total=None, state='')

    def say(state, total=None):
        if total is None:
            bars.update(task, state=state)
        else:
            bars.update(task, completed=state, total=total, state='')
    return say


def _grow(branch, key, nodes, children, states):
    resource_type, resource_id, name = nodes[key][:3]
    state = states.get((resource_type, resource_id), {})
    status = state.get('status', '')
    colour = _COLOURS.get(status, 'default')
    twig = branch.add(f'{resource_type} [bold]{name}[/] {resource_id} '
                      f'[{colour}]{status}[/] {state.get("reason") or ""}')
    for child in children.get(key, ()):
        _grow(twig, child, nodes, children, states)
