# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What /healthcheck says, to whom, and that nothing can make it hang."""

import datetime
import os
import threading
import time
from unittest import mock

import fixtures
from oslotest import base
import sqlalchemy as sa

from karbor_ng import errors
from karbor_ng.api import health
from karbor_ng.store import models
from karbor_ng.store import operations
from karbor_ng.store import providers
from karbor_ng.store import query
from karbor_ng.store import services
from karbor_ng.store import session as store_session
from karbor_ng.tests import fixtures as small
from karbor_ng.tests.unit.api import environment


class Broker:
    """A broker, or a Keystone, that is as well as a test wishes."""

    auth_url = 'http://keystone.test'

    def __init__(self):
        self.problem = None
        self.asked = 0

    def check(self):
        self.asked += 1
        if self.problem:
            raise errors.Unavailable(self.problem)


def _age(session, model, column, seconds):
    moment = (store_session.now(session)
              - datetime.timedelta(seconds=seconds))
    session.execute(sa.update(model).values({column: moment}))


class HealthTest(base.BaseTestCase):

    def setUp(self):
        super().setUp()
        self.broker = Broker()
        self.keystone = Broker()
        self.api = self.useFixture(environment.Api(
            broker=self.broker, cloud=self.keystone))
        # What one test finds is not kept for its next question.
        self.useFixture(fixtures.MonkeyPatch(
            f'{health.__name__}.GOOD_SECONDS', -1))

    def ask(self, token=None, status=200, method='GET'):
        answer = self.api.call(method, '/healthcheck', token=token)
        self.assertEqual(status, answer.status_int, answer.text)
        return answer

    def failed(self, name, status=200):
        """Return the reason of the one check that fails."""
        body = self.ask(status=status).json
        self.assertEqual('failed' if status == 503 else 'degraded',
                         body['status'])
        self.assertEqual([name], [
            check for check, found in body['checks'].items()
            if found['status'] != 'ok'])
        return body['checks'][name]['reason']

    def operation(self):
        values = small.operation_values()
        self.api.db.write(operations.create, values)
        return values['id']

    def test_all_is_well(self):
        answer = self.ask()
        self.assertEqual('ok', answer.json['status'])
        self.assertEqual({'status': 'ok'}, answer.json['checks']['leases'])
        self.assertEqual(
            ['database', 'broker', 'keystone', 'providers', 'queue',
             'leases', 'schedules'],
            list(answer.json['checks']))
        self.assertEqual('no-store', answer.headers['Cache-Control'])

    def test_head_is_enough_for_balancers(self):
        self.ask(method='HEAD')

    def test_broker_is_not_essential(self):
        self.broker.problem = 'rabbit-1: secret words'
        self.assertIn('operations start later', self.failed('broker'))
        self.assertNotIn('rabbit-1', self.ask().text)

    def test_no_keystone(self):
        self.keystone.problem = 'http://keystone.test: refused'
        self.assertIn('operations wait', self.failed('keystone'))
        self.assertNotIn('refused', self.ask().text)
        self.assertIn('refused', self.ask(environment.ADMIN).text)

    def test_no_cloud(self):
        app = self.api.make_app(broker=self.broker)
        self.assertNotIn('keystone', self.api.call(
            'GET', '/healthcheck', token=None, app=app).json['checks'])

    def complain(self, seconds):
        """Let node-2 complain so long after somebody was content."""
        provider = self.api.db.read(
            providers.list, query.Page(sort=(('id', 'asc'),)))[0]
        self.api.db.write(_age, models.Provider, 'published_at', seconds)
        self.api.db.write(providers.complain, provider.id, 'node-2',
                          'Swift refuses.' + 2000 * '.')

    def test_a_bank_that_nobody_reaches(self):
        self.complain(25)
        self.assertIn('1 of 2 providers', self.failed('providers'))
        self.assertNotIn('Swift', self.ask().text)
        details = self.ask(environment.ADMIN).json['checks']['providers'][
            'details']['providers']
        self.assertEqual([None, 'node-2: Swift'], sorted(
            [one['problem'] and one['problem'][:13] for one in details],
            key=str))

    def test_a_bank_that_another_host_reaches(self):
        self.complain(15)
        self.assertEqual('ok', self.ask().json['status'])

    def test_a_bank_that_is_there_again(self):
        self.complain(25)
        self.api.db.write(_age, models.Provider, 'published_at', 0)
        self.assertEqual('ok', self.ask().json['status'])

    def test_what_is_essential_is_the_operators_choice(self):
        self.api.set('essential', ['broker'], 'healthcheck')
        self.broker.problem = 'no route'
        self.failed('broker', 503)

    def test_no_database(self):
        with mock.patch.object(self.api.db, 'read', side_effect=OSError(
                'Can not connect to db.example')):
            answer = self.ask(status=503)
        self.assertEqual('failed', answer.json['status'])
        self.assertEqual({'status': 'failed',
                          'reason': 'The database does not answer.'},
                         answer.json['checks']['database'])
        self.assertNotIn('db.example', answer.text)

    def test_silent_providers(self):
        self.api.db.write(_age, models.Provider, 'published_at', 301)
        self.assertIn('2 of 2 providers', self.failed('providers'))

    def test_no_providers(self):
        self.api.db.write(lambda session: session.execute(
            sa.delete(models.Provider)))
        self.assertIn('offered', self.failed('providers'))

    def test_an_operation_that_waits(self):
        self.operation()
        self.ask()
        self.api.db.write(_age, models.Operation, 'created_at', 3700)
        self.assertIn('3600 seconds', self.failed('queue'))

    def test_services_that_are_disabled(self):
        self.api.db.write(services.seen, {
            'id': 'node-1:a', 'binary': 'karbor-protection',
            'host': 'node-1', 'version': '1',
            'started_at': environment.MOMENT})
        host, = self.api.db.read(services.hosts,
                                 query.Page(sort=(('id', 'asc'),)))
        self.api.db.write(services.disable, host.id, 'Noises.')
        self.api.set('detailed', True, 'healthcheck')
        details = self.ask().json['checks']['queue']['details']
        self.assertEqual([{'binary': 'karbor-protection', 'host': 'node-1',
                           'reason': 'Noises.'}],
                         details['disabled_services'])
        self.operation()
        self.api.db.write(_age, models.Operation, 'created_at', 3700)
        said = self.failed('queue')
        self.assertIn('1 services are disabled', said)
        self.assertNotIn('node-1', said)

    def test_a_lease_that_nobody_takes_over(self):
        operation_id = self.operation()
        self.api.db.write(operations.claim, operation_id, 'node:x', 60)
        self.api.db.write(_age, models.Operation, 'lease_until', 20)
        self.assertEqual('ok', self.ask().json['status'])
        self.api.db.write(_age, models.Operation, 'lease_until', 301)
        self.assertIn('taken', self.failed('leases'))

    def test_a_trigger_that_nobody_fires(self):
        trigger = self.api.db.write(small.add_trigger)
        self.api.db.write(_age, models.Trigger, 'next_run_at', 20)
        self.assertEqual('ok', self.ask().json['status'])
        self.api.db.write(_age, models.Trigger, 'next_run_at', 301)
        self.assertIn('no operation engine', self.failed('schedules'))
        self.assertNotIn(trigger.id, self.ask().text)

    def test_taken_out_by_a_file(self):
        path = os.path.join(self.api.path, 'out')
        self.api.set('disable_by_file_path', path, 'healthcheck')
        self.assertEqual('ok', self.ask().json['status'])
        open(path, 'w').close()
        self.assertNotIn(path, self.failed('maintenance', 503))

    # Who is told what

    def details(self, token):
        body = self.ask(token).json
        return {name for name, found in body['checks'].items()
                if 'details' in found}

    def test_details_are_for_administrators(self):
        self.assertEqual(set(), self.details(None))
        self.assertEqual(set(), self.details(environment.OWNER))
        self.assertEqual({'providers', 'queue', 'leases', 'schedules'},
                         self.details(environment.ADMIN))
        self.assertNotIn('node-1', self.ask(environment.OWNER).text)
        self.assertIn('node-1', self.ask(environment.ADMIN).text)

    def test_a_token_that_is_none(self):
        self.ask('whatever', status=401)

    def test_details_for_everybody(self):
        self.api.set('detailed', True, 'healthcheck')
        self.assertIn('providers', self.details(None))


