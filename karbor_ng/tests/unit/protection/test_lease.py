# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The lease: what interrupts, and when the worker stops to trust itself."""

import datetime
import threading
import time
from unittest import mock

from oslotest import base

from karbor_ng import errors
from karbor_ng.protection import lease

NOON = datetime.datetime(2030, 1, 1, 12, tzinfo=datetime.timezone.utc)


class LeaseTest(base.BaseTestCase):

    def make(self, seconds=60):
        return lease.Lease('op', 1, seconds, time.monotonic(), NOON)

    def test_fresh_lease_lets_work(self):
        held = self.make()
        held.check()
        self.assertFalse(held.is_lost)

    def test_time_is_that_of_the_claim_and_what_has_passed_since(self):
        held = self.make()
        with mock.patch.object(time, 'monotonic',
                               return_value=held._since + 90):
            self.assertEqual(NOON + datetime.timedelta(seconds=90),
                             held.now())

    def test_not_trusted_to_its_end(self):
        held = self.make(60)
        with mock.patch.object(time, 'monotonic',
                               return_value=time.monotonic() + 46):
            self.assertTrue(held.is_lost)
            self.assertRaises(errors.Fenced, held.check)
            self.assertRaises(errors.Fenced, held.check_owned)

    def test_renewal_counts_from_before_the_statement(self):
        held = self.make(60)
        held.renewed(time.monotonic() - 46)
        self.assertTrue(held.is_lost)

    def test_stop_forbids_work_but_not_writing_it_down(self):
        held = self.make()
        held.stop()
        self.assertRaises(errors.Stopping, held.check)
        held.check_owned()

    def test_lost_stays_lost(self):
        held = self.make()
        held.lose()
        held.stop()
        self.assertRaises(errors.Fenced, held.check)
        self.assertRaises(errors.Fenced, held.check_owned)

    def test_sleep_ends_with_an_interruption(self):
        held = self.make()
        threading.Timer(0.1, held.abort).start()
        started = time.monotonic()
        self.assertRaises(errors.Aborted, held.sleep, 30)
        self.assertLess(time.monotonic() - started, 10)
