# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Writes that come together, and one among them that fails."""

from concurrent import futures
import threading

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

    def write(self, function):
        self.is_open.wait(30)
        self.transactions += 1
        draft = list(self.lines)
        result = function(draft)
        self.lines = draft
        return result


def put(draft, line):
    draft.append(line)
    return f'{line} at {len(draft)}'


def refuse(draft, line):
    draft.append(line)
    raise errors.Conflict(f'not {line}')


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
        self.assertEqual('first at 1', first.result(30))
        return found

    def wait(self, done):
        pause = threading.Event()
        for _ in range(3000):
            if done():
                return
            pause.wait(0.01)
        self.fail('It did not happen in 30 seconds.')

    def test_alone(self):
        self.assertEqual('one at 1', self.writes.write(put, 'one'))
        self.assertEqual('two at 2', self.writes.write(put, 'two'))
        self.assertEqual(2, self.ledger.transactions)

    def test_together(self):
        calls = self.while_one_is_under_way(
            *[(put, number) for number in range(20)])
        for number, call in enumerate(calls):
            self.assertIn(f'{number} at ', call.result(30))
        self.assertEqual(21, len(set(self.ledger.lines)))
        self.assertEqual(2, self.ledger.transactions)

    def test_transactions_have_an_end(self):
        calls = self.while_one_is_under_way(
            *[(put, number) for number in range(shared_writes.MOST + 1)])
        futures.wait(calls, 30)
        self.assertEqual(shared_writes.MOST + 2, len(self.ledger.lines))
        self.assertEqual(3, self.ledger.transactions)

    def test_failing_takes_nothing_with_it(self):
        good, bad, other = self.while_one_is_under_way(
            (put, 'good'), (refuse, 'bad'), (put, 'other'))
        self.assertRaises(errors.Conflict, bad.result, 30)
        good.result(30)
        other.result(30)
        self.assertEqual({'first', 'good', 'other'}, set(self.ledger.lines))

    def test_all_failing(self):
        calls = self.while_one_is_under_way((refuse, 'a'), (refuse, 'b'))
        for call, line in zip(calls, 'ab', strict=True):
            self.assertEqual(f'not {line}', str(call.exception(30)))
        self.assertEqual(['first'], self.ledger.lines)
