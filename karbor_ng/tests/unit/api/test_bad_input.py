# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Bad input: always a 4xx that names the field, never half a thing."""

import copy
import json
import time

from oslotest import base
import testscenarios

from karbor_ng.tests import fixtures
from karbor_ng.tests.unit.api import environment
from karbor_ng.tests.unit.api.environment import CHECKPOINT_ID
from karbor_ng.tests.unit.api.environment import PLAN_ID
from karbor_ng.tests.unit.api.environment import PROJECT
from karbor_ng.tests.unit.api.environment import PROVIDER_ID
from karbor_ng.tests.unit.api.environment import VOLUME

PLAN = {'name': 'n', 'provider_id': PROVIDER_ID,
        'resources': [{'id': 'a', 'type': VOLUME, 'name': 'v'}],
        'parameters': {}}
CHECKPOINT = {'plan_id': PLAN_ID}
RESTORE = {'provider_id': PROVIDER_ID, 'checkpoint_id': CHECKPOINT_ID,
           'parameters': {}}
VERIFICATION = {'provider_id': PROVIDER_ID, 'checkpoint_id': CHECKPOINT_ID,
                'parameters': {}}
COPY = {'plan_id': PLAN_ID, 'parameters': {},
        'target_provider_id': environment.SECOND_PROVIDER_ID}
CHECKPOINTS = f'/providers/{PROVIDER_ID}/checkpoints'
LONG = 'x' * 256
DEEP = b'[' * 100000
LESS_DEEP = b'{"plan":' * 200 + b'1' + b'}' * 200
GONE = object()


def volume(**values):
    return {'id': 'a', 'type': VOLUME, 'name': 'v', **values}


