# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Karbor's command lines, unmodified: checkpoints, restores and their log."""

import datetime
import os
import uuid

from karbor_ng.tests.functional import base
from karbor_ng.tests.functional import client
from karbor_ng.tests.functional import shells
from karbor_ng.tests.functional import tenant

DATA = os.urandom(base.MIB)


class CheckpointTest(client.VolumeTestCase):

    def setUp(self):
        super().setUp()
        self.plan = self.make_plan(self.volume)

    def test_life(self):
        """Create, list, show, delete, and the log of it all."""
        path, made = self.make_checkpoint(
            self.plan, '--extra_info', 'reason=upgrade', 'by=hand')
        self.assertEqual('protecting', made['status'])
        # A program that decodes the graph at once must find one.
        self.assertEqual([{}, []], shells.meaning(made['resource_graph']))
        answered = self.ended(path)
        self.assertEqual({'reason': 'upgrade', 'by': 'hand'},
                         shells.meaning(answered['extra_info']))
        printed = self.shell.fields('checkpoint', 'show',
                                    base.NOOP_PROVIDER, made['id'])
        self.same_whole(printed, answered)
        self.assertIn(self.plan['id'], printed['protection_plan'])
        self.check_log(made['id'], 'protect')
        self.shell.say('checkpoint', 'delete', base.NOOP_PROVIDER,
                       made['id'])
        self.ended(path, 'deleted')
        self.check_log(made['id'], 'delete')

    def check_log(self, checkpoint_id, kind):
        row, = [row for row in self.shell.rows('operationlog')
                if row['checkpoint_id'] == checkpoint_id
                and row['operation_type'] == kind]
        answered = self.one(f'/operation_logs/{row["id"]}', 'operation_log')
        self.same(row, answered)
        self.same_whole(
            self.shell.fields('operationlog', 'show', row['id']), answered)

    def test_list(self):
        paths = [self.make_checkpoint(self.plan)[0] for _ in range(2)]
        answered = sorted((self.ended(path) for path in paths),
                          key=lambda item: item['id'])
        words = (base.NOOP_PROVIDER, '--plan_id', self.plan['id'])
        self.check_list('checkpoint', answered, *words)
        row = self.shell.rows('checkpoint', *words)[0]
        self.assertEqual(
            f'Name: {self.plan["name"]}\nId: {self.plan["id"]}',
            row['protection_plan'])
        self.check_dates((*words, '--sort', 'id:asc'), answered)
        self.check_everyones('checkpoint', answered, *words,
                             tenant='--project_id')
        self.check_logs()

    def check_logs(self):
        """What is in the log by now, as lists go."""
        answered = self.one(
            '/operation_logs?status=available&sort=id:asc', 'operation_logs')
        words = ('--status', 'available')
        self.check_list('operationlog', answered, *words)
        self.check_everyones('operationlog', answered, *words)

    def check_dates(self, words, answered):
        today = datetime.datetime.now(datetime.UTC).date()
        before = str(today - datetime.timedelta(2))
        after = str(today + datetime.timedelta(2))
        self.same(self.shell.rows('checkpoint', *words, '--start_date',
                                  before, '--end_date', after), answered)
        self.assertEqual([], self.shell.rows('checkpoint', *words,
                                             '--start_date', after))

    def test_unknown(self):
        self.shell.say('checkpoint', 'delete', base.NOOP_PROVIDER,
                       str(uuid.uuid4()), code=1)
        said = self.shell.say('checkpoint', 'show', base.NOOP_PROVIDER,
                              str(uuid.uuid4()), code=1)
        self.assertIn('(HTTP 404)', said)

    def test_reset_state(self):
        path, made = self.make_checkpoint(self.plan)
        self.ended(path)
        words = ('checkpoint', 'reset-state', base.NOOP_PROVIDER, made['id'])
        self.shell.say(*words)
        self.assertEqual('error', self.one(path, 'checkpoint')['status'])
        self.shell.say(*words, '--available')
        self.ended(path)
        self.shell.say(*words)
        self.delete(path)
        said = self.shell.say(*words, code=1)
        self.assertIn('is deleted', said)
        self.assertIn('(HTTP 409)', said)


