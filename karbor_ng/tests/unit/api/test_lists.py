# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Every list: its filters, orders and pages, and what it refuses by name."""

import dataclasses
import urllib.parse

from oslotest import base
import testscenarios

from karbor_ng.api import declaration
from karbor_ng.api import listing
from karbor_ng.api.v1 import routes
from karbor_ng.store import models
from karbor_ng.store import operations
from karbor_ng.store import plans
from karbor_ng.store import services
from karbor_ng.tests import fixtures
from karbor_ng.tests.unit.api import environment
from karbor_ng.tests.unit.api.environment import CHECKPOINT_ID
from karbor_ng.tests.unit.api.environment import MOMENT
from karbor_ng.tests.unit.api.environment import PLAN_ID
from karbor_ng.tests.unit.api.environment import PROJECT
from karbor_ng.tests.unit.api.environment import PROVIDER_ID

TRIGGER_ID = '5b7a3d7e-63a4-4f5c-9b36-4a90a2f9f1c7'
SCHEDULED_ID = '9ddbb9c2-7f7c-4f0b-8b8a-0b0f7c2c5f1e'
#: A UUID of nothing.
NOTHING = '11111111-2222-4333-8444-555555555555'
AGE = ('created_at', 'id')


@dataclasses.dataclass(frozen=True)
class Listed:
    """One list.

    :ivar filters: values with which something, and nothing, is found; the
        latter None where whatever is there is found with any value
    :ivar is_shared: whether it is the same for all projects
    """

    path: str
    key: str
    filters: dict
    sort_keys: tuple = AGE
    is_shared: bool = False
    token: str = environment.OWNER


_INSTANCES = f'/protectables/{environment.VOLUME}/instances'
LISTS = {
    'providers.list': Listed('/providers', 'providers', {
        'name': ('OS Infra Provider', 'OS'),
        'description': ('Uses the services of this cloud.', 'Uses'),
    }, ('id', 'name'), is_shared=True),
    'protectables.list': Listed(
        '/protectables', 'protectable_type', {}, ('id', 'name'),
        is_shared=True),
    'protectables.list_instances': Listed(_INSTANCES, 'instances', {
        'name': ('System volume', 'volume of nobody'),
        'status': ('in-use', 'gone'),
        'type': (environment.VOLUME, environment.SERVER),
        'parameters': ('{}', None),
    }, ('id', 'name'), is_shared=True),
    'plans.list': Listed('/plans', 'plans', {
        'name': ('3 TIER', '4 tier'), 'description': ('shop', 'mill'),
        'status': ('suspended', 'started'),
        'provider_id': (PROVIDER_ID, NOTHING),
    }, (*AGE, 'name', 'status')),
    'checkpoints.list': Listed(
        f'/providers/{PROVIDER_ID}/checkpoints', 'checkpoints', {
            'plan_id': (PLAN_ID, NOTHING), 'status': ('available', 'error'),
            'start_date': ('2025-11-22', '2025-11-23'),
            'end_date': ('2025-11-21', '2025-11-20'),
        }, (*AGE, 'status')),
    'restores.list': Listed('/restores', 'restores', {
        'status': ('success', 'failed'),
        'checkpoint_id': (CHECKPOINT_ID, NOTHING),
    }, (*AGE, 'status')),
    'verifications.list': Listed('/verifications', 'verifications', {
        'status': ('failed', 'success'),
        'checkpoint_id': (CHECKPOINT_ID, NOTHING),
    }, (*AGE, 'status')),
    'triggers.list': Listed('/triggers', 'triggers', {
        'name': ('NIGHT', 'noon'), 'type': ('time', 'event'),
        'properties': ('crontab', 'calendar'),
    }, (*AGE, 'name', 'type')),
    'scheduled_operations.list': Listed(
        '/scheduled_operations', 'operations', {
            'name': ('shop', 'mill'),
            'operation_type': ('protect', 'retention_protect'),
            'trigger_id': (TRIGGER_ID, NOTHING),
            'plan_id': (PLAN_ID, NOTHING),
            'operation_definition': (PLAN_ID, NOTHING),
        }, (*AGE, 'name', 'operation_type')),
    'scheduled_operations.list_runs': Listed(
        f'/scheduled_operations/{SCHEDULED_ID}/runs', 'runs',
        {'status': ('succeeded', 'missed')}, (*AGE, 'planned_at'),
        is_shared=True),
    'operation_logs.list': Listed('/operation_logs', 'operation_logs', {
        'checkpoint_id': (CHECKPOINT_ID, NOTHING),
        'plan_id': (PLAN_ID, NOTHING),
        'provider_id': (PROVIDER_ID, NOTHING),
        'restore_id': (environment.RUNNING_RESTORE_ID, NOTHING),
        'verification_id': (environment.RUNNING_VERIFICATION_ID, NOTHING),
        'scheduled_operation_id': (SCHEDULED_ID, NOTHING),
        'status': ('available', 'deleted'),
        'operation_type': ('protect', 'delete'),
    }, (*AGE, 'status', 'operation_type')),
    'services.list': Listed('/os-services', 'services', {
        'host': ('node-1', 'node'),
        'binary': ('karbor-protection', 'karbor'),
    }, ('id', 'host', 'binary'), is_shared=True, token=environment.ADMIN),
}


