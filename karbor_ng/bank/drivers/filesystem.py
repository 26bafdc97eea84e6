# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""A bank in a directory, of one host or of a file system that hosts share.

A key is a path below the directory. An object is written to a file of its
own in ``.tmp``, synced, and then linked or renamed to its place, so that its
place only ever holds whole objects. Paths are bytes here, so that neither
order nor names depend on the locale. Symbolic links, which others may have
put there, are never followed below the bank's directory.
"""

import contextlib
import errno
import itertools
import logging
import os
import secrets
import stat
import threading
import time

from oslo_config import cfg

from karbor_ng import errors
from karbor_ng.bank import driver

LOG = logging.getLogger(__name__)

GROUP = 'file_system_bank_plugin'
FILE_MODE = 0o640
DIRECTORY_MODE = 0o750
#: Where objects are written first; no key starts with a dot.
TEMPORARY = b'.tmp'
#: Seconds after which a file in there has been left by a dead process: no
#: put takes as long, and one that does starts again.
STALE = 3600
#: How often a put starts again because directories vanished under it.
PATIENCE = 100

#: What an operator can do about it.
ADVICE = {
    errno.ENOSPC: 'the disk is full: free space, or move the bank',
    errno.EDQUOT: 'the disk quota is used up: raise it, or free space',
    errno.EROFS: 'the file system is mounted read-only',
    errno.EACCES: 'permission denied: the directory must belong to the user '
                  'that the service runs as',
    errno.EPERM: 'not permitted: the directory must belong to the user that '
                 'the service runs as, on a file system with hard links',
    errno.EIO: 'the disk reports an error: check its health',
    errno.ENOTEMPTY: 'the bank has keys below this one, so it can not be a '
                     'key itself',
    errno.ENOTDIR: 'a part of its path is a key itself, or a file',
    errno.ELOOP: 'a part of its path is a symbolic link, which no bank has: '
                 'somebody put it there; remove it',
}
#: Network file systems report these while their server is away.
PASSING = {errno.ESTALE, errno.ETIMEDOUT, errno.EINTR, errno.EAGAIN,
           errno.ENOTCONN, errno.EHOSTDOWN, errno.ECONNRESET}


class FilesystemBank(driver.BankDriver):
    """Keeps every object in a file of its own.

    The directory needs a file system with hard links. Hosts that work for
    one provider must share it.
    """

    KIND = 'filesystem'
    OPTS = [(GROUP, [
        cfg.StrOpt('file_system_bank_path',
                   help='Directory that holds the bank. If several hosts run '
                        'the protection service, it should be on a file '
                        'system that all of them share: hosts that see '
                        'different directories do not take over each '
                        "other's work."),
        cfg.StrOpt('bank_object_container', default='karbor',
                   help='Name of the directory below the path. Two banks in '
                        'one path need different names.'),
    ])]

    def __init__(self, conf):
        super().__init__(conf)
        path = conf[GROUP].file_system_bank_path
        container = conf[GROUP].bank_object_container
        if not path:
            raise errors.ConfigError(
                f'Set file_system_bank_path in [{GROUP}] of the provider '
                'file to the directory that holds the bank.')
        if os.path.basename(container) != container or container in (
                '', '.', '..'):
            raise errors.ConfigError(
                f'bank_object_container in [{GROUP}] of the provider file '
                f'must be the name of one directory, not "{container}".')
        self._root = os.fsencode(
            os.path.join(os.path.abspath(path), container))
        self._sweep_lock = threading.Lock()
        self._swept_at = None

    def put(self, key, data, if_absent=False):
        path = self._path(key)
        with _explained(key):
            self._sweep()
            for _attempt in range(PATIENCE):
                # Deleting removes empty directories: ours may vanish between
                # any two of these steps.
                with contextlib.suppress(FileNotFoundError):
                    try:
                        return self._put(key, path, data, if_absent)
                    except IsADirectoryError:
                        # Nothing is lost with an empty one.
                        os.rmdir(path)
        raise driver.Interrupted(
            f'Could not store "{key}": its directories were removed again '
            'and again.')

    def get(self, key):
        path = self._path(key)
        with _explained(key):
            try:
                with open(path, 'rb', opener=self._open) as file:
                    return file.read()
            except (FileNotFoundError, NotADirectoryError,
                    IsADirectoryError):
                raise errors.NotFound(f'The bank has no "{key}".') from None

    def age(self, key):
        path = self._path(key)
        with _explained(key):
            try:
                self._refuse_links(os.path.dirname(path))
                return max(0, time.time() - os.lstat(path).st_mtime)
            except (FileNotFoundError, NotADirectoryError):
                raise errors.NotFound(f'The bank has no "{key}".') from None

    def list(self, prefix, after=None, limit=1000):
        first = prefix.encode()
        # Only this directory can have keys with the prefix.
        directory = first[:first.rfind(b'/') + 1]
        path = self._path((directory + b'x').decode())
        with _explained(prefix):
            self._refuse_links(os.path.dirname(path))
            found = self._walk(directory, first, (after or '').encode())
            return [name.decode() for name in itertools.islice(found, limit)]

    def delete(self, key):
        path = self._path(key)
        with _explained(key):
            try:
                self._refuse_links(os.path.dirname(path))
                os.unlink(path)
            except (FileNotFoundError, NotADirectoryError,
                    IsADirectoryError):
                return
            # Another thread may remove, and sync, one more directory.
            with contextlib.suppress(FileNotFoundError):
                _sync_directory(self._prune(os.path.dirname(path)))

    def _path(self, key):
        """Return the key's path, never one outside the bank's directory."""
        parts = key.encode().split(b'/')
        if b'\0' in parts[-1] or any(
                part.startswith(b'.') or not part for part in parts):
            raise errors.BankError(f'"{key}" can not be a key of the bank.')
        return os.path.join(self._root, *parts)

    def _open(self, path, flags):
        """Open an object, but neither a link nor what is no file."""
        self._refuse_links(os.path.dirname(path))
        # Whoever opens a pipe would wait for a writer.
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise FileNotFoundError(path)
        return descriptor

    def _refuse_links(self, directory):
        """Make sure that no part of a path below the root is a link.

        :raises OSError: ``ELOOP``
        """
        while len(directory) > len(self._root):
            if os.path.islink(directory):
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP),
                              directory)
            directory = os.path.dirname(directory)

    def _put(self, key, path, data, if_absent):
        directory = os.path.dirname(path)
        self._refuse_links(directory)
        self._make_directory(directory)
        temporary = self._write(data)
        try:
            if if_absent:
                self._link(key, temporary, path)
            else:
                os.replace(temporary, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
        self._sync_up(directory)

    def _write(self, data):
        """Return the path of a new, synced file with the data."""
        directory = os.path.join(self._root, TEMPORARY)
        self._refuse_links(directory)
        self._make_directory(directory)
        path = os.path.join(directory, secrets.token_hex(16).encode())
        try:
            with open(path, 'xb') as file:
                os.fchmod(file.fileno(), FILE_MODE)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(path)
            raise
        return path

    def _make_directory(self, directory):
        """Make one below the root; :meth:`_sync_up` lets it last."""
        for parent in _make_directory(self._root):
            _sync_directory(parent)
        _make_directory(directory)

    def _link(self, key, temporary, path):
        try:
            os.link(temporary, path)
        except FileExistsError:
            there = os.lstat(path)
            if stat.S_ISDIR(there.st_mode):
                raise IsADirectoryError(
                    errno.EISDIR, os.strerror(errno.EISDIR), path) from None
            # Over a network the answer to the first link may have been lost
            # and the call repeated below us: then it is our own file.
            if not os.path.samestat(os.lstat(temporary), there):
                raise errors.Exists(
                    f'The bank already has "{key}".') from None

    def _sync_up(self, directory):
        """Sync the entries that lead to an object.

        All of them: another thread may have made a directory and not yet
        come to sync it.
        """
        while len(directory) >= len(self._root):
            with contextlib.suppress(FileNotFoundError):
                _sync_directory(directory)
            directory = os.path.dirname(directory)

    def _prune(self, directory):
        """Remove empty directories upwards; return the first that stays."""
        while directory != self._root:
            try:
                os.rmdir(directory)
            except FileNotFoundError:
                pass
            except OSError:
                return directory
            directory = os.path.dirname(directory)
        return directory

    def _walk(self, directory, prefix, after):
        """Yield the keys below a directory ('' or ending in '/') in order.

        Whole keys are in order when each directory sorts as its name with
        the slash: 'a-b' comes before 'a/b', and 'a/b' before 'ab'.
        """
        for name, is_directory in self._entries(directory):
            if not name.startswith(prefix) and not (
                    is_directory and prefix.startswith(name)):
                continue
            if not is_directory and name > after:
                yield name
            elif is_directory and (name > after or after.startswith(name)):
                yield from self._walk(name, prefix, after)

    def _entries(self, directory):
        """Return [(name, is directory)] with full names, in order."""
        found = []
        try:
            with os.scandir(os.path.join(self._root, directory)) as entries:
                for entry in entries:
                    if not _is_text(entry.name) or entry.name[:1] == b'.':
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        found.append((directory + entry.name + b'/', True))
                    elif entry.is_file(follow_symlinks=False):
                        found.append((directory + entry.name, False))
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(found)

    def _sweep(self):
        """Remove what dead processes left behind, once in a while."""
        with self._sweep_lock:
            now = time.monotonic()
            if self._swept_at is not None and now - self._swept_at < STALE:
                return
            self._swept_at = now
        directory = os.path.join(self._root, TEMPORARY)
        self._refuse_links(directory)
        with contextlib.suppress(FileNotFoundError), os.scandir(
                directory) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    found = entry.stat(follow_symlinks=False)
                    if found.st_mtime < time.time() - STALE:
                        os.unlink(entry.path)
                        LOG.info('Removed %s, left by a dead process',
                                 os.fsdecode(entry.path))


@contextlib.contextmanager
def _explained(key):
    """Turn an OSError into a BankError that an operator understands."""
    try:
        yield
    except OSError as problem:
        kind = (driver.Interrupted if problem.errno in PASSING
                else errors.BankError)
        advice = ADVICE.get(problem.errno, problem.strerror or str(problem))
        raise kind(
            f'The file system failed at "{key}": {advice}.') from problem


def _make_directory(path):
    """Make a directory and those above it; return where they were made."""
    if os.path.isdir(path):
        return []
    parent = os.path.dirname(path)
    parents = [*_make_directory(parent), parent]
    try:
        os.mkdir(path, DIRECTORY_MODE)
    except FileExistsError:
        if not stat.S_ISDIR(os.stat(path).st_mode):
            raise NotADirectoryError(
                errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from None
    else:
        # Whatever the umask of the process takes away.
        os.chmod(path, DIRECTORY_MODE)
    return parents


def _sync_directory(path):
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as problem:
        # Some network file systems can not, and need not: EINVAL.
        if problem.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)


def _is_text(name):
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True
