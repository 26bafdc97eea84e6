# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The Swift driver over a store that can fail; the real one is functional."""

import logging
import threading

import fixtures
from oslotest import base

from karbor_ng import errors
from karbor_ng.bank import bank as bank_module
from karbor_ng.bank import driver as driver_module
from karbor_ng.bank import wrap
from karbor_ng.bank.drivers import swift
from karbor_ng.tests.contracts import bank as contracts
from karbor_ng.tests.unit.bank import object_store

#: As old Karbor's sample spells it.
OLD_FILE = {
    'swift_client': {
        'swift_user': 'demo', 'swift_key': 'secret',
        'swift_tenant_name': 'demo', 'swift_retry_attempts': 2,
        'swift_retry_backoff': 0, 'swift_auth_insecure': 'False',
        'swift_catalog_info': 'object-store:swift:publicURL',
        'swift_endpoint': 'http://old.example.org/'},
    'swift_bank_plugin': {
        'bank_swift_object_container': 'karbor',
        'lease_expire_window': 120, 'lease_renew_window': 100,
        'lease_validity_window': 100}}


class StoreCase(base.BaseTestCase):

    def setUp(self):
        self.store = object_store.ObjectStore()
        self.addCleanup(self.store.stop)
        # As long as it must be over a network of one machine.
        self.useFixture(fixtures.MonkeyPatch(
            'karbor_ng.bank.drivers.swift.SETTLE_SHORTEST', 0.01))
        super().setUp()

    def make_driver(self, **options):
        options = {'swift_auth_url': self.store.url, **options}
        return swift.SwiftBank(contracts.conf_with(**{
            **OLD_FILE, 'swift_client': {**OLD_FILE['swift_client'],
                                         **options}}))


class SwiftContractTest(contracts.DriverContract, contracts.BankContract,
                        StoreCase):
    """The contract, over options as old provider files have them."""


