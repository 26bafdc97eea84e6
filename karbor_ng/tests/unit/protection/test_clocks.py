# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Clocks of hosts: minutes apart, and of no consequence."""

import datetime
import time
from unittest import mock

from oslotest import base
import sqlalchemy as sa

from karbor_ng.store import externals
from karbor_ng.store import models
from karbor_ng.store import query
from karbor_ng.store import session as store_session
from karbor_ng.store import steps
from karbor_ng.tests.unit.protection import environment

VOLUME = 'OS::Cinder::Volume'
TEN_MINUTES = datetime.timedelta(minutes=10)


class ClocksTest(base.BaseTestCase):
    """Two workers, one after the other, at hosts with other times."""

    def setUp(self):
        super().setUp()
        self.site = self.useFixture(environment.Deployment())

    def clock(self, difference):
        """Let the clock of this host be wrong from now on."""
        real, seconds = time.time, difference.total_seconds()
        for patch in (
                mock.patch.object(time, 'time',
                                  lambda: real() + seconds),
                mock.patch.object(models, 'utcnow', lambda: (
                    datetime.datetime.now(datetime.timezone.utc)
                    + difference))):
            patch.start()
            self.addCleanup(patch.stop)

    def half_prepared(self):
        """Let a worker stop when one of two volumes is prepared."""
        self.site.registry.control({'hang': {'two': ['on_prepare_finish']}})
        worker = self.site.start_worker()
        self.checkpoint_id = self.site.protect(
            [(VOLUME, 'one'), (VOLUME, 'two')])
        self.operation_id = self.site.operation(self.checkpoint_id).id
        self.site.wait(lambda: self.prepared('one'))
        worker.stop()
        self.site.registry.control({})

    def prepared(self, resource_id):
        return self.site.db.read(steps.ended, self.operation_id).get(
            (VOLUME, resource_id, 'on_prepare_finish'))

    def test_a_clock_ahead_makes_no_snapshot_old(self):
        self.half_prepared()
        self.clock(TEN_MINUTES)
        self.site.start_worker()
        self.site.ended(self.checkpoint_id, 'available')
        self.assertEqual(1, self.prepared('one').attempt)
        self.assertEqual(2, self.prepared('two').attempt)

    def test_a_clock_behind_makes_no_snapshot_young(self):
        self.half_prepared()
        self.site.db.write(
            query.change, models.Step,
            {'ended_at': self.prepared('one').ended_at - TEN_MINUTES},
            models.Step.operation_id == self.operation_id)
        self.clock(-TEN_MINUTES)
        self.site.start_worker()
        self.site.ended(self.checkpoint_id, 'available')
        self.assertEqual(2, self.prepared('one').attempt)

    def test_what_is_compared_has_the_time_of_the_database(self):
        self.clock(TEN_MINUTES)
        begun = self.site.db.read(store_session.now)
        self.half_prepared()
        self.clock(-2 * TEN_MINUTES)
        self.site.start_worker()
        self.site.ended(self.checkpoint_id, 'available')
        ended = self.site.db.read(store_session.now)
        moments = [row.created_at for row in self.site.db.read(
            externals.of_operation, self.operation_id)]
        for step in self.site.db.read(lambda session: session.execute(
                sa.select(models.Step)).scalars().all()):
            moments += [step.started_at, step.ended_at]
        self.assertGreater(len(moments), 10)
        almost = datetime.timedelta(seconds=1)
        for moment in moments:
            self.assertLess(begun - almost, moment)
            self.assertLess(moment, ended + almost)

    def test_leases_last_as_long_as_they_should(self):
        self.clock(TEN_MINUTES)
        self.half_prepared()
        row = self.site.operation(self.checkpoint_id)
        self.assertEqual(('queued', 1), (row.state, row.attempt))
        self.site.registry.control({'hang': {'*': ['on_main']}})
        self.site.start_worker()
        self.site.wait(lambda: self.site.operation(
            self.checkpoint_id).lease_until)
        left = (self.site.operation(self.checkpoint_id).lease_until
                - self.site.db.read(store_session.now))
        self.assertLess(abs(left.total_seconds() - 3), 3)
        self.site.registry.control({})
        self.site.ended(self.checkpoint_id, 'available')
