# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Scheduled operations through the API, on all databases."""

import datetime

from oslotest import base
import testscenarios

from karbor_ng.store import checkpoints
from karbor_ng.store import operations
from karbor_ng.store import plans
from karbor_ng.store import runs
from karbor_ng.store import scheduled_operations
from karbor_ng.tests import fixtures
from karbor_ng.tests.unit.api import environment
from karbor_ng.tests.unit.api.environment import ADMIN
from karbor_ng.tests.unit.api.environment import MOMENT
from karbor_ng.tests.unit.api.environment import OTHER_PROJECT
from karbor_ng.tests.unit.api.environment import PLAN_ID
from karbor_ng.tests.unit.api.environment import PROJECT
from karbor_ng.tests.unit.api.environment import PROVIDER_ID
from karbor_ng.tests.unit.api.environment import SECOND_PROVIDER_ID
from karbor_ng.tests.unit.api.environment import STRANGER

PATH = '/scheduled_operations'
DEFINITION = {'provider_id': PROVIDER_ID, 'plan_id': PLAN_ID}
HOUR = datetime.timedelta(hours=1)


class ScheduledOperationsTest(testscenarios.WithScenarios,
                              base.BaseTestCase):

    scenarios = fixtures.database_scenarios()

    def setUp(self):
        super().setUp()
        self.api = self.useFixture(environment.Api(self.database_url))
        self.api.add_history()
        self.trigger = self.add_trigger()

    def add_trigger(self, project_id=PROJECT):
        return self.api.db.write(fixtures.add_trigger, project_id=project_id)

    def body(self, **values):
        return {'scheduled_operation': {
            'name': 'Nightly', 'operation_type': 'protect',
            'trigger_id': self.trigger.id,
            'operation_definition': DEFINITION, **values}}

    def create(self, **values):
        return self.answer('POST', PATH, self.body(**values))

    def answer(self, *asked, status=200, **kwargs):
        """Return what one scheduled operation is answered with."""
        found = self.api.call(*asked, **kwargs)
        self.assertEqual(status, found.status_int, found.text)
        return found.json.get('scheduled_operation', found.json)

    def refused(self, status, words, *asked, **kwargs):
        fault, = self.answer(*asked, status=status, **kwargs).values()
        self.assertIn(words, fault['message'])

    def test_create_and_show(self):
        made = self.create(description='Of the shop')
        self.assertEqual(
            {'name': 'Nightly', 'description': 'Of the shop',
             'operation_type': 'protect', 'trigger_id': self.trigger.id,
             'operation_definition': DEFINITION, 'enabled': 1,
             'disabled_reason': None, 'project_id': PROJECT},
            {name: made[name] for name in made
             if name not in ('id', 'created_at', 'updated_at')})
        self.assertEqual(made, self.answer('GET', f'{PATH}/{made["id"]}'))

    def test_definition_is_shown_as_it_was_written(self):
        definition = {**DEFINITION, 'max_backups': '3',
                      'retention_duration': 14}
        made = self.create(operation_type='retention_protect',
                           operation_definition=definition)
        self.assertEqual(definition, made['operation_definition'])

    def test_enabled_may_be_a_boolean(self):
        for given, shown in ((True, 1), (False, 0), (0, 0)):
            made = self.create(enabled=given)
            self.assertEqual(shown, made['enabled'])

    def test_what_is_not_accepted(self):
        unknown = fixtures.new_id()
        theirs = self.add_trigger(OTHER_PROJECT)
        for status, words, values in (
                (400, 'operation_type: "prtect" is unknown; there are: '
                 'protect, retention_protect', {'operation_type': 'prtect'}),
                (404, f'no trigger {unknown}', {'trigger_id': unknown}),
                (404, f'no trigger {theirs.id}', {'trigger_id': theirs.id}),
                (404, f'no plan {unknown}', {'operation_definition': {
                    **DEFINITION, 'plan_id': unknown}}),
                (400, 'operation_definition.provider_id: plan',
                 {'operation_definition': {
                     **DEFINITION, 'provider_id': SECOND_PROVIDER_ID}}),
                (400, 'operation_definition.plan_id is missing',
                 {'operation_definition': {'provider_id': PROVIDER_ID}}),
                (400, 'operation_definition.max_backups is nothing that '
                 'protect has', {'operation_definition': {
                     **DEFINITION, 'max_backups': 3}}),
                (400, 'operation_definition.max_backups',
                 {'operation_type': 'retention_protect',
                  'operation_definition': {
                      **DEFINITION, 'max_backups': 'many'}}),
                (400, 'unknown field "keep"', {'operation_definition': {
                    **DEFINITION, 'keep': 3}}),
                (400, 'name must not be blank', {'name': ' '}),
                (400, 'enabled', {'enabled': 'yes'})):
            self.refused(status, words, 'POST', PATH, self.body(**values))
        self.assertEqual(0, self.api.rows()['scheduled_operations'])

    def test_update(self):
        made = self.create()
        path, other = f'{PATH}/{made["id"]}', self.add_trigger()
        changed = self.answer('PUT', path, {'scheduled_operation': {
            'name': 'Hourly', 'enabled': 0, 'trigger_id': other.id}})
        self.assertEqual(
            ('Hourly', 0, other.id, DEFINITION),
            tuple(changed[name] for name in (
                'name', 'enabled', 'trigger_id', 'operation_definition')))
        self.assertIsNotNone(changed['updated_at'])
        self.assertEqual(1, self.answer('PUT', path, {
            'scheduled_operation': {'enabled': True}})['enabled'])

    def test_enabling_takes_the_reason_away(self):
        made = self.create()
        self.api.db.write(
            scheduled_operations.update, made['id'], PROJECT,
            {'is_enabled': False, 'disabled_reason': 'Its trust is gone.'})
        path = f'{PATH}/{made["id"]}'
        self.assertEqual('Its trust is gone.',
                         self.answer('GET', path)['disabled_reason'])
        changed = self.answer('PUT', path, {
            'scheduled_operation': {'enabled': 1}})
        self.assertEqual((1, None),
                         (changed['enabled'], changed['disabled_reason']))

    def test_what_can_not_be_updated(self):
        path = f'{PATH}/{self.create()["id"]}'
        theirs = self.add_trigger(OTHER_PROJECT)
        for status, words, values in (
                (400, 'plan_id can not change', {'operation_definition': {
                    **DEFINITION, 'plan_id': fixtures.new_id()}}),
                (400, 'unknown field "operation_type"',
                 {'operation_type': 'retention_protect'}),
                (404, f'no trigger {theirs.id}', {'trigger_id': theirs.id}),
                (400, 'at least 1', {})):
            self.refused(status, words, 'PUT', path,
                         {'scheduled_operation': values})

    def test_delete(self):
        made = self.create()
        path = f'{PATH}/{made["id"]}'
        self.refused(404, made['id'], 'DELETE', path, token=STRANGER)
        self.assertEqual(b'', self.api.call('DELETE', path).body)
        self.refused(404, made['id'], 'DELETE', path)

    def test_what_it_uses_stays(self):
        made = self.create()
        self.refused(409, made['id'], 'DELETE', f'/plans/{PLAN_ID}')
        self.refused(424, made['id'], 'DELETE',
                     f'/triggers/{self.trigger.id}')

    def test_list(self):
        first = self.create()
        second = self.create(name='Weekly', operation_type='retention_protect',
                             operation_definition={**DEFINITION,
                                                   'max_backups': '3'})
        for query, expected in (
                ('', [second, first]), ('?sort=name:asc', [first, second]),
                ('?name=week', [second]), ('?operation_type=protect', [first]),
                (f'?trigger_id={self.trigger.id}', [second, first]),
                (f'?plan_id={PLAN_ID}&limit=5', [second, first]),
                ('?operation_definition=max_backups', [second])):
            found = self.answer('GET', PATH + query)['operations']
            self.assertEqual([
                {**one, 'scheduled_operation': one} for one in expected],
                found, query)
        page = self.answer('GET', f'{PATH}?limit=1')
        self.assertIn(f'marker={second["id"]}',
                      page['operations_links'][0]['href'])
        self.refused(400, 'Unknown query parameter "enabled"', 'GET',
                     f'{PATH}?enabled=1')

    def test_other_projects(self):
        made = self.create()
        self.refused(404, made['id'], 'GET', f'{PATH}/{made["id"]}',
                     token=STRANGER)
        self.assertEqual([], self.answer(
            'GET', PATH, token=STRANGER)['operations'])
        found = self.answer('GET', f'{PATH}?all_tenants=1', token=ADMIN)
        self.assertEqual([made['id']],
                         [one['id'] for one in found['operations']])

    def test_runs(self):
        made = self.create()
        row = self.api.db.read(scheduled_operations.get, made['id'])
        self.api.db.write(runs.create, [(row, MOMENT), (row, MOMENT + HOUR)])
        first, second = self.api.db.read(runs.in_state, 'due', 10)
        self.api.db.write(runs.move, first.id, 'missed', ended_at=MOMENT,
                          reason='No engine.')
        path = f'{PATH}/{row.id}/runs?sort=planned_at:asc'
        found = self.answer('GET', path)['runs']
        self.assertEqual({
            'id': first.id, 'scheduled_operation_id': row.id,
            'trigger_id': self.trigger.id, 'status': 'missed',
            'planned_at': '2025-11-21T08:30:15.123456+00:00',
            'reason': 'No engine.', 'checkpoint_id': None,
            'created_at': found[0]['created_at'],
            'ended_at': '2025-11-21T08:30:15.123456+00:00'}, found[0])
        self.assertEqual([second.id], [one['id'] for one in self.answer(
            'GET', f'{path}&status=due')['runs']])
        self.refused(404, row.id, 'GET', path, token=STRANGER)

    def test_retention(self):
        made = self.create(
            operation_type='retention_protect',
            operation_definition={**DEFINITION, 'max_backups': 2})
        for number in range(3):
            self._checkpoint(made['id'], MOMENT + number * HOUR)
        found = self.answer(
            'GET', f'{PATH}/{made["id"]}/retention')['retention']
        self.assertEqual([True, True, False], [one['kept'] for one in found])
        self.assertEqual('2025-11-21T08:30:15.123456+00:00',
                         found[2]['data_time'])
        self.assertTrue(found[2]['reasons'])

    def _checkpoint(self, scheduled_operation_id, moment):
        """Add an available checkpoint that a scheduled operation made."""
        def add(session):
            plan = plans.get(session, PLAN_ID)
            checkpoint = checkpoints.create(
                session, fixtures.checkpoint_values(
                    project_id=PROJECT, plan_id=plan.id, status='available',
                    created_at=moment))
            operations.create(session, fixtures.operation_values(
                checkpoint_id=checkpoint.id,
                scheduled_operation_id=scheduled_operation_id))
        self.api.db.write(add)
