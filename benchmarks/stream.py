#!/usr/bin/env python3
# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""How fast a stream goes into a filesystem bank, beside a plain copy.

    benchmarks/stream.py [--size MIB] [--rounds N] [--directory DIR]

Run it with the product's Python. A file of random bytes is served over HTTP
by a process of its own. In turns, it is copied by ``cat``, ``tee`` and
``sha256sum`` through pipes, and stored by what a protection service runs for
a plugin: rows in a database, parts in a bank, all of it synced to the disk.
Source and target are on the file system of DIR.

Prints the speed of each round, the ratio of the medians, and the most memory
that the storing process had. Exits with 1 below 60 percent or above 250 MiB.
"""

import argparse
import contextlib
import hashlib
import json
import os
import pathlib
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import types
import uuid

from oslo_config import cfg
import requests

from karbor_ng.bank import bank
from karbor_ng.bank.drivers import filesystem
import karbor_ng.cmd.protection  # noqa: F401  (all that a service has)
from karbor_ng.protection import journal
from karbor_ng.protection import lease
from karbor_ng.protection import streams
from karbor_ng.protection import work
from karbor_ng.resource import Resource
from karbor_ng.store import operations
from karbor_ng.store import schema
from karbor_ng.store import session

MIB = 2 ** 20
ENOUGH = 0.6
MOST_MEMORY = 250
PIPES = 'cat "$0" | tee "$1" | sha256sum'


def main():
    options = _options()
    if options.store:
        return _store(options.store, pathlib.Path(options.directory))
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        folder = pathlib.Path(folder)
        _make_source(folder / 'source', options.size)
        with _served(folder) as url:
            rounds = [_round(folder, url) for _ in range(options.rounds)]
    return _judge(rounds, options.size)


def _options():
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0])
    parser.add_argument('--size', type=int, default=4096, metavar='MIB',
                        help='of the stream (default: 4096)')
    parser.add_argument('--rounds', type=int, default=3, metavar='N',
                        help='of both, one after the other (default: 3)')
    parser.add_argument('--directory', default=None, metavar='DIR',
                        help='where to work; three times the size must fit')
    parser.add_argument('--store', help=argparse.SUPPRESS)
    return parser.parse_args()


def _make_source(path, mebibytes):
    with open(path, 'wb') as file:
        for _ in range(mebibytes):
            file.write(os.urandom(MIB))
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def _served(folder):
    """Serve a directory over HTTP; yield the URL of its source."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, '-m', 'http.server', str(port), '--bind',
         '127.0.0.1', '--directory', str(folder)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port)
        yield f'http://127.0.0.1:{port}/source'
    finally:
        server.terminate()
        server.wait()


def _wait_for(port):
    until = time.monotonic() + 30
    while True:
        try:
            return socket.create_connection(('127.0.0.1', port)).close()
        except ConnectionRefusedError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def _round(folder, url):
    """Copy, then store; return (MiB/s, MiB/s, MiB of memory)."""
    size = (folder / 'source').stat().st_size / MIB
    copied, digest = _copy(folder / 'source', folder / 'copy')
    ended = subprocess.run(
        [sys.executable, '-W', 'ignore', __file__, '--store', url,
         '--directory', str(folder)], check=True, capture_output=True,
        text=True)
    stored = json.loads(ended.stdout)
    shutil.rmtree(folder / 'bank')
    if stored['sha256'] != digest:
        raise SystemExit('What was stored is not what was served.')
    result = size / copied, size / stored['seconds'], stored['memory']
    print('copied {:5.0f} MiB/s   stored {:5.0f} MiB/s   memory {:4.0f} MiB'
          .format(*result), flush=True)
    return result


def _copy(source, target):
    """Return seconds and the SHA-256 of a copy through pipes."""
    os.sync()
    began = time.monotonic()
    said = subprocess.run(['sh', '-c', PIPES, source, target], check=True,
                          capture_output=True, text=True).stdout
    with open(target, 'rb') as file:
        os.fsync(file.fileno())
    seconds = time.monotonic() - began
    target.unlink()
    return seconds, said.split()[0]


def _judge(rounds, mebibytes):
    copied, stored, memory = zip(*rounds)
    ratio = statistics.median(stored) / statistics.median(copied)
    print(f'{mebibytes} MiB, median of {len(rounds)}: stored at '
          f'{100 * ratio:.0f} % of the speed of a copy, with at most '
          f'{max(memory):.0f} MiB of memory; goal: at least '
          f'{100 * ENOUGH:.0f} %, at most {MOST_MEMORY} MiB')
    return int(ratio < ENOUGH or max(memory) > MOST_MEMORY)


# In the process that stores

def _store(url, folder):
    hook = _work(folder)
    os.sync()
    began = time.monotonic()
    stream = hook.put_stream('data', lambda: _download(url), None, None)
    print(json.dumps({
        'seconds': time.monotonic() - began, 'sha256': stream.sha256,
        'memory': resource.getrusage(
            resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB}))


def _download(url):
    """Yield what is served; hashed as images are, to compare with Glance."""
    whole = hashlib.sha512()
    with requests.get(url, stream=True, timeout=60) as response:
        response.raise_for_status()
        for piece in response.iter_content(MIB):
            whole.update(piece)
            yield piece


def _work(folder):
    """Return what a plugin's hook is given, in a new operation."""
    db = session.Database(f'sqlite:///{folder}/{uuid.uuid4()}.sqlite')
    schema.upgrade(db)
    operation_id = db.write(operations.create, {
        'id': str(uuid.uuid4()), 'type': 'protect', 'project_id': 'project',
        'provider_id': str(uuid.uuid4()),
        'checkpoint_id': str(uuid.uuid4())}).id
    began = time.monotonic()
    row = db.write(operations.claim, operation_id, 'benchmark', 3600)
    a_bank = _bank(folder)
    job = types.SimpleNamespace(
        operation=row, session=None, restored={},
        journal=journal.Journal(db, row, lease.Lease(
            row.id, row.attempt, 3600, began, row.created_at)),
        provider=types.SimpleNamespace(bank=a_bank,
                                       bank_uuid=a_bank.marker()),
        tools=types.SimpleNamespace(sealer=None,
                                    stream_slots=streams.Slots(4)))
    return work.Work(job, Resource('OS::Glance::Image', 'image'), None, {},
                     a_bank.section('data'), {}, row.id)


def _bank(folder):
    conf = cfg.ConfigOpts()
    conf([], default_config_files=[], default_config_dirs=[])
    for group, options in filesystem.FilesystemBank.OPTS:
        conf.register_opts(options, group=group)
    conf.set_override('file_system_bank_path', str(folder / 'bank'),
                      filesystem.GROUP)
    return bank.Bank(filesystem.FilesystemBank(conf))


if __name__ == '__main__':
    sys.exit(main())
