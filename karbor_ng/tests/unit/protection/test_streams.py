# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Streams of a hook: written once, shared, resumed, and removed at the end."""

import functools
import hashlib
import random
import threading
import time
import types

import fixtures as fixture_library
import requests

from karbor_ng import credentials
from karbor_ng import errors
from karbor_ng.bank import bank as bank_module
from karbor_ng.bank import driver
from karbor_ng.bank.drivers import memory
from karbor_ng.protection import journal
from karbor_ng.protection import lease
from karbor_ng.protection import streams
from karbor_ng.protection import work
from karbor_ng.resource import Resource
from karbor_ng.store import models
from karbor_ng.store import operations
from karbor_ng.store import streams as rows
from karbor_ng.tests import fixtures
from karbor_ng.tests.contracts import bank as contracts

IMAGE = Resource('OS::Glance::Image', 'image', 'web')
PART = 1000
DATA = random.Random(1).randbytes(3 * PART + 500)
SHA256 = hashlib.sha256(DATA).hexdigest()


class Killed(BaseException):
    """The worker is gone: nothing that stands after it runs."""


class Mortal(driver.BankDriver):
    """A driver that does something before or after its n-th put.

    :ivar before: ``{number of the put: function}``
    :ivar after: the same
    """

    KIND = 'mortal'

    def __init__(self, inner):
        self._inner = inner
        self.puts = []
        self.before = {}
        self.after = {}

    def put(self, key, data, if_absent=False):
        number = len(self.puts)
        self.before.pop(number, bool)()
        self._inner.put(key, data, if_absent)
        self.puts.append(key)
        self.after.pop(number, bool)()

    def get(self, key):
        return self._inner.get(key)

    def list(self, prefix, after=None, limit=1000):
        return self._inner.list(prefix, after, limit)

    def delete(self, key):
        self._inner.delete(key)


def die():
    raise Killed()


class StreamsTestCase(fixtures.DatabaseTest):
    """A bank, a database, and works of operations as hooks get them."""

    def setUp(self):
        super().setUp()
        self.useFixture(fixture_library.MonkeyPatch(
            'karbor_ng.bank.bank.PART_SIZE', PART))
        self.driver = Mortal(memory.MemoryBank(contracts.conf_with(
            memory_bank_plugin={'name': fixtures.new_id()})))
        self.bank = bank_module.Bank(self.driver)
        self.provider = types.SimpleNamespace(
            bank=self.bank, bank_uuid=self.bank.marker())
        self.driver.puts.clear()
        self.tools = types.SimpleNamespace(
            stream_slots=streams.Slots(2),
            sealer=credentials.Sealer([credentials.new_key()]))
        self.reads = 0

    def operation(self, **values):
        return self.write(operations.create,
                          fixtures.operation_values(**values)).id

    def claimed(self, operation_id):
        """Claim an operation as the next worker; return its journal."""
        held = lease.Lease(operation_id, 0, 600, time.monotonic(),
                           models.utcnow())
        # So that it can be claimed again at once.
        row = self.write(operations.claim, operation_id, 'worker', -1)
        return journal.Journal(self.db, row, held)

    def work(self, operation_id, resource=IMAGE, objects=(), saved=None):
        """Return what a hook of a new attempt at the operation gets."""
        ours = self.claimed(operation_id)
        job = types.SimpleNamespace(
            operation=ours.operation, journal=ours, provider=self.provider,
            tools=self.tools, session=None, restored={})
        return work.Work(job, resource, None, {}, self.bank.section('x'),
                         {} if saved is None else saved, operation_id,
                         objects)

    def source(self, data=DATA):
        self.reads += 1
        for start in range(0, len(data), 300):
            yield data[start:start + 300]

    def put(self, operation_id, data=DATA, identity='same'):
        """Put the stream in a new attempt; return it and the attempt."""
        ours = self.work(operation_id)
        stream = ours.put_stream(
            'data', functools.partial(self.source, data), None, identity)
        return stream, ours

    def protected(self, **kwargs):
        """Protect the image in an operation of its own; return the work."""
        return self.put(self.operation(), **kwargs)[1]

    def restored(self, protecting):
        """Return what a restore reads that only has the manifest."""
        self.provider.bank_uuid = fixtures.new_id()
        restoring = self.work(self.operation(type='restore'),
                              objects=protecting.stream_objects(),
                              saved=dict(protecting.saved))
        return b''.join(restoring.get_stream('data'))

    def delete(self, protecting):
        """Delete the streams of a checkpoint, in an operation of its own."""
        streams.release(self.claimed(self.operation(type='delete')),
                        self.bank, self.provider.bank_uuid,
                        protecting.checkpoint_id)

    def parts(self):
        return self.bank.list('streams/')


