# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Karbor's plugin in the ``openstack`` of today: what still can be said.

Separate because it is a program that users need not take: each command is
given once, and what it can not do is named. The others are tested with all
their options.
"""

from karbor_ng.tests.functional import base
from karbor_ng.tests.functional import client
from karbor_ng.tests.functional import shells

PROPERTIES = 'format=crontab,pattern=0 2 29 2 *'


class NewestTestCase(client.VolumeTestCase):

    scenarios = [('newest', {'program': shells.NewestOpenStack})]

    def check_shown(self, noun, path, key, *where):
        """Show a thing; return what the API answers."""
        answered = self.one(path, key)
        self.same_whole(self.shell.fields(noun, 'show', *where,
                                          answered['id']), answered)
        return answered

    def check_no_list(self, noun, *where):
        """The plugin's formats are none for the libraries of today."""
        said = self.shell.say(noun, 'list', *where, code=1)
        self.assertIn('Invalid formatter provided', said)


class ProtectionTest(NewestTestCase):

    def test_providers(self):
        path = f'/providers/{base.NOOP_PROVIDER}'
        answered = self.check_shown('provider', path, 'provider')
        self.same(self.listed('provider', {base.NOOP_PROVIDER}), [answered])

    def test_protectables(self):
        self.assertIn({'protectable_type': base.VOLUME},
                      self.shell.rows('protectable'))
        shown = self.shell.fields('protectable', 'show', base.PROJECT)
        self.assertIn(base.VOLUME, shown['dependent_types'])
        noun = 'protectable instance'
        self.check_no_list(noun, base.VOLUME)
        self.check_shown(
            noun, f'/protectables/{base.VOLUME}/instances/{self.volume.id}',
            'instance', base.VOLUME)

    def test_plans(self):
        plan = self.make_plan(self.volume)
        path = f'/plans/{plan["id"]}'
        self.shell.say('plan', 'update', plan['id'], '--name', 'new')
        answered = self.check_shown('plan', path, 'plan')
        self.assertEqual('new', answered['name'])
        self.same(self.shell.rows('plan', '--name', 'new'), [answered])
        self.shell.say('plan', 'delete', plan['id'])
        self.request('GET', path, expect=404)

    def test_checkpoints(self):
        provider = base.NOOP_PROVIDER
        path, made = self.make_checkpoint(self.make_plan(self.volume))
        self.ended(path)
        self.check_no_list('checkpoint', provider)
        self.check_shown('checkpoint', path, 'checkpoint', provider)
        self.check_restore(path)
        self.check_verification(provider, made['id'])
        self.shell.say('checkpoint', 'reset-state', provider, made['id'])
        self.assertEqual('error', self.one(path, 'checkpoint')['status'])
        self.shell.say('checkpoint', 'delete', provider, made['id'])
        self.ended(path, 'deleted')
        logs = self.one('/operation_logs?sort=id:asc', 'operation_logs')
        self.same(self.shell.rows('operationlog', '--sort', 'id:asc'), logs)
        self.check_shown('operationlog', f'/operation_logs/{logs[0]["id"]}',
                         'operation_log')

    def check_restore(self, path):
        made = self.make_restore(path)
        found = f'/restores/{made["id"]}'
        base.wait(lambda: self.one(found, 'restore')['status'] == 'success',
                  what=f'end of {found}')
        self.check_no_list('restore')
        self.check_shown('restore', found, 'restore')

    def check_verification(self, *what):
        made = self.shell.fields('verification', 'create', *what)
        found = f'/verifications/{made["id"]}'
        base.wait(lambda: self.one(
            found, 'verification')['status'] == 'success',
            what=f'end of {found}')
        self.check_no_list('verification')
        self.check_shown('verification', found, 'verification')


class ScheduleTest(NewestTestCase):

    def test_triggers_and_operations(self):
        path = self.trigger()
        answered = self.check_shown('trigger', path, 'trigger_info')
        self.same(self.shell.rows('trigger', '--name', self.name), [answered])
        self.check_operation(answered['id'])
        self.shell.say('trigger', 'update', answered['id'], '--properties',
                       PROPERTIES.replace('0 2', '0 3'))
        self.assertEqual('0 3 29 2 *', self.one(path, 'trigger_info')[
            'properties']['pattern'])
        self.shell.say('trigger', 'delete', answered['id'])
        self.request('GET', path, expect=404)

    def trigger(self):
        said = self.shell.say('trigger', 'create', self.name, 'time',
                              PROPERTIES, code=1)
        self.assertIn("'str' object has no attribute 'get'", said)
        made = self.request('POST', '/triggers', {'trigger_info': {
            'name': self.name, 'type': 'time', 'properties': dict(
                part.split('=') for part in PROPERTIES.split(','))}})
        path = f'/triggers/{made["trigger_info"]["id"]}'
        self.addCleanup(self.demo.karbor.delete, path)
        return path

    def check_operation(self, trigger_id):
        noun, plan = 'scheduledoperation', self.make_plan(self.volume)
        said = self.shell.say(
            noun, 'create', self.name, 'protect', trigger_id,
            f'provider_id={base.NOOP_PROVIDER},plan_id={plan["id"]}', code=1)
        self.assertIn('operation_definition must be of type object', said)
        made = self.request('POST', '/scheduled_operations', {
            'scheduled_operation': {
                'name': self.name, 'operation_type': 'protect',
                'trigger_id': trigger_id, 'operation_definition': {
                    'provider_id': base.NOOP_PROVIDER,
                    'plan_id': plan['id']}}})['scheduled_operation']
        path = f'/scheduled_operations/{made["id"]}'
        self.addCleanup(self.demo.karbor.delete, path)
        self.check_no_list(noun)
        self.check_shown(noun, path, 'scheduled_operation')
        self.shell.say(noun, 'delete', made['id'])
        self.request('GET', path, expect=404)


class OperatorTest(NewestTestCase):

    def setUp(self):
        super().setUp()
        self.admin = base.User('admin')
        self.shell = self.program(self.admin)

    def test_services(self):
        """The one that nothing here needs is disabled for a moment."""
        row, = self.shell.rows('service', '--host', client.HOST, '--binary',
                               'karbor-operationengine')
        service_id = str(row['id'])
        self.addCleanup(self.admin.karbor.put, f'/os-services/{service_id}',
                        json={'status': 'enabled'})
        for verb in 'disable', 'enable':
            changed = self.shell.fields('service', verb, service_id)
            self.assertEqual(f'{verb}d', changed['status'])

    def test_quotas(self):
        project_id = self.demo.project_id
        changed = self.shell.fields('quota', 'update', project_id,
                                    '--plans', '7')
        self.addCleanup(self.admin.karbor.delete, f'/quotas/{project_id}')
        self.assertEqual(7, changed['plans'])
        shown = self.shell.fields('quota', 'show', '--tenant', project_id)
        self.same_whole(shown, self.one(f'/quotas/{project_id}', 'quota'))
        default = self.shell.fields('quota', 'defaults')
        changed = self.shell.fields('quota class', 'update', self.name,
                                    '--plans', '9')
        self.assertEqual(9, changed['plans'])
        self.assertEqual(changed, self.shell.fields(
            'quota class', 'show', self.name))
        self.assertEqual(default['plans'], self.shell.fields(
            'quota class', 'show', 'default')['plans'])
