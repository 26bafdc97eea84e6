# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What a service says of its providers and of itself while it works."""

import pathlib
import shutil
import threading
from unittest import mock

import fixtures
from oslotest import base

from karbor_ng.protection import service
from karbor_ng.store import providers
from karbor_ng.tests.unit.protection import environment


class PublishingTest(base.BaseTestCase):

    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger())
        self.useFixture(fixtures.MonkeyPatch(
            f'{service.__name__}.REFRESH_SECONDS', 0.05))
        self.site = self.useFixture(environment.Deployment())
        self.bank = pathlib.Path(self.site.path, 'bank')

    def row(self):
        return self.site.db.read(providers.get, environment.PROVIDER_ID)

    def published_again(self, times=2):
        """Wait until the provider's row has been written so many times."""
        moments = {self.row().published_at}

        def look():
            moments.add(self.row().published_at)
            return len(moments) > times
        self.site.wait(look)

    def test_again_and_again(self):
        self.site.start_worker()
        self.published_again(3)

    def test_a_row_that_was_lost_is_back(self):
        self.site.start_worker()
        self.site.db.write(providers.withdraw, self.site.conf.host, [])
        self.site.wait(self.site._is_offered)

    def test_not_while_the_bank_is_away(self):
        self.site.start_worker()
        away = self.bank.with_name('away')
        shutil.move(self.bank, away)
        self.site.wait(lambda: 'is not well' in self.log.output)
        before = self.row().published_at
        count = self.log.output.count('is not well')
        self.site.wait(lambda: self.log.output.count(
            'is not well') > count + 2)
        self.assertEqual(before, self.row().published_at)
        self.assertIn('is its directory not mounted', self.row().problem)
        self.assertIn(self.site.conf.host, self.row().problem)
        shutil.rmtree(self.bank, ignore_errors=True)
        shutil.move(away, self.bank)
        self.published_again()

    def test_another_bank_in_its_place(self):
        self.site.start_worker()
        other = self.useFixture(environment.Deployment())
        found = next(iter(other.worker()._closed_providers.values()))
        found.open()
        shutil.rmtree(self.bank)
        shutil.copytree(f'{other.path}/bank', self.bank)
        self.site.wait(lambda: f'mark {found.bank_uuid}' in self.log.output)

    def test_a_bank_that_hangs_holds_up_no_other_one(self):
        worker = self.site.start_worker()
        hangs, free = mock.Mock(id='other'), threading.Event()
        self.addCleanup(free.set)
        hangs.check_bank.side_effect = free.wait
        worker._providers['other'] = hangs
        self.site.wait(lambda: hangs.check_bank.called)
        self.published_again(3)
        self.assertEqual(1, hangs.check_bank.call_count)

    def test_not_while_a_loop_hangs(self):
        self.useFixture(fixtures.MonkeyPatch(
            f'{service.__name__}.TURN_SECONDS', 1))
        release = threading.Event()
        self.addCleanup(release.set)
        worker = self.site.start_worker()
        self.assertTrue(self.site.wait(worker.is_alive))
        self.useFixture(fixtures.MockPatchObject(
            worker, '_sweep', side_effect=release.wait))
        self.site.wait(lambda: not worker.is_alive())
        self.site.wait(lambda: 'hangs' in self.log.output)
        before = self.row().published_at
        self.site.wait(lambda: self.log.output.count('hangs') > 4)
        self.assertEqual(before, self.row().published_at)
        release.set()
        self.site.wait(worker.is_alive)
        self.published_again()

    def test_a_stopping_service_lives(self):
        worker = self.site.worker()
        self.useFixture(fixtures.MonkeyPatch(
            f'{service.__name__}.TURN_SECONDS', -100))
        self.assertFalse(worker.is_alive())
        worker._stopping.set()
        self.assertTrue(worker.is_alive())

    def test_ready_when_what_it_has_is_offered(self):
        worker = self.site.worker()
        ready = threading.Thread(target=worker.wait_until_ready, daemon=True)
        ready.start()
        ready.join(0.2)
        self.assertTrue(ready.is_alive())
        worker.start()
        self.addCleanup(worker.stop)
        ready.join(60)
        self.assertFalse(ready.is_alive())
        self.row()

    def test_one_line_for_operators(self):
        worker = self.site.worker()
        self.assertEqual('0 operations; 0 of 1 providers offered',
                         worker.describe())
        worker.start()
        self.addCleanup(worker.stop)
        self.site.wait(lambda: worker.describe()
                       == '0 operations; 1 of 1 providers offered')
