# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Karbor's command lines, unmodified: providers, protectables and plans.

Where a program can not do something by its own fault, a test says so by name.
"""

import uuid

from karbor_ng.tests.functional import base
from karbor_ng.tests.functional import client
from karbor_ng.tests.functional import shells

#: Providers of the stack; tests have others for a while.
STANDING = frozenset([base.SWIFT_PROVIDER, base.FILESYSTEM_PROVIDER,
                      base.NOOP_PROVIDER])
NOUN = 'protectable instance'


class ProviderTest(client.ClientTestCase):

    def test_list(self):
        every = [item for item in self.one('/providers?sort=name:asc',
                                           'providers')
                 if item['id'] in STANDING]
        up, down = ('--sort', 'name:asc'), self.shell.descending('name')
        self.same(self.listed('provider', STANDING, *up), every)
        self.same(self.listed('provider', STANDING, *down), every[::-1])
        self.same(self.listed('provider', STANDING, *up, '--marker',
                              every[0]['id']), every[1:])
        self.assertEqual(2, len(self.shell.rows('provider', '--limit', '2')))
        noop, = [item for item in every if item['id'] == base.NOOP_PROVIDER]
        for field in ('name', 'description'):
            self.same(self.shell.rows('provider', f'--{field}', noop[field]),
                      [noop])

    def test_show(self):
        path = f'/providers/{base.NOOP_PROVIDER}'
        self.same_whole(
            self.shell.fields('provider', 'show', base.NOOP_PROVIDER),
            self.one(path, 'provider'))

    def test_unknown(self):
        said = self.shell.say('provider', 'show', str(uuid.uuid4()), code=1)
        self.assertRegex(said, 'HTTP 404|No provider with a name or ID')


class ProtectableTest(client.VolumeTestCase):

    def test_types(self):
        types = self.one('/protectables', 'protectable_type')
        self.assertIn(base.VOLUME, types)
        self.assertEqual(sorted(types), sorted(
            row['protectable_type']
            for row in self.shell.rows('protectable')))
        shown = self.shell.fields('protectable', 'show', base.PROJECT)
        self.same(shown, self.one(f'/protectables/{base.PROJECT}',
                                  'protectable_type'), key='name')
        self.assertIn(base.VOLUME, shown['dependent_types'])

    def test_instances(self):
        volume = self.make_volume()
        self.addCleanup(self.demo.delete_volume, volume.id)
        path = f'/protectables/{base.VOLUME}/instances'
        answered = self.one(f'{path}?sort=id:asc', 'instances')
        self.assertEqual(sorted([self.volume.id, volume.id]),
                         [item['id'] for item in answered])
        self.check_list(NOUN, answered, base.VOLUME)
        # Parameters are for kinds of things that the stack has not.
        self.same(self.shell.rows(
            NOUN, base.VOLUME, '--sort', 'id:asc', '--type', base.VOLUME,
            '--parameters', 'colour=blue'), answered)
        self.assertEqual([], self.shell.rows(NOUN, base.VOLUME, '--type',
                                             base.PROJECT))
        self.check_shown(self.one(f'{path}/{volume.id}', 'instance'))
        project, = self.shell.rows(NOUN, base.PROJECT)
        self.assertEqual(self.demo.project_id, project['id'])
        self.assertIn(volume.id, {
            child['id'] for child
            in shells.meaning(project['dependent_resources'])})

    def check_shown(self, answered):
        for words in (), ('--parameters', 'colour=blue'):
            self.same_whole(self.shell.fields(
                NOUN, 'show', base.VOLUME, answered['id'], *words), answered)

    def test_unknown(self):
        said = self.shell.say('protectable instance', 'show', base.VOLUME,
                              str(uuid.uuid4()), code=1)
        self.assertIn('(HTTP 404)', said)


class PlanTest(client.VolumeTestCase):

    def test_create_and_show(self):
        plan = self.make_plan(
            self.volume, base.NOOP_PROVIDER, '--description', 'in words',
            '--parameters', f'resource_type={base.VOLUME},name=all',
            '--parameters', f'resource_type={base.VOLUME},'
            f'resource_id={self.volume.id},name=one')
        answered = self.one(f'/plans/{plan["id"]}', 'plan')
        self.assertEqual('in words', answered['description'])
        self.assertEqual(
            {base.VOLUME: {'name': 'all'},
             f'{base.VOLUME}#{self.volume.id}': {'name': 'one'}},
            answered['parameters'])
        self.same_whole(plan, answered)
        self.same_whole(self.shell.fields('plan', 'show', plan['id']),
                        answered)

    def test_create_with_json(self):
        plan = self.make_plan(
            self.volume, base.FILESYSTEM_PROVIDER, '--parameters-json',
            '{"OS::Cinder::Volume": {"backup_mode": "full"}}')
        answered = self.one(f'/plans/{plan["id"]}', 'plan')
        self.assertEqual({base.VOLUME: {'backup_mode': 'full'}},
                         answered['parameters'])
        self.same_whole(plan, answered)

    def test_create_of_nothing(self):
        said = self.shell.say(
            'plan', 'create', 'no', base.NOOP_PROVIDER,
            f'{uuid.uuid4()}={base.VOLUME}=gone', code=1)
        self.assertIn('can not be found', said)

    def test_list(self):
        for words in ('one', 'two'):
            self.make_plan(self.volume, base.NOOP_PROVIDER,
                           '--description', words)
        answered = self.one('/plans?sort=id:asc', 'plans')
        self.check_list('plan', answered, '--name', self.name)
        self.same(self.shell.rows('plan', '--description', 'two',
                                  '--status', 'suspended'),
                  [item for item in answered
                   if item['description'] == 'two'])
        for words in ('--status', 'started'), ('--name', 'another'):
            self.assertEqual([], self.shell.rows('plan', *words))
        self.check_everyones('plan', answered)

    def test_update(self):
        plan = self.make_plan(self.volume)
        printed = self.shell.fields(
            'plan', 'update', plan['id'], '--name', 'new', '--description',
            'other words', '--status', 'started', '--resources',
            f'{self.volume.id}={base.VOLUME}=renamed')
        answered = self.one(f'/plans/{plan["id"]}', 'plan')
        self.assertEqual(
            ('new', 'other words', 'started', 'renamed'),
            (answered['name'], answered['description'], answered['status'],
             answered['resources'][0]['name']))
        self.same_whole(printed, answered)

    def test_delete_by_id_and_name(self):
        name = f'other-{self.name}'
        first = self.make_plan(self.volume)
        second = self.make_plan(self.volume)
        self.shell.say('plan', 'update', second['id'], '--name', name)
        self.shell.say('plan', 'delete', first['id'], name)
        for plan in (first, second):
            self.request('GET', f'/plans/{plan["id"]}', expect=404)
        said = self.shell.say('plan', 'delete', first['id'], code=1)
        self.assertIn('No plan with a name or ID', said)


class FaultTest(client.VolumeTestCase):
    """What the programs can not do by their own fault.

    A test that fails here is good news: documents then say too much.
    """

    def test_names_with_a_comma_can_not_be_put_in_a_plan(self):
        said = self.shell.say(
            'plan', 'create', 'no', base.NOOP_PROVIDER,
            f'{uuid.uuid4()}={base.VOLUME}=one, two', code=1)
        self.assertIn('Unable to parse parameter resources', said)

    def test_lists_sort_by_four_keys_only(self):
        self.shell.say('operationlog', 'list', '--sort', 'operation_type',
                       code=1)
        self.request('GET', '/operation_logs?sort=operation_type:asc')

    def test_plans_are_shown_by_name_by_one_program_only(self):
        plan = self.make_plan(self.volume)
        if self.program is shells.OpenStack:
            shown = self.shell.fields('plan', 'show', plan['name'])
            self.assertEqual(plan['id'], shown['id'])
        else:
            said = self.shell.say('plan', 'show', plan['name'], code=1)
            self.assertIn('must be a UUID', said)