class ProbeTest(base.BaseTestCase):

    def test_asks_once_in_some_seconds(self):
        broker = Broker()
        api = self.useFixture(environment.Api(broker=broker))
        for _number in range(20):
            api.call('GET', '/healthcheck', token=None)
        self.assertEqual(1, broker.asked)

    def test_what_hangs_does_not_hang_requests(self):
        self.useFixture(fixtures.MonkeyPatch(
            f'{health.__name__}.PATIENCE_SECONDS', 0.3))
        end = threading.Event()
        self.addCleanup(end.set)
        probe = health._Probe(end.wait)
        started = time.monotonic()
        for _number in range(10):
            probe.start()
            self.assertIsNone(probe.answer())
        self.assertLess(time.monotonic() - started, 5)
        end.set()
        probe._future.result(10)
        self.assertTrue(probe.answer())

    def test_what_hangs_for_long_is_asked_again(self):
        self.useFixture(fixtures.MonkeyPatch(
            f'{health.__name__}.PATIENCE_SECONDS', 0.01))
        self.useFixture(fixtures.MonkeyPatch(
            f'{health.__name__}.LOST_SECONDS', -1))
        end, answers = threading.Event(), []
        self.addCleanup(end.set)

        def ask():
            answers.append(1)
            return len(answers) > 1 or end.wait()
        probe = health._Probe(ask)
        probe.start()
        self.assertIsNone(probe.answer())
        probe.start()
        self.assertTrue(probe._future.result(10))

    def test_what_breaks_is_no_answer(self):
        def ask():
            raise ValueError('not foreseen')
        probe = health._Probe(ask)
        probe.start()
        self.assertIsNone(probe.answer())
