# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What karbor-manage tells operators about rows, and does to them."""

import datetime
import json
import time

from karbor_ng.cmd import manage
from karbor_ng.store import checkpoints
from karbor_ng.store import externals
from karbor_ng.store import models
from karbor_ng.store import operations
from karbor_ng.store import query
from karbor_ng.store import services
from karbor_ng.store import steps
from karbor_ng.tests import fixtures
from karbor_ng.tests.unit.cmd import test_manage


class NounTest(test_manage.CommandTest):
    """A command on a database of its own."""

    def setUp(self):
        super().setUp()
        self.database = self.useFixture(fixtures.DatabaseFixture())
        self.db = self.database.db

    def run_verb(self, *argv):
        return self.run_main(manage.main, *argv,
                             database__connection=self.database.url)

    def said(self, *argv):
        """Return what a verb printed that succeeded."""
        code, out, err = self.run_verb(*argv)
        self.assertEqual((0, ''), (code, err))
        return out

    def told(self, *argv):
        """Return what it printed as JSON."""
        return json.loads(self.said(*argv, '--format', 'json'))

    def refusal(self, *argv):
        """Return the line with which a verb was refused."""
        code, out, err = self.run_verb(*argv)
        self.assertEqual((1, ''), (code, out))
        self.assertEqual(1, len(err.splitlines()), err)
        return err

    def operation(self, **values):
        checkpoint = self.db.write(checkpoints.create,
                                   fixtures.checkpoint_values())
        return self.db.write(operations.create, fixtures.operation_values(
            checkpoint_id=checkpoint.id, **values)).id

    def claimed(self, seconds, **values):
        operation_id = self.operation(**values)
        self.db.write(operations.claim, operation_id, 'node-1:a', seconds)
        return operation_id

    def ended(self, state='failed', **values):
        operation_id = self.claimed(60, **values)
        self.db.write(operations.finish, operation_id, 1, state,
                      None if state == 'done' else 'It broke.')
        return operation_id

    def state(self, operation_id):
        return self.db.read(operations.get, operation_id).state


class OperationListTest(NounTest):

    def test_nothing(self):
        self.assertEqual([], self.told('operation', 'list'))

    def test_all_that_is_not_done(self):
        queued, running = self.operation(), self.claimed(60)
        failed, done = self.ended(), self.ended('done')
        rows = {row['id']: row for row in self.told('operation', 'list')}
        self.assertEqual({queued, running, failed}, set(rows))
        self.assertEqual('node-1:a', rows[running]['owner'])
        self.assertIn('s left', rows[running]['lease'])
        self.assertIsNone(rows[queued]['lease'])
        self.assertEqual('It broke.', rows[failed]['error_info'])
        self.assertEqual([done], [row['id'] for row in self.told(
            'operation', 'list', '--state', 'done')])

    def test_limit_keeps_the_newest(self):
        self.operation(created_at=fixtures.MOMENT)
        newest = self.operation()
        self.assertEqual([newest], [row['id'] for row in self.told(
            'operation', 'list', '--limit', '1')])

    def test_table(self):
        operation_id = self.claimed(0.01)
        time.sleep(0.02)
        out = self.said('operation', 'list')
        line = next(line for line in out.splitlines()
                    if operation_id in line)
        self.assertIn('lapsed', line)
        self.assertIn('node-1:a', line)


class OperationShowTest(NounTest):

    def setUp(self):
        super().setUp()
        self.operation_id = self.ended(credentials='SECRET')
        self.db.write(steps.put, {
            'operation_id': self.operation_id,
            'resource_type': fixtures.VOLUME, 'resource_id': 'v1',
            'hook': 'on_main', 'state': 'failed',
            'attempt': 1, 'result': 'no such volume',
            'started_at': fixtures.MOMENT,
            'ended_at': fixtures.MOMENT + datetime.timedelta(seconds=2)})
        self.db.write(externals.put, fixtures.external_values(
            self.operation_id, external_id='cloud-1'))

    def test_json(self):
        found = self.told('operation', 'show', self.operation_id)
        self.assertEqual('no such volume', found['steps'][0]['result'])
        self.assertEqual(2.0, found['steps'][0]['seconds'])
        self.assertEqual('cloud-1', found['externals'][0]['external_id'])
        self.assertNotIn('credentials', found)

    def test_table(self):
        out = self.said('operation', 'show', self.operation_id)
        for text in ('no such volume', 'cloud-1', 'It broke.'):
            self.assertIn(text, out)

    def test_secrets_stay_secret(self):
        secret = self.operation(credentials='SECRET')
        for verb in ('list',), ('show', secret), ('list', '-f', 'json'):
            self.assertNotIn('SECRET', self.said('operation', *verb))

    def test_unknown(self):
        self.assertIn('There is no operation',
                      self.refusal('operation', 'show', 'x'))