def _verbs():
    """Return ``{name: verb}`` of all lists that the routes lead to."""
    found = {}
    for verbs in routes.ROUTES.values():
        for name in verbs.values():
            noun, _dot, word = name.partition('.')
            verb = getattr(routes.CONTROLLERS[noun], word)
            if isinstance(declaration.of(verb).query, listing.Query):
                found[name] = verb
    return found


class TableTest(base.BaseTestCase):
    """The table has what the API declares."""

    def test_every_list_is_in_the_table(self):
        self.assertEqual(set(_verbs()), set(LISTS))

    def test_every_verb_that_lists_declares_it(self):
        names = {name for verbs in routes.ROUTES.values()
                 for name in verbs.values()
                 if name.partition('.')[2].startswith('list')}
        self.assertEqual(names - {'versions.list'}, set(LISTS))

    def test_filters_and_orders(self):
        for name, verb in _verbs().items():
            query = declaration.of(verb).query
            self.assertEqual(set(query.filters.parameters),
                             set(LISTS[name].filters), name)
            self.assertEqual(set(query.sort_keys),
                             set(LISTS[name].sort_keys), name)


def _add_scheduled(session):
    shared = {'project_id': PROJECT, 'user_id': 'demo', 'created_at': MOMENT}
    for number, name in ((TRIGGER_ID, 'Every night'),
                         (fixtures.new_id(), 'Nightly too')):
        session.add(models.Trigger(
            **shared, id=number, name=name, type='time', properties={
                'format': 'crontab', 'pattern': '0 0 * * *'}))
    session.flush()
    for number, name in ((SCHEDULED_ID, 'The shop'),
                         (fixtures.new_id(), 'The shop again')):
        session.add(models.ScheduledOperation(
            **shared, id=number, name=name, operation_type='protect',
            trigger_id=TRIGGER_ID, provider_id=PROVIDER_ID, plan_id=PLAN_ID,
            definition={'provider_id': PROVIDER_ID, 'plan_id': PLAN_ID}))
    for state in ('succeeded', 'failed'):
        session.add(models.ScheduledOperationRun(
            id=fixtures.new_id(), scheduled_operation_id=SCHEDULED_ID,
            project_id=PROJECT, trigger_id=TRIGGER_ID, state=state,
            planned_at=MOMENT.replace(hour=len(state)), created_at=MOMENT))
    plans.create(session, {
        **shared, **environment.PLAN, 'id': fixtures.new_id(),
        'status': 'suspended'})
    operations.create(session, fixtures.operation_values(
        project_id=PROJECT, scheduled_operation_id=SCHEDULED_ID))
    services.seen(session, {
        'id': 'node-2:a', 'binary': 'karbor-api', 'host': 'node-2',
        'version': '1.0', 'started_at': MOMENT})


