# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Starts, finds and ends the processes of the stack.

Separate because it knows nothing of OpenStack: a process has a name, its own
session and a file with its number.  The process writes that file itself just
before it becomes the service, so that killing tools/stack at any moment
never leaves a service that nobody knows of.
"""

import contextlib
import fcntl
import os
import pathlib
import signal
import subprocess
import sys
import time

import paths

_BEGAN = time.monotonic()
_INTRODUCE = ('echo $$ $(cut -d" " -f22 /proc/$$/stat) > "$0.part" && '
              'mv "$0.part" "$0" && exec "$@"')


def say(text):
    elapsed = time.monotonic() - _BEGAN
    print(f'[{elapsed:6.1f}s] {text}', file=sys.stderr, flush=True)


@contextlib.contextmanager
def alone(folder):
    """Keep others who name this folder out, until the block is left."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f'waiting for somebody else at work in {folder}')
        fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(handle)


def start(name, command, env, run=paths.RUN, log=paths.LOG):
    """Start a command in a session of its own; nothing if it runs."""
    if leader(name, run):
        return
    run.mkdir(parents=True, exist_ok=True)
    log.mkdir(parents=True, exist_ok=True)
    with open(log / f'{name}.log', 'ab') as output:
        subprocess.Popen(
            ['/bin/sh', '-c', _INTRODUCE, _file(name, run), *command],
            env=env, stdin=subprocess.DEVNULL, stdout=output,
            stderr=subprocess.STDOUT, cwd=run.parent, start_new_session=True)
    _wait_for_introduction(name, run)


def _wait_for_introduction(name, run):
    end = time.monotonic() + 10
    while not leader(name, run) and time.monotonic() < end:
        time.sleep(0.01)


def leader(name, run=paths.RUN):
    """Number of the process started under this name, None if it is gone."""
    try:
        number, began = _file(name, run).read_text().split()
        return int(number) if _stat(number)[19] == began else None
    except (OSError, ValueError):
        return None


def began(name):
    """Moment at which the service was started, in seconds since 1970."""
    return _file(name, paths.RUN).stat().st_mtime


def members(session):
    """All live processes of a session, the leader included."""
    found = []
    for folder in pathlib.Path('/proc').glob('[0-9]*'):
        try:
            if int(_stat(folder.name)[3]) == session:
                found.append(int(folder.name))
        except (OSError, ValueError):
            continue
    return found


def running(run=paths.RUN):
    """Names of what runs."""
    return [path.stem for path in sorted(run.glob('*.pid'))
            if leader(path.stem, run)]


def all_members():
    return {number for name in running()
            for number in members(leader(name))}


def stop(names, run=paths.RUN, grace=20, sign=signal.SIGTERM, whole=()):
    """End sessions together, by force when `grace` seconds are over.

    Only the leader is asked, it ends its own children; of the names in
    `whole` every member is asked.
    """
    sessions = {name: leader(name, run) for name in names}
    sessions = {name: number for name, number in sessions.items() if number}
    for name, number in sessions.items():
        for member in members(number) if name in whole else [number]:
            _signal(member, sign)
    end = time.monotonic() + grace
    while any(map(members, sessions.values())) and time.monotonic() < end:
        time.sleep(0.1)
    for number in sessions.values():
        _kill(number)
    for name in names:
        _file(name, run).unlink(missing_ok=True)


def kill(name, run=paths.RUN):
    """SIGKILL every process of the session."""
    number = leader(name, run)
    if number:
        _kill(number)
    _file(name, run).unlink(missing_ok=True)


def _kill(session):
    while left := members(session):
        for member in left:
            _signal(member, signal.SIGKILL)
        time.sleep(0.05)


def _signal(number, sign):
    try:
        os.kill(number, sign)
    except ProcessLookupError:
        pass


def memory(session):
    """Proportional set size of a session in bytes."""
    total = 0
    for member in members(session):
        try:
            text = pathlib.Path(f'/proc/{member}/smaps_rollup').read_text()
            total += int(text.partition('Pss:')[2].split()[0]) << 10
        except (OSError, IndexError):
            continue
    return total


def _file(name, run):
    return run / f'{name}.pid'


def _stat(number):
    """Fields of /proc/N/stat from the state on; a zombie counts as gone."""
    text = pathlib.Path(f'/proc/{number}/stat').read_text()
    fields = text.rpartition(')')[2].split()
    if fields[0] == 'Z':
        raise OSError('ended')
    return fields
