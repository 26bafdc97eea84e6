# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What is sent again, and when, to a real server that misbehaves."""

import datetime
import email.utils
import io
import logging
from unittest import mock

import fixtures
from oslotest import base
import requests

from karbor_ng import context
from karbor_ng import errors
from karbor_ng import patience
from karbor_ng.tests import fixtures_rude

TOKEN = {'X-Auth-Token': 'secret'}
BROKEN = fixtures_rude.HANG_UP


class Served(base.BaseTestCase):
    """A test with a rude server, and sleep that takes no time."""

    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger(level=logging.INFO))
        self.pauses = []
        context.RequestContext(sleep=self.pauses.append)
        self.addCleanup(context.RequestContext)
        self.server = self.useFixture(fixtures_rude.RudeServer())
        self.requests = patience.Requests()
        self.addCleanup(self.requests.close)

    def send(self, method, *answers, headers=TOKEN, **kwargs):
        """Send one request; return how often it came and how it ended."""
        self.server.answers[:] = answers
        before = len(self.server.seen)
        try:
            answer = self.requests.request(
                method, f'{self.server.url}/x?secret=1', headers=headers,
                timeout=5, **kwargs)
            outcome = answer.status_code
        except requests.exceptions.RequestException as problem:
            outcome = type(problem).__name__
        return len(self.server.seen) - before, outcome


class WhatTest(Served):

    def test_what_may_be_done_twice(self):
        for method in ('GET', 'HEAD', 'PUT', 'DELETE'):
            for code in patience.PASSING:
                self.assertEqual((2, 200), self.send(method, code, 200),
                                 (method, code))
            self.assertEqual((2, 200), self.send(method, BROKEN, 200))

    def test_what_may_not(self):
        for method in ('POST', 'PATCH'):
            for code in (500, 502, 504):
                self.assertEqual((1, code), self.send(method, code, 200))
            self.assertEqual((1, 'ConnectionError'),
                             self.send(method, BROKEN, 200))

    def test_what_says_that_it_was_not_done(self):
        for method in ('POST', 'PATCH'):
            for code in (429, 503):
                self.assertEqual((2, 200), self.send(method, code, 200))

    def test_what_would_be_the_same_again(self):
        for code in (400, 401, 403, 404, 409, 413, 501, 507):
            self.assertEqual((1, code), self.send('GET', code, 200))

    def test_asking_for_a_token(self):
        self.assertEqual((3, 201), self.send(
            'POST', BROKEN, 500, 201, headers={}, data='{}'))

    def test_a_body_that_was_read_is_not_sent_again(self):
        for body in (iter([b'one', b'two']), io.BytesIO(b'three')):
            self.assertEqual((1, 503),
                             self.send('PUT', 503, 200, data=body))
        self.assertEqual((2, 200), self.send('PUT', 503, 200, data=b'one'))
        self.assertEqual(b'one', self.server.seen[-1].body)

    def test_torn_answers(self):
        self.assertEqual((2, 200), self.send(
            'GET', fixtures_rude.TEAR, 200))

    def test_nobody_there(self):
        with fixtures_rude.closed_port() as port:
            self.assertRaises(
                requests.exceptions.ConnectionError, self.requests.post,
                f'http://127.0.0.1:{port}/', headers=TOKEN, timeout=5)
        self.assertEqual(3, len(self.pauses))

    def test_a_certificate_that_nobody_signed(self):
        with mock.patch.object(
                requests.Session, 'request', autospec=True,
                side_effect=requests.exceptions.SSLError('self-signed')):
            self.assertEqual((0, 'SSLError'), self.send('GET'))
        self.assertEqual([], self.pauses)

    def test_only_so_often(self):
        self.assertEqual((4, 503), self.send('GET', *[503] * 9))
        self.assertEqual((4, 'ConnectionError'),
                         self.send('GET', *[BROKEN] * 9))

    def test_the_log_tells_why_and_no_more(self):
        self.send('GET', 503, 200)
        self.assertIn('/x: HTTP 503. Sending it again in', self.log.output)
        self.assertNotIn('secret', self.log.output)


class WhenTest(Served):

    def test_pauses_double_by_and_large(self):
        self.send('GET', *[503] * 4)
        for seconds, about in zip(self.pauses, (.5, 1, 2), strict=True):
            self.assertTrue(.75 * about <= seconds <= 1.25 * about, seconds)

    def test_pauses_of_many_differ(self):
        self.assertLess(90, len({patience.pause(3) for _ in range(100)}))

    def test_no_pause_is_long(self):
        self.assertLessEqual(patience.pause(10**6),
                             1.25 * patience.LONGEST_PAUSE)

    def test_a_service_asks_for_seconds(self):
        self.send('GET', (429, {'Retry-After': '4'}), 200)
        self.assertTrue(4 <= self.pauses[0] <= 5, self.pauses)

    def test_a_service_names_a_date(self):
        at = datetime.datetime.now(datetime.UTC) + datetime.timedelta(
            seconds=30)
        self.send('POST', (503, {
            'Retry-After': email.utils.format_datetime(at, usegmt=True)}), 200)
        self.assertTrue(28 <= self.pauses[0] <= 32, self.pauses)

    def test_a_date_that_is_over(self):
        self.assertEqual(0, patience.retry_after(
            {'Retry-After': 'Wed, 21 Oct 2015 07:28:00 GMT'}))

    def test_a_service_asks_for_too_much(self):
        self.assertEqual(60, patience.retry_after({'Retry-After': '86400'}))
        self.assertEqual(5, patience.retry_after(
            {'Retry-After': 'Fri, 31 Dec 2999 23:59:59 GMT'}, longest=5))

    def test_words_that_nobody_understands(self):
        for words in ('', 'soon', '-1', '1.5', '9' * 5000, '\u0664', 'nan',
                      'Fri, 31 Feb 9999999 99:99:99 GMT'):
            self.assertIn(patience.retry_after({'Retry-After': words}),
                          (None, 60), words)
        self.assertIsNone(patience.retry_after({}))
        self.assertIsNone(patience.retry_after(None))

    def test_a_pause_ends_with_the_operation(self):
        def end(seconds):
            raise errors.Aborted('Aborted on request.')
        context.RequestContext(sleep=end)
        self.assertRaises(errors.Aborted, self.send, 'GET', 503, 200)

    def test_others_just_sleep(self):
        context.RequestContext()
        with mock.patch('time.sleep') as sleep:
            self.send('GET', 503, 200)
        sleep.assert_called_once()

    def test_in_total(self):
        self.requests = patience.Requests(total=2)
        self.assertEqual((1, 503), self.send(
            'GET', (503, {'Retry-After': '3'}), 200))
        self.assertEqual((2, 200), self.send(
            'GET', (503, {'Retry-After': '1'}), 200))
