# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What operators say with Karbor's old client, and that services obey."""

import contextlib
import time
import uuid

from karbor_ng.tests.functional import base
from karbor_ng.tests.functional import client
from karbor_ng.tests.functional import shells


class OperatorTest(client.VolumeTestCase):

    scenarios = [('karbor', {'program': shells.Karbor})]

    def setUp(self):
        super().setUp()
        self.operator = self.program(base.User('admin'))

    def service(self, *words):
        """Return the row of the protection service that a list has."""
        row, = self.operator.rows(
            'service', '--binary', 'karbor-protection', *words)
        return row

    def test_a_disabled_service_claims_nothing(self):
        self.disturb()
        service = self.service()
        self.assertEqual(('enabled', 'up'),
                         (service['status'], service['state']))
        self.addCleanup(base.wait, lambda: self.is_enabled(service['id']))
        self.operator.say('service', 'disable', service['id'],
                          '--reason', 'Its disk makes noises.')
        disabled = self.service('--host', service['host'])
        self.assertEqual(('disabled', 'Its disk makes noises.'),
                         (disabled['status'], disabled['disabled_reason']))
        plan_id = self.create_plan([self.volume], base.NOOP_PROVIDER)
        path = self.protect(plan_id, base.NOOP_PROVIDER)
        time.sleep(3)
        self.assertEqual('protecting', self.one(path, 'checkpoint')['status'])
        self.check_deleted_without_a_service(path)
        path = self.protect(plan_id, base.NOOP_PROVIDER)
        self.operator.say('service', 'enable', service['id'])
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

    def test_who_is_no_operator(self):
        for noun, verb, *words in (
                ('service', 'list'), ('service', 'disable', '1'),
                ('quota', 'update', self.demo.project_id, '--plans', '1')):
            said = self.shell.say(noun, verb, *words, code=1)
            self.assertIn('(HTTP 403)', said)

    def test_quotas(self):
        project_id = f'project-{uuid.uuid4().hex}'
        changed = self.operator.fields('quota', 'update', project_id,
                                       '--plans', '7')
        self.addCleanup(base.User('admin').karbor.delete,
                        f'/quotas/{project_id}')
        shown = self.operator.fields('quota', 'show', '--tenant', project_id)
        self.assertEqual(changed, shown)
        self.assertEqual((project_id, '7', '-1'), (
            shown['id'], shown['plans'], shown['checkpoints']))
        used = self.operator.fields('quota', 'show', '--tenant', project_id,
                                    '--detail')
        self.assertEqual('in_use = 0\nlimit = 7\nreserved = 0',
                         used['plans'])
        own = self.shell.fields('quota', 'show')
        self.assertEqual(self.demo.project_id, own['id'])
        self.assertEqual(
            self.shell.fields('quota', 'defaults')['plans'],
            self.operator.fields('quota-class', 'show',
                                 'default')['plans'])

    def test_reset_state(self):
        plan_id = self.create_plan([self.volume], base.NOOP_PROVIDER)
        path = self.protect(plan_id, base.NOOP_PROVIDER)
        self.ended(path)
        _, _, provider, _, checkpoint_id = path.split('/')
        self.shell.say('checkpoint', 'reset-state', provider, checkpoint_id)
        self.assertEqual('error', self.one(path, 'checkpoint')['status'])
        self.shell.say('checkpoint', 'reset-state', '--available', provider,
                       checkpoint_id)
        self.assertEqual('available', self.one(path, 'checkpoint')['status'])
        self.shell.say('checkpoint', 'reset-state', provider, checkpoint_id)
        self.delete(path)
        said = self.shell.say('checkpoint', 'reset-state', provider,
                              checkpoint_id, code=1)
        self.assertIn('is deleted', said)
        self.assertIn('(HTTP 409)', said)
