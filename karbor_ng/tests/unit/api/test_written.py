# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What lists write piece by piece is what single answers show."""

import datetime

import hypothesis
from hypothesis import strategies
from oslotest import base
import sqlalchemy as sa
import testscenarios

from karbor_ng.api import written
from karbor_ng.store import checkpoints
from karbor_ng.store import plans
from karbor_ng.tests import fixtures
from karbor_ng.tests.unit.api import environment

CHECKPOINTS = f'/providers/{environment.PROVIDER_ID}/checkpoints'
MOMENTS = strategies.datetimes(
    datetime.datetime(2001, 1, 1), datetime.datetime(2099, 1, 1),
    timezones=strategies.just(datetime.timezone.utc))
#: Whatever JSON and databases can hold, with what breaks text more often.
TEXTS = strategies.text(
    strategies.sampled_from('"\\/\'{}\n\x7f é日\U0001f4be\u2028')
    | strategies.characters(codec='utf-8', exclude_characters='\0'),
    max_size=20)
VALUES = strategies.dictionaries(TEXTS, strategies.recursive(
    strategies.none() | strategies.booleans() | TEXTS
    | strategies.integers(-10 ** 9, 10 ** 9),
    lambda inner: strategies.lists(inner, max_size=2)), max_size=2)
PLANNED = strategies.lists(strategies.fixed_dictionaries(
    {'id': TEXTS, 'type': TEXTS, 'name': TEXTS},
    optional={'extra_info': VALUES}), max_size=2)
NOT_INCLUDED = strategies.lists(strategies.just(environment.NOT_INCLUDED),
                                max_size=2)
RESOURCES = strategies.lists(strategies.fixed_dictionaries({
    'id': TEXTS, 'type': TEXTS, 'name': strategies.none() | TEXTS,
    'in_plan': strategies.booleans(),
    'status': strategies.sampled_from(['available', 'error']),
    'reason': strategies.none() | TEXTS,
    'progress': strategies.integers(0, 100),
    'size': strategies.none() | strategies.integers(0, 2 ** 60),
    'saved': VALUES | NOT_INCLUDED.map(
        lambda found: {'not_included': found}),
    'extra_info': strategies.none() | VALUES, 'parameters': VALUES,
    'objects': strategies.just([])}),
    max_size=2, unique_by=lambda row: (row['type'], row['id']))


class WrittenTest(testscenarios.WithScenarios, base.BaseTestCase):

    scenarios = fixtures.database_scenarios()

    def setUp(self):
        super().setUp()
        self.api = self.useFixture(environment.Api(self.database_url))
        # Not everything that can be stored is an answer to be expected.
        self.app = self.api.make_unchecked_app()

    def get(self, path):
        answer = self.api.call('GET', path, app=self.app)
        self.assertEqual(200, answer.status_int, answer.text)
        self.assertEqual('application/json', answer.content_type)
        return answer.json

    def check(self, path, key, thing_id):
        """The list has the thing just as it is shown alone."""
        listed = {one['id']: one for one in self.get(path)[f'{key}s']}
        self.assertEqual(self.get(f'{path}/{thing_id}')[key],
                         listed[thing_id])

    def test_providers(self):
        self.check('/providers', 'provider', environment.PROVIDER_ID)

    @hypothesis.settings(max_examples=40, deadline=None, database=None,
                         suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(TEXTS, strategies.none() | TEXTS, PLANNED, VALUES)
    def test_plans(self, name, description, resources, parameters):
        plan_id = fixtures.new_id()
        self.api.db.write(plans.create, fixtures.plan_values(
            id=plan_id, project_id=environment.PROJECT, name=name,
            description=description, resources=resources,
            parameters=parameters))
        self.check('/plans', 'plan', plan_id)

    @hypothesis.settings(max_examples=40, deadline=None, database=None,
                         suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(
        PLANNED, RESOURCES, VALUES, MOMENTS, strategies.none() | MOMENTS,
        strategies.none() | MOMENTS,
        strategies.none() | strategies.integers(0, 2 ** 60),
        strategies.none() | strategies.uuids().map(str))
    def test_checkpoints(self, planned, resources, notes, created_at,
                         finished_at, data_time, size, copied_from):
        checkpoint_id = fixtures.new_id()
        self.api.db.write(checkpoints.create, {
            'id': checkpoint_id, 'project_id': environment.PROJECT,
            'provider_id': environment.PROVIDER_ID, 'status': 'available',
            'plan_id': environment.PLAN_ID,
            'plan': {**environment.PLAN, 'resources': planned},
            'graph': environment.GRAPH, 'extra_info': notes, 'size': size,
            'created_at': created_at, 'finished_at': finished_at,
            'data_time': data_time, 'copied_from': copied_from})
        self.api.db.write(checkpoints.put_resources, checkpoint_id,
                          resources)
        self.check(CHECKPOINTS, 'checkpoint', checkpoint_id)

    def put_checkpoint(self, resource, **values):
        """Insert a checkpoint of one resource; return its id."""
        checkpoint_id = fixtures.new_id()
        self.api.db.write(checkpoints.create, fixtures.checkpoint_values(
            id=checkpoint_id, project_id=environment.PROJECT,
            provider_id=environment.PROVIDER_ID,
            plan_id=environment.PLAN_ID, **values))
        self.api.db.write(checkpoints.put_resources, checkpoint_id,
                          [resource])
        return checkpoint_id

    def test_a_checkpoint_is_listed_as_it_is_at_each_moment(self):
        resource = fixtures.resource_values()
        checkpoint_id = self.put_checkpoint(resource)
        self.check(CHECKPOINTS, 'checkpoint', checkpoint_id)
        for number, status in enumerate((
                'available', 'deleting', 'error-deleting', 'deleting',
                'available', 'error')):
            self.api.db.write(checkpoints.change_each, checkpoint_id, {
                (resource['type'], resource['id']): {'progress': number}})
            self.api.db.write(checkpoints.move, checkpoint_id, status)
            for _ in range(2):
                self.check(CHECKPOINTS, 'checkpoint', checkpoint_id)

    def test_what_is_settled_is_read_once(self):
        self.put_checkpoint(fixtures.resource_values(), status='available')
        working = self.put_checkpoint(fixtures.resource_values())
        self.assertEqual(2, len(self.get(CHECKPOINTS)['checkpoints']))
        asked = []
        sa.event.listen(self.api.db.engine, 'before_cursor_execute',
                        lambda *what: asked.append(what[2:4]))
        self.assertEqual(2, len(self.get(CHECKPOINTS)['checkpoints']))
        about, = [values for statement, values in asked
                  if 'FROM checkpoint_resources' in statement]
        self.assertEqual([working], list(
            about.values() if isinstance(about, dict) else about))


class MemoryTest(base.BaseTestCase):

    def test_forgets_what_was_not_asked_for_longest(self):
        memory = written.Memory(10)
        memory.remember({1: 'aaaa', 2: 'bbbb'})
        self.assertEqual({1: 'aaaa'}, memory.recall([1, 3]))
        memory.remember({3: 'cccc', 4: 'more than there is room'})
        self.assertEqual({1: 'aaaa', 3: 'cccc'}, memory.recall(range(5)))