class WriteTest(StreamsTestCase):

    def test_it_comes_back(self):
        stream, ours = self.put(self.operation())
        self.assertEqual((len(DATA), SHA256), (stream.size, stream.sha256))
        self.assertEqual(
            {'data': {'id': stream.id, 'size': len(DATA), 'sha256': SHA256}},
            ours.saved['streams'])
        self.assertEqual(self.parts(), sorted(
            item['key'] for item in ours.stream_objects()))
        self.assertEqual(DATA, self.restored(ours))

    def test_nothing_is_a_stream_too(self):
        ours = self.protected(data=b'')
        self.assertEqual([], ours.stream_objects())
        self.assertEqual(b'', self.restored(ours))

    def test_progress_is_written(self):
        ours = self.work(self.operation())
        told = []
        self.patch(ours, 'progress', lambda *done: told.append(done))
        ours.put_stream('data', self.source, len(DATA), None)
        self.assertEqual((len(DATA), len(DATA)), told[-1])
        self.assertEqual(sorted(told), told)
        told.clear()
        ours.put_stream('other', self.source, None, None)
        self.assertEqual([], told)

    def test_labels_do_not_meet(self):
        ours = self.work(self.operation())
        for label, data in (('a', DATA), ('b', DATA[:1500]), ('a', DATA)):
            ours.put_stream(label, functools.partial(self.source, data),
                            None, None)
        self.assertEqual(6, len(self.parts()))
        self.assertEqual(self.parts(), sorted(
            item['key'] for item in ours.stream_objects()))
        self.assertEqual(DATA, b''.join(ours.get_stream('a')))
        self.assertEqual(DATA[:1500], b''.join(ours.get_stream('b')))

    def test_a_failing_source_fails_the_stream(self):
        def source():
            yield DATA[:1500]
            raise ValueError('the checksum is wrong')

        operation_id = self.operation()
        ours = self.work(operation_id)
        self.assertRaises(ValueError, ours.put_stream, 'data', source, None,
                          'same')
        self.assertEqual([], ours.stream_objects())
        self.assertNotIn('streams', ours.saved)
        self.assertEqual('writing', self.protected_state())
        self.delete(ours)
        self.assertEqual([], self.parts())

    def protected_state(self):
        """Return the state of the only stream there is."""
        def look(session):
            return session.query(rows.Stream).one().state
        return self.read(look)


