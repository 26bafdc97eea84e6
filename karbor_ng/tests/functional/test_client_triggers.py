# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Karbor's command lines, unmodified: triggers.

Where a program can not do something by its own fault, a test says so by name.
"""

import uuid

from karbor_ng.tests.functional import client
from karbor_ng.tests.functional import shells

#: The shell splits properties at commas, so patterns have none.
NIGHTLY = ('format=crontab,pattern=0 2 * * *,timezone=Europe/Berlin,'
           'start_time=2030-01-01 00:00:00,window=1800')
#: Ends of lines are a backslash and an n, as in Karbor's documents.
HOURLY = (r'format=calendar,pattern=BEGIN:VEVENT\nRRULE:FREQ=HOURLY;'
          r'INTERVAL=1;\nEND:VEVENT,start_time=2015-12-17T08:30:00')


class TriggerTest(client.ClientTestCase):

    def make(self, properties=NIGHTLY):
        """Make a trigger, if the program can; return its path."""
        if self.program is shells.Karbor:
            made = self.shell.fields('trigger', 'create', self.name, 'time',
                                     properties)
        else:
            # It sends the text as it is instead of an object.
            said = self.shell.say('trigger', 'create', self.name, 'time',
                                  properties, code=1)
            self.assertIn("'str' object has no attribute 'get'", said)
            made = self.request('POST', '/triggers', {'trigger_info': {
                'name': self.name, 'type': 'time', 'properties': dict(
                    part.split('=', 1) for part in properties.split(','))}}
            )['trigger_info']
        path = f'/triggers/{made["id"]}'
        self.addCleanup(self.demo.karbor.delete, path)
        if self.program is shells.Karbor:
            self.same_whole(made, self.one(path, 'trigger_info'))
        return path

    def test_create_and_show(self):
        for properties, first in ((NIGHTLY, '2030-01-01T01:00:00'),
                                  (HOURLY, None)):
            path = self.make(properties)
            answered = self.one(path, 'trigger_info')
            self.assertEqual(self.name, answered['name'])
            self.assertEqual(f'{first}.000000+00:00' if first
                             else answered['next_runs'][0],
                             answered['next_run_at'])
            self.same_whole(self.shell.fields(
                'trigger', 'show', answered['id']), answered)

    def test_list(self):
        for properties in (NIGHTLY, HOURLY):
            self.make(properties)
        answered = self.one('/triggers?sort=id:asc', 'triggers')
        self.check_list('trigger', answered, '--name', self.name)
        self.same(self.shell.rows('trigger', '--type', 'time',
                                  '--sort', 'id:asc'), answered)
        self.same(self.shell.rows('trigger', '--properties', 'Europe'),
                  [item for item in answered
                   if item['properties']['format'] == 'crontab'])
        self.check_everyones('trigger', answered)

    def test_update(self):
        path = self.make()
        trigger_id = path.rpartition('/')[2]
        before = self.one(path, 'trigger_info')
        if self.program is shells.Karbor:
            printed = self.shell.fields('trigger', 'update', trigger_id,
                                        '--name', f'{self.name}-new')
            self.same_whole(printed, self.one(path, 'trigger_info'))
            self.assertEqual(before['properties'],
                             shells.meaning(printed['properties']))
        else:
            said = self.shell.say('trigger', 'update', trigger_id, '--name',
                                  f'{self.name}-new', code=1)
            self.assertIn('properties', said)
        printed = self.shell.fields(
            'trigger', 'update', trigger_id, '--properties',
            NIGHTLY.replace('0 2', '0 3'))
        answered = self.one(path, 'trigger_info')
        self.assertEqual('0 3 * * *', answered['properties']['pattern'])
        self.assertEqual('2030-01-01T02:00:00.000000+00:00',
                         answered['next_run_at'])
        self.same_whole(printed, answered)

    def test_delete(self):
        paths = [self.make() for _number in range(2)]
        self.shell.say('trigger', 'delete',
                       *[path.rpartition('/')[2] for path in paths])
        for path in paths:
            self.request('GET', path, expect=404)
        said = self.shell.say('trigger', 'delete', str(uuid.uuid4()), code=1)
        self.assertRegex(said, 'HTTP 404|No trigger with a name or ID')


class RefusalTest(client.ClientTestCase):
    """What is said of triggers that are not made."""

    #: The other program can not make any.
    scenarios = [('karbor', {'program': shells.Karbor})]

    def test_refused(self):
        for properties, words in (
                ('format=crontab,pattern=0 0 30 2 *', 'day-of-month'),
                (f'{NIGHTLY}000', 'window'),
                (NIGHTLY.replace('Berlin', 'Atlantis'), 'timezone'),
                (HOURLY.replace('HOURLY', 'SECONDLY'), 'FREQ')):
            said = self.shell.say('trigger', 'create', self.name, 'time',
                                  properties, code=1)
            self.assertIn('HTTP 400', said)
            self.assertIn(words, said)
