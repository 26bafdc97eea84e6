# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What log lines say of the request and the operation that they belong to."""

from concurrent import futures
import io
import logging
import threading
import time

import fixtures
from oslo_config import cfg
from oslo_context import context as oslo_context
from oslo_context import fixture as context_fixture
from oslo_log import formatters
from oslo_log import log
from oslotest import base

from karbor_ng import conf as configuration
from karbor_ng import context
from karbor_ng import errors
from karbor_ng import logs
from karbor_ng import resource
from karbor_ng.bank import parts
from karbor_ng.protection import lease
from karbor_ng.store import models
from karbor_ng.tests import fixtures as small
from karbor_ng.tests.unit.protection import environment

VOLUME = resource.Resource('OS::Cinder::Volume', 'v1', 'data')


class Lines(fixtures.Fixture):
    """What the services write into their logs by default, as ``text()``."""

    def _setUp(self):
        self.useFixture(context_fixture.ClearRequestContext())
        conf = cfg.ConfigOpts()
        log.register_options(conf)
        conf.set_default('logging_context_format_string',
                         configuration.LOG_FORMAT)
        conf([], default_config_files=[])
        self._stream = io.StringIO()
        handler = logging.StreamHandler(self._stream)
        handler.setFormatter(formatters.ContextFormatter(config=conf))
        handler.addFilter(logs.OneLine())
        logger = logging.getLogger('karbor_ng')
        self.addCleanup(logger.setLevel, logger.level)
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
        self.addCleanup(logger.removeHandler, handler)

    def text(self):
        return self._stream.getvalue()

    def with_words(self, words):
        return [line for line in self.text().splitlines() if words in line]


class FormatTest(base.BaseTestCase):

    def setUp(self):
        super().setUp()
        self.lines = self.useFixture(Lines())
        self.log = logging.getLogger('karbor_ng.test')

    def line(self):
        self.log.info('Words')
        return self.lines.text().splitlines()[-1]

    def operation(self):
        return context.RequestContext.of_operation(
            models.Operation(**small.operation_values(request_id='req-7')))

    def test_services_use_this_format(self):
        conf = configuration.prepare(('karbor_ng.conf',))
        self.assertEqual(configuration.LOG_FORMAT,
                         conf.logging_context_format_string)

    def test_without_context(self):
        self.assertTrue(self.line().endswith('karbor_ng.test [-] Words'))

    def test_of_a_request(self):
        context.RequestContext(request_id='req-1', user_id='alice',
                               project_id='shop')
        self.assertIn('req-1 alice shop', self.line())
        self.assertTrue(self.line().endswith('] Words'))

    def test_of_an_operation(self):
        operation_id = self.operation().operation_id
        self.assertIn('[None req-7 user ', self.line())
        self.assertTrue(self.line().endswith(
            f'] [protect {operation_id}] Words'))

    def test_about_a_resource(self):
        operation_id = self.operation().operation_id
        with context.about(VOLUME):
            self.assertIn(f'[protect {operation_id} OS::Cinder::Volume v1] ',
                          self.line())
        self.assertNotIn('Volume', self.line())

    def test_about_a_resource_of_no_operation(self):
        with context.about(VOLUME):
            self.assertTrue(self.line().endswith('[-] Words'))

    def test_nobody_can_forge_a_line(self):
        forged = 'v1\n2026-01-01 00:00:00.000 1 INFO all is well\r\x1b[2J\u2028'
        self.operation()
        with context.about(resource.Resource('OS::Test', forged)):
            self.log.info('Words about %s', forged)
            self.log.info(f'Words with 100 % of {forged}')
        text = self.lines.text()
        self.assertEqual(2, len(text.splitlines()))
        self.assertEqual(4, text.count(
            r'v1\n2026-01-01 00:00:00.000 1 INFO all is well\r\x1b[2J\u2028'))

    def test_traces_keep_their_lines(self):
        try:
            raise ValueError('words')
        except ValueError:
            self.log.exception('It failed')
        lines = self.lines.text().splitlines()
        self.assertLess(4, len(lines))
        for line in lines:
            self.assertRegex(line, r'^\d{4}-\d\d-\d\d .* ERROR karbor_ng')

    def test_contexts_of_others_do_no_harm(self):
        oslo_context.RequestContext(request_id='req-2')
        self.assertTrue(self.line().endswith('] Words'))

    def test_secrets_stay_out(self):
        found = context.RequestContext(
            auth_token='gAAAAsecret', token_info={'token': 'gAAAAsecret'})
        self.assertNotIn('gAAAAsecret', str(found.get_logging_values()))