class InterruptionTest(StreamsTestCase):
    """The source breaks off for a moment."""

    def setUp(self):
        super().setUp()
        self.useFixture(fixture_library.MonkeyPatch(
            'karbor_ng.protection.lease.Lease.sleep',
            lambda lease, seconds: lease.check()))
        self.broken = []

    def breaking(self, *problems):
        """Return a source that breaks off once with each problem."""
        problems = list(problems)

        def source():
            self.reads += 1
            yield DATA[:1700]
            if problems:
                raise problems.pop(0)
            yield DATA[1700:]
        return source

    def test_it_is_read_again(self):
        passing = [ConnectionResetError('reset'),
                   errors.Unavailable('not now'),
                   requests.exceptions.ChunkedEncodingError('cut off'),
                   requests.exceptions.ReadTimeout('slow')]
        ours = self.work(self.operation())
        stream = ours.put_stream('data', self.breaking(*passing), None, 'x')
        self.assertEqual((SHA256, 5), (stream.sha256, self.reads))
        self.assertEqual(4, len(self.driver.puts))
        self.assertEqual(DATA, self.restored(ours))

    def test_not_for_ever(self):
        self.useFixture(fixture_library.MonkeyPatch(
            'karbor_ng.protection.work.POLL_PATIENCE', -1))
        ours = self.work(self.operation())
        self.assertRaises(
            ConnectionResetError, ours.put_stream, 'data',
            self.breaking(ConnectionResetError('reset')), None, None)

    def test_patience_begins_anew_with_each_part(self):
        """Five minutes between two interruptions, ten of patience."""
        now = [time.monotonic()]
        self.useFixture(fixture_library.MonkeyPatch(
            'karbor_ng.protection.streams.time',
            types.SimpleNamespace(monotonic=lambda: now[0])))
        self.useFixture(fixture_library.MonkeyPatch(
            'karbor_ng.protection.work.time',
            types.SimpleNamespace(monotonic=lambda: now[0])))

        def source():
            now[0] += 400
            length = next(lengths)
            yield DATA[:length]
            if length < len(DATA):
                raise ConnectionResetError('reset')
        ours = self.work(self.operation())
        lengths = iter((1000, 2000, 3000, len(DATA)))
        self.assertEqual(SHA256, ours.put_stream(
            'data', source, None, None).sha256)
        lengths = iter((1000, 1000, 1000, len(DATA)))
        self.assertRaises(ConnectionResetError, ours.put_stream, 'other',
                          source, None, None)

    def test_a_source_that_says_something_else(self):
        """What was recorded stays as it was recorded."""
        other = bytes(len(DATA))
        contents = iter((DATA, other, DATA))

        def source():
            data = next(contents)
            yield data[:2000]
            if data is not DATA or len(self.driver.puts) < 3:
                raise ConnectionResetError('reset')
            yield data[2000:]
        ours = self.work(self.operation())
        ours.put_stream('data', source, None, None)
        self.assertEqual(len(set(self.driver.puts)), len(self.driver.puts))
        self.assertEqual(DATA, self.restored(ours))


class DeathTest(StreamsTestCase):
    """Whatever dies, the next attempt goes on, and nothing is left over."""

    def killed(self, operation_id):
        self.assertRaises(Killed, self.put, operation_id)

    def check(self, operation_id, reads, puts):
        """Let the next attempt end it, and a deletion remove it."""
        self.reads = 0
        _stream, ours = self.put(operation_id)
        self.assertEqual((reads, puts), (self.reads, len(self.driver.puts)))
        self.assertEqual(DATA, self.restored(ours))
        self.provider.bank_uuid = self.bank.marker()
        self.delete(ours)
        self.assertEqual([], self.parts())

    def test_before_a_part(self):
        for number in range(4):
            operation_id = self.operation()
            self.driver.puts.clear()
            self.driver.before[number] = die
            self.killed(operation_id)
            self.check(operation_id, 1, 4)

    def test_after_a_part_that_is_not_recorded(self):
        for number in range(4):
            operation_id = self.operation()
            self.driver.puts.clear()
            self.driver.after[number] = die
            self.killed(operation_id)
            self.check(operation_id, 1, 5)

    def test_at_writes_of_rows(self):
        """Before and after each transaction, one after the other."""
        for number in range(6):
            for is_after in (False, True):
                operation_id = self.operation()
                self.driver.puts.clear()
                with self.dying_at_write(number, is_after):
                    self.killed(operation_id)
                done = number == 5 and is_after
                lost = 1 <= number <= 4 and not is_after
                self.check(operation_id, 0 if done else 1, 4 + lost)

    def dying_at_write(self, number, is_after):
        count = [0]
        real = journal.Journal.write

        def write(ours, function, *args, **kwargs):
            here = count[0] == number
            count[0] += 1
            if here and not is_after:
                die()
            result = real(ours, function, *args, **kwargs)
            if here:
                die()
            return result
        return fixture_library.MonkeyPatch(
            'karbor_ng.protection.journal.Journal.write', write)

    def test_a_recorded_part_that_the_bank_lost(self):
        operation_id = self.operation()
        self.driver.before[2] = die
        self.killed(operation_id)
        self.bank.delete(self.driver.puts[0])
        self.check(operation_id, 1, 5)


