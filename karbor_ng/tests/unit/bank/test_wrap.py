# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""How often and when the wrapper tries again."""

import functools
from unittest import mock
import uuid

import fixtures
from oslotest import base

from karbor_ng import context
from karbor_ng import errors
from karbor_ng.bank import driver
from karbor_ng.bank import wrap
from karbor_ng.bank.drivers import memory
from karbor_ng.tests.contracts import bank as contracts


class Shaky(memory.MemoryBank):
    """Fails as often as told, before or after it did what it should."""

    retry_attempts = 3
    retry_backoff = 10
    failures = 0
    after = False
    problem = driver.Interrupted

    def put(self, key, data, if_absent=False):
        if not self.after:
            self._stumble()
        super().put(key, data, if_absent)
        if self.after:
            self._stumble()

    def get(self, key):
        self._stumble()
        return super().get(key)

    def _stumble(self):
        if self.failures:
            self.failures -= 1
            raise self.problem('stumbled')


class RetryingTest(base.BaseTestCase):

    def setUp(self):
        super().setUp()
        self.shaky = Shaky(contracts.conf_with(
            memory_bank_plugin={'name': uuid.uuid4().hex}))
        self.pauses = []
        self.patient = wrap.Retrying(self.shaky, sleep=self.pauses.append)

    def test_pauses_double(self):
        self.shaky.failures = 3
        self.patient.put('a', b'1')
        self.assertEqual(b'1', self.shaky.get('a'))
        for pause, seconds in zip(self.pauses, (10, 20, 40), strict=True):
            self.assertTrue(0.8 * seconds <= pause <= 1.2 * seconds, pause)

    def test_no_pause_is_longer_than_a_minute(self):
        self.shaky.retry_attempts = self.shaky.failures = 12
        self.patient.put('a', b'1')
        self.assertLessEqual(max(self.pauses), 1.2 * wrap.LONGEST_PAUSE)

    def test_what_a_place_asks_for_is_added_up_to_a_limit(self):
        for asked, least in ((7, 7), (86400, 60)):
            self.shaky.failures, self.shaky.problem = 1, functools.partial(
                driver.Interrupted, retry_after=asked)
            self.patient.put('a', b'1')
            self.assertTrue(least + 8 <= self.pauses[-1] <= least + 12)

    def test_a_pause_ends_with_the_operation(self):
        def end(seconds):
            raise errors.Aborted('Aborted on request.')
        context.RequestContext(sleep=end)
        self.addCleanup(context.RequestContext)
        self.shaky.failures = 1
        self.assertRaises(errors.Aborted, wrap.Retrying(self.shaky).put, 'a',
                          b'1')

    def test_attempts_are_bounded(self):
        self.shaky.failures = 4
        self.assertRaises(errors.BankError, self.patient.put, 'a', b'1')
        self.assertEqual(3, len(self.pauses))
        self.assertEqual([], self.patient.list(''))

    def work_for_operation(self):
        """Let the clock go on by the pauses."""
        now = [0.0]

        def sleep(seconds):
            now[0] += seconds
            self.pauses.append(seconds)
        self.useFixture(fixtures.MonkeyPatch(
            'karbor_ng.bank.wrap.time', mock.Mock(monotonic=lambda: now[0])))
        context.RequestContext(sleep=sleep)
        self.addCleanup(context.RequestContext)
        return wrap.Retrying(self.shaky)

    def test_operations_wait_longer(self):
        patient = self.work_for_operation()
        self.shaky.failures = 30
        patient.put('a', b'1')
        self.assertEqual(30, len(self.pauses))
        self.assertLess(max(self.pauses[3:]), 13)

    def test_operations_do_not_wait_for_ever(self):
        patient = self.work_for_operation()
        self.shaky.failures = 10 ** 6
        self.assertRaises(errors.BankError, patient.put, 'a', b'1')
        self.assertTrue(600 < sum(self.pauses) < 720, sum(self.pauses))

    def test_only_interruptions_are_repeated(self):
        for problem in (errors.BankError, errors.NotFound, errors.Exists):
            self.shaky.failures, self.shaky.problem = 1, problem
            self.assertRaises(problem, self.patient.get, 'a')
        self.assertEqual([], self.pauses)

    def test_an_own_put_is_recognised(self):
        self.shaky.failures, self.shaky.after = 1, True
        self.patient.put('a', b'1', if_absent=True)
        self.assertEqual(1, len(self.pauses))

    def test_equal_bytes_of_another_do_not_count_at_first(self):
        self.shaky.put('a', b'1')
        self.assertRaises(errors.Exists, self.patient.put, 'a', b'1',
                          if_absent=True)

    def test_other_bytes_after_an_interruption(self):
        self.shaky.put('a', b'1')
        self.shaky.failures = 1
        self.assertRaises(errors.Exists, self.patient.put, 'a', b'2',
                          if_absent=True)

    def test_the_operator_is_told(self):
        logs = self.useFixture(fixtures.FakeLogger())
        self.shaky.failures = 1
        self.patient.put('a/b', b'1')
        self.assertIn('put of "a/b" was interrupted', logs.output)