#: Changes of a good plan, and what the error must name.
PLANS = [
    ('no name', {'name': GONE}, 'plan.name'),
    ('null name', {'name': None}, 'plan.name'),
    ('blank name', {'name': ' \t'}, 'plan.name must not be blank'),
    ('empty name', {'name': ''}, 'plan.name'),
    ('long name', {'name': LONG}, 'plan.name'),
    ('number as name', {'name': 5}, 'plan.name'),
    ('NUL in name', {'name': 'a\0b'}, 'plan.name'),
    ('half a surrogate pair', {'name': 'a\ud800'}, 'plan.name'),
    ('long description', {'description': LONG}, 'plan.description'),
    ('list as description', {'description': []}, 'plan.description'),
    ('no provider', {'provider_id': GONE}, 'plan.provider_id'),
    ('malformed provider', {'provider_id': 'x'}, 'plan.provider_id'),
    ('unknown provider', {'provider_id': PLAN_ID}, 'plan.provider_id'),
    ('no resources', {'resources': GONE}, 'plan.resources'),
    ('empty resources', {'resources': []}, 'plan.resources'),
    ('null resources', {'resources': None}, 'plan.resources'),
    ('object as resources', {'resources': {}}, 'plan.resources'),
    ('text as resource', {'resources': ['a']}, 'plan.resources[0]'),
    ('too many resources',
     {'resources': [volume(id=str(n)) for n in range(5001)]},
     'plan.resources'),
    ('twice the same',
     {'resources': [volume(), volume(name='w')]}, 'plan.resources[1].id'),
    ('resource without id',
     {'resources': [volume(), {'type': VOLUME, 'name': 'v'}]},
     'plan.resources[1].id'),
    ('resource without type',
     {'resources': [{'id': 'a', 'name': 'v'}]}, 'plan.resources[0].type'),
    ('resource without name',
     {'resources': [{'id': 'a', 'type': VOLUME}]}, 'plan.resources[0].name'),
    ('blank id', {'resources': [volume(id=' ')]}, 'plan.resources[0].id'),
    ('long id', {'resources': [volume(id=LONG)]}, 'plan.resources[0].id'),
    ('number as id', {'resources': [volume(id=7)]}, 'plan.resources[0].id'),
    ('long resource name',
     {'resources': [volume(name=LONG)]}, 'plan.resources[0].name'),
    ('long type', {'resources': [volume(type=LONG)]},
     'plan.resources[0].type'),
    ('type without plugin', {'resources': [volume(type='OS::No::Thing')]},
     'plan.resources[0].type'),
    ('NUL deep inside',
     {'resources': [volume(extra_info={'a': ['b\0']})]},
     'plan.resources[0].extra_info.a[0]'),
    ('huge number',
     {'resources': [volume(extra_info=2 ** 64)]},
     'plan.resources[0].extra_info'),
    ('list as parameters', {'parameters': []}, 'plan.parameters'),
    ('parameters of an unknown type',
     {'parameters': {'OS::No::Thing': {}}}, 'OS::No::Thing'),
    ('parameters of no resource',
     {'parameters': {f'{VOLUME}#': {}}}, 'plan.parameters'),
    ('options that are no object',
     {'parameters': {VOLUME: 'full'}}, f'plan.parameters.{VOLUME}'),
    ('unknown option',
     {'parameters': {VOLUME: {'colour': 1}}}, 'colour'),
    ('wrong value of an option',
     {'parameters': {VOLUME: {'backup_mode': 'half'}}}, 'backup_mode'),
    ('null as option',
     {'parameters': {VOLUME: {'backup_mode': None}}}, 'backup_mode'),
    ('too many keys of parameters',
     {'parameters': {f'{VOLUME}#{n}': {} for n in range(5101)}},
     'plan.parameters must not have more than 5100 fields'),
    ('long key of parameters',
     {'parameters': {f'{VOLUME}#{LONG + LONG}': {}}},
     'A name in plan.parameters must not have more than 320'),
    ('too many options',
     {'parameters': {VOLUME: {str(n): n for n in range(65)}}},
     f'plan.parameters.{VOLUME} must not have more than 64 fields'),
    ('long option', {'parameters': {VOLUME: {LONG: 1}}},
     f'A name in plan.parameters.{VOLUME} must not have more than 255'),
    ('long value of an option',
     {'parameters': {VOLUME: {'backup_mode': 'x' * 4097}}},
     f'plan.parameters.{VOLUME}.backup_mode must not have more than 4096'),
    ('long list as option',
     {'parameters': {VOLUME: {'backup_mode': [1] * 257}}},
     f'plan.parameters.{VOLUME}.backup_mode must not have more than 256'),
    ('unknown field', {'colour': 'red'}, 'colour'),
    ('status at creation', {'status': 'started'}, 'status'),
    ('an id of its own', {'id': PLAN_ID}, 'id'),
]
UPDATES = [
    ('nothing', {}, 'plan'),
    ('other status', {'status': 'running'}, 'plan.status'),
    ('null status', {'status': None}, 'plan.status'),
    ('other provider', {'provider_id': PROVIDER_ID}, 'provider_id'),
    ('blank new name', {'name': ' '}, 'plan.name'),
    ('no more resources', {'resources': []}, 'plan.resources'),
    ('new type without plugin', {'resources': [volume(type='OS::No::Thing')]},
     'plan.resources[0].type'),
    ('new wrong parameters', {'parameters': {VOLUME: {'colour': 1}}},
     'plan.parameters'),
]
CHECKPOINT_BODIES = [
    ('no plan', {'plan_id': GONE}, 'checkpoint.plan_id'),
    ('malformed plan', {'plan_id': 'x'}, 'checkpoint.plan_id'),
    ('number as plan', {'plan_id': 1}, 'checkpoint.plan_id'),
    ('text as notes', {'extra_info': 'a'}, 'checkpoint.extra_info'),
    ('null note', {'extra-info': {'a': None}}, 'checkpoint.extra-info.a'),
    ('deep note', {'extra_info': {'a': {}}}, 'checkpoint.extra_info.a'),
    ('fraction as note', {'extra_info': {'a': 1.5}},
     'checkpoint.extra_info.a'),
    ('long note', {'extra_info': {'a': 'x' * 1025}},
     'checkpoint.extra_info.a'),
    ('long name of a note', {'extra_info': {LONG: 'x'}},
     'name in checkpoint.extra_info'),
    ('blank name of a note', {'extra_info': {'': 'x'}},
     'name in checkpoint.extra_info'),
    ('many notes', {'extra_info': {str(n): n for n in range(129)}},
     'checkpoint.extra_info'),
    ('two notes that differ',
     {'extra_info': {'a': 1}, 'extra-info': {'a': 2}},
     'checkpoint.extra-info'),
]
VERIFICATIONS = [
    ('verification without provider', {'provider_id': GONE},
     'verification.provider_id'),
    ('verification without checkpoint', {'checkpoint_id': GONE},
     'verification.checkpoint_id'),
    ('verification of a malformed checkpoint', {'checkpoint_id': '1'},
     'verification.checkpoint_id'),
    ('unknown field of a verification', {'restore_target': None},
     'restore_target'),
    ('wrong verification parameters',
     {'parameters': {VOLUME: {'colour': 'red'}}}, 'colour'),
    ('text as verification parameters', {'parameters': 'x'},
     'verification.parameters'),
]
TRIGGER = {'name': 't', 'type': 'time', 'properties': {
    'format': 'crontab', 'pattern': '0 9 * * *'}}


