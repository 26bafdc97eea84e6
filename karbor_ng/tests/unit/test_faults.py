# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The wrappers that fail, and the choice of what fails: it does happen."""

import io
import pathlib
import time
import uuid

import fixtures
from oslotest import base
import requests

from karbor_ng import clients
from karbor_ng import errors
from karbor_ng import patience
from karbor_ng.bank import bank
from karbor_ng.bank import driver
from karbor_ng.bank.drivers import filesystem
from karbor_ng.bank.drivers import memory
from karbor_ng.tests import fixtures as small
from karbor_ng.tests import fixtures_cloud
from karbor_ng.tests import fixtures_glance
from karbor_ng.tests import fixtures_service
from karbor_ng.tests.contracts import bank as contracts
from karbor_ng.tests.faults import banks
from karbor_ng.tests.faults import injection
from karbor_ng.tests.faults import kinds
from karbor_ng.tests.faults import messages
from karbor_ng.tests.faults import rounds
from karbor_ng.tests.faults import services


class WithFaults(base.BaseTestCase):

    def setUp(self):
        super().setUp()
        folder = self.useFixture(fixtures.TempDir()).path
        self.diary = injection.Diary(pathlib.Path(folder, 'diary'))

    def injection(self, *faults):
        return injection.Injection(
            [injection.Fault(call, kind) for kind, call in faults],
            self.diary.path)


class InjectionTest(WithFaults):

    def test_only_the_named_call_fails(self):
        armed = self.injection(('500', 'GET a #2'))
        met = [armed.meet('read', 'GET a') for _ in range(3)]
        self.assertEqual([None, '500', None], met)
        self.assertEqual({injection.Fault('GET a #2', '500')},
                         self.diary.met())
        self.assertEqual({f'GET a #{number}': 'read'
                          for number in (1, 2, 3)}, self.diary.calls())

    def test_names_are_the_same_in_every_run(self):
        armed = self.injection()
        for _ in range(2):
            armed.meet('read', f'GET http://nova.test/{uuid.uuid4()}')
        self.assertEqual(['GET http://nova.test/* #1',
                          'GET http://nova.test/* #2'],
                         list(self.diary.calls()))

    def test_lasting_faults_meet_several_calls(self):
        armed = self.injection(('503 for a while', 'GET a #2'))
        met = [armed.meet('read', 'GET a')
               for _ in range(kinds.LASTING + 2)]
        self.assertEqual(
            [None, *['503 for a while'] * kinds.LASTING, None], met)

    def test_who_comes_back_too_soon_is_told_of(self):
        armed = self.injection()
        for slept in (1, 3):
            armed.owe_pause('GET a', 3)
            armed.slept(slept)
            armed.meet('read', 'GET a')
        complaint, = self.diary.complaints()
        self.assertIn('after 1.0 s instead of 3 s', complaint)

    def test_sleeping_is_noted_and_short(self):
        armed = self.injection()
        armed.owe_pause('GET a', 3)
        begun = time.monotonic()
        armed.sleep(3)
        self.assertLess(time.monotonic() - begun, 2)
        armed.meet('read', 'GET a')
        self.assertEqual([], self.diary.complaints())


class FaultyBankContractTest(contracts.DriverContract, WithFaults):
    """Without faults the wrapper is a driver like any other."""

    def setUp(self):
        self.name = uuid.uuid4().hex
        super().setUp()

    def make_driver(self):
        return banks.FaultyBank(
            memory.MemoryBank(contracts.conf_with(
                memory_bank_plugin={'name': self.name})),
            injection.Injection([], '/dev/null'))


