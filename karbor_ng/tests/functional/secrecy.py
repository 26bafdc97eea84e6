# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Which secrets the functional tests have used, and whether one got out.

Tests write down each password, token and key that they use or are given.
When they have ended, all of them are looked for, in several forms, in what
the product has written meanwhile: logs, messages, notifications, rows and
objects of banks. Tokens that nobody wrote down, those of the services, are
known by their form. Separate from ``witness``, which collects what passes.

    python -m karbor_ng.tests.functional.secrecy FOLDER

prints a line for each secret that is found, never the secret itself, then
one with totals; the exit code is 1 if anything was found.
"""

import base64
import binascii
import collections
import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import urllib.parse
import uuid

from cryptography import fernet

#: The folder that everything is written into; without it nothing is.
VARIABLE = 'KARBOR_TEST_SECRETS'
#: Sub-folders of it: where a secret could come to light.
PLACES = ('logs', 'messages', 'notifications', 'rows', 'objects')
#: Where there are texts that are sealed with the keys of the deployment:
#: rows have whatever operations need, banks some of what users have made.
SEALED = ('rows', 'objects')
#: What is shorter is a word, or a number, like any other.
SHORTEST = 8
#: What Keystone's tokens look like, and what is sealed.
_FERNET = r'gAAAA[0-9A-Za-z_-]{70,}={0,2}'


@dataclasses.dataclass(frozen=True)
class Secret:
    """Something that nobody may read.

    :ivar kind: such as ``password``
    """

    kind: str
    text: str = dataclasses.field(repr=False)

    def __str__(self):
        digest = hashlib.sha256(self.text.encode()).hexdigest()
        return f'{self.kind} with SHA-256 {digest[:12]}'


@functools.cache
def note(kind, text):
    """Write a secret down; return it."""
    if VARIABLE in os.environ and text:
        path = pathlib.Path(os.environ[VARIABLE], 'secrets')
        with open(path, 'a', opener=_private) as file:
            file.write(json.dumps([kind, text]) + '\n')
    return text


def _private(path, flags):
    return os.open(path, flags, 0o600)


def new_password():
    """Return a password that is written down, and is nobody else's."""
    return note('password', uuid.uuid4().hex)


def keep_log(path):
    """Keep the log of a service that a test has started itself."""
    if VARIABLE in os.environ and os.path.exists(path):
        shutil.copy(path, pathlib.Path(
            os.environ[VARIABLE], 'logs', f'{uuid.uuid4()}.log'))


def noted(folder):
    """Return the secrets of a run, and words that are none.

    :return: two sets of :class:`Secret`
    """
    path = folder / 'secrets'
    lines = path.read_text().splitlines() if path.exists() else ()
    found = {Secret(*json.loads(line)) for line in lines}
    words = {secret for secret in found if len(secret.text) < SHORTEST}
    return found - words, words


def forms(text):
    """Return the texts that a secret may be written as."""
    data = text.encode()
    found = {text, json.dumps(text)[1:-1],
             json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1],
             urllib.parse.quote(text, safe=''), urllib.parse.quote(text),
             urllib.parse.quote_plus(text), data.hex(), data.hex().upper()}
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        found.update(_amid(encode, data))
    return found


def _amid(encode, data):
    """Yield the base64 of data that stands somewhere in other data."""
    for before in range(3):
        encoded = encode(b'\0' * before + data).decode().rstrip('=')
        bits = 8 * (before + len(data))
        yield encoded[(8 * before + 5) // 6:bits // 6]


@dataclasses.dataclass(frozen=True)
class Leak:
    """A secret that was found.

    :ivar what: a :class:`Secret`, or what it looks like
    :ivar count: how often
    """

    place: str
    file: str
    what: object
    count: int

    def __str__(self):
        return (f'{self.what}: {self.count} times in {self.place}, '
                f'{self.file}')


def leaks(folder, secrets, keys=()):
    """Yield each secret that was found in a place.

    :param keys: of the deployment: what they open is sealed
    """
    patterns = {form: secret for secret in secrets
                for form in forms(secret.text)}
    found = collections.Counter(
        (file, patterns[form]) for file, form in _matches(folder, patterns))
    openers = [fernet.Fernet(key) for key in keys]
    known = {secret.text.rstrip('=') for secret in secrets}
    for file, text in _grep(folder, '-E', ['-e', _FERNET]):
        if text.rstrip('=') in known:
            continue
        opened = _opened(openers, text)
        if file.parts[0] not in SEALED or opened is None:
            found[file, 'what looks like a token'] += 1
        elif file.parts[0] == 'objects' and any(
                secret.text in opened for secret in secrets):
            found[file, 'a sealed secret'] += 1
    for (file, what), count in sorted(found.items(), key=str):
        yield Leak(file.parts[0], '/'.join(file.parts[1:]), what, count)


def _matches(folder, patterns):
    if not patterns:
        return
    path = folder / 'patterns'
    path.touch(0o600)
    path.write_text('\n'.join(patterns) + '\n')
    try:
        yield from _grep(folder, '-F', ['-f', path])
    finally:
        path.unlink()


def _grep(folder, kind, what):
    """Yield (file below the folder, text) of all that is found."""
    places = [place for place in PLACES if (folder / place).exists()]
    ended = subprocess.run(
        ['grep', '-raoZ', kind, *what, '--', *places], cwd=folder,
        stdout=subprocess.PIPE, env={**os.environ, 'LC_ALL': 'C'})
    if ended.returncode > 1:
        raise RuntimeError(f'grep ended with {ended.returncode}')
    for line in ended.stdout.splitlines():
        file, _, text = line.partition(b'\0')
        yield pathlib.Path(os.fsdecode(file)), text.decode(errors='replace')


def _opened(openers, text):
    """Return what a text says that keys of the deployment open, or None."""
    text = text.rstrip('=')
    text += '=' * (-len(text) % 4)
    for opener in openers:
        with contextlib.suppress(fernet.InvalidToken, binascii.Error):
            return opener.decrypt(text).decode(errors='replace')
    return None


def totals(folder):
    """Return how much there is in each place, as one text."""
    counts = {}
    for place in PLACES:
        files = [path for path in (folder / place).rglob('*')
                 if path.is_file()]
        counts[place] = len(files) if place in ('logs', 'objects') else sum(
            path.read_bytes().count(b'\n') for path in files)
    return ', '.join(f'{count} {place}' for place, count in counts.items())


def credentials_keys(config):
    """Return the keys in ``[credentials]`` of a configuration."""
    found = re.search(r'(?m)^keys *= *(.+)$', config.read_text())
    return found.group(1).split(',') if found else []


def main(folder):
    # Here, because unit tests of the search need no stack.
    from karbor_ng.tests.functional import witness
    folder = pathlib.Path(folder)
    witness.collect(folder)
    keys = credentials_keys(witness.CONFIG)
    secrets, words = noted(folder)
    secrets |= {Secret('key', key) for key in keys}
    found = list(leaks(folder, secrets, keys))
    for leak in found:
        print(leak)
    shown = ', '.join(sorted({word.text for word in words})) or 'none'
    print(f'{len(secrets)} secrets looked for in {totals(folder)}: '
          f'{len(found)} leaks; words that are no secrets: {shown}')
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
