#!/usr/bin/env python3
# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""A thousand checkpoints asked for at once, and what that costs.

    benchmarks/flood.py [--count N] [--rounds N] [--database URL]

Run it with the product's Python. karbor-api (two processes) and
karbor-protection run as services do, without authentication and with the
no-op plugin. After a small flood that makes everything be loaded, one project
sends N requests for a checkpoint at the same moment, over a connection each;
then another project asks for a single one.

Prints for each round in how many seconds all were answered, in how many the
other project had its checkpoint, and in how many all had ended; and the most
memory of both services, all their processes together, with what it was
before. Exits with 1 if an answer is not 200, if a checkpoint does not become
available, if the other project waits for half of the flood, or if a service
grows by more than 64 MiB.

The database is SQLite in a temporary directory, or an empty one at URL,
which is emptied at the end. The bank is in the temporary directory.
"""

import argparse
import asyncio
import collections
import json
import pathlib
import resource
import sys
import tempfile
import threading
import time

import running
import sqlalchemy as sa

from karbor_ng.store import models

MIB = 2 ** 20
MOST_GROWTH = 64
WARM_UP = 50


def main():
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        url = options.database or f'sqlite:///{folder}/karbor.sqlite'
        with (running.empty_database(url) as db,
              running.Site(pathlib.Path(folder), url) as site):
            return _measure(site, db, options)


def _options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--count', type=int, default=1000, metavar='N',
                        help='requests at once (default: 1000)')
    parser.add_argument('--rounds', type=int, default=2, metavar='N',
                        help='one after the other (default: 2)')
    parser.add_argument('--database', metavar='URL',
                        help='of an empty database, as in [database] '
                             'connection (default: SQLite)')
    return parser.parse_args()


def _statuses(db, project):
    """Return ``{status: number of the project's checkpoints}``."""
    columns = models.Checkpoint.status, sa.func.count()
    query = (sa.select(*columns).group_by(models.Checkpoint.status)
             .where(models.Checkpoint.project_id == project))
    return dict(db.read(
        lambda session: session.execute(query).tuples().all()))


def _measure(site, db, options):
    _allow_connections(options.count)
    _flood(site, db, 'warm-up', WARM_UP)
    before = {name: _memory(process)
              for name, process in site.processes.items()}
    problems = []
    for number in range(options.rounds):
        with _Peaks(site.processes) as peaks:
            problems += _flood(site, db, f'round-{number + 1}',
                               options.count)
        for name, peak in peaks.highest.items():
            print(f'  memory of karbor-{name}: {before[name]:.0f} MiB, at '
                  f'most {peak:.0f} MiB', flush=True)
            if peak > before[name] + MOST_GROWTH:
                problems.append(f'karbor-{name} grew by more than '
                                f'{MOST_GROWTH} MiB')
    print('\n'.join(problems) or 'As promised.')
    return int(bool(problems))


def _allow_connections(count):
    """Let this process, and not the services, open a file for each."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE,
                       (min(hard, max(soft, count + 100)), hard))


def _flood(site, db, project, count):
    """Ask for checkpoints, wait until they have ended; return problems."""
    plan_id, other = site.plan(project), f'{project}-other'
    other_plan = site.plan(other)
    began = time.monotonic()
    answers = asyncio.run(_ask_at_once(site.port, project, plan_id, count))
    answered = time.monotonic() - began
    site.call('POST', other, f'providers/{running.PROVIDER}/checkpoints',
              {'checkpoint': {'plan_id': other_plan}})
    asked = time.monotonic()
    _wait(db, other)
    waited = time.monotonic() - asked
    left = _statuses(db, project).get('protecting', 0)
    ended = _wait(db, project)
    seconds = time.monotonic() - began
    print(f'{project}: {count} answered in {answered:.1f} s, the other '
          f'project served in {waited:.1f} s with {left} left, all ended in '
          f'{seconds:.1f} s', flush=True)
    problems = _problems(answers, ended, count)
    if left < count / 2:
        problems.append('the other project waited for half of the flood')
    return problems


def _problems(answers, ended, count):
    problems = []
    if answers != {'200': count}:
        problems.append(f'answers: {dict(answers)}')
    if ended != {'available': count}:
        problems.append(f'checkpoints: {ended}')
    return problems


def _wait(db, project):
    """Return the statuses of a project's checkpoints when all have ended."""
    while True:
        found = _statuses(db, project)
        if not found.get('protecting'):
            return found
        time.sleep(0.2)


async def _ask_at_once(port, project, plan_id, count):
    """Send all requests; return ``{status or error: number of answers}``."""
    body = json.dumps({'checkpoint': {'plan_id': plan_id}})
    request = (
        f'POST /v1/{project}/providers/{running.PROVIDER}/checkpoints HTTP/1.1\r\n'
        f'Host: 127.0.0.1\r\nX-Auth-Token: user:{project}\r\n'
        f'Content-Type: application/json\r\nContent-Length: {len(body)}\r\n'
        f'Connection: close\r\n\r\n{body}').encode()
    return collections.Counter(await asyncio.gather(
        *[_ask(port, request) for _ in range(count)]))


async def _ask(port, request):
    try:
        reader, writer = await asyncio.open_connection('127.0.0.1', port)
        writer.write(request)
        answer = await reader.read()
        writer.close()
    except OSError as problem:
        return type(problem).__name__
    return answer.split(b' ', 2)[1].decode() if answer else 'nothing'


class _Peaks:
    """Watches the memory of processes and those that they started.

    :ivar highest: ``{name: MiB}``
    """

    def __init__(self, processes):
        self._processes = processes
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.highest = dict.fromkeys(processes, 0)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *problem):
        self._ended.set()
        self._thread.join()

    def _watch(self):
        while not self._ended.wait(0.2):
            for name, process in self._processes.items():
                self.highest[name] = max(self.highest[name],
                                         _memory(process))


def _memory(process):
    """Return MiB of a process and of those that it started."""
    return sum(one.memory_info().rss for one in
               [process, *process.children(recursive=True)]) / MIB


if __name__ == '__main__':
    sys.exit(main())
