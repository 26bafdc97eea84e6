# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What of the bank does not depend on a driver: keys and memory."""

import subprocess
import sys
import tracemalloc
import uuid

import fixtures
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies
from oslotest import base

from karbor_ng import errors
from karbor_ng.bank import bank
from karbor_ng.bank import driver
from karbor_ng.bank.drivers import memory
from karbor_ng.tests.contracts import bank as contracts


class Sink(driver.BankDriver):
    """Takes everything, keeps nothing."""

    KIND = 'sink'

    def put(self, key, data, if_absent=False):
        self.last = (key, len(data))

    def get(self, key):
        raise errors.NotFound(key)

    def list(self, prefix, after=None, limit=1000):
        return []

    def delete(self, key):
        pass


class KeyTest(base.BaseTestCase):

    def test_legal_keys(self):
        for key in ('a', 'bank.json', 'a b/c', 'a:b', 'OS::Nova::Server/x',
                    '\u20ac', 'k' * 255, '/'.join(['k' * 255] * 4)):
            self.assertEqual(key, bank.check_key(key))

    def test_the_rule_is_named(self):
        for key, word in (('a//b', 'slash'), ('a/.b', 'dot'),
                          ('k' * 256, '255'), ('/'.join('k' * 513), '1024'),
                          ('a\tb', 'control')):
            problem = self.assertRaises(errors.BankError, bank.check_key,
                                        key)
            self.assertIn(word, str(problem))

    def test_components_of_what_people_name_things(self):
        for text, expected in (
                ('6b0c-11', '6b0c-11'), ('OS::Pod', 'OS::Pod'),
                ('default:pod/1', 'default:pod%2F1'), ('100%', '100%25'),
                ('..', '%2E.'), ('a\n', 'a%0A'), ('\u20ac', '\u20ac')):
            self.assertEqual(expected, bank.component(text))

    @settings(deadline=None)
    @given(strategies.text(max_size=300), strategies.text(max_size=300))
    def test_any_text_is_a_component_of_its_own(self, one, other):
        for text in (one, other):
            name = bank.component(text)
            self.assertEqual(name, bank.check_key(name))
            self.assertNotIn('/', name)
        if one != other:
            self.assertNotEqual(bank.component(one), bank.component(other))

    def test_a_hash_can_not_be_the_component_of_another_text(self):
        hashed = bank.component('/' * 255)
        self.assertNotEqual(hashed, bank.component(hashed))


class ForeignKeyTest(base.BaseTestCase):
    """Others may write to the same container, old Karbor for one."""

    def setUp(self):
        super().setUp()
        self.driver = memory.MemoryBank(contracts.conf_with(
            memory_bank_plugin={'name': uuid.uuid4().hex}))
        self.bank = bank.Bank(self.driver)

    def test_they_are_passed_over(self):
        for number in range(30):
            self.driver.put(f'/checkpoints/{number:02}/index.json', b'')
        for key in ('b//c', 'b/.d', 'b/e'):
            self.driver.put(key, b'')
        for key in ('a', 'c'):
            self.bank.put(key, b'')
        self.assertEqual(['a', 'b/e', 'c'], self.bank.list(limit=3))
        self.assertEqual(['a'], self.bank.list(limit=1))
        self.bank.delete_prefix('b')
        self.assertEqual(['a', 'c'], self.bank.list())
        self.assertEqual(['b//c'], self.driver.list('b//'))


#: Stores streams, four at a time; prints by how many MiB the process grew.
STREAMS = """
import threading
from karbor_ng.bank import bank
from karbor_ng.tests.unit.bank import test_bank

def size():
    with open('/proc/self/status') as file:
        return int(file.read().split('RssAnon:')[1].split()[0]) // 1024

def store():
    a_bank.write_stream('disk', (b'x' * 2 ** 16 for _ in range(2500)))

a_bank = bank.Bank(test_bank.Sink(None))
before = size()
for _ in range(3):
    threads = [threading.Thread(target=store) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print(size() - before)
"""


class MemoryTest(base.BaseTestCase):

    def test_streams_give_their_memory_back(self):
        ended = subprocess.run(
            [sys.executable, '-W', 'ignore', '-c', STREAMS],
            capture_output=True, text=True, timeout=120, check=True)
        self.assertLess(int(ended.stdout), 48)

    def test_a_stream_needs_two_parts_of_memory(self):
        size = 4 * 1024 * 1024
        self.useFixture(fixtures.MonkeyPatch(
            'karbor_ng.bank.bank.PART_SIZE', size))
        a_bank = bank.Bank(Sink(None))
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        piece = b'x' * 1024 * 1024
        stream = a_bank.write_stream(
            'disk', (piece for _number in range(41)))
        _now, peak = tracemalloc.get_traced_memory()
        self.assertEqual(11, len(stream.objects))
        self.assertLess(peak, 2.6 * size)
