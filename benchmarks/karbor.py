#!/usr/bin/env python3
# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What Karbor was measured at, and how karbor_ng does at the same.

    benchmarks/karbor.py [--database URL] [--broker URL] [--seconds S]
                         [--rounds N] [--longest N] [PART ...]

Run it with the product's Python. karbor-api (one process) and
karbor-protection run as services do, without authentication and with the
no-op plugin, and are asked over HTTP for what the last source of Karbor was
asked for: plans and checkpoints, lists of up to 10,000 of them, and
checkpoints, restores and deletions of up to 1,000 resources. Karbor's own
figures stand in this program; they were measured on two shared cores with
MariaDB, RabbitMQ and a bank in a directory. PART is one of requests, lists,
operations and crowds; without, all are measured.

When an operation has ended is read from its row, with pauses of 2 ms that grow
to a fiftieth of what it has taken by then: asking over HTTP as often would take
the processors from what is measured.

Prints a table: for each row the figure of Karbor, ours, how many times better
it is, and how many times it has to be: 20 where it is about scale, answers of
1,000 and plans of 1,000 resources, and 5 elsewhere. Exits with 1 if a row is
not that good. In the first and the last line is what a known piece of work
takes, to compare runs and machines with.

The database is a SQLite file, or made for this on the server at URL and
dropped at the end. Without a URL of a broker messages stay inside of each
service, and operations begin when the next sweep finds them: give one.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time

import rows
import running
import sqlalchemy as sa

from karbor_ng.store import models
from karbor_ng.store import schema
from karbor_ng.tests import fixtures

ELSEWHERE, SCALE = 5, 20
PARTS = ('requests', 'lists', 'operations', 'crowds')
CONNECTIONS = (1, 16)
_VOLUME = 'OS::Cinder::Volume'
#: Requests each second with 1 and with 16 connections.
REQUESTS = {
    'GET plans, 100 there': (7.9, 6.7),
    'GET plans, 1,000 of 10,000': (1.9, 1.7),
    'GET plans, 20 of 100': (16.3, 32.7),
    'GET plans, 20 of 10,000': (23.5, 26.5),
    'GET one plan': (65.5, 57),
    'POST plan': (10.0, 11.4),
    'DELETE plan': (11.0, 11.7),
    'GET providers': (65.5, 139),
    'GET protectables': (76.9, 98.5),
}
#: Median milliseconds of one connection, by the number of checkpoints.
CHECKPOINTS = {
    10: (19, 26, 17, 377, 337),
    100: (87, 34, 55, 368, 262),
    1000: (357, 24, 323, 487, 202),
    10000: (374, 68, 325, 503, 202),
}
QUESTIONS = ('', 'limit=20', 'plan_id={plan}',
             'start_date={first}&end_date={last}',
             'start_date=2001-01-01&end_date=2001-01-02')