class SwiftFailureTest(StoreCase):

    def setUp(self):
        super().setUp()
        self.driver = self.make_driver()
        self.patient = wrap.Retrying(self.driver)

    def fail(self, *failures):
        self.store.failures = list(failures)

    def test_options_that_are_missing(self):
        for name in ('swift_auth_url', 'swift_user', 'swift_key',
                     'swift_tenant_name'):
            problem = self.assertRaises(errors.ConfigError, self.make_driver,
                                        **{name: ''})
            self.assertIn(name, str(problem))

    def test_the_container_is_made_when_it_is_missing(self):
        self.assertEqual([], self.driver.list(''))
        self.assertEqual({}, self.store.containers)
        self.driver.put('a', b'1')
        self.store.containers.clear()
        self.driver.put('a', b'2', if_absent=True)
        self.assertEqual(b'2', self.driver.get('a'))

    def test_a_container_that_can_not_be_made(self):
        self.fail(('PUT', 404), ('PUT', 202), ('PUT', 404))
        problem = self.assertRaises(errors.BankError, self.driver.put, 'a',
                                    b'1')
        self.assertIn('container "karbor"', str(problem))

    def test_every_verb_is_patient(self):
        self.driver.put('a', b'1')
        for failure in (503, 500, 429, 408, 'lose reply'):
            self.fail(('GET', failure), ('GET', failure))
            self.assertEqual(b'1', self.patient.get('a'))
            self.fail(('GET', failure))
            self.assertEqual(['a'], self.patient.list(''))
            self.fail(('PUT', failure), ('PUT', failure))
            self.patient.put('a', b'1')
            self.fail(('DELETE', failure))
            self.patient.delete('b')
            self.assertEqual([], self.store.failures)

    def test_swift_asks_to_be_left_alone(self):
        self.driver.put('a', b'1')
        pauses = []
        patient = wrap.Retrying(self.driver, sleep=pauses.append)
        self.store.failure_headers = {'Retry_After': '9'}
        for method, status in (('GET', 429), ('PUT', 503), ('POST', 503)):
            self.driver._drop(with_token=True)
            self.fail((method, status))
            patient.put('a', b'1')
            self.assertEqual(b'1', patient.get('a'))
            self.assertEqual([9], pauses, method)
            pauses.clear()

    def test_an_answer_that_stops_in_the_middle(self):
        self.driver.put('a', b'1' * 1000)
        patient = wrap.Retrying(self.make_driver(swift_timeout=1))
        self.fail(('GET', 'stall'))
        self.assertEqual(b'1' * 1000, patient.get('a'))
        self.assertEqual([], self.store.failures)

    def test_patience_ends(self):
        self.driver.put('a', b'1')
        self.fail(*[('GET', 503)] * 9)
        problem = self.assertRaises(errors.BankError, self.patient.get, 'a')
        self.assertIn('"a"', str(problem))
        self.assertIn('503', str(problem))
        self.assertEqual(6, len(self.store.failures))

    def test_what_will_not_heal_is_not_repeated(self):
        for status, word in ((403, 'role'), (413, 'quota'), (400, '400'),
                             (507, 'full')):
            self.fail(('PUT', status), ('PUT', status))
            problem = self.assertRaises(errors.BankError, self.patient.put,
                                        'a', b'1')
            self.assertIn(word, str(problem))
            self.assertNotIsInstance(problem, driver_module.Interrupted)
            self.assertEqual(1, len(self.store.failures))

    def test_a_lost_reply_is_no_rival(self):
        for key, failures in (
                ('a', [('PUT', 'lose reply')]),
                ('b', [('PUT', 'lose reply'), ('PUT', 503)]),
                ('c', [('HEAD', 503)])):
            self.driver.put('other', b'')
            self.fail(*failures)
            self.patient.put(key, b'mine', if_absent=True)
            self.assertEqual(b'mine', self.driver.get(key))

    def test_a_rival_is_seen_behind_a_lost_reply(self):
        self.driver.put('a', b'theirs')
        self.fail(('PUT', 'lose reply'))
        self.assertRaises(errors.Exists, self.patient.put, 'a', b'mine',
                          if_absent=True)
        self.assertEqual(b'theirs', self.driver.get('a'))

    def test_a_rival_of_the_same_moment_wins(self):
        def replace(objects, key):
            objects[key] = (b'theirs', {swift.SIGNATURE: 'theirs'})

        self.driver.put('other', b'')
        self.store.after_put = replace
        self.assertRaises(errors.Exists, self.patient.put, 'a', b'mine',
                          if_absent=True)
        self.assertEqual(b'theirs', self.driver.get('a'))

    def test_an_object_that_is_deleted_at_once_is_stored_again(self):
        self.driver.put('other', b'')
        self.store.after_put = lambda objects, key: objects.pop(key)
        self.patient.put('a', b'mine', if_absent=True)
        self.assertEqual(b'mine', self.driver.get('a'))

    def test_a_revoked_token_is_replaced(self):
        self.driver.put('a', b'1')
        self.store.tokens.clear()
        self.patient.put('a', b'2')
        self.store.tokens.clear()
        self.assertEqual(b'2', self.patient.get('a'))

    def test_bytes_that_were_damaged_on_the_way(self):
        self.driver.put('a', b'12345678')
        for failure in ('flip', 'truncate'):
            self.fail(('GET', failure))
            self.assertRaises(driver_module.Interrupted, self.driver.get,
                              'a')
            self.fail(('GET', failure))
            self.assertEqual(b'12345678', self.patient.get('a'))

    def test_a_server_that_hangs(self):
        self.driver.put('a', b'1')
        impatient = self.make_driver(swift_timeout=1)
        self.assertEqual(b'1', impatient.get('a'))
        self.fail(('GET', 'hang'))
        problem = self.assertRaises(driver_module.Interrupted,
                                    impatient.get, 'a')
        self.assertIn('"a"', str(problem))
        self.assertEqual(b'1', impatient.get('a'))

    def test_a_wrong_password_is_said_once(self):
        driver = self.make_driver(swift_key='wrong')
        problem = self.assertRaises(
            errors.BankError, wrap.Retrying(driver).get, 'a')
        self.assertIn('swift_key', str(problem))
        self.assertNotIn('wrong', str(problem))
        self.assertNotIsInstance(problem, driver_module.Interrupted)

    def test_a_catalog_without_swift(self):
        self.store.endpoints = False
        problem = self.assertRaises(errors.BankError, self.driver.get, 'a')
        self.assertIn('swift_region_name', str(problem))
        self.assertNotIsInstance(problem, driver_module.Interrupted)

    def test_nobody_answers(self):
        for path in ('', '/v3'):
            driver = self.make_driver(
                swift_auth_url=f'http://127.0.0.1:1{path}')
            for verb in (driver.get, driver.list, driver.delete,
                         lambda key, driver=driver: driver.put(key, b'')):
                self.assertRaises(driver_module.Interrupted, verb, 'a')

    def test_tokens_are_not_logged(self):
        logs = self.useFixture(fixtures.FakeLogger(level=logging.DEBUG))
        self.driver.put('a', b'1')
        self.driver.get('a')
        self.assertIn('a', logs.output)
        for token in self.store.tokens:
            self.assertNotIn(token[:8], logs.output)
        self.assertNotIn('secret', logs.output)

    def test_threads_do_not_share_a_connection(self):
        bank = bank_module.Bank(self.driver)

        def work(number):
            for turn in range(10):
                bank.put(f'{number}/{turn}', b'%d' % number * 1000)
            return {bank.get(f'{number}/{turn}') for turn in range(10)}

        results = contracts.in_threads([
            lambda number=number: work(number) for number in range(32)])
        self.assertEqual([{b'%d' % number * 1000} for number in range(32)],
                         results)
        self.assertEqual(1, len(self.store.tokens))
        self.assertIsInstance(self.driver._local, threading.local)