class FaultyBankTest(WithFaults):

    def bank(self, *faults):
        self.inner = memory.MemoryBank(contracts.conf_with(
            memory_bank_plugin={'name': uuid.uuid4().hex}))
        self.inner.put('there', b'old')
        return banks.FaultyBank(self.inner, self.injection(*faults))

    def call(self, faulty, verb):
        return {'put': lambda: faulty.put('new', b'1'),
                'get': lambda: faulty.get('there'),
                'list': lambda: faulty.list(''),
                'delete': lambda: faulty.delete('there')}[verb]()

    def test_failures_before_and_after(self):
        for kind, error, is_done in (
                ('interrupted', driver.Interrupted, False),
                ('interrupted after', driver.Interrupted, True),
                ('error', errors.BankError, False),
                ('error after', errors.BankError, True)):
            for verb, key in (('put', 'new'), ('delete', 'there')):
                faulty = self.bank((kind, f'{verb} {key} #1'))
                problem = self.assertRaises(error, self.call, faulty, verb)
                self.assertIn(key, str(problem))
                self.assertIs(error, type(problem))
                self.assertEqual(is_done, self.inner.list('') != ['there'])

    def test_reading_fails_as_well(self):
        for verb, key in (('get', 'there'), ('list', '')):
            faulty = self.bank(('interrupted', f'{verb} {key} #1'))
            self.assertRaises(driver.Interrupted, self.call, faulty, verb)
            self.assertTrue(self.call(faulty, verb))

    def test_slow(self):
        faulty = self.bank(('slow', 'get there #1'))
        begun = time.monotonic()
        self.assertEqual(b'old', faulty.get('there'))
        self.assertGreaterEqual(time.monotonic() - begun,
                                banks.SLOW_SECONDS)

    def test_stale_after_a_delete(self):
        faulty = self.bank(('stale', 'delete there #1'))
        faulty.delete('there')
        self.assertEqual(['there'], faulty.list(''))
        self.assertEqual(b'old', faulty.get('there'))
        time.sleep(banks.STALE_SECONDS)
        self.assertEqual([], faulty.list(''))
        self.assertRaises(errors.NotFound, faulty.get, 'there')

    def test_stale_after_puts(self):
        faulty = self.bank(('stale', 'put new #1'), ('stale', 'put there #1'))
        faulty.put('new', b'1')
        faulty.put('there', b'2')
        self.assertEqual(['there'], faulty.list(''))
        self.assertEqual((b'1', b'old'),
                         (faulty.get('new'), faulty.get('there')))
        time.sleep(banks.STALE_SECONDS)
        self.assertEqual(['new', 'there'], faulty.list(''))
        self.assertEqual(b'2', faulty.get('there'))

    def test_streams_get_over_each_interruption(self):
        """The memory bank: each call, interrupted before and after."""
        self.useFixture(fixtures.MonkeyPatch(
            'karbor_ng.bank.wrap.LONGEST_PAUSE', 0.01))
        self.useFixture(fixtures.MonkeyPatch(
            'karbor_ng.bank.bank.PART_SIZE', 4))
        data = b'some bytes'
        for kind in ('interrupted', 'interrupted after'):
            for number in range(1, 4):
                call = f'put stream/* #{number}'
                made = bank.Bank(self.bank((kind, call)))
                info = made.write_stream('stream', io.BytesIO(data))
                self.assertEqual(data, b''.join(
                    made.read_stream(info.objects)))
                self.assertEqual(3, len(made.list('stream/')))
                self.assertIn(injection.Fault(call, kind), self.diary.met())


class FaultyDiskTest(WithFaults):

    CALL = 'write to a file of the bank #1'

    def bank(self, kind):
        self.path = self.useFixture(fixtures.TempDir()).path
        self.useFixture(fixtures.MonkeyPatch(
            'karbor_ng.bank.drivers.filesystem.open',
            banks.FaultyDisk(self.injection((kind, self.CALL)))))
        return filesystem.FilesystemBank(contracts.conf_with(
            file_system_bank_plugin={'file_system_bank_path': self.path}))

    def files(self):
        return [path for path in pathlib.Path(self.path).rglob('*')
                if path.is_file()]

    def test_nothing_is_left_of_half_a_write(self):
        for kind, words in (('torn write', 'check its health'),
                            ('disk full', 'free space')):
            made = self.bank(kind)
            problem = self.assertRaises(errors.BankError, made.put, 'a',
                                        b'some bytes')
            self.assertIn(words, str(problem))
            self.assertNotIsInstance(problem, driver.Interrupted)
            self.assertEqual([], self.files())
            made.put('a', b'some bytes')
            self.assertEqual(b'some bytes', made.get('a'))

    def test_what_passes_is_said_to(self):
        made = self.bank('server away')
        self.assertRaises(driver.Interrupted, made.put, 'a', b'1')
        self.assertEqual([], self.files())