class FenceTest(StreamsTestCase):
    """Another worker has the operation, or this one shall stop."""

    def test_what_was_taken_over_is_let_be(self):
        operation_id = self.operation()
        ours = self.work(operation_id)
        self.driver.after[1] = lambda: self.claimed(operation_id)
        self.assertRaises(errors.Fenced, ours.put_stream, 'data',
                          self.source, None, None)
        self.assertEqual(2, len(self.driver.puts))
        # Nobody would ever remove what nobody knows of.
        self.assertEqual(self.driver.puts[:1], self.parts())

    def test_an_answer_that_was_lost(self):
        """The part is recorded, although its writer was told of the fence."""
        operation_id = self.operation()
        ours = self.work(operation_id)
        real = ours.journal.write

        def write(function, *args):
            result = real(function, *args)
            if function is rows.put_part:
                raise errors.Fenced('taken over')
            return result
        self.patch(ours.journal, 'write', write)
        self.assertRaises(errors.Fenced, ours.put_stream, 'data',
                          self.source, None, None)
        self.assertEqual(self.driver.puts, self.parts())
        _stream, after = self.put(operation_id, identity=None)
        self.assertEqual(4, len(self.driver.puts))
        self.assertEqual(DATA, self.restored(after))

    def test_stopping_while_the_source_hangs(self):
        ours = self.work(self.operation())
        may_end = threading.Event()
        self.addCleanup(may_end.set)

        def source():
            yield DATA[:1500]
            ours.journal.lease.stop()
            may_end.wait(60)
        began = time.monotonic()
        self.assertRaises(errors.Stopping, ours.put_stream, 'data', source,
                          None, None)
        self.assertLess(time.monotonic() - began, 10)

    def test_reading_stops_too(self):
        ours = self.protected()
        found = ours.get_stream('data')
        next(found)
        ours.journal.lease.lose()
        self.assertRaises(errors.Fenced, next, found)


class SlotsTest(StreamsTestCase):

    def test_only_so_many_at_once(self):
        self.tools.stream_slots = streams.Slots(2)
        busy, most, lock = [], [], threading.Lock()

        def source():
            with lock:
                busy.append(1)
                most.append(len(busy))
            time.sleep(0.05)
            yield DATA
            with lock:
                busy.pop()
        works = [self.work(self.operation()) for _ in range(6)]
        done = fixtures.together(*[
            functools.partial(ours.put_stream, 'data', source, None, None)
            for ours in works])
        self.assertEqual({SHA256}, {stream.sha256 for stream in done})
        self.assertEqual(2, max(most))

    def test_waiting_ends_with_the_lease(self):
        self.tools.stream_slots = streams.Slots(1)
        first, second = self.protected(), self.work(self.operation())
        found = first.get_stream('data')
        next(found)
        threading.Timer(0.1, second.journal.lease.stop).start()
        self.assertRaises(errors.Stopping, second.put_stream, 'data',
                          self.source, None, None)
        found.close()
        self.assertEqual(SHA256, self.put(self.operation(), identity=None)[
            0].sha256)

    def test_a_hook_does_not_wait_for_itself(self):
        self.tools.stream_slots = streams.Slots(1)
        ours = self.protected()
        copy = ours.put_stream('copy', lambda: ours.get_stream('data'), None,
                               None)
        self.assertEqual(SHA256, copy.sha256)


