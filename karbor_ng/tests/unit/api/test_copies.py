# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Requests for copies: what is accepted, and what stands in the way."""

import datetime
import functools
import json

from oslotest import base
import sqlalchemy as sa
import testscenarios

from karbor_ng.protection import client
from karbor_ng.store import checkpoints
from karbor_ng.store import externals
from karbor_ng.store import models
from karbor_ng.store import operations
from karbor_ng.tests import fixtures
from karbor_ng.tests.unit.api import environment
from karbor_ng.tests.unit.api.environment import CHECKPOINT_ID
from karbor_ng.tests.unit.api.environment import MOMENT
from karbor_ng.tests.unit.api.environment import PLAN_ID
from karbor_ng.tests.unit.api.environment import PROJECT
from karbor_ng.tests.unit.api.environment import PROVIDER_ID
from karbor_ng.tests.unit.api.environment import SECOND_PROVIDER_ID
from karbor_ng.tests.unit.api.environment import SYSTEM_VOLUME
from karbor_ng.tests.unit.api.environment import VOLUME

PATH = f'/providers/{PROVIDER_ID}/checkpoints/action'
NOTED = 'karbor-noop-protection-plugin'


class CopiesTestCase(base.BaseTestCase):

    database_url = None

    def setUp(self):
        super().setUp()
        self.api = self.useFixture(environment.Api(self.database_url))
        self.api.add_history()

    def copy(self, status=200, path=PATH, token=environment.OWNER, **values):
        """Ask for copies; return the answer, or what it says."""
        body = {'plan_id': PLAN_ID, 'target_provider_id': SECOND_PROVIDER_ID,
                **values}
        answer = self.api.call('POST', path, {'copy': {
            name: value for name, value in body.items()
            if value is not None}}, token=token)
        self.assertEqual(status, answer.status_int, answer.text)
        found, = answer.json.values()
        return found if status == 200 else found['message']

    def rows(self, model):
        return self.api.db.read(
            lambda session: session.execute(sa.select(model)).scalars().all())

    def add_checkpoint(self, days=1, status='available', **values):
        """Add one more checkpoint of the plan; return its id."""
        made = self.api.db.write(
            checkpoints.create, fixtures.checkpoint_values(
                project_id=PROJECT, provider_id=PROVIDER_ID, plan_id=PLAN_ID,
                status=status, created_at=MOMENT + datetime.timedelta(days),
                **values))
        return made.id


class RaceTest(testscenarios.WithScenarios, CopiesTestCase):
    """Requests at the same moment, on each database."""

    scenarios = fixtures.database_scenarios()

    def test_of_several_one_copies(self):
        answers = fixtures.together(*[self.copy] * 4)
        self.assertEqual([0, 0, 0, 1], sorted(
            len(answer['checkpoint_id']) for answer in answers))

    def test_what_is_copied_is_not_deleted(self):
        for _ in range(8):
            source_id = self.add_checkpoint()
            copied, deleted = fixtures.together(
                self.ask_for_copies,
                functools.partial(self.delete, source_id))
            copies = [pair['checkpoint_copy_id'] for pair in copied
                      if pair['checkpoint_protect_id'] == source_id]
            self.assertEqual(409 if copies else 200, deleted)
            self.assertEqual(
                'available' if copies else 'deleting', self.api.db.read(
                    checkpoints.get, source_id).status)

    def ask_for_copies(self):
        return self.copy()['checkpoint_id']

    def delete(self, checkpoint_id):
        return self.api.call(
            'DELETE', f'/providers/{PROVIDER_ID}/checkpoints/'
            f'{checkpoint_id}').status_int