def crontab(**properties):
    return {'properties': {'format': 'crontab', 'pattern': '0 9 * * *',
                           **properties}}


def calendar(*lines):
    return {'properties': {'format': 'calendar', 'pattern': '\n'.join(
        ['BEGIN:VEVENT', *lines, 'END:VEVENT'])}}


TRIGGERS = [
    ('no name', {'name': GONE}, 'trigger_info.name'),
    ('blank name', {'name': ' '}, 'trigger_info.name'),
    ('no type', {'type': GONE}, 'trigger_info.type'),
    ('other type', {'type': 'event'}, 'trigger_info.type'),
    ('list as type', {'type': ['time']}, 'trigger_info.type'),
    ('no properties', {'properties': GONE}, 'trigger_info.properties'),
    ('empty properties', {'properties': {}}, 'format is missing'),
    ('text as properties', {'properties': 'x'}, 'trigger_info.properties'),
    ('own id', {'id': PLAN_ID}, 'id'),
]
#: What is wrong when triggers are created and when they are changed.
PROPERTIES = [
    ('no format', {'properties': {'pattern': '0 9 * * *'}},
     'trigger_info.properties.format is missing'),
    ('other format', crontab(format='cron'),
     'trigger_info.properties.format must be one of crontab, calendar'),
    ('no pattern', {'properties': {'format': 'crontab'}},
     'trigger_info.properties.pattern is missing'),
    ('number as pattern', crontab(pattern=5),
     'trigger_info.properties.pattern'),
    ('empty pattern', crontab(pattern=''),
     'trigger_info.properties.pattern'),
    ('long pattern', crontab(pattern='x' * 20001),
     'trigger_info.properties.pattern'),
    ('one long word as pattern', crontab(pattern='x' * 20000),
     'trigger_info.properties.pattern: there must be five fields'),
    ('fields of one long word', crontab(pattern=f'{"x" * 999} * * * *'),
     'trigger_info.properties.pattern: the field minute is wrong'),
    ('a long line of an event', calendar('x' * 9999),
     'trigger_info.properties.pattern: a line is wrong'),
    ('a long part of a rule', calendar(f'RRULE:FREQ={"x" * 9999}'),
     'trigger_info.properties.pattern: RRULE is wrong'),
    ('a rule with an unknown part', calendar(
        f'RRULE:FREQ=DAILY;{"X" * 999}=1'),
     'trigger_info.properties.pattern: RRULE has an unknown part'),
    ('a rule that never comes true', calendar(
        'RRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30'),
     'trigger_info.properties.pattern: RRULE never comes true'),
    ('too often', crontab(pattern='*/5 * * * *'), '300 seconds later'),
    ('unknown property', crontab(timeformat='x'), 'timeformat'),
    ('other zone', crontab(timezone='Mars'),
     'trigger_info.properties.timezone'),
    ('number as time', crontab(start_time=5),
     'trigger_info.properties.start_time'),
    ('no time', crontab(end_time='tomorrow'),
     'trigger_info.properties.end_time'),
    ('end before the start', crontab(
        start_time='2030-01-02 00:00:00', end_time='2030-01-01 00:00:00'),
     'trigger_info.properties.end_time'),
    ('short window', crontab(window=1),
     'trigger_info.properties.window must be a whole number of seconds'),
    ('list as window', crontab(window=[900]),
     'trigger_info.properties.window'),
    ('fraction as window', crontab(window=900.5),
     'trigger_info.properties.window'),
]
TOKEN = {'type': 'token', 'token': 'secret'}
RESTORES = [
    ('restore without provider', {'provider_id': GONE},
     'restore.provider_id'),
    ('restore without checkpoint', {'checkpoint_id': GONE},
     'restore.checkpoint_id'),
    ('malformed checkpoint', {'checkpoint_id': '1'},
     'restore.checkpoint_id'),
    *((f'credentials: {name}', {'restore_auth': auth},
       f'restore.restore_auth{named}')
      for name, auth, named in (
          ('text', 'secret', ' must be of type object'),
          ('empty', {}, '.type is missing'),
          ('no type', {'password': 'secret'}, '.type is missing'),
          ('type', {'type': 'saml'}, '.type must be one of password'),
          ('unknown', {'type': 'password', 'passwort': 'x'},
           ' has an unknown field "passwort"'),
          ('long', {'type': 'token', 'token': 'x' * 9000},
           '.token must not have more than 8192'),
          ('number', {'type': 'password', 'username': 'a', 'password': 1},
           '.password must be of type string'),
          ('no password', {'type': 'password', 'username': 'a'},
           '.password is missing'),
          ('no user', {'type': 'password', 'password': 'secret'},
           '.username (or user_id) is missing'),
          ('blank password', {'type': 'password', 'username': 'a',
                              'password': ''}, '.password is missing'),
          ('no token', {'type': 'token'}, '.token is missing'),
          ('no secret', {'type': 'application_credential',
                         'application_credential_id': 'a'},
           '.application_credential_secret is missing'),
          ('no credential', {'type': 'application_credential',
                             'application_credential_secret': 'secret'},
           '.application_credential_id (or application_credential_name) is'),
          ('whose credential', {'type': 'application_credential',
                                'application_credential_name': 'a',
                                'application_credential_secret': 'secret'},
           '.user_id (or username) is missing'))),
    ('target without credentials', {'restore_target': 'http://there/v3'},
     'restore.restore_auth is missing'),
    ('long target', {'restore_target': f'http://{"x" * 250}'},
     'restore.restore_target must not have more than 255'),
    *((f'target {url!r}', {'restore_target': url, 'restore_auth': TOKEN},
       'restore.restore_target must be the URL of a Keystone')
      for url in ('there', 'file:///etc/passwd', 'ftp://there/v3', 'http://',
                  'http:///v3', 'http://me:secret@there/v3',
                  'http://there\\@elsewhere/v3', 'http://there/v3?a=b',
                  'http://there/v3#a', 'http://there:port/v3',
                  ' http://there/v3', 'http://there/v3\n',
                  'http://the re/', 'http://[::1/v3')),
    ('target that is not allowed',
     {'restore_target': 'http://there/v3', 'restore_auth': TOKEN},
     'restore.restore_target: this deployment does not restore into '
     'http://there/v3'),
    ('credentials without keys to keep them', {'restore_auth': TOKEN},
     'restore.restore_auth: this deployment keeps no credentials'),
    ('wrong restore parameters',
     {'parameters': {VOLUME: {'restore_name': 5}}}, 'restore_name'),
    ('too many keys of restore parameters',
     {'parameters': {f'{VOLUME}#{n}': {} for n in range(5101)}},
     'restore.parameters must not have more than 5100 fields'),
    ('text as restore parameters', {'parameters': 'a'},
     'restore.parameters'),
]

