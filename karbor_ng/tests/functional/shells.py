# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The command lines of python-karborclient, and reading what they print.

Separate from their tests because two programs with different words and
different output are tested by one set of stories.
"""

import ast
import json
import subprocess

from karbor_ng.tests.functional import base
from karbor_ng.tests.functional import said


class Shell:
    """One program, run as a user of the stack.

    Nouns and verbs are the API's: ``('plan', 'list')``,
    ``('protectable instance', 'show')``, ``('quota class', 'update')``.

    :cvar venv: the environment of ``tools/venv`` that has the program
    :cvar everyone: the option that lists what all projects have
    :cvar tenant: the option that lists what one project has
    """

    venv = everyone = tenant = None

    def __init__(self, user):
        home = subprocess.run(
            [base.ROOT / 'tools' / 'venv', self.venv], check=True,
            capture_output=True, text=True, env=base.ENVIRONMENT)
        self._bin = f'{home.stdout.strip()}/bin'
        self._env = dict(base.ENVIRONMENT, **_credentials(user))
        # Ours is about the logs of tests; openstack would tell all it does.
        self._env.pop('OS_DEBUG', None)

    def say(self, noun, verb, *words, code=0):
        """Run a command that must end with this code; return its output."""
        command = self.command(noun, verb, *words)
        run = subprocess.run(command, capture_output=True, text=True,
                             env=self._env, cwd=base.ROOT)
        printed = run.stdout + run.stderr
        said.note(self.venv, command[1:], run.returncode)
        if run.returncode != code:
            raise AssertionError(f'{command} ended with {run.returncode}, '
                                 f'not {code}: {printed}')
        return run.stdout if code == 0 else printed

    def command(self, noun, verb, *words):
        raise NotImplementedError

    def descending(self, key):
        """Return the words that sort a list the other way around."""
        return '--sort', f'{key}:desc'

    def rows(self, noun, *words):
        """List; return ``{column: text or value}`` for each line, with the
        API's names of columns."""
        raise NotImplementedError

    def fields(self, noun, verb, *words):
        """Show, create or update; return ``{field: text or value}``."""
        raise NotImplementedError


class Karbor(Shell):
    """``karbor plan-list``, which prints tables only."""

    venv = 'client'
    everyone = '--all-tenants'
    tenant = '--tenant'

    def command(self, noun, verb, *words):
        noun, _, part = noun.partition(' ')
        if part == 'class':
            noun += '-class'
        elif part:
            verb += '-instances' if verb == 'list' else '-instance'
        return [f'{self._bin}/karbor', f'{noun}-{verb}', *words]

    def descending(self, key):
        return '--sort_key', key, '--sort_dir', 'desc'

    def rows(self, noun, *words):
        return list(_read_table(self.say(noun, 'list', *words)))

    def fields(self, noun, verb, *words):
        rows = list(_read_table(self.say(noun, verb, *words)))
        if 'property' in rows[0]:
            return {row['property']: row['value'] for row in rows}
        row, = rows
        return row


class OpenStack(Shell):
    """``openstack data protection plan list``, which can print JSON."""

    venv = 'osc'
    everyone = '--all-projects'
    tenant = '--project'

    def command(self, noun, verb, *words):
        noun = {'quota': 'quotas', 'quota class': 'quotaclass'}.get(
            noun, noun)
        verb = 'default' if verb == 'defaults' else verb
        return [f'{self._bin}/openstack', *said.OPENSTACK,
                *noun.split(), *verb.split('-'), *words]

    def rows(self, noun, *words):
        printed = self.say(noun, 'list', *words, '-f', 'json')
        return [{_field(column): value for column, value in row.items()}
                for row in json.loads(printed)]

    def fields(self, noun, verb, *words):
        return json.loads(self.say(noun, verb, *words, '-f', 'json'))


class NewestOpenStack(OpenStack):
    """The same in the ``openstack`` of today."""

    venv = 'osc-newest'


def meaning(value):
    """Return what a value means, however it is printed.

    Both programs print some values as JSON, some as Python does, and the
    API itself answers texts that hold JSON.
    """
    if not isinstance(value, str):
        return value
    for decode in (json.loads, ast.literal_eval):
        try:
            return decode(value)
        except (ValueError, SyntaxError):
            pass
    return None if value == '-' else value


def _credentials(user):
    auth = user.cloud.config.get_auth_args()
    found = {f'OS_{name.upper()}': value for name, value in auth.items()}
    found.update(OS_IDENTITY_API_VERSION='3',
                 OS_REGION_NAME=user.cloud.config.get_region_name())
    return found


def _read_table(text):
    """Yield the rows of a table; a row whose first cell is empty goes on
    with the one before."""
    columns, row = None, None
    for line in text.splitlines():
        if not line.startswith('|'):
            continue
        cells = [cell[1:].rstrip() for cell in line.split(' |')[:-1]]
        cells[0] = cells[0][1:]
        if columns is None:
            columns = [_field(cell) for cell in cells]
        elif cells[0]:
            if row:
                yield row
            row = dict(zip(columns, cells, strict=True))
        else:
            for column, cell in zip(columns, cells, strict=True):
                row[column] += f'\n{cell}' if cell else ''
    if row:
        yield row


def _field(column):
    return column.lower().replace(' ', '_')
