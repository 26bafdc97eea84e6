# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Which commands of the old clients there are, and which tests have said.

Separate from the tests because no test knows what others say: all write into
one file, which is read when they have ended.

    python -m karbor_ng.tests.functional.said FILE

prints what is wrong in a line each; the exit code is 1 if anything is.
"""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

#: The file that tests write into; without it they do not.
VARIABLE = 'KARBOR_TEST_SAID'
OPENSTACK = ('data', 'protection')
TOOL = pathlib.Path(__file__).parents[3] / 'tools' / 'venv'

#: Prints as JSON ``{command: [[an option's spellings], ...]}``.
KARBOR_COMMANDS = '''
import json
from karborclient.v1 import shell
print(json.dumps({
    name[3:].replace('_', '-'): [
        spelling for spelling, _ in command.arguments
        if spelling[0].startswith('-')]
    for name, command in vars(shell).items() if name.startswith('do_')
    for command.arguments in [getattr(command, 'arguments', [])]}))
'''
OPENSTACK_COMMANDS = '''
import importlib.metadata
import json
from osc_lib.command import command

def options(kind):
    class Made(kind):
        def take_action(self, parsed_args):
            raise NotImplementedError
    return [action.option_strings for action
            in Made(None, None).get_parser('')._actions
            if action.option_strings]

def own(kind):
    general = [spellings for ours in kind.__mro__[1:]
               if ours.__module__ == command.__name__
               for spellings in options(ours)]
    return [one for one in options(kind) if one not in general]

print(json.dumps({
    point.name.replace('_', ' '): own(point.load()) for point
    in importlib.metadata.entry_points(group='openstack.data_protection.v1')
}))
'''


@dataclasses.dataclass(frozen=True)
class Program:
    """One that tests run, and how well they must know it.

    :ivar commands: what prints its commands
    :ivar broken: commands that end with an error, whatever one says
    :ivar with_options: whether all options have to be said
    """

    commands: str
    broken: frozenset = frozenset()
    with_options: bool = True


NEVER = frozenset(('data protection trigger create',
                   'data protection scheduledoperation create'))
NOT_TODAY = frozenset(f'data protection {noun} list' for noun in (
    'checkpoint', 'restore', 'verification', 'scheduledoperation',
    'protectable instance'))
#: By the environment of ``tools/venv``.
PROGRAMS = {
    'client': Program(KARBOR_COMMANDS),
    'osc': Program(OPENSTACK_COMMANDS, NEVER),
    'osc-newest': Program(OPENSTACK_COMMANDS, NEVER | NOT_TODAY,
                          with_options=False),
}


def note(venv, words, code):
    """Write down what a program was told, and how it ended."""
    if VARIABLE in os.environ:
        with open(os.environ[VARIABLE], 'a') as file:
            file.write(json.dumps([venv, words, code]) + '\n')


def there_are(venv):
    """Ask a program's environment for ``{command: [spellings, ...]}``."""
    home = subprocess.run([TOOL, venv], check=True, text=True,
                          stdout=subprocess.PIPE).stdout.strip()
    answer = subprocess.run(
        [f'{home}/bin/python', '-W', 'ignore', '-c',
         PROGRAMS[venv].commands], check=True, text=True,
        stdout=subprocess.PIPE).stdout
    return json.loads(answer)


def complaints(venv, commands, runs):
    """Yield what is wrong with what was said to a program.

    :param commands: what :func:`there_are` returns
    :param runs: pairs of words and the exit code
    """
    program = PROGRAMS[venv]
    for command, options in sorted(commands.items()):
        found = [(words, code) for words, code in runs
                 if is_of(command, words)]
        good = any(code == 0 for _, code in found)
        if not found:
            yield f'{venv}: {command}: no test says it'
        elif good and command in program.broken:
            yield f'{venv}: {command}: it works, which nobody believes'
        elif not good and command not in program.broken:
            yield f'{venv}: {command}: it never worked'
        elif program.with_options:
            for spellings in _unsaid(options, found):
                yield f'{venv}: {command}: no test says {spellings[0]}'


def is_of(command, words):
    parts = command.split()
    return words[:len(parts)] == parts


def _unsaid(options, runs):
    heard = {word for words, _ in runs for word in words}
    return [spellings for spellings in options
            if not heard.intersection(spellings)]


def read(file):
    """Return ``{environment: [(words, code), ...]}`` as noted."""
    runs = {venv: [] for venv in PROGRAMS}
    for line in file.read_text().splitlines():
        venv, words, code = json.loads(line)
        runs[venv].append((words, code))
    return runs


def main(file):
    found = [line for venv, runs in read(pathlib.Path(file)).items()
             for line in complaints(venv, there_are(venv), runs)]
    print('\n'.join(found))
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