COPIES = [
    ('no plan', {'plan_id': GONE}, 'copy.plan_id is missing'),
    ('malformed plan', {'plan_id': 'x'}, 'copy.plan_id must be a UUID'),
    ('no target', {'target_provider_id': GONE},
     'copy.target_provider_id is missing'),
    ('null target', {'target_provider_id': None},
     'copy.target_provider_id'),
    ('unknown target', {'target_provider_id': PLAN_ID},
     f'target_provider_id: provider {PLAN_ID} is not there'),
    ('unknown field', {'target': PROVIDER_ID},
     'copy has an unknown field "target"'),
    ('text as copy parameters', {'parameters': 'a'}, 'copy.parameters'),
    ('unknown copy parameters', {'parameters': {VOLUME: {'a': 1}}},
     'parameters: '),
]


def _bodies(method, path, noun, good, changes):
    for name, change, named in changes:
        body = {key: value
                for key, value in {**copy.deepcopy(good), **change}.items()
                if value is not GONE}
        yield f'{noun}: {name}', {
            'method': method, 'path': path, 'named': named, 'status': 400,
            'body': json.dumps({noun: body}).encode()}


def _texts(method, path, noun):
    good = noun.encode()
    for name, text, named in (
            ('no body', b'', 'needs a body'),
            ('no JSON', b'{', 'not JSON'),
            ('two values', b'{} {}', 'not JSON'),
            ('list', b'[]', 'type object'),
            ('text', b'"plan"', 'type object'),
            ('null', b'null', 'type object'),
            ('empty object', b'{}', f'{noun} is missing'),
            ('null inside', b'{"%s": null}' % good, noun),
            ('list inside', b'{"%s": []}' % good, noun),
            ('more beside', b'{"%s": {}, "type": "x"}' % good, 'type'),
            ('twice the same field', b'{"%s": {}, "%s": {}}' % (good, good),
             'twice'),
            ('NaN', b'{"%s": NaN}' % good, 'NaN'),
            ('infinity', b'{"%s": -Infinity}' % good, '-Infinity'),
            ('too large a number', b'{"%s": 1e999}' % good, 'out of range'),
            ('too many digits', b'{"%s": %s}' % (good, b'1' * 5000),
             'out of range'),
            ('deep', DEEP, 'nested'),
            ('less deep', LESS_DEEP, 'nested'),
            ('not UTF-8', b'{"\xff": 1}', 'UTF-8'),
            ('byte order mark', b'\xef\xbb\xbf{}', 'not JSON'),
            ('UTF-16', '{}'.encode('utf-16'), 'UTF-8'),
            ('too large', b'"' + b'x' * (4 * 1024 * 1024) + b'"',
             'body is larger')):
        yield f'{method} {path}: {name}', {
            'method': method, 'path': path, 'body': text, 'named': named,
            'status': 413 if name == 'too large' else 400}