class SharingTest(StreamsTestCase):

    def test_stored_once(self):
        first, second = self.protected(), self.protected()
        self.assertEqual((1, 4), (self.reads, len(self.parts())))
        self.assertEqual(first.saved, second.saved)
        self.assertEqual(first.stream_objects(), second.stream_objects())

    def test_the_last_deletion_removes_it(self):
        for order in ((0, 1), (1, 0)):
            both = [self.protected(), self.protected()]
            self.delete(both[order[0]])
            self.assertEqual(4, len(self.parts()))
            bank_uuid = self.provider.bank_uuid
            self.assertEqual(DATA, self.restored(both[order[1]]))
            self.provider.bank_uuid = bank_uuid
            self.delete(both[order[1]])
            self.assertEqual([], self.parts())

    def test_not_with_another_project(self):
        self.protected()
        self.put(self.operation(project_id=fixtures.OTHER_PROJECT))
        self.assertEqual(2, self.reads)
        self.assertEqual(8, len(self.parts()))

    def test_a_part_is_missing(self):
        old = self.protected()
        self.bank.delete(self.parts()[2])
        new = self.protected()
        self.assertEqual((2, 7), (self.reads, len(self.parts())))
        self.assertEqual(DATA, self.restored(new))
        self.provider.bank_uuid = self.bank.marker()
        self.protected()
        self.assertEqual(2, self.reads)
        self.assertRaises(errors.BankError, self.restored, old)
        self.provider.bank_uuid = self.bank.marker()
        self.delete(old)
        self.assertEqual(4, len(self.parts()))

    def test_an_own_part_is_missing(self):
        """Found after a take-over; the damaged one goes at once."""
        operation_id = self.operation()
        self.put(operation_id)
        self.bank.delete(self.parts()[0])
        _stream, ours = self.put(operation_id)
        self.assertEqual((2, 4), (self.reads, len(self.parts())))
        self.assertEqual(DATA, self.restored(ours))

    def test_a_listing_that_lags_behind(self):
        self.patch(self.driver, 'list', lambda *args: [])
        operation_id = self.operation()
        self.driver.before[2] = die
        self.assertRaises(Killed, self.put, operation_id)
        self.put(operation_id)
        self.assertEqual((2, 4), (self.reads, len(self.driver.puts)))
        self.protected()
        self.assertEqual((2, 4), (self.reads, len(self.driver.puts)))


class DeletionTest(StreamsTestCase):

    def test_interrupted_anywhere(self):
        """The next deletion, of whatever checkpoint, finishes it."""
        for number in range(99):
            ours, other = self.protected(), self.protected(identity='other')
            if not self.dies_deleting(ours, number):
                break
            self.delete(other if number % 2 else ours)
            self.delete(other)
            self.delete(ours)
            self.assertEqual([], self.parts())
            self.assertEqual([], self.read(rows.to_remove,
                                           self.provider.bank_uuid))
        # Two transactions, four parts, and the rest by its prefix.
        self.assertEqual(7, number)

    def dies_deleting(self, ours, number):
        """Die at the n-th thing that a deletion does; False: it has fewer."""
        count = [0]

        def dying(function):
            def call(*args, **kwargs):
                if count[0] == number:
                    die()
                count[0] += 1
                return function(*args, **kwargs)
            return call
        with (fixture_library.MonkeyPatch(
                'karbor_ng.protection.journal.Journal.write',
                dying(journal.Journal.write)),
              fixture_library.MonkeyPatch(
                  'karbor_ng.bank.drivers.memory.MemoryBank.delete',
                  dying(memory.MemoryBank.delete))):
            try:
                self.delete(ours)
            except Killed:
                return True
        return False

    def test_what_will_not_go(self):
        """Its checkpoint hears of it each time, others do not."""
        ours, other = self.protected(), self.protected(identity='other')
        stuck = ours.saved['streams']['data']['id']
        real = self.driver.delete

        def delete(key):
            if stuck in key:
                raise errors.BankError('permission denied')
            real(key)
        self.driver.delete = delete
        for _ in range(2):
            self.assertRaises(errors.BankError, self.delete, ours)
        self.delete(other)
        self.assertEqual(4, len(self.parts()))
        self.driver.delete = real
        self.delete(ours)
        self.assertEqual([], self.parts())

    def test_what_no_row_knows_goes_too(self):
        ours = self.protected()
        stray = self.parts()[0].rpartition('/')[0] + '/00000077'
        self.bank.put(stray, b'written by a worker that died')
        self.delete(ours)
        self.assertEqual([], self.parts())

    def test_two_at_once(self):
        for _ in range(3):
            both = [self.protected(), self.protected()]
            done = fixtures.together(*[functools.partial(self.delete, ours)
                                       for ours in both])
            self.assertEqual([None, None], done)
            self.assertEqual([], self.parts())

    def test_one_deletes_while_another_shares(self):
        """What was shared is there; what was not is gone."""
        for number in range(6):
            old = self.protected()
            calls = [functools.partial(self.delete, old), self.protected]
            if number % 2:
                calls.reverse()
            done = fixtures.together(*calls)
            new = done[1 - number % 2]
            self.assertEqual(self.parts(), sorted(
                item['key'] for item in new.stream_objects()))
            self.assertEqual(DATA, self.restored(new))
            self.provider.bank_uuid = self.bank.marker()
            self.delete(new)
            self.assertEqual([], self.parts())


