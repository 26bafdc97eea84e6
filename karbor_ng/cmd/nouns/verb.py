# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What all verbs of karbor-manage are made of: arguments, database, output.

Apart from the nouns because each of them begins with it.
"""

import argparse
import dataclasses
import json
import sys
import typing

from rich import box
from rich import console
from rich import table
from rich import text

from karbor_ng.store import schema
from karbor_ng.store import session

#: How wide a table may be that no terminal cuts.
_WIDEST = 2000

FORMAT = (('-f', '--format'), {
    'choices': ('table', 'json'), 'default': 'table',
    'help': 'How the answer is printed; a table is meant for people.'})


@dataclasses.dataclass(frozen=True)
class Verb:
    """One thing that can be done.

    :ivar run: called with the conf object, where its arguments are as
        ``conf.noun``; returns the exit code, or None for 0; prints what was
        asked for
    :ivar help: what it does, as a full sentence
    :ivar arguments: pairs of names and options for ``add_argument``
    """

    run: typing.Callable
    help: str
    arguments: tuple = ()


@dataclasses.dataclass(frozen=True)
class Noun:
    """What verbs are about.

    :ivar verbs: ``{name: Verb}``
    """

    help: str
    verbs: dict


def database(conf):
    """Return the database, if it has the schema of this release.

    :raises errors.ConfigError: it has not, or can not be used
    """
    # Whoever has typed a command can end it.
    db = session.Database.from_conf(conf, is_patient=True)
    schema.check(db)
    return db


def at_least(smallest):
    """Return a type for whole numbers of arguments."""
    def number(given):
        value = int(given)
        if value < smallest:
            raise argparse.ArgumentTypeError(f'less than {smallest}')
        return value
    return number


def show_rows(conf, columns, rows):
    """Print dicts, one a line; JSON has all of their keys.

    :param columns: the keys that a table has, in order
    """
    if conf.noun.format == 'json':
        _show_json(rows)
        return
    shown = _table(columns)
    for row in rows:
        shown.add_row(*[_cell(row[name]) for name in columns])
    _print(shown)


def show_one(conf, row):
    """Print one dict, a key a line."""
    if conf.noun.format == 'json':
        _show_json(row)
        return
    shown = _table(('field', 'value'))
    for name, value in row.items():
        shown.add_row(name, _cell(value))
    _print(shown)


def _table(columns):
    shown = table.Table(box=box.ASCII2, show_edge=True)
    for name in columns:
        shown.add_column(name, overflow='fold')
    return shown


def _cell(value):
    if value is None:
        return text.Text('-')
    if not isinstance(value, str):
        value = json.dumps(value, ensure_ascii=False)
    return text.Text(value)


def _show_json(value):
    print(json.dumps(value, indent=2, ensure_ascii=False))


def _print(shown):
    width = None if sys.stdout.isatty() else _WIDEST
    console.Console(file=sys.stdout, width=width, highlight=False).print(
        shown, crop=False)