class BodyTest(testscenarios.WithScenarios, base.BaseTestCase):
    """Bodies that are wrong in one thing."""

    scenarios = [
        *_bodies('POST', '/plans', 'plan', PLAN, PLANS),
        *_bodies('PUT', f'/plans/{PLAN_ID}', 'plan', {}, UPDATES),
        *_bodies('POST', CHECKPOINTS, 'checkpoint', CHECKPOINT,
                 CHECKPOINT_BODIES),
        *_bodies('POST', '/restores', 'restore', RESTORE, RESTORES),
        *_bodies('POST', '/verifications', 'verification', VERIFICATION,
                 VERIFICATIONS),
        *_bodies('POST', '/triggers', 'trigger_info', TRIGGER,
                 [*TRIGGERS, *PROPERTIES]),
        *_bodies('PUT', f'/triggers/{environment.TRIGGER_ID}',
                 'trigger_info', {}, PROPERTIES),
        *_texts('POST', '/triggers', 'trigger_info'),
        *_texts('PUT', f'/triggers/{environment.TRIGGER_ID}',
                'trigger_info'),
        *_texts('POST', '/plans', 'plan'),
        *_texts('PUT', f'/plans/{PLAN_ID}', 'plan'),
        *_texts('POST', CHECKPOINTS, 'checkpoint'),
        *_bodies('POST', f'{CHECKPOINTS}/action', 'copy', COPY, COPIES),
        *_texts('POST', f'{CHECKPOINTS}/action', 'copy'),
        *_texts('POST', '/restores', 'restore'),
        *_texts('POST', '/verifications', 'verification'),
    ]

    def test_refused(self):
        api = self.useFixture(environment.Api())
        api.add_history()
        plan = api.call('GET', f'/plans/{PLAN_ID}').json
        before = api.rows()
        answer = api.call(self.method, self.path, self.body)
        self.assertEqual(self.status, answer.status_int, answer.text)
        fault, = answer.json.values()
        self.assertEqual(self.status, fault['code'])
        self.assertIn(self.named, fault['message'])
        self.assertNotIn('x' * 70, fault['message'])
        self.assertEqual(before, api.rows())
        self.assertEqual(plan, api.call('GET', f'/plans/{PLAN_ID}').json)
        self.assertEqual([], api.hints.queued)