#: Seconds until everything has ended, by the number of resources.
OPERATIONS = {
    'protect': {1: 0.21, 10: 0.39, 100: 3.8, 1000: 347},
    'restore': {1: 0.13, 10: 0.34, 100: 4.0},
    'delete': {1: 0.14, 10: 0.34, 100: 3.6},
}
#: Rounds of operations of so few resources for each one of others.
SMALL, MORE_ROUNDS = 10, 5
#: Seconds between two looks at a row, or a part of the time until then.
LEAST_PAUSE, PAUSE_PART = 0.002, 50
#: Seconds until so many checkpoints of ten resources are there.
AT_ONCE = {20: 6.4, 50: 17.1}


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table.

    :ivar goal: how many times better it has to be
    :ivar is_rate: whether more is better
    """

    what: str
    karbor: float
    ours: float
    unit: str
    goal: int
    is_rate: bool = False

    @property
    def ratio(self):
        return (self.ours / self.karbor if self.is_rate
                else self.karbor / self.ours)

    def cells(self):
        kept = 'yes' if self.ratio >= self.goal else 'no'
        return (self.what, f'{self.karbor:g} {self.unit}',
                f'{self.ours:.4g} {self.unit}', f'{self.ratio:.1f}',
                str(self.goal), kept)


def main():
    options = _options()
    print(f'{os.cpu_count()} processors, {_known_work()}', flush=True)
    with (tempfile.TemporaryDirectory() as folder,
          fixtures.EmptyDatabaseFixture(options.database) as database):
        schema.upgrade(database.db)
        with running.Site(pathlib.Path(folder), database.url, workers=1,
                          broker=options.broker) as site:
            found = list(_measure(site, database.db, options))
    _print(found)
    kept = sum(row.ratio >= row.goal for row in found)
    print(f'{kept} of {len(found)} rows are as many times better than '
          'Karbor as is the goal')
    print(_known_work())
    return int(any(row.ratio < row.goal for row in found))


def _options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--database', metavar='URL',
                        help='of a server that lets databases be made, as in '
                             '[database] connection (default: SQLite)')
    parser.add_argument('--broker', metavar='URL', default='kombu+memory://',
                        help='as in transport_url (default: none)')
    parser.add_argument('--seconds', type=float, default=3, metavar='S',
                        help='for each kind of request (default: 3)')
    parser.add_argument('--rounds', type=int, default=3, metavar='N',
                        help='of operations (default: 3)')
    parser.add_argument('--longest', type=int, default=10000, metavar='N',
                        help='plans and checkpoints (default: 10000)')
    parser.add_argument('parts', nargs='*', metavar='PART',
                        help=f'of {", ".join(PARTS)} (default: all)')
    options = parser.parse_args()
    for part in options.parts:
        if part not in PARTS:
            parser.error(f'there is no part {part}')
    return options


def _known_work():
    """Tell the load, and how long a fixed piece of work takes."""
    value = [{'id': number, 'name': f'volume {number}', 'extra_info': None}
             for number in range(20000)]
    walls, works = [], []
    for _ in range(20):
        wall, work = time.perf_counter(), time.process_time()
        json.loads(json.dumps(value))
        walls.append((time.perf_counter() - wall) * 1000)
        works.append((time.process_time() - work) * 1000)
    return (f'load {os.getloadavg()[0]:.1f}; known work: '
            f'{statistics.mean(walls):.1f} ms, '
            f'{statistics.mean(works):.1f} ms of a processor')


def _measure(site, db, options):
    """Yield all rows, and show each when it is there."""
    measures = dict(zip(PARTS, (_requests, _lists, _operations, _crowds),
                        strict=True))
    for part in options.parts or PARTS:
        for row in measures[part](site, db, options):
            print('  '.join(row.cells()), flush=True)
            yield row


def _requests(site, db, options):
    _fill_plans(db, 'few', 100)
    _fill_plans(db, 'many', options.longest)
    plan_id = site.plan('few', 2)
    for what, project, path in (
            ('GET plans, 100 there', 'few', 'plans'),
            ('GET plans, 1,000 of 10,000', 'many', 'plans'),
            ('GET plans, 20 of 100', 'few', 'plans?limit=20'),
            ('GET plans, 20 of 10,000', 'many', 'plans?limit=20'),
            ('GET one plan', 'few', f'plans/{plan_id}'),
            ('GET providers', 'few', 'providers'),
            ('GET protectables', 'few', 'protectables')):
        request = _request(site, 'GET', project, path)
        yield from _rates(site, what, _again(request), options.seconds)
    made = []
    body = {'plan': {
        'name': 'benchmark', 'provider_id': running.PROVIDER,
        'parameters': {}, 'resources': [
            {'type': _VOLUME, 'id': disk, 'name': disk}
            for disk in ('system', 'data')]}}
    request = _request(site, 'POST', 'writer', 'plans', body)
    yield from _rates(
        site, 'POST plan', _again(request), options.seconds,
        lambda answer: made.append(json.loads(answer)['plan']['id']))
    half = iter(made[:len(made) // 2]), iter(made[len(made) // 2:])
    for connections, ids in zip(CONNECTIONS, half, strict=True):
        yield from _rates(
            site, 'DELETE plan', functools.partial(_deletion, site, ids),
            options.seconds, connections=[connections])


def _again(request):
    """Return what takes the same request each time."""
    return lambda: request


def _deletion(site, ids):
    plan_id = next(ids, None)
    return plan_id and _request(site, 'DELETE', 'writer', f'plans/{plan_id}')


def _rates(site, what, take, seconds, collect=None, connections=CONNECTIONS):
    """Yield a row for each number of connections."""
    asyncio.run(_load(site.port, take, 1, seconds / 10, collect))
    for count in connections:
        worked = site.work('api')
        begin = time.perf_counter()
        costs = asyncio.run(_load(site.port, take, count, seconds, collect))
        rate = len(costs) / (time.perf_counter() - begin)
        worked = (site.work('api') - worked) * 1000 / len(costs)
        yield Row(f'{what}, {count} connection{"s" * (count > 1)} '
                  f'({statistics.median(costs):.3g} ms, '
                  f'processor {worked:.2g} ms)',
                  REQUESTS[what][CONNECTIONS.index(count)], rate, '/s',
                  SCALE if '1,000 of' in what else ELSEWHERE, is_rate=True)


def _lists(site, db, options):
    for size, known in CHECKPOINTS.items():
        if size > options.longest:
            continue
        project = f'checkpoints-{size}'
        first, last = _fill_checkpoints(db, project, size)
        for question, old in zip(QUESTIONS, known, strict=True):
            asked = question.format(plan=rows.COMMON_PLAN, first=first,
                                    last=last)
            request = _request(
                site, 'GET', project,
                f'providers/{running.PROVIDER}/checkpoints?{asked}')
            costs = asyncio.run(_load(
                site.port, _again(request), 1, options.seconds))
            is_long = size >= 1000 and 'limit' not in question
            yield Row(f'GET checkpoints, {size:,} there, '
                      f'{question.partition("{")[0] or "all"}', old,
                      statistics.median(costs[1:]), 'ms',
                      SCALE if is_long else ELSEWHERE)


def _operations(site, db, options):
    for size in OPERATIONS['protect']:
        plan_id = site.plan('operations', size)
        costs = {what: [] for what in OPERATIONS}
        for _ in range(_rounds(size, options.rounds)):
            _operate(site, db, plan_id, costs)
        for what, known in OPERATIONS.items():
            if size in known:
                yield Row(
                    f'{what} {size:,} resource{"s" * (size > 1)}',
                    known[size], statistics.median(costs[what]), 's',
                    SCALE if size >= 1000 else ELSEWHERE)


def _rounds(size, rounds):
    if size >= 1000:
        return 1
    return rounds * MORE_ROUNDS if size <= SMALL else rounds


def _operate(site, db, plan_id, costs):
    """Protect, restore and delete; note what each took."""
    folder = f'providers/{running.PROVIDER}/checkpoints'
    with _timed(costs['protect']):
        made = site.call('POST', 'operations', folder, {
            'checkpoint': {'plan_id': plan_id}})['checkpoint']['id']
        _wait(db, models.Checkpoint, made, 'available')
    with _timed(costs['restore']):
        restore = site.call('POST', 'operations', 'restores', {'restore': {
            'provider_id': running.PROVIDER, 'checkpoint_id': made,
            'parameters': {}}})['restore']['id']
        _wait(db, models.Restore, restore, 'success')
    with _timed(costs['delete']):
        site.call('DELETE', 'operations', f'{folder}/{made}')
        _wait(db, models.Checkpoint, made, 'deleted')


@contextlib.contextmanager
def _timed(costs):
    begin = time.perf_counter()
    yield
    costs.append(time.perf_counter() - begin)


def _wait(db, model, row_id, wanted):
    """Return when a row has a status."""
    query = str(sa.select(model.status).where(
        model.id == sa.literal(row_id)).compile(
            db.engine, compile_kwargs={'literal_binds': True}))
    begin = time.perf_counter()
    with db.engine.connect().execution_options(
            isolation_level='AUTOCOMMIT') as connection:
        cursor = connection.connection.cursor()
        while (status := _first(cursor, query)) != wanted:
            if 'error' in status or status == 'failed':
                raise SystemExit(f'{row_id} became {status}.')
            time.sleep(max(LEAST_PAUSE,
                           (time.perf_counter() - begin) / PAUSE_PART))


def _first(cursor, query):
    cursor.execute(query)
    return cursor.fetchone()[0]


def _crowds(site, db, options):
    for count, known in AT_ONCE.items():
        project = f'crowd-{count}'
        plans = [site.plan(project, 10) for _ in range(count)]
        waiting = [_request(
            site, 'POST', project,
            f'providers/{running.PROVIDER}/checkpoints',
            {'checkpoint': {'plan_id': plan_id}}) for plan_id in plans]
        begin = time.perf_counter()
        asyncio.run(_load(site.port, functools.partial(next, iter(waiting),
                                                       None), count, 60))
        while _unfinished(db, project):
            time.sleep(0.02)
        yield Row(f'{count} checkpoints of 10 resources at once', known,
                  time.perf_counter() - begin, 's', ELSEWHERE)


def _unfinished(db, project):
    query = sa.select(sa.func.count()).where(
        models.Checkpoint.project_id == project,
        models.Checkpoint.status != 'available')
    return db.read(lambda session: session.execute(query).scalar())


def _fill_plans(db, project, size):
    _insert(db, models.Plan, [
        dict(rows.plan(number), id=rows.identity(project, number),
             project_id=project, provider_id=running.PROVIDER)
        for number in range(size)])


def _fill_checkpoints(db, project, size):
    """Insert them, of one plan; return their first and last day."""
    checkpoints, resources = [], []
    plan = rows.checkpoint(rows.RARE)['plan']
    for number in range(size):
        row = rows.checkpoint(rows.RARE + number)
        row.update(id=rows.identity(project, number), project_id=project,
                   provider_id=running.PROVIDER, plan=plan)
        checkpoints.append(row)
        resources += [
            dict(rows.resource(number), checkpoint_id=row['id'],
                 id=rows.identity(disk, number), name=disk)
            for disk in ('system', 'data')]
    _insert(db, models.Checkpoint, checkpoints)
    _insert(db, models.CheckpointResource, resources)
    return rows.day(rows.RARE), rows.day(rows.RARE + size)


def _insert(db, model, values):
    for begin in range(0, len(values), 1000):
        db.write(lambda session, some: session.execute(
            sa.insert(model), some), values[begin:begin + 1000])
    db.write(rows.analyze, model.__tablename__)


def _request(site, method, project, path, body=None):
    """Return one request as it is sent."""
    content = json.dumps(body) if body is not None else ''
    return (f'{method} /v1/{project}/{path} HTTP/1.1\r\n'
            f'Host: 127.0.0.1:{site.port}\r\n'
            f'X-Auth-Token: user:{project}\r\n'
            f'Content-Type: application/json\r\n'
            f'Content-Length: {len(content)}\r\n\r\n{content}').encode()


async def _load(port, take, connections, seconds, collect=None):
    """Return the milliseconds of each answer.

    Each connection sends its next request when the last one is answered.

    :param take: returns the next request, or None when there is no more
    :param collect: is called with the body of each answer
    """
    costs = []
    until = time.perf_counter() + seconds
    await asyncio.gather(*[_talk(port, take, until, costs, collect)
                           for _ in range(connections)])
    return costs


async def _talk(port, take, until, costs, collect):
    reader, writer = await asyncio.open_connection(
        '127.0.0.1', port, limit=2 ** 24)
    with contextlib.closing(writer):
        while time.perf_counter() < until and (request := take()):
            begin = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b'\r\n\r\n')
            body = await reader.readexactly(_length(head))
            costs.append((time.perf_counter() - begin) * 1000)
            if not head.startswith(b'HTTP/1.1 200'):
                raise SystemExit(f'{request[:100]}: {head} {body[:500]}')
            if collect:
                collect(body)


def _length(head):
    for line in head.split(b'\r\n'):
        name, _colon, value = line.partition(b':')
        if name.lower() == b'content-length':
            return int(value)
    raise SystemExit(f'An answer without a length: {head}')


def _print(found):
    """Print the table, as it can be read and as documents take it."""
    lines = [('What', 'Karbor', 'karbor_ng', 'Times better', 'Goal', 'Kept'),
             *[row.cells() for row in found]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = '  '.join('=' * width for width in widths)
    written = ['  '.join(cell.ljust(width) for cell, width
                         in zip(line, widths, strict=True)).rstrip()
               for line in lines]
    print('\n'.join(['', rule, written[0], rule, *written[1:], rule, '']))


if __name__ == '__main__':
    sys.exit(main())
