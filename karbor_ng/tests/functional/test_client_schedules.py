# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Karbor's command lines, unmodified: scheduled operations.

Where a program can not do something by its own fault, a test says so by name.
"""

import uuid

from karbor_ng.tests.functional import base
from karbor_ng.tests.functional import client
from karbor_ng.tests.functional import shells

NOUN = 'scheduledoperation'
#: Nothing is due while tests run.
YEARLY = {'format': 'crontab', 'pattern': '0 2 29 2 *'}


class ScheduledOperationTest(client.VolumeTestCase):

    def setUp(self):
        super().setUp()
        self.plan = self.make_plan(self.volume)
        made = self.request('POST', '/triggers', {'trigger_info': {
            'name': self.name, 'type': 'time', 'properties': YEARLY}})
        self.trigger_id = made['trigger_info']['id']
        self.addCleanup(self.demo.karbor.delete,
                        f'/triggers/{self.trigger_id}')

    def make(self, kind='protect', **definition):
        """Schedule, if the program can; return its path."""
        definition = {'provider_id': base.NOOP_PROVIDER,
                      'plan_id': self.plan['id'], **definition}
        words = (NOUN, 'create', self.name, kind, self.trigger_id, ','.join(
            f'{key}={value}' for key, value in definition.items()))
        if self.program is shells.Karbor:
            made = self.shell.fields(*words)
        else:
            # It sends the text as it is instead of an object.
            said = self.shell.say(*words, code=1)
            self.assertIn('operation_definition must be of type object', said)
            made = self.request('POST', '/scheduled_operations', {
                'scheduled_operation': {
                    'name': self.name, 'operation_type': kind,
                    'trigger_id': self.trigger_id,
                    'operation_definition': definition}}
            )['scheduled_operation']
        path = f'/scheduled_operations/{made["id"]}'
        self.addCleanup(self.demo.karbor.delete, path)
        if self.program is shells.Karbor:
            self.same_whole(made, self.one(path, 'scheduled_operation'))
        return path

    def test_create_and_show(self):
        for kind, numbers in (('protect', {}), (
                'retention_protect', {'max_backups': 3,
                                      'retention_duration': 14})):
            answered = self.one(self.make(kind, **numbers),
                                'scheduled_operation')
            self.assertEqual((kind, self.trigger_id), (
                answered['operation_type'], answered['trigger_id']))
            self.assertEqual(
                {name: str(number) for name, number in numbers.items()},
                {name: str(answered['operation_definition'][name])
                 for name in numbers})
            self.same_whole(self.shell.fields(NOUN, 'show', answered['id']),
                            answered)

    def test_list(self):
        self.make()
        self.make('retention_protect', max_backups=3)
        answered = self.one('/scheduled_operations?sort=id:asc',
                            'operations')
        self.check_list(NOUN, answered, '--name', self.name,
                        '--trigger_id', self.trigger_id)
        for words in (('--operation_type', 'retention_protect'),
                      ('--operation_definition', 'max_backups')):
            self.same(self.shell.rows(NOUN, *words),
                      [item for item in answered
                       if item['operation_type'] == 'retention_protect'])
        self.assertEqual([], self.shell.rows(NOUN, '--trigger_id',
                                             str(uuid.uuid4())))
        self.check_everyones(NOUN, answered)

    def test_columns(self):
        """One program asks for three columns by names that are not."""
        self.make()
        row, = self.shell.rows(NOUN)
        self.assertEqual(
            {'id', 'name'} if self.program is shells.Karbor else
            {'id', 'name', 'operation_type', 'trigger_id',
             'operation_definition'}, set(row))

    def test_delete(self):
        paths = [self.make() for _ in range(2)]
        self.shell.say(NOUN, 'delete',
                       *[path.rpartition('/')[2] for path in paths])
        for path in paths:
            self.request('GET', path, expect=404)
        said = self.shell.say(NOUN, 'delete', str(uuid.uuid4()), code=1)
        self.assertRegex(
            said, 'Unable to find and delete|No scheduledoperation')

    def test_what_is_in_use_stays(self):
        self.make()
        for noun, used, status in (('trigger', self.trigger_id, 424),
                                   ('plan', self.plan['id'], 409)):
            said = self.shell.say(noun, 'delete', used, code=1)
            self.assertIn(f'(HTTP {status})', said)
