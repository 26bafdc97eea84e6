# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What tests of outages look at: processes, their logs, and users who go on.

Apart from the tests, so that those tell what is away, and what is said then.
"""

import collections
import dataclasses
import re
import threading
import time

import fixtures
import psutil
import requests

from karbor_ng.tests.functional import base

SERVICES = ('karbor-api', 'karbor-protection', 'karbor-operationengine')
#: Lines of logs that somebody on duty would have to read.
LOUD = re.compile(r'^\S+ \S+ \d+ (WARNING|ERROR|CRITICAL) ', re.M)


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much of a kind the processes of karbor have, all together."""

    threads: int
    files: int


class Processes:
    """The processes of karbor's services, as they are when this is made."""

    def __init__(self):
        self._all = {name: _family(name) for name in SERVICES}
        self._logs = {name: path.stat().st_size for name, path in _logs()}

    @property
    def pids(self):
        """``{service: {process id: when it began}}``."""
        return {name: {one.pid: one.create_time() for one in family}
                for name, family in self._all.items()}

    def sizes(self):
        """Return the :class:`Sizes`; files are sockets, mostly."""
        every = [one for family in self._all.values() for one in family]
        return Sizes(sum(one.num_threads() for one in every),
                     sum(one.num_fds() for one in every))

    def said(self):
        """Return what services have logged since, ``{service: text}``."""
        return {name: path.read_bytes()[self._logs[name]:].decode()
                for name, path in _logs()}


def _logs():
    return [(name, base.STACK / 'log' / f'{name}.log') for name in SERVICES]


def _family(name):
    """Return a service's processes: the parent and its workers."""
    pid = (base.STACK / 'run' / f'{name}.pid').read_text().split()[0]
    parent = psutil.Process(int(pid))
    return [parent, *parent.children(recursive=True)]


class Users(fixtures.Fixture):
    """Somebody who wants something protected, again and again.

    He is served by whatever answers: what was accepted is in ``accepted``,
    and ``answers`` counts the codes of all answers. None may take longer than
    ``longest`` seconds, of which ``slowest`` tells the worst.

    :param case: a test of the stack
    """

    PAUSE = 1
    REQUEST_SECONDS = 60

    def __init__(self, case, plan_id, provider):
        super().__init__()
        self._url = (f'{case.demo.karbor.get_endpoint()}/providers/'
                     f'{provider}/checkpoints')
        self._path = f'/providers/{provider}/checkpoints'
        self._plan_id = plan_id
        self._token = case.demo.cloud.session.get_token()
        self._ended = threading.Event()
        self.accepted = []
        self.refusals = []
        self.answers = collections.Counter()
        self.slowest = 0

    def _setUp(self):
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self.addCleanup(self.stop)

    def stop(self):
        self._ended.set()
        self._thread.join()

    def _run(self):
        while not self._ended.wait(self.PAUSE):
            self.ask()

    def ask(self, token=None):
        """Ask for a checkpoint; return the answer."""
        began = time.monotonic()
        answer = requests.post(
            self._url, timeout=self.REQUEST_SECONDS,
            headers={'X-Auth-Token': token or self._token},
            json={'checkpoint': {'plan_id': self._plan_id}})
        self.slowest = max(self.slowest, time.monotonic() - began)
        self.answers[answer.status_code] += 1
        if answer.status_code == 200:
            found = answer.json()['checkpoint']['id']
            self.accepted.append(f'{self._path}/{found}')
        else:
            self.refusals.append(answer.text)
        return answer