class ListTest(testscenarios.WithScenarios, base.BaseTestCase):
    """Each list on each database."""

    scenarios = testscenarios.multiply_scenarios(
        [(name, {'listed': listed}) for name, listed in LISTS.items()],
        fixtures.database_scenarios())

    def setUp(self):
        super().setUp()
        self.api = self.useFixture(environment.Api(self.database_url))
        self.api.add_history()
        self.api.add_running()
        self.api.db.write(_add_scheduled)

    def test_it_shows_what_is_asked_for(self):
        self.check_filters()
        self.check_filters_together()
        self.check_orders()
        self.check_pages()
        self.check_all_tenants()

    def test_it_refuses_by_name_what_it_does_not_know(self):
        self.check_refusals()
        self.check_ids_are_uuids()

    def ask(self, token=None, path=None, **query):
        return self.api.call(
            'GET', f'{path or self.listed.path}?'
            f'{urllib.parse.urlencode(query)}',
            token=token or self.listed.token)

    def ids(self, token=None, **query):
        answer = self.ask(token, **query)
        self.assertEqual(200, answer.status_int, answer.text)
        return [item if isinstance(item, str) else item['id']
                for item in answer.json[self.listed.key]]

    def check_filters(self):
        everything = set(self.ids())
        self.assertTrue(everything)
        for name, (hit, miss) in self.listed.filters.items():
            found = set(self.ids(**{name: hit}))
            self.assertTrue(found, name)
            self.assertLessEqual(found, everything)
            if miss is not None:
                self.assertEqual([], self.ids(**{name: miss}), name)

    def check_filters_together(self):
        hits = {name: hit for name, (hit, _miss)
                in self.listed.filters.items()
                if name not in ('end_date', 'restore_id', 'verification_id',
                                'scheduled_operation_id')}
        self.assertLessEqual(set(self.ids(**hits)), set(self.ids()))

    def check_orders(self):
        everything = sorted(map(str, self.ids()))
        for key in self.listed.sort_keys:
            up = self.ids(sort=f'{key}:asc')
            self.assertEqual(everything, sorted(map(str, up)))
            self.assertEqual(up, self.ids(sort_key=key, sort_dir='asc'))
            self.assertEqual(self.ids(sort=key),
                             self.ids(sort_key=key))
        by_id = self.ids(sort='id:asc')
        if 'id' in self.listed.sort_keys:
            self.assertEqual(by_id[::-1], self.ids(sort='id:desc'))

    def check_pages(self):
        for order in ({}, {'sort': f'{self.listed.sort_keys[-1]}:asc'}):
            whole = self.ids(**order)
            self.assertGreater(len(whole), 1)
            found, query = [], dict(order, limit=1)
            for _page in whole:
                page = self.ids(**query)
                found += page
                query['marker'] = page[-1]
            self.assertEqual(whole, found)

    def check_refusals(self):
        key = self.listed.sort_keys[0]
        for query, named in (
                ({'colour': 'red'}, 'colour'),
                ({'sort_key': 'colour'}, 'colour'),
                ({'sort': 'colour:asc'}, 'colour'),
                ({'sort': f'{key}:up'}, 'asc or desc'),
                ({'sort_key': key, 'sort_dir': 'up'}, 'sort_dir'),
                ({'sort': key, 'sort_key': key}, 'sort_key'),
                ({'limit': '0'}, 'limit'), ({'limit': '-1'}, 'limit'),
                ({'limit': 'all'}, 'limit'), ({'offset': '1'}, 'offset'),
                ({'marker': NOTHING}, 'marker')):
            answer = self.ask(**query)
            self.assertEqual(400, answer.status_int, (query, answer.text))
            self.assertIn(named, answer.json['badRequest']['message'])

    def check_ids_are_uuids(self):
        for name in self.listed.filters:
            if name.endswith('_id'):
                answer = self.ask(**{name: 'x'})
                self.assertEqual(400, answer.status_int, answer.text)
                self.assertIn(name, answer.json['badRequest']['message'])

    def check_all_tenants(self):
        if self.listed.is_shared:
            self.assertEqual(self.ids(), self.ids(all_tenants='1'))
            return
        mine = set(self.ids())
        self.assertEqual([], self.ids(environment.STRANGER,
                                      all_tenants='true',
                                      project_id=PROJECT))
        self.assertEqual([], self.ids(environment.ADMIN))
        self.assertEqual(mine, set(self.ids(environment.ADMIN,
                                            all_tenants='yes')))
        self.assertEqual(mine, set(self.ids(environment.ADMIN,
                                            project_id=PROJECT)))
        self.assertEqual([], self.ids(environment.ADMIN, all_tenants='1',
                                      project_id='somebody'))
        answer = self.ask(environment.ADMIN, all_tenants='perhaps')
        self.assertEqual(400, answer.status_int)
        self.assertIn('all_tenants', answer.text)