class ReadTest(StreamsTestCase):

    def setUp(self):
        super().setUp()
        self.ours = self.protected()
        self.items = self.ours.stream_objects()

    def read_with(self, items=None, **kept):
        saved = {'streams': {'data': dict(
            self.ours.saved['streams']['data'], **kept)}}
        reading = self.work(self.operation(type='restore'),
                            objects=self.items if items is None else items,
                            saved=saved)
        return b''.join(reading.get_stream('data'))

    def refusal(self, *args, **kwargs):
        return str(self.assertRaises(errors.BankError, self.read_with, *args,
                                     **kwargs))

    def test_in_whatever_order_they_are_listed(self):
        self.assertEqual(DATA, self.read_with(self.items[::-1]))

    def test_other_objects_do_not_matter(self):
        other = {'key': 'checkpoints/p/c/data/1/t/r/x', 'size': 1,
                 'sha256': 'a' * 64}
        self.assertEqual(DATA, self.read_with([other, *self.items]))

    def test_a_list_that_is_not_complete(self):
        stream_id = self.ours.saved['streams']['data']['id']
        for items in (self.items[:-1], self.items[1:],
                      self.items[:1] + self.items[2:], []):
            self.assertIn(stream_id, self.refusal(items))

    def test_damage(self):
        key = self.items[1]['key']
        for data in (b'', bytes(PART), bytes(PART + 1)):
            self.bank.put(key, data)
            self.assertIn(key, self.refusal())
        self.bank.delete(key)
        self.assertIn(key, self.refusal())

    def test_the_whole_is_something_else(self):
        self.assertIn('SHA-256', self.refusal(sha256='a' * 64))

    def test_a_label_that_nobody_knows(self):
        reading = self.work(self.operation(type='restore'))
        problem = self.assertRaises(errors.BankError, next,
                                    reading.get_stream('kernel'))
        self.assertIn('"kernel"', str(problem))


class SecretTest(StreamsTestCase):

    def test_sealed_and_unsealed(self):
        ours = self.work(self.operation())
        sealed = ours.seal('pass\u0434')
        self.assertNotIn('pass', sealed)
        self.assertEqual('pass\u0434', ours.unseal(sealed))

    def test_the_key_is_gone(self):
        ours = self.work(self.operation())
        sealed = ours.seal('secret')
        self.tools.sealer = credentials.Sealer([credentials.new_key()])
        problem = self.assertRaises(errors.ResourceError, ours.unseal,
                                    sealed)
        self.assertIn('[credentials] keys', str(problem))

    def test_there_are_no_keys(self):
        self.tools.sealer = None
        ours = self.work(self.operation())
        for call in (ours.seal, ours.unseal):
            problem = self.assertRaises(errors.ResourceError, call, 'x')
            self.assertIn('[credentials] keys', str(problem))
