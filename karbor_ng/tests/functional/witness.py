# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Sees what the product writes while functional tests run.

Much of it is gone when they end: messages, rows of operations that were
under way, checkpoints that were deleted. So somebody must look all the time.
Separate from ``secrecy``, which searches what was collected.

    python -m karbor_ng.tests.functional.witness FOLDER

prints a line once it looks, and ends when it is told to.
"""

import configparser
import contextlib
import json
import logging
import pathlib
import signal
import socket
import sys
import threading
import urllib.parse
import uuid

import kombu
import openstack
from oslo_serialization import jsonutils
import sqlalchemy as sa

ROOT = pathlib.Path(__file__).parents[3]
STACK = ROOT / '.stack'
CONFIG = STACK / 'etc' / 'karbor' / 'karbor.conf'
BANKS = (STACK / 'bank', STACK / 'bank-noop')
CONTAINER = 'karbor'
SERVICES = ('karbor-api', 'karbor-protection', 'karbor-operationengine')

#: Exchanges: hints to all services, and everything else of oslo.messaging.
FANOUT, CONTROL = 'karbor-protection_fanout', 'openstack'
#: Topics of others in the latter, whose messages have tokens of users.
OTHERS = ('cinder-', 'nova-', 'neutron-', 'glance-', 'compute', 'conductor',
          'scheduler', 'q-')
#: Rows that do not stay: what holds secrets goes when its work has ended.
PASSING = {'operations': 'ended_at IS NULL', 'trusts': '1 = 1'}
#: Seconds between two looks.
PAUSE, SWIFT_PAUSE = 1, 4
#: Bytes; larger objects are parts of streams, which users have made. Their
#: keys are looked at all the same.
LARGEST = 2 ** 20

LOG = logging.getLogger(__name__)


class Witness:
    """Looks at everything, in threads, until it is stopped."""

    def __init__(self, folder):
        self._folder = folder
        self._stopped = threading.Event()
        self._seen = set()
        self._threads = []

    def start(self):
        """Return once nothing passes unseen any more."""
        for place in ('logs', 'messages', 'notifications', 'rows', 'objects'):
            (self._folder / place).mkdir(parents=True, exist_ok=True)
        offsets = {name: _log(name).stat().st_size if _log(name).exists()
                   else 0 for name in SERVICES}
        (self._folder / 'offsets').write_text(json.dumps(offsets))
        listening = threading.Event()
        self._begin(self._listen, listening)
        if not listening.wait(30):
            raise RuntimeError('The broker does not let us listen.')
        self._begin(self._look_at_rows)
        self._begin(self._look_at_files)
        self._begin(self._look_at_swift)

    def stop(self):
        self._stopped.set()
        for thread in self._threads:
            thread.join(30)

    def _begin(self, target, *arguments):
        thread = threading.Thread(target=self._ring, daemon=True,
                                  args=(target, *arguments))
        thread.start()
        self._threads.append(thread)

    def _ring(self, target, *arguments):
        """Go on whatever happens: tests stop what we look at."""
        while not self._stopped.is_set():
            try:
                target(*arguments)
            except Exception:
                LOG.exception('%s begins again', target.__name__)
                self._stopped.wait(PAUSE)

    # Messages

    def _listen(self, listening):
        with broker() as connection:
            channel = connection.channel()
            queues = [
                kombu.Queue(f'witness-{uuid.uuid4()}', kombu.Exchange(
                    name, channel=channel, passive=True), routing_key='#',
                    exclusive=True, auto_delete=True)
                for name in (FANOUT, CONTROL)]
            with connection.Consumer(queues, on_message=self._hear,
                                     no_ack=True, accept=['json']):
                listening.set()
                while not self._stopped.is_set():
                    with contextlib.suppress(socket.timeout):
                        connection.drain_events(timeout=PAUSE)

    def _hear(self, message):
        if message.delivery_info['routing_key'].startswith(OTHERS):
            return
        about = {'exchange': message.delivery_info['exchange'],
                 'routing_key': message.delivery_info['routing_key'],
                 'headers': message.headers, 'properties': message.properties}
        body = message.body
        text = body if isinstance(body, str) else bytes(body).decode(
            errors='replace')
        place = ('notifications' if '"event_type' in text
                 or '\\"event_type' in text else 'messages')
        self._write(place, 'heard', json.dumps(about, default=str), text)

    # Rows

    def _look_at_rows(self):
        engine = sa.create_engine(option('database', 'connection'),
                                  isolation_level='AUTOCOMMIT')
        with contextlib.closing(engine.connect()) as connection:
            while not self._stopped.is_set():
                for table, condition in PASSING.items():
                    for row in connection.execute(sa.text(
                            f'SELECT * FROM {table} WHERE {condition}')):
                        self._write_once('rows', table, _text(row))
                self._stopped.wait(PAUSE)

    # Objects

    def _look_at_files(self):
        while not self._stopped.is_set():
            for bank in BANKS:
                for path in bank.rglob('*'):
                    with contextlib.suppress(OSError):
                        self._copy(path)
            self._stopped.wait(PAUSE)

    def _copy(self, path):
        found = path.lstat()
        what = str(path), found.st_mtime_ns
        if what not in self._seen and path.is_file():
            self._seen.add(what)
            self._keep_object(str(path), path.read_bytes()
                              if found.st_size <= LARGEST else b'')

    def _look_at_swift(self):
        store = swift()
        while not self._stopped.is_set():
            for item in listing(store):
                what = item['name'], item['hash']
                if what not in self._seen:
                    self._seen.add(what)
                    self._keep_object(item['name'], _get(store, item))
            self._stopped.wait(SWIFT_PAUSE)

    def _keep_object(self, key, data):
        number = len(self._seen)
        name = f'{threading.current_thread().native_id}-{number}'
        (self._folder / 'objects' / name).write_bytes(
            key.encode() + b'\n' + data)

    # Writing

    def _write_once(self, place, name, text):
        if hash(text) not in self._seen:
            self._seen.add(hash(text))
            self._write(place, name, text)

    def _write(self, place, name, *texts):
        with open(self._folder / place / name, 'a') as file:
            file.write(' '.join(texts).replace('\n', ' ') + '\n')


def collect(folder):
    """Add what is there when tests have ended: logs, rows and objects."""
    offsets = json.loads((folder / 'offsets').read_text())
    for name in SERVICES:
        if _log(name).exists():
            with open(_log(name), 'rb') as log:
                log.seek(min(offsets[name], _log(name).stat().st_size))
                (folder / 'logs' / f'{name}.log').write_bytes(log.read())
    _dump_rows(folder / 'rows')
    store = swift()
    for number, item in enumerate(listing(store)):
        (folder / 'objects' / f'left-{number}').write_bytes(
            item['name'].encode() + b'\n' + _get(store, item))


def _dump_rows(folder):
    engine = sa.create_engine(option('database', 'connection'))
    with engine.connect() as connection:
        for table in sa.inspect(connection).get_table_names():
            with open(folder / f'all-{table}', 'w') as file:
                for row in connection.execute(sa.text(
                        f'SELECT * FROM {table}')):
                    file.write(_text(row) + '\n')


def _text(row):
    return jsonutils.dumps(dict(row._mapping), default=str)


def listing(store):
    answer = store.get(f'/{CONTAINER}', params={'format': 'json'})
    return answer.json() if answer.status_code == 200 else []


def _get(store, item):
    if item['bytes'] > LARGEST:
        return b''
    answer = store.get(
        f'/{CONTAINER}/{urllib.parse.quote(item["name"])}')
    return answer.content if answer.status_code == 200 else b''


def broker():
    """Return a connection to the stack's broker."""
    url = option('DEFAULT', 'transport_url')
    return kombu.Connection(url.replace('rabbit:', 'pyamqp:', 1))


def swift():
    config = openstack.config.OpenStackConfig(
        config_files=[str(STACK / 'clouds.yaml')], load_envvars=False)
    return openstack.connection.Connection(
        config=config.get_one('karbor')).object_store


def option(section, name):
    parser = configparser.ConfigParser(interpolation=None, strict=False,
                                       default_section='-')
    parser.read(CONFIG)
    return parser[section][name]


def _log(name):
    return STACK / 'log' / f'{name}.log'


def main(folder):
    logging.basicConfig(level=logging.WARNING)
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    witness = Witness(pathlib.Path(folder))
    witness.start()
    print('looking', flush=True)
    told.wait()
    witness.stop()


if __name__ == '__main__':
    main(sys.argv[1])
