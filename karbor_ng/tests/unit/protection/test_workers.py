# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Several workers: who gets what, and leases that last on a busy machine."""

import collections
import hashlib
import pathlib
import threading
import time

from oslotest import base
import sqlalchemy as sa

from karbor_ng import context
from karbor_ng.plugins import api
from karbor_ng.store import models
from karbor_ng.store import session as store_session
from karbor_ng.tests.unit.protection import environment

VOLUME = 'OS::Cinder::Volume'
BUSY, HUNG = 'OS::Test::Busy', 'OS::Test::Hung'
WORKERS, AT_ONCE = 3, 2
#: How much projects want, one of them much more than the others.
WANTED = {'greedy': 20, 'modest': 3, 'small': 2}


class FairnessTest(base.BaseTestCase):
    """Everybody gets a share: projects of workers, workers of work."""

    def setUp(self):
        super().setUp()
        self.site = self.useFixture(environment.Deployment(
            max_concurrent_operations=AT_ONCE, lease_seconds=60))
        # It publishes the provider.
        self.site.start_worker().stop()
        self.site.hints.workers.clear()
        self.workers = [self.site.worker() for _one in range(WORKERS)]
        self.site.hints.workers.extend(self.workers)

    def test_nobody_starves(self):
        made = self.ask_for_all()
        for worker in self.workers:
            worker.start()
            self.addCleanup(worker.stop)
        shares = self.watch()
        self.assertEqual({'done'}, {row.state for row in self.rows()})
        for worker in self.workers:
            self.assertGreater(len(shares[worker.owner]), 2, shares)
        self.check_turns(made)

    def ask_for_all(self):
        """Let the greedy one come first; return ``{operation: project}``."""
        for project_id, number in WANTED.items():
            self.site.caller = context.Caller(project_id, 'user', 'req-1')
            for one in range(number):
                self.site.protect([(VOLUME, f'{project_id}-{one}')])
        return {row.id: row.project_id for row in self.rows()}

    def watch(self):
        """Return ``{owner: ids of operations}`` of all that was seen."""
        shares = collections.defaultdict(set)

        def look():
            rows = self.rows()
            for row in rows:
                if row.owner:
                    shares[row.owner].add(row.id)
            return all(row.state == 'done' for row in rows)
        self.site.wait(look, 300)
        return shares

    def check_turns(self, made):
        """Whoever wants little has it before the greedy one has its all."""
        begun = [made[row.id] for row in sorted(
            self.rows(), key=lambda row: row.started_at)]
        under_way = WORKERS * AT_ONCE
        for project_id, number in WANTED.items():
            last = len(begun) - begun[::-1].index(project_id)
            turns = sum(min(other, number) for other in WANTED.values())
            self.assertLessEqual(last, turns + 2 * under_way,
                                 (project_id, begun))

    def rows(self):
        return self.site.db.read(lambda session: session.execute(
            sa.select(models.Operation)).scalars().all())


class BusyProtection(api.Protection):
    """Hashes, as streams do, for as long as it likes."""

    resource_types = (BUSY,)
    SECONDS = 14
    BLOCK = bytes(2 ** 22)

    class Protect(api.Operation):
        def on_main(self):
            end = time.monotonic() + self.plugin.SECONDS
            while time.monotonic() < end:
                hashlib.sha256(self.plugin.BLOCK).digest()


class HungProtection(api.Protection):
    """Makes a call that nobody can interrupt, as to a cloud that hangs."""

    resource_types = (HUNG,)
    called, answered = threading.Event(), threading.Event()

    class Protect(api.Operation):
        def on_main(self):
            self.plugin.called.set()
            self.plugin.answered.wait(60)


class OwnSite(environment.Deployment):
    """A deployment with the plugins of this module."""

    def _write_provider(self):
        super()._write_provider()
        file, = pathlib.Path(self.provider_directory).glob('*.conf')
        file.write_text(file.read_text().replace(
            'enabled = True', 'enabled = True\n'
            f'plugin = {__name__}.BusyProtection\n'
            f'plugin = {__name__}.HungProtection'))


class StoppingTest(base.BaseTestCase):
    """A service ends in time, whatever hangs."""

    def setUp(self):
        super().setUp()
        self.site = self.useFixture(OwnSite(graceful_shutdown_timeout=1,
                                            lease_seconds=600))
        for event in (HungProtection.called, HungProtection.answered):
            event.clear()
            self.addCleanup(event.set)

    def test_what_hangs_is_handed_back(self):
        first = self.site.start_worker()
        checkpoint_id = self.site.protect([(HUNG, 'one'), (VOLUME, 'two')])
        self.assertTrue(HungProtection.called.wait(60))
        self.site.hints.workers.clear()
        began = time.monotonic()
        first.stop()
        self.assertLess(time.monotonic() - began, 15)
        row = self.site.operation(checkpoint_id)
        self.assertEqual(('queued', None), (row.state, row.owner))
        HungProtection.answered.set()
        self.site.start_worker()
        self.site.ended(checkpoint_id, 'available')
        row = self.site.operation(checkpoint_id)
        self.assertEqual((2, 0), (row.attempt, row.resume_count))
        self.assertEqual(1, len(self.site.registry.objects()))

    def test_what_is_claimed_too_late_is_handed_back(self):
        worker = self.site.start_worker()
        worker.stop()
        self.site.hints.workers.clear()
        checkpoint_id = self.site.protect([(VOLUME, 'one')])
        # As if the last look had been on its way until now.
        worker._claim(self.site.operation(checkpoint_id).id)
        row = self.site.operation(checkpoint_id)
        self.assertEqual(('queued', None, 1),
                         (row.state, row.owner, row.attempt))


class RenewalTest(base.BaseTestCase):
    """Every processor is busy, and every thread that works on resources."""

    LEASE = 12

    def setUp(self):
        super().setUp()
        self.site = self.useFixture(OwnSite(lease_seconds=self.LEASE))

    def test_leases_are_renewed(self):
        self.site.start_worker()
        checkpoint_id = self.site.protect(
            [(BUSY, str(number)) for number in range(8)])
        left = []

        def look():
            row = self.site.operation(checkpoint_id)
            if row.lease_until:
                left.append((row.lease_until - self.site.db.read(
                    store_session.now)).total_seconds())
            return row.state == 'done'
        self.site.wait(look, 300)
        row = self.site.operation(checkpoint_id)
        self.assertEqual((1, 0), (row.attempt, row.resume_count))
        # Renewed when a quarter has passed; not trusted after three.
        self.assertGreater(min(left), self.LEASE / 4)