class GoodBodyTest(testscenarios.WithScenarios, base.BaseTestCase):
    """What the bodies above are changed from is accepted, everywhere."""

    scenarios = fixtures.database_scenarios()

    def setUp(self):
        super().setUp()
        self.api = self.useFixture(environment.Api(self.database_url))

    def test_accepted(self):
        self.api.add_history()
        for path, body in (('/plans', {'plan': PLAN}),
                           (CHECKPOINTS, {'checkpoint': CHECKPOINT}),
                           (f'{CHECKPOINTS}/action', {'copy': COPY}),
                           ('/restores', {'restore': RESTORE})):
            answer = self.api.call('POST', path, body)
            self.assertEqual(200, answer.status_int, answer.text)

    def test_limits_are_inclusive(self):
        resources = [volume(id=f'{number:0255d}', name='x' * 255)
                     for number in range(5000)]
        answer = self.api.call('POST', '/plans', {'plan': dict(
            PLAN, name='n' * 255, description='d' * 255,
            resources=resources, parameters={
                f'{VOLUME}#{number}': {} for number in range(5100)})})
        self.assertEqual(200, answer.status_int, answer.text[:500])
        self.assertEqual(resources, answer.json['plan']['resources'])

    def test_any_script_is_kept(self):
        name = 'Ünïcödé 中文 🗄️ \u202e"\\'
        answer = self.api.call('POST', '/plans', {'plan': dict(
            PLAN, name=name, resources=[volume(extra_info=[name, 1.5])])})
        path = f'/plans/{answer.json["plan"]["id"]}'
        plan = self.api.call('GET', path).json['plan']
        self.assertEqual(name, plan['name'])
        self.assertEqual([name, 1.5], plan['resources'][0]['extra_info'])


