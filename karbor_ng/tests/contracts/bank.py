# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What every bank driver must do, and what the bank does over each of them.

A mixin, so that a driver's tests are this suite plus ``make_driver``.
"""

import concurrent.futures
import hashlib
import io
import json
import random
import threading
import time
import uuid

import fixtures
from oslo_config import cfg

from karbor_ng import errors
from karbor_ng.bank import bank as bank_module
from karbor_ng.bank import driver as driver_module
from karbor_ng.bank import wrap

THREADS = 16

#: In the order of their UTF-8 bytes, which is neither that of directories
#: (a/b after a-b) nor that of UTF-16 (the emoji before the tilde).
IN_ORDER = [
    'A', 'a b', 'a!b/c', 'a"b', 'a#b', 'a%2Fb', 'a%b', 'a&b=c', "a'b", 'a*',
    'a+b', 'a-/b', 'a-b', 'a-c/d', 'a.b', 'a.json', 'a/-', 'a/b-c',
    'a/b.c/d', 'a/b/c', 'a/b/d', 'a/b0', 'a/bc', 'a0', 'a:b', 'a<b>', 'a=b',
    'a?b', 'a@b', 'a\\b', 'a_b', 'ab', 'a|b', 'a~', 'b/' + 'c/' * 40 + 'd',
    'e\u0301', 'z', '\u00e9', '\u0434/\u043a', '\u20ac', '\uff5e',
    '\U0001f600/x', '\U0001f601',
]
#: Keys of the bank that one might take for each other, or for something else:
#: by another form of Unicode, by decoding, as a path, a query, a header.
ALIKE = [
    'a/\u00e9', 'a/e\u0301', 'a/\ufb01', 'a/fi', 'a/\u212b', 'a/\u00c5',
    'a/k', 'a/K', 'a/\u212a', 'a/a b', 'a/a+b', 'a/a%20b', 'a/a%2520b',
    'a/b', 'a%2Fb', 'a%2fb', 'a\\b', 'a/%2e%2e/b', 'a/%2E%2E%2Fb', 'a/x..',
    'a/%00', 'a/x..\\..\\b', 'a/b;c', 'a/b?c',
    'a/b#c', 'a/b&c', 'a/b=c', 'a/%', 'a/%%', 'a/%0d%0aX: y', 'a/~', 'a/~root',
    'a/$(x)', 'a/`x`', "a/'--", 'a/"', 'a/*', 'a/\u202eb', 'a/\u2028b',
    'a/\u200bb', 'a/ b', 'a/b ', 'a/ ', 'a/con', 'a/NUL', 'a/x:y', 'a/-rf',
    'http:/a', 'a/\ufeffb',
]
#: What can be no key, whoever asks for it.
NO_KEYS = [
    '', '/', 'a/', '/a', 'a//b', '.', '..', '../a', 'a/..', 'a/../b', 'a/./b',
    'a/.hidden', '.tmp/x', 'a/...', 'a\0b', 'a\nb', 'a\r\nX-Y: z', 'a\x7fb',
    'a\x85b', 'a\x1b[2Jb', '\ud800', 'a\ufffe', 'a/' + 'k' * 256,
    '\u20ac' * 86, '/'.join(['k' * 200] * 6), 'k/' * 600,
]


def conf_with(**groups):
    """Return the options of a provider file that says ``groups``."""
    lines = []
    for group, options in groups.items():
        lines.append(f'[{group}]')
        lines += [f'{name} = {value}' for name, value in options.items()]
    directory = fixtures.TempDir()
    with directory:
        path = directory.join('provider.conf')
        with open(path, 'w') as file:
            file.write('\n'.join(lines))
        conf = cfg.ConfigOpts()
        conf([], project='karbor', default_config_files=[path])
    return conf


def in_threads(calls):
    """Run all calls at the same moment; return results or exceptions."""
    barrier = threading.Barrier(len(calls))

    def run(call):
        barrier.wait(30)
        try:
            return call()
        except errors.Error as problem:
            return problem

    with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def random_bytes(size, seed=0):
    return random.Random(seed).randbytes(size)


class Parts:
    """A journal of a stream, in memory."""

    def __init__(self, stop_after=None):
        self.parts = []
        self.stop_after = stop_after

    def done(self):
        return list(self.parts)

    def record(self, part):
        self.parts.append(part)
        if self.stop_after is not None and len(
                self.parts) >= self.stop_after:
            raise Died()


class Died(Exception):
    """The worker died at this line."""


class DriverContract:
    """The sentences of ``bank/driver.py``, one after the other.

    ``make_driver`` returns a driver of an empty bank; called twice in a
    test, drivers of the same one.
    """

    def setUp(self):
        super().setUp()
        self.driver = self.make_driver()

    def put_all(self, keys):
        for key in keys:
            self.driver.put(key, key.encode())

    def test_it_says_what_it_is(self):
        self.assertIsInstance(self.driver, driver_module.BankDriver)
        self.assertRegex(self.driver.KIND, '^[a-z0-9]+$')
        for group, options in self.driver.OPTS:
            self.assertIsInstance(group, str)
            for option in options:
                self.assertIsInstance(option, cfg.Opt)

    def test_get_what_was_put(self):
        for data in (b'', b'x', bytes(range(256)), random_bytes(100_000)):
            self.driver.put('a/b', data)
            self.assertEqual(data, self.driver.get('a/b'))

    def test_another_driver_sees_the_same(self):
        self.driver.put('a/b', b'data')
        other = self.make_driver()
        self.assertEqual(b'data', other.get('a/b'))
        self.assertEqual(['a/b'], other.list(''))

    def test_get_of_a_missing_key_names_it(self):
        self.put_all(['a/b'])
        for key in ('a', 'a/b/c', 'a/c', 'missing', 'b/c'):
            problem = self.assertRaises(
                errors.NotFound, self.driver.get, key)
            self.assertIn(f'"{key}"', str(problem))

    def test_get_from_an_empty_bank(self):
        self.assertRaises(errors.NotFound, self.driver.get, 'a/b')
        self.assertEqual([], self.driver.list(''))
        self.driver.delete('a/b')

    def test_delete_is_idempotent(self):
        self.put_all(['a/b/c', 'a/d'])
        for _time in range(2):
            self.driver.delete('a/b/c')
            self.assertRaises(errors.NotFound, self.driver.get, 'a/b/c')
        self.driver.delete('a')
        self.driver.delete('a/d/e')
        self.assertEqual(['a/d'], self.driver.list(''))

    def test_what_was_deleted_can_be_put_again(self):
        self.driver.put('a/b', b'1', if_absent=True)
        self.driver.delete('a/b')
        self.driver.put('a/b', b'2', if_absent=True)
        self.assertEqual(b'2', self.driver.get('a/b'))

    def test_a_key_may_take_the_place_of_a_deleted_path(self):
        self.driver.put('a/b/c', b'1')
        self.driver.delete('a/b/c')
        self.driver.put('a', b'2', if_absent=True)
        self.assertEqual(b'2', self.driver.get('a'))

    def test_if_absent_keeps_what_is_there(self):
        self.driver.put('a/b', b'first', if_absent=True)
        problem = self.assertRaises(
            errors.Exists, self.driver.put, 'a/b', b'second', if_absent=True)
        self.assertIn('"a/b"', str(problem))
        self.assertEqual(b'first', self.driver.get('a/b'))

    def test_of_many_puts_if_absent_one_succeeds(self):
        for key in ('race/1', 'race/2', 'race/3'):
            results = in_threads([
                lambda key=key, data=b'%d' % number:
                self.driver.put(key, data, if_absent=True)
                for number in range(THREADS)])
            winners = [number for number, result in enumerate(results)
                       if result is None]
            self.assertEqual(1, len(winners), results)
            self.assertEqual(b'%d' % winners[0], self.driver.get(key))
            for result in results:
                self.assertIsInstance(result, (type(None), errors.Exists))

    def test_readers_see_whole_objects(self):
        # Patient, because a busy store may turn anybody away for a moment.
        patient = wrap.Retrying(self.driver)
        size = 300_000
        patient.put('a/b', b'0' * size)
        calls = [lambda data=b'%d' % number * size: [
            patient.put('a/b', data) for _time in range(4)]
            for number in range(4)]
        calls += [lambda: [patient.get('a/b') for _time in range(12)]] * 4
        for result in in_threads(calls)[4:]:
            for data in result:
                self.assertEqual((size, 1), (len(data), len(set(data))))

    def test_putting_and_deleting_neighbours_at_the_same_time(self):
        patient = wrap.Retrying(self.driver)

        def busy(number):
            for turn in range(8):
                key = f'a/b/c/{turn}/{number}'
                patient.put(key, b'x', if_absent=turn % 2 == 0)
                patient.delete(key)
            patient.put(f'a/b/c/end/{number:02}', b'x')

        results = in_threads([
            lambda number=number: busy(number) for number in range(8)])
        self.assertEqual([None] * 8, results)
        self.assertEqual([f'a/b/c/end/{number:02}' for number in range(8)],
                         self.driver.list(''))

    def test_age_is_that_of_the_last_put(self):
        self.assertRaises(errors.NotFound, self.driver.age, 'a')
        self.driver.put('a', b'1')
        # Some places round to whole seconds.
        time.sleep(2.1)
        self.assertGreater(self.driver.age('a'), 1)
        self.driver.put('a', b'2')
        self.assertLess(self.driver.age('a'), 2)
        self.driver.delete('a')
        self.assertRaises(errors.NotFound, self.driver.age, 'a')

    def test_a_part_of_a_stream_fits(self):
        data = random_bytes(1024 * 1024) * 32
        self.driver.put('a/b', data)
        self.assertEqual(hashlib.sha256(data).hexdigest(),
                         hashlib.sha256(self.driver.get('a/b')).hexdigest())

    def test_longest_keys(self):
        component = 'k' * bank_module.LONGEST_COMPONENT
        unicode_component = '\u20ac' * 85
        keys = ['/'.join([component] * 4), unicode_component]
        self.put_all(keys)
        self.assertEqual(keys, self.driver.list(''))
        self.assertEqual(keys[0].encode(), self.driver.get(keys[0]))

    def test_keys_that_look_alike_are_different(self):
        self.assertEqual(len(ALIKE), len(set(ALIKE)))
        self.put_all(ALIKE)
        self.assertEqual(sorted(ALIKE, key=str.encode), self.driver.list(''))
        for key in ALIKE:
            self.assertEqual(key.encode(), self.driver.get(key))
        gone = ALIKE[::2]
        for key in gone:
            self.driver.delete(key)
        for key in gone:
            self.assertRaises(errors.NotFound, self.driver.get, key)
        self.assertEqual(sorted(set(ALIKE) - set(gone), key=str.encode),
                         self.driver.list(''))

    def test_listing_is_in_the_order_of_bytes(self):
        self.assertEqual(IN_ORDER, sorted(IN_ORDER, key=str.encode))
        shuffled = random.Random(7).sample(IN_ORDER, len(IN_ORDER))
        self.put_all(shuffled)
        self.assertEqual(IN_ORDER, self.driver.list(''))
        for key in IN_ORDER:
            self.assertEqual(key.encode(), self.driver.get(key))

    def test_listing_by_prefix_and_after_any_key(self):
        self.put_all(IN_ORDER)
        for prefix in ('a', 'a/', 'a/b', 'a-', 'a-b', 'b/c/c', 'b/', '\u20ac',
                       'a/b.', 'none', 'a/none/'):
            expected = [key for key in IN_ORDER if key.startswith(prefix)]
            self.assertEqual(expected, self.driver.list(prefix), prefix)
        for after in IN_ORDER[::3] + ['a', 'a.', 'a/b', 'a/b/cc', 'b/c', 'y']:
            expected = [key for key in IN_ORDER
                        if key.encode() > after.encode()]
            self.assertEqual(expected, self.driver.list('', after=after))
            self.assertEqual(
                [key for key in expected if key.startswith('a/')],
                self.driver.list('a/', after=after))

    def test_pages_join_without_gap_or_overlap(self):
        self.put_all(IN_ORDER)
        for limit in (1, 7, len(IN_ORDER)):
            found, after = [], None
            while page := self.driver.list('', after=after, limit=limit):
                self.assertLessEqual(len(page), limit)
                found += page
                after = page[-1]
            self.assertEqual(IN_ORDER, found)

    def test_listing_follows_changes(self):
        self.put_all(['a/1', 'a/2', 'a/3'])
        self.driver.delete('a/2')
        self.driver.put('a/15', b'')
        self.assertEqual(['a/1', 'a/15', 'a/3'], self.driver.list('a/'))


class BankContract:
    """The bank over a driver: what plugins and the protection service use."""

    def setUp(self):
        super().setUp()
        self.bank = bank_module.Bank(self.make_driver())

    def small_parts(self, size=1000):
        self.useFixture(fixtures.MonkeyPatch(
            'karbor_ng.bank.bank.PART_SIZE', size))

    def test_json_goes_in_and_out(self):
        value = {'b': [1, 2.5, None, True], 'a': {'name': '\u0434 "x"\n'}}
        info = self.bank.put_json('a/b.json', value)
        text = self.bank.get('a/b.json')
        self.assertEqual(value, self.bank.get_json('a/b.json'))
        self.assertEqual(value, json.loads(text.decode('utf-8')))
        self.assertLess(text.index(b'"a"'), text.index(b'"b"'))
        self.assertEqual(
            bank_module.ObjectInfo('a/b.json', len(text),
                                   hashlib.sha256(text).hexdigest()), info)

    def test_json_if_absent(self):
        self.bank.put_json('a', {'n': 1}, if_absent=True)
        self.assertRaises(errors.Exists, self.bank.put_json, 'a', {'n': 2},
                          if_absent=True)
        self.assertEqual({'n': 1}, self.bank.get_json('a'))

    def test_what_is_no_json(self):
        for value in ({'a': object()}, float('nan'), '\ud800'):
            problem = self.assertRaises(
                errors.BankError, self.bank.put_json, 'a/b', value)
            self.assertIn('"a/b"', str(problem))
        for data in (b'', b'{', b'\xff'):
            self.bank.put('a/b', data)
            problem = self.assertRaises(
                errors.BankError, self.bank.get_json, 'a/b')
            self.assertIn('"a/b"', str(problem))

    def test_sections_see_their_own(self):
        section = self.bank.section('a/b')
        section.put('x/y', b'1')
        self.bank.put('a/bc', b'2')
        self.bank.put('a/a', b'3')
        self.assertEqual(b'1', self.bank.get('a/b/x/y'))
        self.assertEqual(['x/y'], section.list())
        self.assertEqual(['x/y'], section.list('x'))
        self.assertEqual(['y'], section.section('x').list())
        self.assertRaises(errors.NotFound, section.get, '0')
        for key in ('../a', '/x', '', 'x/../../a'):
            self.assertRaises(errors.BankError, section.get, key)
            self.assertRaises(errors.BankError, section.put, key, b'')

    def test_what_can_be_no_key(self):
        """It is refused before any place is asked, whatever is wanted."""
        inner = self.bank.section('a')
        self.bank.put('a/b', b'ours')
        for key in NO_KEYS:
            for section in (self.bank, inner):
                for verb, *arguments in (
                        (section.get,), (section.delete,), (section.age,),
                        (section.put, b'x'), (section.put, b'x', True),
                        (section.put_json, {}), (section.get_json,),
                        (section.write_stream, [b'x'])):
                    self.assertRaises(errors.BankError, verb, key,
                                      *arguments)
                if key:
                    self.assertRaises(errors.BankError,
                                      section.delete_prefix, key)
                    self.assertRaises(errors.BankError, section.section, key)
            self.assertRaises(errors.BankError, self.bank.check,
                              [bank_module.ObjectInfo(key, 1, '')])
        self.assertEqual(['a/b'], self.bank.list())

    def test_any_text_becomes_a_component_of_its_own(self):
        """Ids come from clouds, and from what users ask for."""
        texts = [*ALIKE, *NO_KEYS, '%', '%2F', '../../x', 'x' * 10_000]
        components = [bank_module.component(text) for text in texts]
        self.assertEqual(len(set(texts)), len(set(components)))
        for text, component in zip(texts, components, strict=True):
            self.assertNotIn('/', component)
            self.bank.section('a').put(f'{component}/x', text.encode(
                'utf-8', 'surrogatepass'))
        self.assertEqual(len(texts), len(self.bank.list('a/', limit=1000)))

    def test_sections_list_in_pages(self):
        section = self.bank.section('s')
        keys = [f'{number:03}' for number in range(25)]
        for key in keys:
            section.put(key, b'')
        self.assertEqual(keys[:10], section.list(limit=10))
        self.assertEqual(keys[10:20], section.list(after='009', limit=10))
        self.assertEqual(keys[20:], section.list(after='019', limit=10))
        self.assertEqual(keys, list(section.keys()))

    def test_sections_know_what_was_written(self):
        section = self.bank.section('a/b')
        first = section.put('2', b'xx')
        inner = section.section('0')
        second = inner.put_json('1', {})
        section.put('gone', b'')
        section.delete('gone')
        stream = section.write_stream('3', [b'abc'])
        self.bank.section('a/b').put('4', b'of another section')
        self.assertEqual([second, first, *stream.objects], section.objects())
        self.assertEqual([second], inner.objects())
        self.assertEqual(['a/b/0/1', 'a/b/2', 'a/b/3/00000000'],
                         [info.key for info in section.objects()])

    def test_delete_prefix_takes_whole_components(self):
        for key in ('a/b/1', 'a/b/2/3', 'a/bc', 'a/b-', 'c'):
            self.bank.put(key, b'')
        self.assertEqual(2, self.bank.delete_prefix('a/b'))
        self.assertEqual(['a/b-', 'a/bc', 'c'], self.bank.list())
        self.assertEqual(0, self.bank.delete_prefix('a/b'))
        self.bank.delete_prefix('c')
        self.assertRaises(errors.BankError, self.bank.delete_prefix, '')
        self.bank.section('a').delete_prefix()
        self.assertEqual([], self.bank.list())

    def test_keys_that_are_refused(self):
        for key in ('', '/', '/a', 'a/', 'a//b', '.', '..', 'a/../b', 'a/.',
                    '.tmp/x', 'a/.b', 'a\0b', 'a\nb', 'a\x7f', '\ud800',
                    '\uffff', 'k' * 256, '\u20ac' * 86, '/'.join('k' * 520)):
            for verb in (lambda key: self.bank.put(key, b''), self.bank.get,
                         self.bank.delete, self.bank.section):
                self.assertRaises(errors.BankError, verb, key)
        self.assertEqual([], self.bank.list())

    def test_the_marker_stays(self):
        marker = self.bank.marker()
        self.assertEqual(marker, str(uuid.UUID(marker)))
        self.assertEqual(marker, self.bank.marker())
        self.assertEqual(
            marker, bank_module.Bank(self.make_driver()).marker())
        stored = self.bank.get_json('bank.json')
        self.assertEqual({'format', 'uuid', 'created_at'}, set(stored))
        self.assertEqual(1, stored['format'])

    def test_all_services_see_one_marker(self):
        banks = [bank_module.Bank(self.make_driver())
                 for _number in range(THREADS)]
        markers = in_threads([bank.marker for bank in banks])
        self.assertEqual(1, len(set(markers)), markers)
        self.assertEqual(markers[0], self.bank.get_json('bank.json')['uuid'])

    def test_a_marker_of_another_format(self):
        for text, word in ((b'{"format": 2, "uuid": "%s"}' %
                            str(uuid.uuid4()).encode(), 'format 2'),
                           (b'{"format": 1}', 'damaged'),
                           (b'{"format": 1, "uuid": "x"}', 'damaged'),
                           (b'[]', 'damaged')):
            self.bank.put('bank.json', text)
            problem = self.assertRaises(errors.BankError, self.bank.marker)
            self.assertIn(word, str(problem))

    def test_streams_are_cut(self):
        self.small_parts()
        for size, sizes in ((0, []), (1, [1]), (1000, [1000]),
                            (1001, [1000, 1]), (3500, [1000] * 3 + [500])):
            data = random_bytes(size)
            for source in ([data], io.BytesIO(data),
                           (data[i:i + 7] for i in range(0, size, 7))):
                section = self.bank.section('s')
                stream = section.write_stream('disk', source)
                self.assertEqual(sizes, [
                    part.size for part in stream.objects])
                self.assertEqual(
                    (size, hashlib.sha256(data).hexdigest()),
                    (stream.size, stream.sha256))
                self.assertEqual(
                    data, b''.join(section.read_stream(stream.objects)))
                self.assertEqual([], section.check(stream.objects))

    def test_a_stream_of_real_parts(self):
        block = random_bytes(1024 * 1024)
        stream = self.bank.write_stream('disk', [block] * 33)
        self.assertEqual([32 * 1024 * 1024, 1024 * 1024],
                         [part.size for part in stream.objects])
        whole = hashlib.sha256()
        for data in self.bank.read_stream(stream.objects):
            whole.update(data)
        self.assertEqual(stream.sha256, whole.hexdigest())

    def test_a_stream_is_resumed(self):
        self.small_parts()
        data = random_bytes(4500)
        journal = Parts(stop_after=2)
        first = self.bank.section('attempt-1')
        self.assertRaises(Died, first.write_stream, 'disk', [data], journal)
        journal.stop_after = None
        second = self.bank.section('attempt-2')
        stream = second.write_stream('disk', io.BytesIO(data), journal)
        self.assertEqual(
            ['attempt-1/disk/00000000', 'attempt-1/disk/00000001',
             'attempt-2/disk/00000002', 'attempt-2/disk/00000003',
             'attempt-2/disk/00000004'],
            [part.key for part in stream.objects])
        self.assertEqual(stream.objects, journal.done())
        self.assertEqual(hashlib.sha256(data).hexdigest(), stream.sha256)
        self.assertEqual(data, b''.join(second.read_stream(stream.objects)))
        self.assertEqual(['00000002', '00000003', '00000004'],
                         second.section('disk').list())

    def test_a_source_that_changed_is_stored_anew(self):
        self.small_parts()
        journal = Parts()
        self.bank.write_stream('disk', [b'a' * 2500], journal)
        changed = b'a' * 1000 + b'b' * 1200
        stream = self.bank.write_stream('disk', [changed], journal)
        self.assertEqual(changed,
                         b''.join(self.bank.read_stream(stream.objects)))
        self.assertEqual(5, len(journal.done()))

    def test_damage_is_named_before_it_is_read(self):
        self.small_parts()
        data = random_bytes(3000)
        stream = self.bank.write_stream('disk', [data])
        key = stream.objects[1].key
        good = self.bank.get(key)
        for bad in (good[:-1], good + b'x', b'\0' * 1000, b'', None):
            self.bank.delete(key)
            if bad is not None:
                self.bank.put(key, bad)
            reader = self.bank.read_stream(stream.objects)
            self.assertEqual(data[:1000], next(reader))
            problem = self.assertRaises(errors.BankError, next, reader)
            self.assertIn(f'"{key}"', str(problem))
            found = self.bank.check(stream.objects)
            self.assertEqual([stream.objects[1]],
                             [info for info, _problem in found])
            self.assertIn(f'"{key}"', found[0][1])

    def test_a_source_is_read_one_part_ahead(self):
        """The next part is read while one is stored, and no more."""
        self.small_parts()
        given, expected = [], 21        # two parts, and a piece in hand

        def source():
            for number in range(50):
                given.append(number)
                yield b'x' * 100

        class Journal(Parts):
            def record(self, part):
                super().record(part)
                until = time.monotonic() + 30
                while len(given) < expected and time.monotonic() < until:
                    time.sleep(0.01)
                time.sleep(0.05 * (len(self.parts) == 1))
                self.given = getattr(self, 'given', len(given))
        journal = Journal()
        self.bank.write_stream('disk', source(), journal)
        self.assertEqual((expected, 50), (journal.given, len(given)))

    def test_whoever_writes_may_be_stopped(self):
        """While the source gives nothing, too."""
        self.small_parts()
        is_over, may_end, closed = [], threading.Event(), threading.Event()
        self.addCleanup(may_end.set)

        def source():
            try:
                yield b'x' * 1000
                is_over.append(True)
                may_end.wait(60)
                yield b'x' * 1000
            finally:
                closed.set()

        def check():
            if is_over:
                raise Died()
        self.assertRaises(Died, self.bank.write_stream, 'disk', source(),
                          check=check)
        self.assertFalse(closed.is_set())
        may_end.set()
        self.assertTrue(closed.wait(60))
        self.assertLess(len(self.bank.section('disk').list()), 2)

    def test_a_failing_source_is_passed_on(self):
        def source():
            yield b'x' * 10
            raise Died()

        self.assertRaises(Died, self.bank.write_stream, 'disk', source())