class CarriedTest(base.BaseTestCase):

    def setUp(self):
        super().setUp()
        self.useFixture(context_fixture.ClearRequestContext())
        self.pool = futures.ThreadPoolExecutor(1)
        self.addCleanup(self.pool.shutdown)

    def elsewhere(self):
        return self.pool.submit(
            context.carried(oslo_context.get_current)).result()

    def test_other_threads_have_ours(self):
        ours = context.RequestContext(request_id='req-1')
        self.assertIsNone(
            self.pool.submit(oslo_context.get_current).result())
        self.assertIs(ours, self.elsewhere())

    def test_nothing_to_carry(self):
        self.assertIsNone(self.elsewhere())


class SleepTest(base.BaseTestCase):
    """Nobody sleeps beyond the right to go on, but who tidies up."""

    def setUp(self):
        super().setUp()
        self.useFixture(context_fixture.ClearRequestContext())
        self.lease = lease.Lease('op', 1, 60, time.monotonic(),
                                 models.utcnow())

    def begin(self):
        context.RequestContext.of_operation(
            models.Operation(id='op', type='protect'), self.lease.sleep)

    def test_of_an_operation(self):
        self.begin()
        context.sleep(0.01)
        self.lease.lose()
        self.assertRaises(errors.Fenced, context.sleep, 60)

    def test_it_wakes_up_at_once(self):
        self.begin()
        threading.Timer(0.1, self.lease.abort).start()
        began = time.monotonic()
        self.assertRaises(errors.Aborted, context.sleep, 60)
        self.assertLess(time.monotonic() - began, 30)

    def test_other_threads_of_it(self):
        self.begin()
        self.lease.lose()
        with futures.ThreadPoolExecutor(1) as pool:
            self.assertIsInstance(pool.submit(context.carried(
                context.sleep), 60).exception(), errors.Fenced)

    def test_who_tidies_up(self):
        self.begin()
        self.lease.lose()
        with context.undisturbed():
            context.sleep(0.01)
        self.assertRaises(errors.Fenced, context.sleep, 0.01)

    def test_nobody_in_particular(self):
        context.sleep(0.01)
        with context.undisturbed():
            context.sleep(0.01)


class StreamTest(base.BaseTestCase):

    def test_sources_are_read_on_behalf_of_the_operation(self):
        self.useFixture(context_fixture.ClearRequestContext())
        ours, seen = context.RequestContext(request_id='req-1'), []

        def source():
            seen.append(oslo_context.get_current())
            yield b'bytes'
        with parts.Parts(source(), 10) as read:
            self.assertEqual([b'bytes'], list(read))
        self.assertEqual([ours], seen)


class WorkerTest(base.BaseTestCase):
    """A whole checkpoint, by many threads: every line of it can be found."""

    def setUp(self):
        super().setUp()
        self.lines = self.useFixture(Lines())
        self.site = self.useFixture(environment.Deployment())
        self.site.start_worker()

    def test_all_lines_of_an_operation(self):
        volumes = [(VOLUME.type, f'v{number}') for number in range(40)]
        self.site.registry.put_graph([
            {'type': kind, 'id': number, 'name': number}
            for kind, number in volumes])
        self.site.caller = context.Caller('shop', 'alice', 'req-abc')
        bad = [('OS::Test::Draft', 'bad')]
        checkpoint_id = self.site.protect(volumes + bad)
        self.site.ended(checkpoint_id, 'error')
        operation = self.site.operation(checkpoint_id)
        self.site.wait(lambda: self.lines.with_words('Ended'))
        of_it = self.lines.with_words(f'[protect {operation.id}')
        self.assertEqual(of_it, self.lines.with_words('req-abc alice shop'))
        self.assertEqual(
            1, sum('Starting protect' in line for line in of_it))
        self.assertEqual(1, sum('Ended protect' in line for line in of_it))
        self.assertRegex(of_it[-1], r'Ended protect .*: .* after \d+\.\d s$')
        failure, = self.lines.with_words('of OS::Test::Draft bad failed')
        self.assertIn(failure, of_it)
        self.assertIn(f'[protect {operation.id} OS::Test::Draft bad] ',
                      failure)

    def test_lines_of_two_operations_are_told_apart(self):
        for request in ('req-1', 'req-2'):
            self.site.caller = context.Caller('shop', 'alice', request)
            self.site.ended(self.site.protect(
                [('OS::Test::Draft', 'bad')]), 'error')
        self.site.wait(lambda: len(self.lines.with_words('Ended')) == 2)
        for request in ('req-1', 'req-2'):
            self.assertEqual(1, len([
                line for line in self.lines.with_words(request)
                if 'failed' in line and 'on_main' in line]))
