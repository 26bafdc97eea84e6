# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Karbor's command lines, unmodified: checkpoints, restores and their log."""

import datetime
import os
import uuid

from karbor_ng.tests.functional import base
from karbor_ng.tests.functional import client
from karbor_ng.tests.functional import shells


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
        newest = self.shell.rows('operationlog', '--limit', '100',
                                 '--sort', 'created_at:desc')
        row = next(row for row in newest
                   if row['checkpoint_id'] == checkpoint_id
                   and row['operation_type'] == kind)
        answered = self.one(f'/operation_logs/{row["id"]}', 'operation_log')
        self.same(row, answered)
        self.same_whole(
            self.shell.fields('operationlog', 'show', row['id']), answered)

    def test_list(self):
        paths = [self.make_checkpoint(self.plan)[0] for _ in range(2)]
        newest = [self.ended(path) for path in reversed(paths)]
        words = (base.NOOP_PROVIDER, '--plan_id', self.plan['id'],
                 '--sort', 'created_at:desc')
        rows = self.shell.rows('checkpoint', *words)
        self.same(rows, newest)
        self.assertEqual(
            f'Name: {self.plan["name"]}\nId: {self.plan["id"]}',
            rows[0]['protection_plan'])
        self.same(self.shell.rows('checkpoint', *words, '--limit', '1'),
                  newest[:1])
        self.same(self.shell.rows('checkpoint', *words, '--marker',
                                  newest[0]['id']), newest[1:])
        self.check_dates(words, newest)

    def check_dates(self, words, newest):
        today = datetime.datetime.now(datetime.UTC).date()
        before = str(today - datetime.timedelta(2))
        after = str(today + datetime.timedelta(2))
        self.same(self.shell.rows('checkpoint', *words, '--start_date',
                                  before, '--end_date', after), newest)
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

    def test_restore(self):
        path, made = self.make_checkpoint(self.plan)
        self.ended(path)
        restore = self.make_restore(
            path, '--parameters',
            f'resource_type={base.VOLUME},restore_name=again')
        row = self.restored(restore['id'])
        answered = self.one(f'/restores/{restore["id"]}', 'restore')
        self.assertEqual({base.VOLUME: {'restore_name': 'again'}},
                         answered['parameters'])
        self.same(row, answered)
        self.same_whole(
            self.shell.fields('restore', 'show', restore['id']), answered)
        self.assertIn(restore['id'], {
            row['id'] for row in self.shell.rows(
                'restore', '--status', 'success', '--sort', 'id:asc')})
        self.check_log(made['id'], 'restore')

    def test_other_clouds_are_refused(self):
        """Restoring elsewhere is a command that the API turns down."""
        path, _ = self.make_checkpoint(self.plan)
        self.ended(path)
        _, _, provider, _, checkpoint_id = path.split('/')
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