#: Queries of lists, and what the error must name.
QUERIES = [
    ('limit=0', 'limit'), ('limit=-1', 'limit'), ('limit=x', 'limit'),
    ('limit=', 'limit'), ('limit=1.5', 'limit'), ('limit=%201', 'limit'),
    ('name=a&limit=1&limit=2', '"limit"'), ('a=1&' * 5000, 'query'),
    ('limit=%EF%BC%95', 'limit'),
    ('offset=1', 'offset'), ('offset=x', 'offset'),
    ('marker=nothing', 'marker'), (f'marker={PROJECT}', 'marker'),
    ('sort=colour', 'colour'), ('sort=id:up', 'sort_dir'),
    ('sort=', 'sort_key'), ('sort=id,,id', 'sort_key'),
    ('sort=id:asc:desc', 'sort_dir'), ('sort_key=credentials', 'credentials'),
    ('sort_key=id&sort_dir=sideways', 'sort_dir'),
    ('sort=id&sort_key=id', 'sort'), ('sort=id&sort_dir=asc', 'sort'),
    ('colour=red', 'colour'), ('%00=1', 'query'), ('status=%00', 'query'),
    ('status=a%0Ab', 'query'), ('status=%FF', 'query'),
    ('status=%ED%A0%80', 'query'), ('user_id=demo', 'user_id'),
]
LISTS = ['/plans', '/restores', '/verifications', '/operation_logs', CHECKPOINTS,
         f'/protectables/{VOLUME}/instances']


class QueryTest(testscenarios.WithScenarios, base.BaseTestCase):
    """Query strings that are wrong in one thing, for every list."""

    scenarios = [(path, {'path': path}) for path in LISTS]

    def setUp(self):
        super().setUp()
        self.api = self.useFixture(environment.Api())

    def test_refused(self):
        for query, named in QUERIES:
            answer = self.api.call('GET', f'{self.path}?{query}')
            self.assertEqual(400, answer.status_int, query)
            self.assertIn(named, answer.json['badRequest']['message'], query)

    def test_huge_limit_is_clipped(self):
        answer = self.api.call('GET', f'{self.path}?limit={"9" * 40}')
        self.assertEqual(200, answer.status_int)

    def test_zero_offset_is_harmless(self):
        answer = self.api.call('GET', f'{self.path}?offset=0')
        self.assertEqual(200, answer.status_int)


class FilterTest(testscenarios.WithScenarios, base.BaseTestCase):
    """Filters whose values are malformed."""

    scenarios = [(f'{path}?{query}', {'path': path, 'query': query})
                 for path, query in (
        ('/plans', 'provider_id=x'),
        (CHECKPOINTS, 'plan_id=x'),
        (CHECKPOINTS, 'start_date=today'),
        (CHECKPOINTS, 'end_date=2025-13-01'),
        (CHECKPOINTS, 'end_date=2025-11-01T00:00:00'),
        (CHECKPOINTS, 'end_date=9999-12-31'),
        (CHECKPOINTS, 'start_date=0000-01-01'),
        ('/restores', 'checkpoint_id=x'),
        ('/verifications', 'checkpoint_id=x'),
        ('/operation_logs', 'restore_id=x'),
        ('/operation_logs', 'plan_id=x'),
        ('/operation_logs', 'checkpoint_id=x'))]

    def test_refused(self):
        answer = self.useFixture(environment.Api()).call(
            'GET', f'{self.path}?{self.query}')
        self.assertEqual(400, answer.status_int, answer.text)
        self.assertIn(self.query.partition('=')[0],
                      answer.json['badRequest']['message'])


