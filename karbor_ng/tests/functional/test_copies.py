# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Copies of real images between a real Swift and a directory."""

import pathlib

import fixtures
import testscenarios

from karbor_ng.tests.functional import base
from karbor_ng.tests.functional import secrecy
from karbor_ng.tests.functional import test_shared_streams


class CopyTestCase(test_shared_streams.ImageTestCase):
    """Copies what :attr:`provider` has into the bank of :attr:`target`."""

    target = base.SWIFT_PROVIDER

    def copy(self, plan_id, expect=200, user=None):
        """Ask for copies; return the paths of those that begin."""
        found = self.request(
            'POST', f'/providers/{self.provider}/checkpoints/action',
            {'copy': {'plan_id': plan_id,
                      'target_provider_id': self.target}}, expect, user)
        if expect != 200:
            return found
        return [f'/providers/{self.target}/checkpoints/'
                f'{pair["checkpoint_copy_id"]}'
                for pair in found['copy']['checkpoint_id']]

    def copied(self, path):
        """Wait until a copy is available; return it."""
        def look():
            found = self.request('GET', path)['checkpoint']
            return (None if found['status'] in ('wait_copying', 'copying')
                    else found)
        found = base.wait(look, 300, what=f'end of {path}')
        self.assertEqual('available', found['status'], found)
        return found

    def with_banks_swapped(self, call, *args):
        """Call what looks into the provider's bank, for the target's."""
        self.provider, self.target = self.target, self.provider
        try:
            return call(*args)
        finally:
            self.provider, self.target = self.target, self.provider


class CopyTest(testscenarios.WithScenarios, CopyTestCase):
    """From each kind of bank into the other."""

    scenarios = [
        ('to swift', {'provider': base.FILESYSTEM_PROVIDER,
                      'target': base.SWIFT_PROVIDER}),
        ('to files', {'provider': base.SWIFT_PROVIDER,
                      'target': base.FILESYSTEM_PROVIDER}),
    ]

    def test_it_outlives_its_source(self):
        image, digest = self.create_image()
        plan_id = self.plan_of(image)
        source = self.protect(plan_id, self.provider)
        self.ended(source)
        path, = self.copy(plan_id)
        made = self.copied(path)
        self.assertEqual(source.rpartition('/')[2], made['copied_from'])
        self.assertEqual([], self.copy(plan_id))
        self.delete(source)
        stream_id = self.with_banks_swapped(self.stream_id, path)
        self.assertEqual(
            3, len(self.with_banks_swapped(self.parts, stream_id)))
        self.check_restore(path, image, digest)
        self.delete(path)
        self.assertEqual(
            [], self.with_banks_swapped(self.parts, stream_id))

    def test_what_cinder_has_is_named(self):
        volume = self.demo.create_volumes(1, mib=1)[0]
        self.addCleanup(self.demo.delete_volume, volume.id)
        plan_id = self.create_plan([volume], self.provider)
        source = self.protect(plan_id, self.provider)
        self.addCleanup(self.delete, source)
        self.ended(source)
        said = self.copy(plan_id, expect=409)
        self.assertIn(f'{base.VOLUME} {volume.id}',
                      said['conflictingRequest']['message'])

    def test_others_copy_nothing(self):
        image, _digest = self.create_image()
        plan_id = self.plan_of(image)
        self.copy(plan_id, 400)
        self.copy(plan_id, 404, base.User('demo2'))
        self.copy(plan_id, 403, base.User('demo_reader'))


class KilledCopyTest(CopyTestCase):
    """kill -9 amid a copy: what it has stored is kept."""

    provider = base.SWIFT_PROVIDER
    target = base.FILESYSTEM_PROVIDER

    def test_another_worker_goes_on(self):
        image, digest = self.create_image()
        plan_id = self.plan_of(image)
        source = self.protect(plan_id, self.provider)
        self.ended(source)
        self.disturb()
        base.stack('stop', 'karbor-protection')
        try:
            path, stored = self.killed(plan_id)
        finally:
            base.stack('start', 'karbor-protection')
        self.copied(path)
        stream_id = self.with_banks_swapped(self.stream_id, path)
        parts = self.with_banks_swapped(self.parts, stream_id)
        self.assertEqual(3, len(parts), parts)
        self.assertLessEqual(stored, set(parts))
        self.delete(source)
        self.check_restore(path, image, digest)
        self.delete(path)

    def files(self):
        """Return the keys of all streams in the directory."""
        bank = test_shared_streams.BANK
        return {str(path.relative_to(bank))
                for path in (bank / 'streams').rglob('*') if path.is_file()}

    def killed(self, plan_id):
        """Copy by a worker that dies when two parts are there.

        Return the copy's path, and those parts.
        """
        before = self.files()
        folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        ready = folder / 'ready'
        with open(folder / 'log', 'wb') as log:
            worker = base.spawn_worker('part-recorded', plan_id, ready, log)
        self.addCleanup(secrecy.keep_log, folder / 'log')
        self.addCleanup(worker.kill)
        base.wait((folder / 'ready.started').exists)
        path, = self.copy(plan_id)
        base.wait((folder / 'ready.reached').exists, what='two parts')
        ready.touch()
        self.assertEqual(-9, worker.wait(30), (folder / 'log').read_text())
        stored = self.files() - before
        self.assertEqual(2, len(stored), stored)
        return path, stored
