# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Karbor's command lines, unmodified: what operators say, and that it counts.
"""

import contextlib
import time
import uuid

from karbor_ng.tests.functional import base
from karbor_ng.tests.functional import client


class OperatorTestCase(client.VolumeTestCase):

    def setUp(self):
        super().setUp()
        self.admin = base.User('admin')
        self.operator = self.program(self.admin)

    def ask(self, path, key):
        return self.request('GET', path, user=self.admin)[key]


class ServiceTest(OperatorTestCase):

    def test_list(self):
        answered = self.ask('/os-services', 'services')
        self.same_services(self.operator.rows('service'), answered)
        one = answered[0]
        self.same_services(self.operator.rows(
            'service', '--binary', one['binary'], '--host', one['host']),
            [one])
        self.assertEqual([], self.operator.rows('service', '--host',
                                                'nowhere'))

    def same_services(self, printed, answered):
        """Except for the time of the last sign of life, which goes on."""
        for row in printed:
            del row['updated_at']
            row['id'] = int(row['id'])
        self.same(printed, answered)

    def service(self):
        """Return the row of the protection service that a list has."""
        row, = self.operator.rows('service', '--binary', 'karbor-protection',
                                  '--host', client.HOST)
        return dict(row, id=str(row['id']))

    def test_a_disabled_service_claims_nothing(self):
        self.disturb()
        service = self.service()
        self.assertEqual(('enabled', 'up'),
                         (service['status'], service['state']))
        self.addCleanup(base.wait, lambda: self.is_enabled(service['id']))
        disabled = self.operator.fields('service', 'disable', service['id'],
                                        '--reason', 'Its disk makes noises.')
        self.assertEqual(('disabled', 'Its disk makes noises.'),
                         (disabled['status'], disabled['disabled_reason']))
        self.assertEqual(disabled['disabled_reason'],
                         self.service()['disabled_reason'])
        plan_id = self.create_plan([self.volume], base.NOOP_PROVIDER)
        path = self.protect(plan_id, base.NOOP_PROVIDER)
        time.sleep(3)
        self.assertEqual('protecting', self.one(path, 'checkpoint')['status'])
        self.check_deleted_without_a_service(path)
        path = self.protect(plan_id, base.NOOP_PROVIDER)
        enabled = self.operator.fields('service', 'enable', service['id'])
        self.assertEqual('enabled', enabled['status'])
        self.ended(path)
        self.delete(path)

    def is_enabled(self, service_id):
        """Enable it, whatever happens: all other tests need it."""
        with contextlib.suppress(AssertionError):
            self.operator.say('service', 'enable', service_id)
            return True

    def check_deleted_without_a_service(self, path):
        """What nobody has begun needs nobody to be deleted."""
        self.request('DELETE', path)
        self.assertEqual('deleted', self.one(path, 'checkpoint')['status'])


class QuotaTest(OperatorTestCase):

    def test_who_is_no_operator(self):
        for noun, verb, *words in (
                ('service', 'list'), ('service', 'enable', '1'),
                ('service', 'disable', '1'),
                ('quota', 'update', self.demo.project_id, '--plans', '1'),
                ('quota class', 'update', 'default', '--plans', '1')):
            said = self.shell.say(noun, verb, *words, code=1)
            self.assertIn('(HTTP 403)', said)

    def test_update(self):
        project_id = f'project-{uuid.uuid4().hex}'
        changed = self.operator.fields('quota', 'update', project_id,
                                       '--plans', '7')
        self.addCleanup(self.admin.karbor.delete, f'/quotas/{project_id}')
        shown = self.operator.fields('quota', 'show', '--tenant', project_id)
        self.assertEqual(changed, shown)
        answered = self.ask(f'/quotas/{project_id}', 'quota')
        self.assertEqual((project_id, 7), (answered['id'],
                                           answered['plans']))
        self.same_whole(shown, answered)
        default = self.operator.fields('quota', 'defaults', '--tenant',
                                       project_id)
        self.same_whole(default, self.ask(f'/quotas/{project_id}/defaults',
                                          'quota'))

    def test_limits_hold(self):
        """Of a project with one plan, which may have one, is told so."""
        self.make_plan(self.volume)
        project_id = self.demo.project_id
        self.operator.say('quota', 'update', project_id, '--plans', '1')
        self.addCleanup(self.admin.karbor.delete, f'/quotas/{project_id}')
        used = self.shell.fields('quota', 'show', '--detail')
        self.assertEqual((project_id, 'in_use = 1\nlimit = 1\nreserved = 0'),
                         (used['id'], used['plans']))
        said = self.shell.say(
            'plan', 'create', self.name, base.NOOP_PROVIDER,
            f'{self.volume.id}={base.VOLUME}=data', code=1)
        self.assertIn('(HTTP 413)', said)
        self.same_whole(self.shell.fields('quota', 'show'),
                        self.one(f'/quotas/{project_id}', 'quota'))

    def test_classes(self):
        name = f'class-{uuid.uuid4().hex[:8]}'
        changed = self.operator.fields('quota class', 'update', name,
                                       '--plans', '9')
        shown = self.operator.fields('quota class', 'show', name)
        self.assertEqual(changed, shown)
        answered = self.ask(f'/quota_classes/{name}', 'quota_class')
        self.assertEqual((name, 9), (answered['id'], answered['plans']))
        self.same_whole(shown, answered)
        self.assertEqual(
            str(self.shell.fields('quota', 'defaults')['plans']),
            str(self.operator.fields('quota class', 'show',
                                     'default')['plans']))