class FaultyServiceTest(WithFaults):

    VOLUMES = 'GET http://cinder.test/v3/volumes'

    def setUp(self):
        super().setUp()
        self.cinder = fixtures_cloud.Cinder()
        self.cinder.add('volumes', id='data')

    def ask(self, kind, method='GET', headers=None, timeout=1):
        """Ask a service for a volume, with a fault at the first request."""
        url = 'http://cinder.test/v3/volumes/data'
        made = services.FaultyService(
            self.cinder, self.injection((kind, f'{method} {url} #1')), set())
        request = requests.Request(method, url,
                                   headers=headers or {}).prepare()
        return made.send(request, timeout=timeout)

    def test_answers(self):
        for kind, code in (('429', 429), ('500', 500), ('502', 502),
                           ('503', 503), ('503 for a while', 503)):
            answer = self.ask(kind, 'DELETE')
            self.assertEqual(code, answer.status_code)
            self.assertEqual('available', self.status())
            self.assertNotIn('Retry-After', answer.headers)

    def test_retry_after(self):
        for kind in ('429, seconds', '429, date'):
            seconds = patience.retry_after(self.ask(kind).headers)
            self.assertGreaterEqual(seconds, kinds.RETRY_AFTER - 1)
            self.assertLessEqual(seconds, kinds.RETRY_AFTER + 1)

    def test_what_was_done_before_it_failed(self):
        for kind, error in (
                ('lost answer', requests.exceptions.ConnectionError),
                ('hang after', requests.exceptions.ReadTimeout)):
            self.cinder.things['volumes']['data']['status'] = 'available'
            self.assertRaises(error, self.ask, kind, 'DELETE')
            self.assertEqual('deleting', self.status())
        self.cinder.things['volumes']['data']['status'] = 'available'
        self.assertEqual(500, self.ask('500 after', 'DELETE').status_code)
        self.assertEqual('deleting', self.status())

    def test_what_was_not(self):
        for kind, error in (
                ('refused connection', requests.exceptions.ConnectionError),
                ('hang', requests.exceptions.ReadTimeout)):
            self.assertRaises(error, self.ask, kind, 'DELETE')
            self.assertEqual('available', self.status())

    def test_who_has_no_deadline_hangs(self):
        self.useFixture(fixtures.MonkeyPatch(
            'karbor_ng.tests.faults.services.FOR_EVER', 0.5))
        begun = time.monotonic()
        self.assertRaises(requests.exceptions.ReadTimeout, self.ask, 'hang',
                          timeout=None)
        self.assertGreaterEqual(time.monotonic() - begun, 0.5)

    def test_expired_tokens_stay_so(self):
        expired = set()
        made = services.FaultyService(
            self.cinder, self.injection(
                ('token expired', f'{self.VOLUMES}/data #1')), expired)

        def status(service_token):
            return made.send(requests.Request(
                'GET', 'http://cinder.test/v3/volumes/data', headers={
                    'X-Auth-Token': 'user',
                    'X-Service-Token': service_token}).prepare()).status_code
        self.assertEqual([401, 401, 200],
                         [status('old'), status('old'), status('new')])

    def test_half_an_answer(self):
        glance = fixtures_glance.Glance()
        glance.add(b'all of it', id='base')
        session = fixtures_service.session_of(glance)
        session.session.mount(glance.url, services.FaultyService(
            glance, self.injection((
                'half an answer',
                'GET http://glance.test/v2/images/base/file #1')), set()))
        images = clients.glance(session).images
        self.assertRaises(requests.exceptions.ChunkedEncodingError,
                          b''.join, images.data('base'))
        self.assertEqual(b'all of it', b''.join(images.data('base')))

    def status(self):
        return self.cinder.things['volumes']['data']['status']


class Heard:
    """Hears of operations as a protection service does."""

    def __init__(self):
        self.ids = []

    def operation_queued(self, operation_id):
        self.ids.append(operation_id)

    operation_aborted = operation_queued


