# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The type ``time``, and how types are found."""

import datetime

from oslotest import base

from karbor_ng import errors
from karbor_ng import triggers
from karbor_ng.tests import fixtures
from karbor_ng.triggers import time as time_trigger

UTC = datetime.timezone.utc
NOW = datetime.datetime(2026, 3, 1, 12, 0, 7, 5, tzinfo=UTC)
CRONTAB = {'format': 'crontab', 'pattern': '0 9 * * *'}
CALENDAR = {'format': 'calendar',
            'pattern': 'BEGIN:VEVENT\nRRULE:FREQ=HOURLY\nEND:VEVENT'}
#: As Karbor's documents have them.
DOCUMENTED = {'start_time': '2015-12-17T08:30:00',
              'end_time': '2016-03-17T08:30:00', 'window': '3600'}


class TimeTest(base.BaseTestCase):

    def setUp(self):
        super().setUp()
        configuration = self.useFixture(fixtures.ConfFixture())
        self.conf, self.set = configuration.conf, configuration.set
        self.type = triggers.load(self.conf)['time']

    def check(self, properties=CRONTAB, **values):
        return self.type.check({**properties, **values}, NOW)

    def runs(self, properties=CRONTAB, after=NOW, count=2, **values):
        schedule = self.type.schedule(self.check(properties, **values))
        return [f'{run:%Y-%m-%d %H:%M:%S}'
                for run in schedule.preview(after, count)]

    def refused(self, properties=CRONTAB, **values):
        return str(self.assertRaises(errors.Invalid, self.check, properties,
                                     **values))

    def test_what_nobody_says_is_filled_in(self):
        self.assertEqual({**CRONTAB, 'start_time': '2026-03-01 12:00:07',
                          'window': '900'}, self.check())
        self.assertEqual('2026-03-01 17:30:07', self.check(
            timezone='Asia/Kolkata')['start_time'])

    def test_what_somebody_says_stays(self):
        for properties in (CRONTAB, CALENDAR):
            written = {**properties, **DOCUMENTED}
            self.assertEqual(written, self.check(written))
            written['start_time'] = '2015-12-17 08:30:00'
            self.assertEqual(written, self.check(written, window=3600))

    def test_what_is_over_is_never_due(self):
        self.assertEqual([], self.runs(**DOCUMENTED))
        self.assertEqual([], self.runs(CALENDAR, **DOCUMENTED))

    def test_start_and_end_are_included(self):
        long_ago = datetime.datetime(2000, 1, 1, tzinfo=UTC)
        for properties in (CRONTAB, {
                'format': 'calendar',
                'pattern': 'BEGIN:VEVENT\nRRULE:FREQ=DAILY\nEND:VEVENT'}):
            self.assertEqual(
                ['2026-03-05 09:00:00', '2026-03-06 09:00:00',
                 '2026-03-07 09:00:00'],
                self.runs(properties, long_ago, 9,
                          start_time='2026-03-05 09:00:00',
                          end_time='2026-03-07 09:00:00'))

    def test_times_are_in_the_zone_or_have_their_own(self):
        self.assertEqual(
            ['2026-03-05 08:00:00'],
            self.runs(timezone='Europe/Berlin', count=9,
                      start_time='2026-03-05 09:00:00',
                      end_time='2026-03-06T07:59:59Z'))

    def test_a_calendar_without_a_start_begins_with_the_trigger(self):
        self.assertEqual(['2026-03-01 12:15:00', '2026-03-01 13:15:00'],
                         self.runs(CALENDAR,
                                   start_time='2026-02-01T00:15:00'))
        self.assertEqual(['2026-03-01 13:00:07'],
                         self.runs(CALENDAR, count=1))

    def test_windows(self):
        for window in (900, '900', ' 3600 '):
            schedule = self.type.schedule(self.check(window=window))
            self.assertEqual(int(window), schedule.window_seconds)
        for window in (899, 3601, '', 'an hour', '9e2', '٩٠٠', -900, True):
            self.assertIn('properties.window must be a whole number of '
                          'seconds from 900 to 3600',
                          self.refused(window=window))

    def test_zones(self):
        for zone in ('Mars', 'Europe', '', '../UTC', '/etc/localtime',
                     'localtime', 'posixrules', 'x\0'):
            self.assertIn('properties.timezone',
                          self.refused(timezone=zone))

    def test_times(self):
        for name in ('start_time', 'end_time'):
            for text in ('', 'soon', '2026-02-30 00:00:00', '1969-01-01',
                         '3000-01-01', '12:00'):
                self.assertIn(f'properties.{name} must be',
                              self.refused(**{name: text}))
        self.assertIn('end_time must be later', self.refused(
            start_time='2027-01-01', end_time='2027-01-01'))

    def test_what_never_comes_is_refused(self):
        self.assertIn('properties.pattern: there is no such time between',
                      self.refused(start_time='2027-01-01 10:00',
                                   end_time='2027-01-02 08:00'))
        self.assertIn('properties.pattern: there is no such time from',
                      self.refused({'format': 'calendar', 'pattern':
                                    'BEGIN:VEVENT\nDTSTART:20260101T000000\n'
                                    'END:VEVENT'}))
        self.assertIn('properties.pattern: ', self.refused(
            pattern='0 9 30 2 *'))

    def test_what_comes_too_often_is_refused(self):
        problem = self.refused(pattern='0,59 9 * * *')
        self.assertIn('2026-03-02 09:00:00', problem)
        self.assertIn('2026-03-02 09:59:00', problem)
        self.assertIn('3540 seconds', problem)
        self.check(pattern='0 * * * *', timezone='Europe/Berlin')
        self.set('min_interval', 60)
        self.check(pattern='* * * * *')
        self.set('min_interval', 61)
        self.refused(pattern='* * * * *')

    def test_only_some_are_too_close(self):
        self.refused({'format': 'calendar', 'pattern': (
            'BEGIN:VEVENT\nRRULE:FREQ=DAILY;BYHOUR=2;BYMINUTE=0\n'
            'RRULE:FREQ=YEARLY;BYMONTH=12;BYMONTHDAY=24;BYHOUR=2;'
            'BYMINUTE=30\nEND:VEVENT')})

    def test_changes_of_the_clock_make_nothing_too_close(self):
        # At the change 02:30 and 03:30 are half an hour from each other.
        self.check(pattern='30 2,3 * * *', timezone='Europe/Berlin')

    def test_new_limits_leave_what_exists_alone(self):
        stored = self.check(window=900)
        self.set('min_interval', 100000)
        self.set('min_window_time', 1000)
        self.assertEqual(900, self.type.schedule(stored).window_seconds)
        self.refused()

    def test_limits_that_contradict_each_other(self):
        self.set('min_window_time', 4000)
        self.assertRaises(errors.ConfigError, triggers.load, self.conf)

    def test_schema_and_options_are_found_by_the_entry_point(self):
        self.assertEqual({'time': time_trigger.TimeTrigger.SCHEMA},
                         triggers.schemas())
        self.assertIn('min_interval', {
            option.dest for option in triggers.OPTS})
        self.assertRaises(AttributeError, lambda: triggers.OTHER)
