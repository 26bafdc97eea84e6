# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The examples of the API reference: requests that ran, and their answers.

Run with ``KARBOR_WRITE_SAMPLES=1`` to write them anew. What differs from run
to run, new ids and times, is made the same before it is compared.
"""

import json
import os
import pathlib
import re
import uuid

from oslotest import base

from karbor_ng import credentials
from karbor_ng.api.v1 import routes
from karbor_ng.store import operations
from karbor_ng.store import runs
from karbor_ng.store import scheduled_operations
from karbor_ng.tests.unit.api import environment
from karbor_ng.tests.unit.api.environment import CHECKPOINT_ID
from karbor_ng.tests.unit.api.environment import PLAN_ID
from karbor_ng.tests.unit.api.environment import PROVIDER_ID
from karbor_ng.tests.unit.api.environment import SERVER
from karbor_ng.tests.unit.api.environment import VOLUME

SAMPLES = (pathlib.Path(__file__).parents[4]
           / 'api-ref' / 'source' / 'samples')
SCHEDULED = f'/scheduled_operations/{environment.SCHEDULED_OPERATION_ID}'
CHECKPOINTS = f'/providers/{PROVIDER_ID}/checkpoints'
PLAN = {'plan': {**{name: value for name, value in environment.PLAN.items()
                    if name != 'id'}}}

#: Name of the sample, request, body. They run in this order.
REQUESTS = [
    ('versions', 'GET /', None),
    ('health', 'GET /healthcheck', None),
    ('providers-list', 'GET /providers?limit=1', None),
    ('providers-show', f'GET /providers/{PROVIDER_ID}', None),
    ('protectables-list', 'GET /protectables', None),
    ('protectables-show', f'GET /protectables/{SERVER}', None),
    ('instances-list', f'GET /protectables/{VOLUME}/instances?limit=1', None),
    ('instances-show',
     f'GET /protectables/{SERVER}/instances/{environment.APP_SERVER}', None),
    ('plans-create', 'POST /plans', PLAN),
    ('plans-list', 'GET /plans?limit=1&sort=created_at:asc', None),
    ('plans-show', f'GET /plans/{PLAN_ID}', None),
    ('plans-update', f'PUT /plans/{PLAN_ID}',
     {'plan': {'status': 'started', 'name': 'My 1 tier application'}}),
    ('checkpoints-create', f'POST {CHECKPOINTS}',
     {'checkpoint': {'plan_id': PLAN_ID,
                     'extra_info': {'created_by': 'manual',
                                    'reason': 'before the upgrade'}}}),
    ('checkpoints-dry-run', f'POST {CHECKPOINTS}?dry_run=true',
     {'checkpoint': {'plan_id': PLAN_ID}}),
    ('checkpoints-list', f'GET {CHECKPOINTS}?status=available', None),
    ('checkpoints-show', f'GET {CHECKPOINTS}/{CHECKPOINT_ID}', None),
    ('restores-create', 'POST /restores',
     {'restore': {
         'provider_id': PROVIDER_ID, 'checkpoint_id': CHECKPOINT_ID,
         'restore_target': None, 'restore_auth': None,
         'parameters': {VOLUME: {'restore_name': 'restored'}}}}),
    ('restores-dry-run', 'POST /restores?dry_run=true',
     {'restore': {
         'provider_id': PROVIDER_ID, 'checkpoint_id': CHECKPOINT_ID,
         'parameters': {VOLUME: {'restore_name': 'restored'}}}}),
    ('restores-list', 'GET /restores?status=success', None),
    ('restores-show', f'GET /restores/{environment.RESTORE_ID}', None),
    ('verifications-create', 'POST /verifications',
     {'verification': {
         'provider_id': PROVIDER_ID, 'checkpoint_id': CHECKPOINT_ID,
         'parameters': {}}}),
    ('verifications-list', 'GET /verifications?status=failed', None),
    ('verifications-show',
     f'GET /verifications/{environment.VERIFICATION_ID}', None),
    ('scheduled-operations-create', 'POST /scheduled_operations',
     {'scheduled_operation': {
         **environment.SCHEDULE, 'description': 'Three each night'}}),
    ('scheduled-operations-list',
     'GET /scheduled_operations?name=night&limit=1&sort=created_at:asc',
     None),
    ('scheduled-operations-show', f'GET {SCHEDULED}', None),
    ('scheduled-operations-update', f'PUT {SCHEDULED}',
     {'scheduled_operation': {'enabled': 0}}),
    ('scheduled-operations-runs', f'GET {SCHEDULED}/runs', None),
    ('scheduled-operations-retention', f'GET {SCHEDULED}/retention', None),
    ('operation-logs-list', 'GET /operation_logs?status=available', None),
    ('operation-logs-show',
     f'GET /operation_logs/{environment.OPERATION_ID}', None),
    ('copies-create', f'POST {CHECKPOINTS}/action',
     {'copy': {
         'plan_id': PLAN_ID, 'parameters': {},
         'target_provider_id': environment.SECOND_PROVIDER_ID}}),
    ('restores-elsewhere', 'POST /restores',
     {'restore': {
         'provider_id': PROVIDER_ID, 'checkpoint_id': CHECKPOINT_ID,
         'restore_target': 'https://cloud.example:5000/v3',
         'restore_auth': {'type': 'password', 'username': 'demo',
                          'password': 'secret', 'project_name': 'demo'},
         'parameters': {}}}),
    ('checkpoints-reset',
     f'PUT {CHECKPOINTS}/{environment.CHECKPOINT_ID}',
     {'os-resetState': {'state': 'error'}}),
    ('services-list', 'GET /os-services?binary=karbor-protection', None),
    ('services-update', f'PUT /os-services/{environment.SERVICE_ID}',
     {'status': 'disabled', 'disabled_reason': 'Its disk makes noises.'}),
    ('quotas-update', f'PUT /quotas/{environment.PROJECT}',
     {'quota': {'plans': 100, 'quota_class': 'gold'}}),
    ('quotas-show', f'GET /quotas/{environment.PROJECT}', None),
    ('quotas-detail', f'GET /quotas/{environment.PROJECT}/detail', None),
    ('quotas-defaults', f'GET /quotas/{environment.PROJECT}/defaults', None),
    ('quota-classes-update', 'PUT /quota_classes/gold',
     {'quota_class': {'checkpoints': 500}}),
    ('quota-classes-show', 'GET /quota_classes/gold', None),
    ('triggers-create', 'POST /triggers',
     {'trigger_info': {
         'name': 'Sunday nights', 'type': 'time',
         'properties': {'format': 'calendar', 'timezone': 'Europe/Berlin',
                        'pattern': 'BEGIN:VEVENT\n'
                                   'RRULE:FREQ=WEEKLY;BYDAY=SU;BYHOUR=2\n'
                                   'END:VEVENT',
                        'start_time': '2030-01-01T02:30:00',
                        'window': 1800}}}),
    ('triggers-dry-run', 'POST /triggers?dry_run=true&runs=2',
     {'trigger_info': {
         'name': 'Weekdays', 'type': 'time',
         'properties': {'format': 'crontab', 'pattern': '0 22 * * MON-FRI',
                        'timezone': 'Europe/Berlin',
                        'start_time': '2030-01-01T02:30:00'}}}),
    ('triggers-list', 'GET /triggers?name=my', None),
    ('triggers-show', f'GET /triggers/{environment.TRIGGER_ID}?runs=2', None),
    ('triggers-update', f'PUT /triggers/{environment.TRIGGER_ID}?runs=2',
     {'trigger_info': {
         'name': 'Later in the morning',
         'properties': {'format': 'crontab', 'pattern': '0 10 * * *',
                        'start_time': '2030-01-01 08:30:00',
                        'window': '3600'}}}),
    ('fault', 'POST /plans', {'plan': {'name': 'My 1 tier application'}}),
]

_KNOWN = {value for value in vars(environment).values()
          if isinstance(value, str)}
_ID = re.compile('[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}')
#: Those of the future are whole seconds, and stay.
_MOMENT = re.compile(r'\d{4}-\d\d-\d\dT[0-9:]{8}\.(?!000000)[0-9]{6}')
_DAY = re.compile(r'"\d{4}-\d\d-\d\d"')


#: What only administrators may ask for.
_OF_ADMINS = ('services-', 'quotas-', 'quota-classes-')


class SamplesTest(base.BaseTestCase):
    """All samples, in one run: later ones show what earlier ones made."""

    def setUp(self):
        super().setUp()
        self.api = self.useFixture(environment.Api(
            sealer=credentials.Sealer([credentials.new_key()])))
        self.api.set('allowed', ['https://cloud.example:5000'],
                     'restore_targets')
        self.api.add_history()
        self.api.add_schedule()
        self.api.db.write(_add_run)
        self._ids = {}

    def test_samples_are_what_is_answered(self):
        for name, request, body in REQUESTS:
            method, path = request.split(' ')
            answer = self.api.call(method, path, body, token=(
                environment.ADMIN if name.startswith(_OF_ADMINS)
                else environment.OWNER))
            if body is not None and name != 'fault':
                self._compare(f'{name}-request', body)
            self._compare(f'{name}-response', answer.json)

    def test_no_sample_is_left_over(self):
        wanted = {f'{name}-response.json' for name, _path, _body in REQUESTS}
        wanted |= {f'{name}-request.json' for name, _path, body in REQUESTS
                   if body is not None and name != 'fault'}
        self.assertEqual(wanted, {path.name for path in SAMPLES.iterdir()})

    def _compare(self, name, value):
        path = SAMPLES / f'{name}.json'
        text = self._same_each_time(
            json.dumps(value, indent=4, ensure_ascii=False)) + '\n'
        if os.environ.get('KARBOR_WRITE_SAMPLES'):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.assertEqual(path.read_text(), text)

    def _same_each_time(self, text):
        moment = environment.MOMENT.replace(tzinfo=None).isoformat(
            timespec='microseconds')
        text = text.replace('http://localhost', 'https://karbor.example')
        text = _ID.sub(self._same_id, text)
        text = _MOMENT.sub(moment, text)
        return _DAY.sub(f'"{moment[:10]}"', text)

    def _same_id(self, match):
        if match.group() in _KNOWN:
            return match.group()
        return self._ids.setdefault(match.group(), str(uuid.uuid5(
            uuid.NAMESPACE_OID, f'karbor sample {len(self._ids)}')))


class ReferenceTest(base.BaseTestCase):
    """The pages around the samples: they leave nothing out."""

    def _sections(self):
        for page in sorted((SAMPLES.parent / 'v1').glob('*.inc')):
            for text in page.read_text().split('.. rest_method:: ')[1:]:
                yield text.partition('\n')[0], text

    def test_every_route_has_a_section(self):
        routed = {f'{method} /{path}'
                  for path, verbs in routes.ROUTES.items()
                  for method in verbs if path != 'v1'}
        written = {re.sub(r'\{\w+\}', '*', request.partition('?')[0])
                   for request, _text in self._sections()}
        self.assertEqual(routed, written)

    def test_every_field_is_explained(self):
        for request, text in self._sections():
            sample = re.search(r'samples/([a-z-]+-response\.json)', text)
            if sample:
                value = json.loads((SAMPLES / sample.group(1)).read_text())
                explained = set(re.findall(
                    r'^   - (\w+): \w+$', text.partition('Response')[2],
                    re.MULTILINE))
                self.assertEqual(set(), _fields(value) - explained, request)


def _add_run(session):
    """Let a checkpoint of the history have been made by its schedule."""
    row = scheduled_operations.get(session,
                                   environment.SCHEDULED_OPERATION_ID)
    row.created_at = environment.MOMENT
    runs.create(session, [(row, environment.MOMENT)])
    run, = runs.in_state(session, 'due', 1)
    run.state, run.checkpoint_id = 'succeeded', environment.CHECKPOINT_ID
    run.ended_at = environment.MOMENT
    operations.get(session, environment.OPERATION_ID
                   ).scheduled_operation_id = row.id


def _fields(value):
    """Return the names in an answer and in the things that it is about."""
    names = set(value)
    for name, thing in value.items():
        if isinstance(thing, list) and not name.endswith('_links'):
            thing = thing[0]
        if isinstance(thing, dict) and name != 'versions':
            names |= set(thing)
    return names
