#!/usr/bin/env python3
# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What an operation engine costs with 100,000 scheduled operations.

    benchmarks/schedules.py [--count N] [--due N] [--database URL]

Run it with the product's Python. Fills a database with N triggers, each with
a scheduled operation, first a hundredth of them and then all, and each time
starts karbor-operationengine as a service is. Then the engine's own parts
work in this process: they look when nothing is due, and --due of the triggers
become due at the same second, in ten projects.

Exits with 1 if the engine needs more than 2 seconds from its start to the end
of its first look; if a look that finds nothing takes more than 20 ms in the
median; if not all that is due has its run, its checkpoint and its operation
within 10 seconds; or if the process needs 16 MiB more with all rows than with
a hundredth of them.

The database is SQLite in a temporary directory, or one made for this, and
removed at the end, on the server at URL.
"""

import argparse
import datetime
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import psutil
import sqlalchemy as sa

from karbor_ng import keystone
from karbor_ng.operationengine import service
from karbor_ng.protection import client
from karbor_ng.store import models
from karbor_ng.store import providers
from karbor_ng.store import query
from karbor_ng.store import session
from karbor_ng.tests import fixtures

MIB = 2 ** 20
PROJECTS = 10
LOOKS = 50
AT_ONCE = 1000
NEVER = datetime.datetime(2999, 1, 1, tzinfo=datetime.timezone.utc)
MOST_START = 2
MOST_LOOK = 0.020
MOST_DUE = 10
MOST_GROWTH = 16
CONFIGURATION = """
[DEFAULT]
host = benchmark
auth_strategy = noauth
log_file = {folder}/log
transport_url = kombu+memory://
[database]
connection = {database}
"""


def main():
    options = _options()
    with (tempfile.TemporaryDirectory() as folder,
          fixtures.DatabaseFixture(options.database) as database):
        return _measure(options, database, pathlib.Path(folder))


def _options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--count', type=int, default=100000, metavar='N',
                        help='scheduled operations (default: 100000)')
    parser.add_argument('--due', type=int, default=1000, metavar='N',
                        help='of them at the same second (default: 1000)')
    parser.add_argument('--database', metavar='URL',
                        help='of a server on which a database is made '
                             '(default: SQLite)')
    return parser.parse_args()


def _measure(options, database, folder):
    path = folder / 'karbor.conf'
    path.write_text(CONFIGURATION.format(
        database=database.url, folder=folder))
    _fill(database.db, 0, options.count // 100)
    _few_seconds, few_memory = _start(path, folder)
    _fill(database.db, options.count // 100, options.count)
    seconds, memory = _start(path, folder)
    engine = _engine(database.db)
    look = _look(engine)
    due = _due(engine, database.db, options.due)
    growth = (memory - few_memory) / MIB
    results = (
        ('start to the end of the first look', seconds, MOST_START, 's'),
        ('a look that finds nothing', look * 1000, MOST_LOOK * 1000, 'ms'),
        (f'{options.due} due at once', due, MOST_DUE, 's'),
        (f'memory of {memory / MIB:.0f} MiB grown by', growth, MOST_GROWTH,
         'MiB'))
    print(f'{options.count} scheduled operations:')
    for what, value, most, unit in results:
        print(f'  {what}: {value:.2f} {unit} (goal: at most {most:g})')
    return int(any(value > most for _what, value, most, _unit in results))


def _fill(db, begin, end):
    """Add triggers, plans, and what is scheduled, by these numbers."""
    for start in range(begin, end, AT_ONCE):
        numbers = range(start, min(end, start + AT_ONCE))
        rows = [_rows(number) for number in numbers]
        db.write(_insert, *zip(*rows, strict=True))


def _rows(number):
    project = {'project_id': f'project{number % PROJECTS}'}
    trigger = fixtures.trigger_values(
        **project, next_run_at=NEVER, created_at=fixtures.MOMENT,
        properties={'format': 'crontab', 'pattern': '0 2 * * *',
                    'start_time': '2026-01-01 00:00:00', 'window': '900'})
    plan = fixtures.plan_values(**project, created_at=fixtures.MOMENT)
    operation = fixtures.scheduled_operation_values(
        **project, trigger_id=trigger['id'], plan_id=plan['id'],
        created_at=fixtures.MOMENT)
    return trigger, plan, operation


def _insert(session, triggers, plans, operations):
    for model, rows in ((models.Trigger, triggers), (models.Plan, plans),
                        (models.ScheduledOperation, operations)):
        session.execute(sa.insert(model), list(rows))


def _start(path, folder):
    """Start an engine; return seconds until it has looked, and its memory."""
    address = folder / f'notify{time.monotonic_ns()}'
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(address))
        channel.settimeout(60)
        began = time.monotonic()
        program = subprocess.Popen(
            [pathlib.Path(sys.executable).with_name(
                'karbor-operationengine'), '--config-file', path],
            env={**os.environ, 'NOTIFY_SOCKET': str(address)},
            stderr=subprocess.DEVNULL)
        try:
            while b'READY=1' not in channel.recv(4096):
                pass
            seconds = time.monotonic() - began
            # Until a second look has been there as well.
            time.sleep(1)
            return seconds, _memory(program.pid)
        finally:
            program.terminate()
            program.wait()


def _memory(pid):
    parent = psutil.Process(pid)
    return sum(process.memory_full_info().uss
               for process in (parent, *parent.children(recursive=True)))


def _engine(db):
    configuration = fixtures.ConfFixture()
    configuration.setUp()
    db.write(providers.publish, fixtures.provider_values())
    return service.OperationEngine(
        configuration.conf, db, keystone.NoCloud(), None,
        client.ProtectionClient(configuration.conf, db, fixtures.Hints()))


def _look(engine):
    """Return the seconds of a turn that finds nothing, in the median."""
    engine.turn()
    taken = []
    for _number in range(LOOKS):
        began = time.monotonic()
        engine.turn()
        taken.append(time.monotonic() - began)
    return statistics.median(taken)


def _due(engine, db, count):
    """Return how long it takes until all that is due is queued."""
    db.write(_make_due, count)
    began = time.monotonic()
    engine.turn()
    taken = time.monotonic() - began
    queued = db.read(lambda session: session.execute(
        sa.select(sa.func.count()).select_from(models.Operation)
        .join(models.ScheduledOperationRun, models.ScheduledOperationRun.id
              == models.Operation.scheduled_run_id)
        .where(models.ScheduledOperationRun.state == 'started')).scalar())
    if queued != count:
        raise SystemExit(f'{queued} instead of {count} are queued.')
    return taken


def _make_due(current, count):
    ids = current.execute(sa.select(models.Trigger.id).limit(count)).scalars()
    query.change(current, models.Trigger,
                 {'next_run_at': session.now(current)},
                 models.Trigger.id.in_(ids.all()))


if __name__ == '__main__':
    sys.exit(main())
