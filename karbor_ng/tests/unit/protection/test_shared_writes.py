# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Writes that come together, and one among them that fails."""

from concurrent import futures
import threading
import time

import fixtures
from oslotest import base

from karbor_ng import errors
from karbor_ng.protection import shared_writes


class Ledger:
    """Takes back what a transaction wrote that failed."""

    def __init__(self):
        self.lines = []
        self.transactions = 0
        self.is_open = threading.Event()
        self.is_open.set()
        self._turn = threading.Lock()

    def write(self, function):
        self.is_open.wait(30)
        with self._turn:
            self.transactions += 1
            draft = list(self.lines)
            result = function(draft)
            self.lines = draft
            return result


def put(draft, calls):
    draft.append([line for line, in calls])
    return [f'{line} of {len(calls)}' for line, in calls]


def refuse(draft, calls):
    draft.append([line for line, in calls])
    raise errors.Conflict(f'not {calls[0][0]}')


class SharedWritesTest(base.BaseTestCase):

    def setUp(self):
        super().setUp()
        self.ledger = Ledger()
        self.writes = shared_writes.SharedWrites(self.ledger.write)
        self.pool = futures.ThreadPoolExecutor(100)
        self.addCleanup(self.pool.shutdown)

    def while_one_is_under_way(self, *calls):
        """Hold the first transaction until all these calls wait."""
        self.ledger.is_open.clear()
        first = self.pool.submit(self.writes.write, put, 'first')
        waiting = self.writes._waiting
        self.wait(lambda: not waiting and self.writes._is_busy)
        found = [self.pool.submit(self.writes.write, *call)
                 for call in calls]
        self.wait(lambda: len(waiting) == len(calls))
        self.ledger.is_open.set()
        self.assertEqual('first of 1', first.result(30))
        return found

    def later(self, *call):
        """Leave a call for later; return the list of what went wrong."""
        problems = []
        self.writes.write_later(*call, failed=problems.append)
        return problems

    def wait(self, done):
        pause = threading.Event()
        for _ in range(3000):
            if done():
                return
            pause.wait(0.01)
        self.fail('It did not happen in 30 seconds.')

    def test_alone(self):
        self.assertEqual('one of 1', self.writes.write(put, 'one'))
        self.assertEqual('two of 1', self.writes.write(put, 'two'))
        self.assertEqual([['one'], ['two']], self.ledger.lines)
        self.assertEqual(2, self.ledger.transactions)

    def test_together(self):
        calls = self.while_one_is_under_way(
            *[(put, number) for number in range(20)])
        for number, call in enumerate(calls):
            self.assertEqual(f'{number} of 20', call.result(30))
        self.assertEqual(2, self.ledger.transactions)
        self.assertEqual([1, 20], [len(line) for line in self.ledger.lines])

    def test_transactions_have_an_end(self):
        calls = self.while_one_is_under_way(
            *[(put, number) for number in range(shared_writes.MOST + 1)])
        futures.wait(calls, 30)
        self.assertEqual([1, shared_writes.MOST, 1],
                         [len(line) for line in self.ledger.lines])

    def test_failing_takes_nothing_with_it(self):
        good, bad, other = self.while_one_is_under_way(
            (put, 'good'), (refuse, 'bad'), (put, 'other'))
        self.assertRaises(errors.Conflict, bad.result, 30)
        good.result(30)
        other.result(30)
        self.assertEqual([['first'], ['good'], ['other']],
                         sorted(self.ledger.lines))

    def test_all_failing(self):
        calls = self.while_one_is_under_way((refuse, 'a'), (refuse, 'b'))
        for call, line in zip(calls, 'ab', strict=True):
            self.assertEqual(f'not {line}', str(call.exception(30)))
        self.assertEqual([['first']], self.ledger.lines)

    def test_later_is_written_before_the_next(self):
        for line in ('a', 'b'):
            self.later(put, line)
        self.assertEqual(0, self.ledger.transactions)
        self.writes.write(put, 'c')
        self.assertEqual([['a', 'b', 'c']], self.ledger.lines)
        self.assertEqual(1, self.ledger.transactions)

    def test_settle(self):
        self.writes.settle()
        self.assertEqual(0, self.ledger.transactions)
        self.later(put, 'a')
        self.writes.settle()
        self.assertEqual([['a']], self.ledger.lines)
        self.writes.settle()
        self.assertEqual(1, self.ledger.transactions)

    def test_settle_waits_for_what_is_under_way(self):
        self.later(put, 'a')
        self.ledger.is_open.clear()
        self.pool.submit(self.writes.write, put, 'b')
        self.wait(lambda: not self.writes._later)
        settled = self.pool.submit(self.writes.settle)
        self.assertFalse(futures.wait([settled], 0.1).done)
        self.ledger.is_open.set()
        settled.result(30)
        self.assertEqual(['a', 'b'], self.ledger.lines[0])

    def test_later_that_fails_is_told(self):
        good, bad = self.later(put, 'good'), self.later(refuse, 'bad')
        self.assertEqual('next of 1', self.writes.write(put, 'next'))
        self.assertEqual([['good'], ['next']], self.ledger.lines)
        self.assertEqual(([], ['not bad']),
                         (good, [str(problem) for problem in bad]))

    def test_not_too_much_is_left(self):
        for number in range(shared_writes.MOST_LATER + 1):
            self.later(put, number)
        self.assertEqual(1, self.ledger.transactions)

    def test_overdue(self):
        self.assertFalse(self.writes.is_overdue)
        self.later(put, 'a')
        self.assertFalse(self.writes.is_overdue)
        self.useFixture(fixtures.MonkeyPatch(
            'time.monotonic', lambda real=time.monotonic: real() + 2))
        self.assertTrue(self.writes.is_overdue)
        self.writes.settle()
        self.assertFalse(self.writes.is_overdue)