class PathTest(testscenarios.WithScenarios, base.BaseTestCase):
    """Paths with something wrong in them."""

    scenarios = [(f'{method} {path}', {
        'method': method, 'path': path, 'status': status})
        for method, path, status in (
            ('GET', '/plans/x', 400),
            ('PUT', '/plans/x', 400),
            ('DELETE', '/plans/x', 400),
            ('GET', '/restores/x', 400),
            ('GET', '/verifications/x', 400),
            ('GET', '/operation_logs/x', 400),
            ('GET', '/providers/x', 400),
            ('GET', '/providers/x/checkpoints', 400),
            ('POST', '/providers/x/checkpoints', 400),
            ('GET', f'{CHECKPOINTS}/x', 400),
            ('DELETE', f'{CHECKPOINTS}/x', 400),
            ('GET', f'/providers/x/checkpoints/{CHECKPOINT_ID}', 400),
            ('GET', '/plans/%FF', 400),
            ('GET', '/plans/%00', 400),
            ('GET', '/nothing', 404),
            ('GET', '', 404),
            ('GET', '//plans', 404),
            ('GET', '/plans//', 404),
            ('GET', '/plans/_route', 400),
            ('GET', '/list', 404),
            ('GET', '/triggers/x', 400),
            ('PUT', '/triggers/x', 400),
            ('DELETE', '/triggers/x', 400),
            ('GET', '/ships', 404),
            ('GET', f'{CHECKPOINTS}/action', 405),
            ('GET', '/plans/' + 'x' * 5000, 400),
            ('BREW', '/plans', 405),
            ('POST', f'/plans/{PLAN_ID}', 405),
            ('DELETE', '/plans', 405),
            ('POST', '/providers', 405))]

    def test_refused(self):
        api = self.useFixture(environment.Api())
        answer = api.call(self.method, self.path)
        self.assertEqual(self.status, answer.status_int, answer.text)
        fault, = answer.json.values()
        self.assertEqual(self.status, fault['code'])
        self.assertEqual(self.status == 405, 'Allow' in answer.headers)


class PatienceTest(base.BaseTestCase):
    """The largest bodies, made to take long: they are refused in time.

    What takes the square of their size would take minutes.
    """

    def _refuse(self, body, named):
        self.assertLess(len(body), 4 * 1024 * 1024)
        api = self.useFixture(environment.Api())
        began = time.process_time()
        answer = api.call('POST', '/plans', body)
        self.assertLess(time.process_time() - began, 15)
        self.assertEqual(400, answer.status_int)
        self.assertIn(named, answer.text)

    def test_one_name_twice_among_many(self):
        names = b','.join(b'"%d":1' % number for number in range(300000))
        self._refuse(b'{%s,"299999":1}' % names, '299999')

    def test_many_unknown_fields(self):
        names = b','.join(b'"%d":1' % number for number in range(300000))
        self._refuse(b'{"plan":{%s}}' % names, 'plan')

    def test_many_wrong_resources(self):
        self._refuse(b'{"plan":{"name":"n","provider_id":"%s","resources":['
                     b'%s1]}}' % (PROVIDER_ID.encode(), b'[],' * 1200000),
                     'plan.resources')


class ContentTypeTest(base.BaseTestCase):
    """Bodies must be JSON and say so, or say nothing."""

    def _post(self, content_type):
        api = self.useFixture(environment.Api())
        return api.call('POST', '/plans', {'plan': PLAN},
                        **{'Content-Type': content_type})

    def test_others(self):
        for content_type in ('text/plain', 'application/xml',
                             'application/x-www-form-urlencoded',
                             'multipart/form-data; boundary=x'):
            answer = self._post(content_type)
            self.assertEqual(415, answer.status_int)
            self.assertEqual(415, answer.json['badMediaType']['code'])

    def test_json_with_charset(self):
        self.assertEqual(200, self._post(
            'application/json; charset=utf-8').status_int)

    def test_none(self):
        self.assertEqual(200, self._post('').status_int)

    def test_bodies_of_other_methods_are_not_looked_at(self):
        api = self.useFixture(environment.Api())
        answer = api.call('GET', '/plans', b'\xff{',
                          **{'Content-Type': 'text/plain'})
        self.assertEqual(200, answer.status_int)

    def test_whatever_is_accepted_the_answer_is_json(self):
        api = self.useFixture(environment.Api())
        for accept in ('text/html', 'image/png', '*/*', 'nonsense;;;'):
            answer = api.call('GET', '/plans', Accept=accept)
            self.assertEqual(200, answer.status_int)
            self.assertEqual('application/json', answer.content_type)