class RestoreTest(client.VolumeTestCase):

    def setUp(self):
        super().setUp()
        self.path, _ = self.make_checkpoint(self.make_plan(self.volume))
        self.ended(self.path)

    def test_restore(self):
        restore = self.make_restore(
            self.path, '--parameters',
            f'resource_type={base.VOLUME},restore_name=again')
        row = self.restored(restore['id'])
        answered = self.one(f'/restores/{restore["id"]}', 'restore')
        self.assertEqual({base.VOLUME: {'restore_name': 'again'}},
                         answered['parameters'])
        self.same(row, answered)
        self.same_whole(
            self.shell.fields('restore', 'show', restore['id']), answered)

    def test_list(self):
        for number in range(2):
            self.restored(self.make_restore(
                self.path, '--parameters-json',
                f'{{"{base.VOLUME}": {{"restore_name": "{number}"}}}}'
            )['id'])
        answered = self.one('/restores?sort=id:asc', 'restores')
        self.check_list('restore', answered, '--status', 'success')
        self.assertEqual([], self.shell.rows('restore', '--status',
                                             'started'))
        self.check_everyones('restore', answered)

    def test_clouds_that_are_not_known_are_refused(self):
        _, _, provider, _, checkpoint_id = self.path.split('/')
        said = self.shell.say(
            'restore', 'create', provider, checkpoint_id,
            '--restore_target', 'http://elsewhere/v3', '--restore_username',
            'somebody', '--restore_password', 'secret', code=1)
        self.assertIn('restore_target', said)
        self.assertIn('(HTTP 400)', said)
        self.assertNotIn('secret', said)


class BytesTest(client.ClientTestCase):
    """A volume's way into a backup by one program, and out by the other."""

    scenarios = [('both', {'program': shells.Karbor})]

    def test_bytes_come_back(self):
        volume = self.demo.create_volume(os.urandom(base.MIB))
        self.addCleanup(self.demo.delete_volume, volume.id)
        digest = base.volume_digest(volume.id)
        plan = self.make_plan(
            volume, base.FILESYSTEM_PROVIDER, '--parameters',
            f'resource_type={base.VOLUME},backup_mode=full')
        path, made = self.make_checkpoint(plan)
        self.ended(path)
        printed = self.shell.fields('checkpoint', 'show',
                                    base.FILESYSTEM_PROVIDER, made['id'])
        self.same_whole(printed, self.one(path, 'checkpoint'))
        self.shell = shells.OpenStack(self.demo)
        restore = self.make_restore(
            path, '--parameters-json',
            '{"OS::Cinder::Volume": {"restore_name": "back"}}')
        self.restored(restore['id'])
        self.check_volume(restore['id'], digest)

    def check_volume(self, restore_id, digest):
        shown = self.shell.fields('restore', 'show', restore_id)
        key, = shells.meaning(shown['resources_status'])
        volume_id = key.partition('#')[2]
        self.addCleanup(self.demo.delete_volume, volume_id)
        found = self.demo.cloud.block_storage.get_volume(volume_id)
        self.assertEqual('back', found.name)
        self.assertEqual(digest, base.volume_digest(volume_id))


class ElsewhereTest(client.ClientTestCase):
    """An image goes to somebody else, who tells the password."""

    def test_restore(self):
        path = self.protected(self.make_image())
        other = tenant.Tenant()
        self.addCleanup(other.remove)
        auth = other.cloud.config.get_auth_args()
        made = self.make_restore(
            path, '--restore_target', auth['auth_url'],
            '--restore_username', auth['username'],
            '--restore_password', auth['password'])
        self.restored(made['id'])
        answered = self.one(f'/restores/{made["id"]}', 'restore')
        self.assertEqual(
            (auth['auth_url'], '***'),
            (answered['restore_target'],
             answered['restore_auth']['password']))
        self.same_whole(
            self.shell.fields('restore', 'show', made['id']), answered)
        image, = other.images()
        self.assertEqual(DATA, other.cloud.image.download_image(
            image.id).content)

    def make_image(self):
        made = self.demo.cloud.image.create_image(
            name=self.name, data=DATA, disk_format='raw',
            container_format='bare', validate_checksum=False)
        self.addCleanup(self.demo.cloud.image.delete_image, made.id)
        return made.id

    def protected(self, image_id):
        plan = self.shell.fields(
            'plan', 'create', self.name, base.FILESYSTEM_PROVIDER,
            f'{image_id}=OS::Glance::Image=picture')
        self.addCleanup(self.demo.karbor.delete, f'/plans/{plan["id"]}')
        path, _ = self.make_checkpoint(plan)
        self.ended(path)
        return path
