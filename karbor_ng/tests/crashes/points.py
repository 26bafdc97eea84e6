# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Failpoints: before and after all that outlives a process.

A row, an object of a bank, a request that changes a cloud: each has a name
that is the same in every run, so that one run can tell which there are and
another one can die there. They lie around the product's own functions, which
know nothing of them. What only reads has none: who dies there dies after the
last write.
"""

import collections
import contextlib
import functools
import os
import re
import signal
import threading
import time

from karbor_ng import resource
from karbor_ng.bank.drivers import filesystem
from karbor_ng.plugins import noop
from karbor_ng.protection import journal
from karbor_ng.protection import shared_writes
from karbor_ng.store import session
from karbor_ng.tests.crashes import clouds

#: Ids, names of passes and such, which differ from run to run.
CHANCE = re.compile(r'[0-9a-f]{8}-[0-9a-f-]{27}|(?<![0-9a-z])[0-9a-f]{8,}')
#: Characters of an argument that is part of a name.
LONGEST = 80
#: Transactions of services that belong to no operation.
_OF_SERVICES = ('publish', 'withdraw', 'seen', 'gone', 'renew')


class Points:
    """The points of this process.

    :param wanted: the one to die at; None for none
    :param list_file: gets a line for each that is passed; None for nowhere
    """

    def __init__(self, wanted=None, list_file=None):
        self._wanted = wanted
        self._list_file = list_file
        self._passed = collections.Counter()
        self._lock = threading.Lock()

    @property
    def is_recording(self):
        return self._list_file is not None

    def set(self):
        """Put points around everything; this process only."""
        for owner, name, label in _BOUNDARIES:
            self._around(owner, name, label)
        self._around_later()

    def reach(self, name, first=lambda: None):
        """Pass a point, or end at it.

        :param first: called before that
        """
        with self._lock:
            self._passed[name] += 1
            point = f'{name} #{self._passed[name]}'
            if self._list_file is not None:
                with open(self._list_file, 'a') as file:
                    file.write(f'{point}\n')
        if point == self._wanted:
            first()
            self.end()

    def end(self):
        """Die of SIGKILL."""
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)

    @contextlib.contextmanager
    def around(self, what):
        """Pass the points before and after something."""
        self.reach(f'before {what}')
        yield
        self.reach(f'after {what}')

    def _around(self, owner, name, label):
        real = getattr(owner, name)

        @functools.wraps(real)
        def wrapped(this, *args, **kwargs):
            what = label(*args)
            if what is None:
                return real(this, *args, **kwargs)
            with self.around(CHANCE.sub('*', what)):
                return real(this, *args, **kwargs)
        setattr(owner, name, wrapped)

    def _around_later(self):
        """What is left for later may be written at any moment: at once here.
        """
        real = shared_writes.SharedWrites.write_later

        def wrapped(this, function, *args, failed):
            real(this, function, *args, failed=failed)
            what = CHANCE.sub('*', _transaction(function, *args))
            self.reach(f'after {what}', first=this.settle)
        shared_writes.SharedWrites.write_later = wrapped


def _transaction(function, *args):
    """Name a transaction; those that others are part of have no name."""
    name = getattr(function, '__name__', '<lambda>')
    if name in ('<lambda>', '_guarded', '_nothing', '_look_for_all',
                *_OF_SERVICES):
        return None
    if name == '_each':
        # What it calls has all that differs in its arguments.
        name, args = args[0].__name__, ()
    words = [_word(item) for item in args]
    return ' '.join(['row', name, *filter(None, words)])


def _word(item):
    if isinstance(item, dict) and 'hook' in item:
        return f'{item["hook"]} {item["state"]}'
    if isinstance(item, dict):
        return str(item.get('state') or item.get('status')
                   or item.get('label') or ','.join(sorted(item))[:40])
    if isinstance(item, resource.Resource):
        return f'{item.type} {item.id}'
    if isinstance(item, (str, tuple)) and len(item) < LONGEST:
        return str(item)
    return ''


def _request(request, *args):
    if request.method in ('GET', 'HEAD'):
        return None
    return f'{request.method} {request.url}'


#: ``(owner, name of a method, what names a call or tells that it is none)``
_BOUNDARIES = (
    (session.Database, 'write', _transaction),
    (journal.Journal, 'write', _transaction),
    (journal.Journal, 'end_hooks', lambda *args: 'ends of hooks'),
    (shared_writes.SharedWrites, 'write', _transaction),
    (filesystem.FilesystemBank, 'put', lambda key, *args: f'object {key}'),
    (filesystem.FilesystemBank, '_write', lambda data: 'object not in place'),
    (filesystem.FilesystemBank, 'delete', lambda key: f'no object {key}'),
    (noop.Registry, 'create', lambda tag, content: (
        f'thing {content["label"]}')),
    (noop.Registry, 'update', lambda thing_id, **changes: 'change of thing'),
    (noop.Registry, 'remove', lambda thing_id: 'no thing'),
    (clouds.Remote, 'send', _request),
)
