# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Random bodies and queries: never a 5xx, never half a thing."""

import json
import urllib.parse

import hypothesis
from hypothesis import strategies
from oslotest import base
import testscenarios

from karbor_ng.tests import fixtures
from karbor_ng.tests.unit.api import environment
from karbor_ng.tests.unit.api import test_bad_input as good

_SETTINGS = hypothesis.settings(
    max_examples=150, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(hypothesis.HealthCheck))

_TEXT = strategies.text(max_size=20)
_VALUES = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.integers()
    | strategies.floats() | _TEXT
    | strategies.sampled_from([
        environment.PLAN_ID, environment.PROVIDER_ID, environment.VOLUME,
        environment.CHECKPOINT_ID, 'started', 'x' * 300]),
    lambda inner: strategies.lists(inner, max_size=4)
    | strategies.dictionaries(_TEXT, inner, max_size=4), max_leaves=12)


def _mutations(noun, body):
    """Bodies that are good but for some fields, anywhere in them."""
    paths = list(_paths(body))

    @strategies.composite
    def mutated(draw):
        copy = json.loads(json.dumps({noun: body}))
        for path in draw(strategies.lists(
                strategies.sampled_from(paths), max_size=3)):
            _put(copy[noun], path, draw(_VALUES))
        for name in draw(strategies.lists(_TEXT, max_size=1)):
            copy[noun][name] = draw(_VALUES)
        return copy
    return mutated() | _VALUES.map(lambda value: {noun: value}) | _VALUES


def _paths(value, path=()):
    items = (value.items() if isinstance(value, dict)
             else enumerate(value) if isinstance(value, list) else ())
    for key, item in items:
        yield (*path, key)
        yield from _paths(item, (*path, key))


def _put(value, path, replacement):
    for key in path[:-1]:
        try:
            value = value[key]
        except (KeyError, TypeError, IndexError):
            return
    if isinstance(value, (dict, list)):
        try:
            value[path[-1]] = replacement
        except (IndexError, TypeError):
            return


class FuzzTest(testscenarios.WithScenarios, base.BaseTestCase):
    """Whatever comes, the answer says who is to blame; on all databases."""

    scenarios = fixtures.database_scenarios()

    def setUp(self):
        super().setUp()
        self.api = self.useFixture(environment.Api(self.database_url))
        self.api.add_history()
        self.api.set('quota_plans', -1)

    def _send(self, method, path, text):
        before = self.api.rows()
        answer = self.api.call(method, path, text)
        self.assertLess(answer.status_int, 500, answer.text)
        self.assertIsInstance(answer.json, dict)
        json.loads(answer.body, parse_constant=self.fail)
        if answer.status_int >= 400:
            self.assertEqual(before, self.api.rows())
        return answer

    def _fuzz(self, method, path, noun, body):
        @_SETTINGS
        @hypothesis.given(_mutations(noun, body))
        def send(value):
            answer = self._send(method, path, json.dumps(value).encode())
            if answer.status_int == 200:
                self._check_readable(noun, answer.json[noun])
        send()

    def _check_readable(self, noun, thing):
        """What was accepted can be shown again, and is the same."""
        path = {'plan': '/plans', 'restore': '/restores',
                'checkpoint': good.CHECKPOINTS,
                'trigger_info': '/triggers'}[noun]
        answer = self.api.call('GET', f'{path}/{thing["id"]}')
        self.assertEqual({noun: thing}, answer.json)

    def test_create_plan(self):
        self._fuzz('POST', '/plans', 'plan', good.PLAN)

    def test_update_plan(self):
        self._fuzz('PUT', f'/plans/{environment.PLAN_ID}', 'plan', {
            'name': 'n', 'description': None, 'status': 'started',
            'resources': good.PLAN['resources'],
            'parameters': {environment.VOLUME: {'backup_mode': 'full'}}})

    def test_create_checkpoint(self):
        self._fuzz('POST', good.CHECKPOINTS, 'checkpoint', {
            **good.CHECKPOINT, 'extra_info': {'a': 1}})

    def test_create_restore(self):
        self._fuzz('POST', '/restores', 'restore', {
            **good.RESTORE, 'restore_target': None, 'restore_auth': None,
            'parameters': {environment.VOLUME: {'restore_name': 'a'}}})

    def test_create_trigger(self):
        self._fuzz('POST', '/triggers', 'trigger_info', {
            'name': 'n', 'type': 'time', 'properties': {
                'format': 'calendar', 'timezone': 'Europe/Berlin',
                'pattern': 'BEGIN:VEVENT\nRRULE:FREQ=DAILY\nEND:VEVENT',
                'start_time': '2026-01-01 00:00:00',
                'end_time': '2036-01-01T00:00:00Z', 'window': 900}})

    def test_update_trigger(self):
        self._fuzz('PUT', f'/triggers/{environment.TRIGGER_ID}',
                   'trigger_info', {'name': 'n', 'properties': {
                       'format': 'crontab', 'pattern': '0 9 * * *',
                       'start_time': '2026-01-01', 'window': '900'}})

    def test_any_bytes(self):
        @_SETTINGS
        @hypothesis.given(strategies.binary(max_size=200))
        def send(data):
            answer = self._send('POST', '/plans', data)
            self.assertEqual(400, answer.status_int)
        send()

    def test_queries(self):
        names = strategies.sampled_from([
            'limit', 'marker', 'offset', 'sort', 'sort_key', 'sort_dir',
            'name', 'status', 'start_date', 'end_date', 'plan_id',
            'project_id', 'all_tenants', 'parameters', 'type']) | _TEXT
        values = _TEXT | strategies.integers().map(str) | (
            strategies.sampled_from(['id', 'created_at:asc', 'name,id',
                                     'true', environment.PLAN_ID]))

        @_SETTINGS
        @hypothesis.given(
            strategies.sampled_from(good.LISTS),
            strategies.lists(strategies.tuples(names, values), max_size=4),
            strategies.sampled_from([environment.OWNER, environment.ADMIN]))
        def ask(path, pairs, token):
            query = urllib.parse.urlencode(
                pairs, errors='surrogatepass')
            answer = self.api.call('GET', f'{path}?{query}', token=token)
            self.assertIn(answer.status_int, (200, 400), answer.text)
        ask()

    def test_paths(self):
        segments = strategies.text(min_size=1, max_size=12)

        @_SETTINGS
        @hypothesis.given(
            strategies.sampled_from(['GET', 'PUT', 'POST', 'DELETE']),
            strategies.lists(segments, max_size=5))
        def ask(method, parts):
            path = ''.join('/' + urllib.parse.quote(
                part, safe='', errors='surrogatepass') for part in parts)
            answer = self.api.call(method, path)
            self.assertIn(answer.status_int, (400, 404, 405), answer.text)
        ask()
