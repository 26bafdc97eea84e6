# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Schedules on the stack: real trusts, and runs that end as they should."""

import json
import os
import types
import uuid

from keystoneauth1 import session
from keystoneauth1.identity import v3

from karbor_ng.tests.functional import base
from karbor_ng.tests.functional import scheduling
from karbor_ng.tests.functional import secrecy


class SchedulesTest(scheduling.Scheduling):

    def test_runs_become_checkpoints(self):
        path = self.schedule()
        run = self.succeeded(path)[0]
        found = self.request(
            'GET', f'/providers/{base.NOOP_PROVIDER}/checkpoints/'
            f'{run["checkpoint_id"]}')['checkpoint']
        self.assertEqual('available', found['status'])
        scheduled = path.rpartition('/')[2]
        notes = json.loads(found['extra_info'])
        self.assertEqual(('operation-engine', scheduled, run['trigger_id']), (
            notes['created_by'], notes['scheduled_operation_id'],
            notes['trigger_id']))
        self.stop(path)
        self.assertEqual(
            len(self.runs(path)),
            len({one['planned_at'] for one in self.runs(path)}))

    def test_retention(self):
        path = self.schedule('retention_protect', max_backups=2)
        self.succeeded(path, 4)
        self.stop(path)

        def look():
            kept = self.request('GET', f'{path}/retention')['retention']
            return kept if len(kept) == 2 else None
        kept = base.wait(look, what='two checkpoints')
        made = [run['checkpoint_id'] for run in self.runs(path)
                if run['checkpoint_id']]
        self.assertEqual(made[-1:-3:-1],
                         [one['checkpoint_id'] for one in kept])
        self.assertEqual({'succeeded'}, {
            run['status'] for run in self.runs(path)
            if run['status'] != 'skipped'})

    def test_a_volume_is_backed_up_with_a_trust(self):
        volume = self.demo.create_volume(os.urandom(base.MIB))
        self.addCleanup(self.demo.delete_volume, volume.id)
        self.plan_id = self.create_plan([volume], base.SWIFT_PROVIDER)
        path = self.schedule(provider_id=base.SWIFT_PROVIDER)
        run = self.succeeded(path)[0]
        self.stop(path)
        backups = self.demo.backups_of(volume.id)
        self.assertEqual({'available'}, {one.status for one in backups})
        made = [one['checkpoint_id'] for one in self.runs(path)
                if one['checkpoint_id']]
        self.assertEqual(len(made), len(backups))
        self.assertIn(run['checkpoint_id'], made)
        for checkpoint_id in reversed(made):
            checkpoint = (f'/providers/{base.SWIFT_PROVIDER}/checkpoints/'
                          f'{checkpoint_id}')
            self.request('DELETE', checkpoint)
            self.ended(checkpoint, 'deleted')

    def test_a_trust_lasts_from_the_first_to_the_last(self):
        self.demo = base.User('demo2')
        self.plan_id = self.create_plan(
            [types.SimpleNamespace(id=str(uuid.uuid4()), name='nothing')],
            base.NOOP_PROVIDER)
        self.assertEqual([], self.trusts())
        paths = [self.schedule() for _number in range(2)]
        trust, = self.trusts()
        self.assertTrue(trust['impersonation'])
        self.request('DELETE', paths[0])
        self.assertEqual([trust['id']], [one['id'] for one in self.trusts()])
        admin = base.User('admin')
        self.request('DELETE', paths[1], user=admin)
        self.assertEqual([], self.trusts())

    def test_a_revoked_trust_disables_and_can_be_renewed(self):
        self.demo = base.User('demo2')
        self.plan_id = self.create_plan(
            [types.SimpleNamespace(id=str(uuid.uuid4()), name='nothing')],
            base.NOOP_PROVIDER)
        path = self.schedule()
        self.succeeded(path)
        for trust in self.trusts():
            self.demo.cloud.identity.delete(f'/OS-TRUST/trusts/{trust["id"]}')

        def look():
            found = self.request('GET', path)['scheduled_operation']
            return None if found['enabled'] else found
        found = base.wait(look, what=f'{path} disabled')
        self.assertIn('revoked', found['disabled_reason'])
        before = len(self.runs(path, '&status=succeeded'))
        found = self.request('PUT', path, {
            'scheduled_operation': {'enabled': 1}})['scheduled_operation']
        self.assertEqual((1, None),
                         (found['enabled'], found['disabled_reason']))
        self.succeeded(path, before + 1)

    def test_application_credentials_can_not_schedule(self):
        made = self.demo.cloud.identity.create_application_credential(
            self.demo.cloud.current_user_id, f'test-{uuid.uuid4().hex[:8]}')
        self.addCleanup(
            self.demo.cloud.identity.delete_application_credential,
            self.demo.cloud.current_user_id, made.id)
        robot = base.Karbor(
            session.Session(v3.ApplicationCredential(
                self.demo.cloud.session.auth.auth_url,
                application_credential_id=made.id,
                application_credential_secret=secrecy.note(
                    'application credential', made.secret))),
            service_type='data-protect', raise_exc=False)
        said = self.schedule(user=types.SimpleNamespace(karbor=robot),
                             expect=403)
        self.assertIn('application credentials',
                      said['forbidden']['message'])