class CopiesTest(CopiesTestCase):

    # What is accepted

    def test_the_answer_and_the_rows(self):
        answer = self.copy()
        pair, = answer.pop('checkpoint_id')
        self.assertEqual(
            {'project_id': PROJECT, 'provider_id': PROVIDER_ID,
             'target_provider_id': SECOND_PROVIDER_ID, 'plan_id': PLAN_ID,
             'parameters': {}}, answer)
        self.assertEqual(CHECKPOINT_ID, pair['checkpoint_protect_id'])
        made = self.show(pair['checkpoint_copy_id'])
        self.assertEqual(
            ('wait_copying', CHECKPOINT_ID, '2025-11-21T08:30:15.123456+00:00',
             {'created_by': 'copy'}, PROVIDER_ID),
            (made['status'], made['copied_from'], made['data_time'],
             json.loads(made['extra_info']),
             made['protection_plan']['provider_id']))
        self.assertEqual(1, len(self.api.hints.queued))
        log = self.api.call('GET', '/operation_logs?operation_type=copy')
        entry, = log.json['operation_logs']
        self.assertEqual(
            ('wait_copying', SECOND_PROVIDER_ID, made['id'], CHECKPOINT_ID),
            (entry['status'], entry['provider_id'], entry['checkpoint_id'],
             entry['extra_info']['copied_from']))

    def show(self, checkpoint_id, provider_id=SECOND_PROVIDER_ID):
        return self.api.call(
            'GET', f'/providers/{provider_id}/checkpoints/'
            f'{checkpoint_id}').json['checkpoint']

    def test_of_what_is_no_copy(self):
        made = self.show(CHECKPOINT_ID, PROVIDER_ID)
        self.assertEqual((None, made['created_at_time']),
                         (made['copied_from'], made['data_time']))

    def test_a_second_request_copies_what_is_new(self):
        self.copy()
        self.assertEqual([], self.copy()['checkpoint_id'])
        new = self.add_checkpoint()
        pair, = self.copy()['checkpoint_id']
        self.assertEqual(new, pair['checkpoint_protect_id'])

    def test_a_copy_that_failed_is_none(self):
        pair, = self.copy()['checkpoint_id']
        self.api.db.write(checkpoints.move, pair['checkpoint_copy_id'],
                          'error')
        again, = self.copy()['checkpoint_id']
        self.assertNotEqual(pair, again)

    def test_the_oldest_come_first(self):
        self.patch(client, 'MOST_COPIES', 2)
        third, second = self.add_checkpoint(3), self.add_checkpoint(2)
        self.add_checkpoint(1, status='error')
        self.assertEqual(
            [[CHECKPOINT_ID, second], [third], []],
            [[pair['checkpoint_protect_id']
              for pair in self.copy()['checkpoint_id']] for _ in range(3)])

    def patch(self, owner, name, value):
        before = getattr(owner, name)
        setattr(owner, name, value)
        self.addCleanup(setattr, owner, name, before)

    def test_no_credentials_are_kept(self):
        self.copy()
        kept = {row.type: row.credentials
                for row in self.rows(models.Operation)}
        self.assertIsNone(kept['copy'])

    # What is refused

    def check_refused(self, status, *names, **values):
        before = self.api.rows()
        said = self.copy(status, **values)
        for name in names:
            self.assertIn(name, said)
        self.assertEqual(before, self.api.rows())

    def test_without_a_target(self):
        self.check_refused(400, 'copy.target_provider_id is missing',
                           target_provider_id=None)

    def test_an_unknown_target(self):
        self.check_refused(400, 'target_provider_id', PLAN_ID,
                           target_provider_id=PLAN_ID)

    def test_the_same_provider(self):
        self.check_refused(400, 'target_provider_id', 'another bank',
                           target_provider_id=PROVIDER_ID)

    def test_another_provider_with_the_same_bank(self):
        self.api.db.write(lambda session: session.execute(
            sa.update(models.Provider).values(
                bank_uuid=environment.PLAN_ID)))
        self.check_refused(400, 'target_provider_id', 'another bank')

    def test_a_provider_that_is_not_the_plans(self):
        self.check_refused(
            400, 'provider_id', PROVIDER_ID,
            path=f'/providers/{SECOND_PROVIDER_ID}/checkpoints/action')

    def test_an_unknown_plan(self):
        self.check_refused(404, CHECKPOINT_ID, plan_id=CHECKPOINT_ID)

    def test_nothing_to_copy(self):
        self.api.db.write(checkpoints.move, CHECKPOINT_ID, 'error')
        self.check_refused(400, 'plan_id', PLAN_ID)

    def test_parameters_of_no_plugin(self):
        self.check_refused(400, f'parameters: {VOLUME}', 'speed',
                           parameters={VOLUME: {'speed': 'fast'}})

    def test_a_target_without_the_plugin(self):
        self.api.db.write(lambda session: session.execute(
            sa.update(models.Provider)
            .where(models.Provider.id == SECOND_PROVIDER_ID)
            .values(plugins={VOLUME: 'another', environment.SERVER: NOTED})))
        self.check_refused(400, 'target_provider_id', VOLUME, NOTED)

    def test_what_lies_in_a_cloud(self):
        self.api.db.write(checkpoints.change_each, CHECKPOINT_ID, {
            (VOLUME, SYSTEM_VOLUME): {'backup_id': 'b'}})
        self.check_refused(409, CHECKPOINT_ID, f'{VOLUME} {SYSTEM_VOLUME}')

    def test_what_a_plugin_made_in_a_cloud(self):
        values = fixtures.external_values(
            environment.OPERATION_ID, checkpoint_id=CHECKPOINT_ID,
            resource_id=SYSTEM_VOLUME)
        self.api.db.write(externals.put, values)
        self.check_refused(409, CHECKPOINT_ID, f'{VOLUME} {SYSTEM_VOLUME}')
        self.api.db.write(externals.change, values['id'], state='gone')
        self.copy()

    def test_the_quota(self):
        self.add_checkpoint()
        self.api.set('quota_checkpoints', 4)
        self.check_refused(413, '4 checkpoints')
        self.api.set('quota_checkpoints', 5)
        self.assertEqual(2, len(self.copy()['checkpoint_id']))

    # What the rows say meanwhile

    def test_a_source_is_not_deleted(self):
        pair, = self.copy()['checkpoint_id']
        path = f'/providers/{PROVIDER_ID}/checkpoints/{CHECKPOINT_ID}'
        answer = self.api.call('DELETE', path)
        self.assertEqual(409, answer.status_int)
        self.assertIn(pair['checkpoint_copy_id'], answer.text)
        self.api.db.write(checkpoints.move, pair['checkpoint_copy_id'],
                          'error')
        self.assertEqual(200, self.api.call('DELETE', path).status_int)

    def test_one_that_waits_is_deleted_at_once(self):
        pair, = self.copy()['checkpoint_id']
        copy_id = pair['checkpoint_copy_id']
        path = f'/providers/{SECOND_PROVIDER_ID}/checkpoints/{copy_id}'
        self.assertEqual(200, self.api.call('DELETE', path).status_int)
        self.assertEqual('deleted', self.show(copy_id)['status'])
        self.assertEqual(
            {'copy': 'failed', 'delete': 'done'},
            {row.type: row.state for row in self.rows(models.Operation)
             if row.checkpoint_id == copy_id})

    def test_one_that_waits_is_aborted(self):
        pair, = self.copy()['checkpoint_id']
        copy_id = pair['checkpoint_copy_id']
        path = f'/providers/{SECOND_PROVIDER_ID}/checkpoints/{copy_id}/action'
        answer = self.api.call('POST', path, {'abort': {}})
        self.assertEqual(200, answer.status_int, answer.text)
        self.assertTrue(self.api.db.read(
            operations.making_of, copy_id).abort_requested)

    def test_other_methods(self):
        answer = self.api.call('GET', PATH)
        self.assertEqual(405, answer.status_int)
