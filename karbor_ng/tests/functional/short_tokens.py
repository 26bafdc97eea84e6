# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""A second Keystone beside the stack's, whose tokens live shortly.

It works on the same database with the same keys, so that all services of the
stack take its tokens, while nobody else who uses the stack notices.
"""

import dataclasses
import json
import pathlib
import re
import socket
import subprocess
import time

import fixtures
from keystoneauth1 import adapter
from keystoneauth1 import exceptions
from keystoneauth1 import session as keystone_session
from keystoneauth1.identity import access as access_plugin
from keystoneauth1.identity import v3
import psutil

from karbor_ng.tests.functional import base
from karbor_ng.tests.functional import secrecy

PATIENCE_SECONDS = 60


@dataclasses.dataclass(frozen=True)
class Token:
    """A user's token.

    :ivar access: of ``keystoneauth1.access``
    :ivar body: what Keystone says about it
    """

    access: object
    body: dict

    @property
    def text(self):
        return self.access.auth_token

    @property
    def karbor(self):
        """Like ``base.User.karbor``, with this token."""
        return adapter.Adapter(self.session(), service_type='data-protect',
                               interface='public', raise_exc=False)

    def kept(self):
        """Return what an operation keeps of it."""
        return json.dumps({'token': self.text, 'body': self.body})

    def session(self):
        """Return a session that sends it as it is, to the last."""
        return keystone_session.Session(
            access_plugin.AccessInfoPlugin(self.access))

    def sleep_until(self, seconds):
        """Sleep until so many seconds after its end (before: negative)."""
        moment = self.access.expires.timestamp() + seconds
        time.sleep(max(0, moment - time.time()))

    def revoke(self):
        """Let Keystone forget it, as its user."""
        self.session().delete(
            f'{auth_url()}/auth/tokens', headers={'X-Subject-Token': self.text})


class ShortTokens(fixtures.Fixture):
    """That Keystone, as long as the fixture is in use.

    :param seconds: for which its tokens live
    :param port: where it listens; None for any free one
    :ivar url: of it
    """

    def __init__(self, seconds, port=None):
        super().__init__()
        self._seconds = seconds
        self._port = port

    def _setUp(self):
        folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self._configure(folder)
        self._address = f'127.0.0.1:{self._port or _free_port()}'
        self.url = f'http://{self._address}/v3'
        with open(folder / 'log', 'wb') as log:
            self._process = subprocess.Popen(
                self._command(), cwd=folder, stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT,
                env={**_keystone().environ(),
                     'OS_KEYSTONE_CONFIG_DIR': str(folder)})
        self.addCleanup(self._end)
        self._await(folder / 'log')

    def token(self, user):
        """Return a new token of one of the stack's users."""
        return _token(user, self.url)

    def _configure(self, folder):
        theirs = (base.STACK / 'etc' / 'keystone' / 'keystone.conf').read_text()
        ours, changes = re.subn('(?m)^expiration = .*$',
                                f'expiration = {self._seconds}', theirs)
        if changes != 1:
            raise RuntimeError('no "expiration" in the stack\'s keystone.conf')
        (folder / 'keystone.conf').write_text(ours)

    def _command(self):
        command = _keystone().cmdline()
        command[command.index('--http-socket') + 1] = self._address
        return command

    def _await(self, log):
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            try:
                keystone_session.Session().get(self.url, timeout=5)
                return
            except exceptions.ConnectionError:
                time.sleep(0.2)
        raise RuntimeError(f'Keystone does not start: {log.read_text()}')

    def _end(self):
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def long_token(user):
    """Return a new token of a user, from the stack's own Keystone."""
    return _token(user, auth_url())


def _token(user, url):
    auth = v3.Password(**{**credentials(user), 'auth_url': url})
    session = keystone_session.Session(auth)
    text = secrecy.note('token', auth.get_token(session))
    body = session.get(f'{url}/auth/tokens', headers={
        'X-Subject-Token': text}).json()
    return Token(auth.get_access(session), body)


def credentials(user):
    """Return the options of a password plugin for a user of the stack."""
    clouds = json.loads((base.STACK / 'clouds.yaml').read_text())['clouds']
    return clouds[user]['auth']


def auth_url():
    """Return where the stack's own Keystone is."""
    return credentials('demo')['auth_url']


def process(name):
    """Return the first process of a service of the stack."""
    number = (base.STACK / 'run' / f'{name}.pid').read_text().split()[0]
    return psutil.Process(int(number))


def _keystone():
    return process('keystone')


def _free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


class Paused(fixtures.Fixture):
    """A service of the stack that does nothing for a while."""

    def __init__(self, name):
        super().__init__()
        self._name = name

    def _setUp(self):
        leader = process(self._name)
        everybody = [leader, *leader.children(recursive=True)]
        for member in everybody:
            self.addCleanup(member.resume)
            member.suspend()
