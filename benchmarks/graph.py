#!/usr/bin/env python3
# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""How long protecting takes for each resource, in small and large plans.

    benchmarks/graph.py [--sizes N,N] [--rounds N] [--shapes NAME,NAME]
                        [--database URL]

Run it with the product's Python. A protection service in this process
protects plans with the no-op plugin, whose four hooks run for each resource.
Two shapes, N being 100 and 1,000 in turns:

roots     N volumes that have nothing to do with each other
servers   N servers, each with two volumes of its own, and one image that all
          servers share

Prints for each run the seconds from the request to the checkpoint's end, the
milliseconds for each resource, how many of these a processor worked for them,
and the most memory of this process meanwhile.
Exits with 1 if a resource of the largest plan takes more than twice as long
as one of the smallest, by the medians of the rounds.

The database is SQLite in a temporary directory, or an empty one at URL,
which is emptied at the end. The bank is in the temporary directory.
"""

import argparse
import statistics
import sys
import time

import fixtures
import sqlalchemy as sa

from karbor_ng.store import models
from karbor_ng.store import session
from karbor_ng.tests.unit.protection import environment

GOAL = 2
MIB = 2 ** 20
VOLUME = 'OS::Cinder::Volume'
SERVER = 'OS::Nova::Server'
IMAGE = 'OS::Glance::Image'


def main():
    options = _options()
    with fixtures.TempDir() as folder:
        url = options.database or f'sqlite:///{folder.path}/karbor.sqlite'
        db = _database(url)
        try:
            return _measure(db, options)
        finally:
            models.Base.metadata.drop_all(db.engine)
            db.dispose()


def _options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--sizes', default='100,1000', metavar='N,N',
                        type=lambda text: [int(n) for n in text.split(',')],
                        help='of plans, smallest first (default: 100,1000)')
    parser.add_argument('--rounds', type=int, default=3, metavar='N',
                        help='of all sizes, in turns (default: 3)')
    parser.add_argument('--shapes', default='roots,servers',
                        type=lambda text: text.split(','),
                        metavar='NAME,NAME', help='(default: roots,servers)')
    parser.add_argument('--database', metavar='URL',
                        help='of an empty database, as in [database] '
                             'connection (default: SQLite)')
    return parser.parse_args()


def _database(url):
    db = session.Database(url, max_pool_size=40, max_overflow=10)
    if sa.inspect(db.engine).get_table_names():
        raise SystemExit('There are tables in the database already: give me '
                         'an empty one, since I remove them at the end.')
    models.Base.metadata.create_all(db.engine)
    return db


def _measure(db, options):
    deployment = environment.Deployment(
        db, lease_seconds=60, sweep_seconds=10, max_parallel_resources=32)
    with deployment:
        deployment.start_worker()
        _warm_up(deployment)
        ratios = [_measure_shape(deployment, shape, options)
                  for shape in options.shapes]
    return int(any(ratio > GOAL for ratio in ratios))


def _warm_up(deployment):
    """What the first operation of a process pays once is not of interest."""
    deployment.registry.put_graph([])
    deployment.ended(deployment.protect([(VOLUME, 'first')]), 'available')


def _measure_shape(deployment, shape, options):
    """Return how much more each resource costs in the largest plan."""
    costs = {size: [] for size in options.sizes}
    for _ in range(options.rounds):
        for size in options.sizes:
            costs[size].append(_run(deployment, shape, size))
    medians = {size: statistics.median(costs[size]) for size in costs}
    ratio = medians[options.sizes[-1]] / medians[options.sizes[0]]
    print('{}: {} ms for each resource; ratio {:.2f}, goal: at most {}'.format(
        shape, ' and '.join(f'{medians[size]:.1f} (N = {size})'
                            for size in medians), ratio, GOAL), flush=True)
    return ratio


def _run(deployment, shape, size):
    """Protect one plan; return milliseconds for each of its resources."""
    planned, graph = SHAPES[shape](size)
    deployment.registry.put_graph(graph)
    _forget_peak()
    began, worked = time.monotonic(), time.process_time()
    checkpoint_id = deployment.protect(planned)
    _wait_for_end(deployment, checkpoint_id)
    seconds = time.monotonic() - began
    worked = time.process_time() - worked
    count = len(deployment.resources(checkpoint_id))
    if count != len(graph):
        raise SystemExit(f'{count} of {len(graph)} resources are there.')
    cost = seconds * 1000 / count
    print(f'{shape:8} N {size:5}  resources {count:5}  {seconds:7.2f} s  '
          f'{cost:6.2f} ms each (processor {worked * 1000 / count:5.2f})  '
          f'memory {_peak():4.0f} MiB', flush=True)
    return cost


def _wait_for_end(deployment, checkpoint_id):
    status = sa.select(models.Checkpoint.status).where(
        models.Checkpoint.id == checkpoint_id)
    while True:
        found = deployment.db.read(
            lambda session: session.execute(status).scalar())
        if found == 'available':
            return
        if found != 'protecting':
            raise SystemExit(f'The checkpoint became {found}.')
        time.sleep(0.05)


def _roots(size):
    graph = [{'type': VOLUME, 'id': f'volume-{number}'}
             for number in range(size)]
    return [(VOLUME, item['id']) for item in graph], graph


def _servers(size):
    servers, rest = [], [{'type': IMAGE, 'id': 'image'}]
    for number in range(size):
        volumes = [f'volume-{number}-{disk}' for disk in range(2)]
        rest += [{'type': VOLUME, 'id': volume} for volume in volumes]
        servers.append({
            'type': SERVER, 'id': f'server-{number}',
            'children': [[VOLUME, volume] for volume in volumes]
            + [[IMAGE, 'image']]})
    return [(SERVER, item['id']) for item in servers], servers + rest


SHAPES = {'roots': _roots, 'servers': _servers}


def _forget_peak():
    """Let Linux count the most memory from here on."""
    with open('/proc/self/clear_refs', 'w') as file:
        file.write('5')


def _peak():
    with open('/proc/self/status') as file:
        line = next(line for line in file if line.startswith('VmHWM'))
    return int(line.split()[1]) * 1024 / MIB


if __name__ == '__main__':
    sys.exit(main())