class OperationResumeTest(NounTest):

    def test_a_dropped_operation_is_queued_again(self):
        operation_id = self.claimed(0.01)
        time.sleep(0.02)
        self.db.write(operations.claim, operation_id, 'node-2:b', 0.01)
        time.sleep(0.02)
        self.assertIn('queued again',
                      self.said('operation', 'resume', operation_id))
        found = self.db.read(operations.get, operation_id)
        self.assertEqual(('queued', None, 0, 2), (
            found.state, found.owner, found.resume_count, found.attempt))

    def test_a_queued_one_is_left_as_it_is(self):
        operation_id = self.operation()
        self.assertIn('already',
                      self.said('operation', 'resume', operation_id))
        self.assertEqual('queued', self.state(operation_id))

    def test_what_is_worked_on_is_refused(self):
        operation_id = self.claimed(60)
        said = self.refusal('operation', 'resume', operation_id)
        self.assertIn('node-1:a', said)
        self.assertEqual('running', self.state(operation_id))

    def test_what_has_ended_is_refused_with_what_to_do(self):
        for kind, text in (('protect', 'create a new checkpoint'),
                           ('restore', 'restore checkpoint'),
                           ('delete', 'delete checkpoint')):
            operation_id = self.ended(type=kind)
            said = self.refusal('operation', 'resume', operation_id)
            self.assertIn(text, said)
            self.assertEqual('failed', self.state(operation_id))
        self.assertIn('is done', self.refusal(
            'operation', 'resume', self.ended('done')))


class OperationAbortTest(NounTest):

    def test_what_is_queued_or_running(self):
        for operation_id in self.operation(), self.claimed(60, type='restore',
                                                           restore_id='r'):
            for _ in range(2):
                self.assertIn('asked to end',
                              self.said('operation', 'abort', operation_id))
            self.assertTrue(self.told(
                'operation', 'show', operation_id)['abort_requested'])

    def test_others_are_refused(self):
        for operation_id, text in (
                (self.operation(type='delete'), 'delete, is queued'),
                (self.ended(), 'is failed'), (self.ended('done'), 'is done'),
                ('x', 'no operation')):
            self.assertIn(text,
                          self.refusal('operation', 'abort', operation_id))


class ServiceTest(NounTest):

    def seen(self, service_id):
        self.db.write(services.seen, {
            'id': service_id, 'binary': 'karbor-protection',
            'host': 'node-1', 'version': '1.0',
            'started_at': fixtures.MOMENT})

    def silent(self, service_id):
        """Make a service that was heard of last in another year."""
        self.seen(service_id)
        self.db.write(lambda session: query.change(
            session, models.Service, {'seen_at': fixtures.MOMENT},
            models.Service.id == service_id))

    def test_up_and_down(self):
        self.seen('node-1:a')
        self.silent('node-1:b')
        self.claimed(60)
        found = {row['id']: row for row in self.told('service', 'list')}
        self.assertEqual(('up', 1), (found['node-1:a']['state'],
                                     found['node-1:a']['operations']))
        self.assertEqual(('down', 0), (found['node-1:b']['state'],
                                       found['node-1:b']['operations']))
        self.assertIn('node-1:b', self.said('service', 'list'))

    def test_enabled_and_disabled(self):
        self.seen('node-1:a')

        def status():
            return self.told('service', 'list')[0]['status']

        self.assertEqual('enabled', status())
        host, = self.db.read(services.hosts,
                             query.Page(sort=(('id', 'asc'),)))
        self.db.write(services.disable, host.id)
        self.assertEqual('disabled', status())

    def test_clean(self):
        self.seen('node-1:a')
        self.silent('node-1:b')
        self.assertEqual([{'id': 'node-1:b'}], self.told('service', 'clean'))
        self.assertEqual(['node-1:a'], [
            row['id'] for row in self.told('service', 'list')])


class PurgeTest(NounTest):

    def setUp(self):
        super().setUp()
        long_ago = models.utcnow() - datetime.timedelta(days=40)
        row = self.db.write(checkpoints.create, fixtures.checkpoint_values(
            status='deleted', deleted_at=long_ago))
        self.checkpoint_id = row.id

    def is_there(self):
        return self.db.read(lambda session: session.get(
            models.Checkpoint, self.checkpoint_id))

    def test_dry_run_then_real(self):
        for argv, text in ((('--dry-run',), '1 rows would be removed.'),
                           ((), '1 rows were removed.'),
                           ((), '0 rows were removed.')):
            self.assertEqual(text != '0 rows were removed.',
                             bool(self.is_there()))
            out = self.said('db', 'purge', '--age-in-days', '30', *argv)
            self.assertIn(text, out)
        self.assertIsNone(self.is_there())

    def test_age_counts(self):
        self.assertEqual([], self.told('db', 'purge', '--age-in-days', '50'))
        self.assertTrue(self.is_there())
        self.assertEqual(
            [{'table': 'checkpoints', 'rows': 1}],
            self.told('db', 'purge', '--age-in-days', '0'))

    def test_misuse(self):
        for argv in ((), ('--age-in-days', '-1'), ('--age-in-days', 'x'),
                     ('--age-in-days', '1', '--batch-size', '0')):
            code, _out, err = self.run_verb('db', 'purge', *argv)
            self.assertEqual(2, code, err)