class MessagesTest(WithFaults):

    def test_lost_doubled_and_late(self):
        self.useFixture(fixtures.MonkeyPatch(
            'karbor_ng.tests.faults.messages.LATE_SECONDS', 0.05))
        heard = Heard()
        hints = messages.FaultyHints(heard, self.injection(
            ('lost', 'hint operation_queued #1'),
            ('doubled', 'hint operation_queued #2'),
            ('late', 'hint operation_aborted #1')))
        hints.operation_queued('lost')
        hints.operation_queued('doubled')
        hints.operation_aborted('late')
        hints.operation_queued('same')
        self.assertEqual(['doubled', 'doubled', 'same'], heard.ids)
        until = time.monotonic() + 10
        while len(heard.ids) < 4 and time.monotonic() < until:
            time.sleep(0.01)
        self.assertEqual('late', heard.ids[-1])

    def test_from_process_to_worker(self):
        """Through a socket, a broker and the product's own functions."""
        class Endpoint(Heard):
            def operation_queued(self, context, operation_id):
                self.ids.append(operation_id)

        endpoint = Endpoint()
        made = self.useFixture(small.ConfFixture())
        wire = messages.Wire(str(self.diary.path.parent / 'wire'))
        messages.deliver(wire.path, made.conf, endpoint, self.injection(
            ('doubled', 'hint operation_queued #1')))
        self.assertTrue(wire.is_heard())
        wire.operation_queued('some')
        until = time.monotonic() + 30
        while len(endpoint.ids) < 2 and time.monotonic() < until:
            time.sleep(0.01)
        self.assertEqual(['some', 'some'], endpoint.ids)

    def test_nobody_listens(self):
        wire = messages.Wire(str(self.diary.path.parent / 'wire'))
        self.assertFalse(wire.is_heard())
        wire.operation_queued('lost')
        wire.cut()


class ChoiceTest(base.BaseTestCase):

    CALLS = {**{f'GET {name} #{number}': 'read'
                for name in 'abcdefghij' for number in range(1, 5)},
             **{f'POST {name} #1': 'change' for name in 'abc'},
             **{f'put {name} #1': 'put' for name in 'ab'},
             'write #1': 'file', 'hint #1': 'hint'}

    def test_each_call_fails_twice_and_each_sort_in_all_ways(self):
        faults = rounds.faults_of('protect', self.CALLS)
        kinds_of = {sort: {fault.kind for fault in faults
                           if self.CALLS[fault.call] == sort}
                    for sort in set(self.CALLS.values())}
        for sort in ('read', 'change', 'put', 'file'):
            self.assertEqual(set(kinds.of(sort)), kinds_of[sort])
        for call, sort in self.CALLS.items():
            if sort in ('change', 'put') or call.endswith('#1') and (
                    sort == 'read'):
                self.assertGreaterEqual(len([
                    fault for fault in faults if fault.call == call]), 2)

    def test_verbs_share_what_all_of_them_do(self):
        for sort in rounds.SAME_EVERYWHERE:
            self.assertEqual(set(kinds.of(sort)), {
                fault.kind for verb in rounds.VERBS if verb != 'retention'
                for fault in rounds.faults_of(verb, {'call #1': sort})})

    def test_it_is_the_same_every_time(self):
        self.assertEqual(rounds.faults_of('protect', self.CALLS),
                         rounds.faults_of('protect', dict(self.CALLS)))

    def test_all(self):
        calls = {'put a #1': 'put', 'put b #1': 'put'}
        faults = rounds.faults_of('protect', calls, is_all=True)
        self.assertEqual(2 * len(kinds.of('put')), len(set(faults)))

    def test_no_call_of_a_round_has_two_faults(self):
        faults = rounds.faults_of('protect', self.CALLS)
        found = rounds.together(faults)
        self.assertEqual(sorted(faults), sorted(sum(found, [])))
        for shared in found:
            self.assertEqual(len(shared), len({
                fault.call for fault in shared}))

    def test_what_may_fail_has_a_round_of_its_own(self):
        for shared in rounds.together(
                rounds.faults_of('protect', self.CALLS)):
            ends = {kinds.KINDS[fault.kind].end for fault in shared}
            self.assertTrue(ends == {kinds.WELL} or len(shared) == 1)
