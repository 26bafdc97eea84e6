# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The contract over the filesystem bank, and what disks and kills do."""

import errno
import os
import pathlib
import random
import stat
import subprocess
import sys
import textwrap
import time
from unittest import mock

import fixtures
from oslotest import base

from karbor_ng import errors
from karbor_ng.bank import bank
from karbor_ng.bank import driver
from karbor_ng.bank.drivers import filesystem
from karbor_ng.tests.contracts import bank as contracts

#: Puts whole objects of one repeated byte, as fast as it can, for ever.
WRITER = textwrap.dedent("""
    import itertools, sys
    from karbor_ng.bank.drivers import filesystem
    from karbor_ng.tests.contracts import bank as contracts
    bank = filesystem.FilesystemBank(contracts.conf_with(
        file_system_bank_plugin={'file_system_bank_path': sys.argv[1]}))
    for number in itertools.count(int(sys.argv[2])):
        data = bytes([number % 256]) * 3_000_000
        bank.put('deep/er/same', data)
        bank.put(f'deep/{number:09}/new', data, if_absent=True)
        print(number, flush=True)
""")


class FilesystemBankTest(contracts.DriverContract, contracts.BankContract,
                         base.BaseTestCase):

    def setUp(self):
        self.path = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.root = self.path / 'karbor'
        super().setUp()

    def make_driver(self, **options):
        options.setdefault('file_system_bank_path', self.path)
        return filesystem.FilesystemBank(
            contracts.conf_with(file_system_bank_plugin=options))

    def files(self):
        return sorted(str(path.relative_to(self.root))
                      for path in self.root.rglob('*'))

    def test_nothing_is_made_before_it_is_needed(self):
        self.assertEqual([], self.driver.list(''))
        self.assertFalse(self.root.exists())

    def test_the_path_is_made_when_needed(self):
        bank_path = self.path / 'new' / 'place'
        driver = self.make_driver(file_system_bank_path=bank_path,
                                  bank_object_container='other')
        driver.put('a/b', b'x')
        self.assertEqual(b'x', (bank_path / 'other/a/b').read_bytes())

    def test_options_that_are_missing_or_wrong(self):
        for options, word in (
                ({'file_system_bank_path': ''}, 'file_system_bank_path'),
                ({'bank_object_container': '..'}, 'bank_object_container'),
                ({'bank_object_container': 'a/b'}, 'bank_object_container')):
            problem = self.assertRaises(errors.ConfigError,
                                        self.make_driver, **options)
            self.assertIn(word, str(problem))

    def test_a_key_is_a_path(self):
        self.driver.put('a/b/c', b'x')
        self.assertEqual(['.tmp', 'a', 'a/b', 'a/b/c'], self.files())

    def test_empty_directories_go(self):
        self.driver.put('a/b/c', b'x')
        self.driver.put('a/d', b'x')
        self.driver.delete('a/b/c')
        self.assertEqual(['.tmp', 'a', 'a/d'], self.files())
        self.driver.delete('a/d')
        self.assertEqual(['.tmp'], self.files())

    def test_modes_whatever_the_umask(self):
        for umask, name in ((0o077, 'a'), (0o000, 'b')):
            before = os.umask(umask)
            try:
                self.driver.put(f'{name}/x', b'x')
            finally:
                os.umask(before)
            self.assertEqual(0o640, stat.S_IMODE(
                (self.root / name / 'x').stat().st_mode))
            for directory in (self.root, self.root / name,
                              self.root / '.tmp'):
                self.assertEqual(
                    0o750, stat.S_IMODE(directory.stat().st_mode))

    def test_nothing_outside_is_reached(self):
        (self.path / 'secret').write_bytes(b'secret')
        for key in ('../secret', 'a/../../secret', '/etc/passwd', 'a\0b',
                    '.tmp/x', 'a//b', ''):
            self.assertRaises(errors.BankError, self.driver.get, key)
            self.assertRaises(errors.BankError, self.driver.put, key, b'')
            self.assertRaises(errors.BankError, self.driver.delete, key)
        self.assertRaises(errors.BankError, self.driver.list, '../')
        self.assertEqual(b'secret', (self.path / 'secret').read_bytes())

    def test_a_key_below_a_key_is_refused(self):
        self.driver.put('a/b', b'x')
        for if_absent in (True, False):
            for key in ('a/b/c', 'a'):
                problem = self.assertRaises(
                    errors.BankError, self.driver.put, key, b'',
                    if_absent=if_absent)
                self.assertIn(f'"{key}"', str(problem))
        self.assertEqual(['a/b'], self.driver.list(''))
        self.assertEqual([], os.listdir(self.root / '.tmp'))

    def test_an_empty_directory_left_by_a_crash_gives_way(self):
        for if_absent in (True, False):
            key = f'a/{if_absent}'
            (self.root / key).mkdir(parents=True)
            self.driver.put(key, b'x', if_absent=if_absent)
            self.assertEqual(b'x', self.driver.get(key))

    def test_names_of_others_are_left_alone(self):
        self.root.mkdir()
        (self.root / '.hidden').write_bytes(b'')
        (self.root / 'link').symlink_to('/etc')
        with open(os.fsencode(self.root) + b'/\xff', 'wb'):
            pass
        (self.root / 'line\nfeed').write_bytes(b'')
        self.driver.put('a', b'')
        self.assertEqual(['a'], bank.Bank(self.driver).list())

    def plant(self, place, target):
        """Put a link into the bank's directory, as others might."""
        path = self.root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)

    def outside(self):
        """Return a directory outside the bank, with a file in it."""
        folder = self.path / 'outside'
        (folder / 'b').mkdir(parents=True)
        for name in ('x', 'b/x'):
            (folder / name).write_bytes(b'secret')
        return folder

    def assert_refused(self, key, *verbs):
        for verb, *arguments in verbs or (
                (self.driver.get,), (self.driver.age,),
                (self.driver.delete,), (self.driver.put, b'evil'),
                (self.driver.put, b'evil', True)):
            problem = self.assertRaises(errors.BankError, verb, key,
                                        *arguments)
            self.assertIn('symbolic link', str(problem))

    def test_links_to_directories_are_not_followed(self):
        folder = self.outside()
        self.plant('a/link', folder)
        self.plant('in', self.root / 'a')
        self.driver.put('a/x', b'own')
        for key in ('a/link/x', 'a/link/b/x', 'a/link/new/y', 'in/x'):
            self.assert_refused(key)
        self.assert_refused('a/link/', (self.driver.list,))
        self.assertEqual(['a/x'], self.driver.list(''))
        self.assertEqual(['b', 'x'], sorted(os.listdir(folder)))
        self.assertEqual(b'secret', (folder / 'b/x').read_bytes())

    def test_links_to_files_are_not_followed(self):
        folder = self.outside()
        self.plant('a/x', folder / 'x')
        self.assert_refused('a/x', (self.driver.get,))
        self.assertRaises(errors.Exists, self.driver.put, 'a/x', b'own', True)
        self.driver.put('a/x', b'own')
        self.assertEqual(b'own', self.driver.get('a/x'))
        self.assertEqual(b'secret', (folder / 'x').read_bytes())
        self.driver.delete('a/x')
        self.plant('a/x', folder / 'x')
        self.driver.delete('a/x')
        self.assertEqual(b'secret', (folder / 'x').read_bytes())
        self.assertEqual([], self.driver.list(''))

    def test_a_link_instead_of_the_place_of_temporary_files(self):
        folder = self.outside()
        os.utime(folder / 'x', (0, 0))
        self.plant('.tmp', folder)
        self.assert_refused('a/b', (self.driver.put, b'x'))
        self.assertEqual(['b', 'x'], sorted(os.listdir(folder)))

    def test_the_bank_itself_may_lie_behind_a_link(self):
        (self.path / 'elsewhere').mkdir()
        self.root.symlink_to(self.path / 'elsewhere')
        self.driver.put('a/b', b'x')
        self.assertEqual(b'x', self.driver.get('a/b'))
        self.assertEqual(['a/b'], self.driver.list(''))

    def test_nobody_waits_for_a_pipe(self):
        self.root.mkdir()
        os.mkfifo(self.root / 'a')
        self.assertRaises(errors.NotFound, self.driver.get, 'a')
        self.assertEqual([], self.driver.list(''))

    def test_failing_disks_are_explained(self):
        for number, word in ((errno.ENOSPC, 'disk is full'),
                             (errno.EDQUOT, 'quota'),
                             (errno.EIO, 'health'),
                             (errno.EROFS, 'read-only'),
                             (errno.EMFILE, 'Too many open files')):
            failure = OSError(number, os.strerror(number))
            with mock.patch('os.fsync', side_effect=failure):
                problem = self.assertRaises(
                    errors.BankError, self.driver.put, 'a/b', b'x')
            self.assertIn('"a/b"', str(problem))
            self.assertIn(word, str(problem))
            self.assertEqual([], self.driver.list(''))

    def test_directories_that_can_not_be_synced(self):
        sync = os.fsync

        def picky(descriptor):
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, 'Invalid argument')
            sync(descriptor)

        with mock.patch('os.fsync', picky):
            self.driver.put('a/b', b'x')
        self.assertEqual(b'x', self.driver.get('a/b'))

    def test_everything_is_synced_before_put_returns(self):
        synced, sync = [], os.fsync

        def note(descriptor):
            synced.append(os.readlink(f'/proc/self/fd/{descriptor}'))
            sync(descriptor)

        with mock.patch('os.fsync', note):
            self.driver.put('a/b', b'x')
        self.assertTrue(synced[-3].startswith(f'{self.root}/.tmp/'), synced)
        self.assertEqual([f'{self.root}/a', str(self.root)], synced[-2:])
        self.assertIn(str(self.path), synced)

    def test_a_failed_put_leaves_nothing_behind(self):
        self.driver.put('a/b', b'old')
        failure = OSError(errno.ENOSPC, 'full')
        with mock.patch('os.fsync', side_effect=failure):
            self.assertRaises(
                errors.BankError, self.driver.put, 'a/b', b'new')
        self.assertEqual(b'old', self.driver.get('a/b'))
        self.assertEqual([], os.listdir(self.root / '.tmp'))

    def test_a_file_server_that_is_away_can_come_back(self):
        self.driver.put('a/b', b'x')
        failure = OSError(errno.ESTALE, 'stale')
        with mock.patch('builtins.open', side_effect=failure):
            self.assertRaises(driver.Interrupted, self.driver.get, 'a/b')

    def test_files_of_dead_processes_are_removed(self):
        self.driver.put('a', b'')
        temporary = self.root / '.tmp'
        (temporary / 'old').write_bytes(b'x')
        (temporary / 'new').write_bytes(b'x')
        long_ago = time.time() - filesystem.STALE - 1
        os.utime(temporary / 'old', (long_ago, long_ago))
        self.make_driver().put('b', b'')
        self.assertEqual(['new'], os.listdir(temporary))
        self.assertEqual(['a', 'b'], self.driver.list(''))

    def test_kill_leaves_whole_objects(self):
        ready, generator = [], random.Random()
        for _round in range(4):
            last = self._write_and_kill(len(ready) * 1000,
                                        generator.uniform(0, 0.3))
            ready.append(last)
            bank = self.make_driver()
            for key in bank.list(''):
                data = bank.get(key)
                self.assertEqual((3_000_000, 1), (len(data), len(set(data))))
            # What was reported as stored is there.
            self.assertEqual(
                bytes([last % 256]), bank.get(f'deep/{last:09}/new')[:1])
            self.assertIn(bank.get('deep/er/same')[0],
                          (last % 256, (last + 1) % 256, (last + 2) % 256))

    def _write_and_kill(self, start, seconds):
        """Return the last number that the writer reported."""
        child = subprocess.Popen(
            [sys.executable, '-c', WRITER, str(self.path), str(start)],
            stdout=subprocess.PIPE, text=True)
        last = int(child.stdout.readline())
        time.sleep(seconds)
        child.kill()
        lines = child.stdout.read().split('\n')
        child.stdout.close()
        child.wait()
        return max([last] + [int(line) for line in lines[:-1]])
