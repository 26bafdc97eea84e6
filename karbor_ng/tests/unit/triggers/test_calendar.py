# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Patterns that are events of a calendar."""

import datetime
import itertools
import pathlib
import zoneinfo

import fixtures
import hypothesis
from hypothesis import strategies
from oslotest import base

from karbor_ng import errors
from karbor_ng.tests.unit.triggers import test_crontab
from karbor_ng.tests.unit.triggers import test_recurrence
from karbor_ng.triggers import calendar

UTC = datetime.timezone.utc
START = datetime.datetime(2026, 1, 1, 2, 30)


def event(*lines):
    return '\n'.join(['BEGIN:VEVENT', *lines, 'END:VEVENT'])


def of(pattern, zone='UTC', start=START):
    return calendar.Calendar(pattern, zoneinfo.ZoneInfo(zone), zone, start)


def due(pattern, after, zone='UTC', count=3):
    """Return the next due times as local texts with their offsets."""
    found = of(pattern, zone)
    zone = zoneinfo.ZoneInfo(zone)
    after = datetime.datetime.fromisoformat(after)
    if after.tzinfo is None:
        after = after.replace(tzinfo=zone)
    runs = found.runs(after.astimezone(UTC))
    return [run.astimezone(zone).strftime('%Y-%m-%d %H:%M %z')
            for run in itertools.islice(runs, count)]


class CalendarTest(base.BaseTestCase):

    def refused(self, pattern, zone='UTC'):
        return str(self.assertRaises(
            errors.Invalid, lambda: of(pattern, zone).check()))

    def test_the_start_is_where_rules_begin(self):
        self.assertEqual(
            ['2026-01-01 02:30 +0000', '2026-01-02 02:30 +0000'],
            due(event('RRULE:FREQ=DAILY'), '2025-12-01', count=2))

    def test_ends_of_lines_escaped_twice(self):
        for text in (r'BEGIN:VEVENT\nRRULE:FREQ=HOURLY;INTERVAL=1;\n'
                     r'END:VEVENT',
                     r'BEGIN:VEVENT\r\nRRULE:FREQ=HOURLY;\r\nEND:VEVENT\r\n',
                     'BEGIN:VEVENT\r\nRRULE:FREQ=HOURLY\r\nEND:VEVENT\r\n'):
            self.assertEqual(
                ['2026-01-01 02:30 +0000', '2026-01-01 03:30 +0000'],
                due(text, '2025-12-01', count=2))

    def test_its_own_start_goes_first(self):
        self.assertEqual(
            ['2026-01-05 04:00 +0100', '2026-01-12 04:00 +0100'],
            due(event('DTSTART;TZID=Europe/Berlin:20250106T040000',
                      'RRULE:FREQ=WEEKLY'),
                '2026-01-01', 'Europe/Berlin', 2))

    def test_several_rules_dates_and_exceptions(self):
        self.assertEqual(
            ['2026-01-02 02:30 +0000', '2026-01-04 02:30 +0000',
             '2026-01-04 12:00 +0000', '2026-01-05 02:30 +0000',
             '2026-01-07 02:30 +0000', '2026-01-07 20:00 +0000'],
            due(event('RRULE:FREQ=DAILY;COUNT=6', 'RRULE:FREQ=WEEKLY;BYDAY=WE;'
                      'BYHOUR=2,20;BYMINUTE=30,0;BYSETPOS=2,3',
                      'RDATE:20260104T120000,20260105T023000',
                      'EXDATE;VALUE=DATE:20260103',
                      'EXDATE:20260106T023000Z'),
                '2026-01-01T12:00:00', count=6))

    def test_dates_without_rules(self):
        self.assertEqual(
            ['2026-03-01 04:00 +0000', '2026-03-05 00:00 +0000',
             '2026-04-01 01:00 +0000'],
            due(event('DTSTART:20260301T040000', 'RDATE;VALUE=DATE:20260305',
                      'RDATE;VALUE=PERIOD:20260401T010000Z/PT1H'),
                '2026-01-01', count=9))

    def test_the_last_day_is_a_whole_one(self):
        self.assertEqual(
            ['2026-01-02 02:30 +0000', '2026-01-03 02:30 +0000'],
            due(event('RRULE:FREQ=DAILY;UNTIL=20260103'),
                '2026-01-01T12:00:00', count=9))

    def test_until_is_in_utc(self):
        self.assertEqual(
            ['2026-01-02 02:30 +0100'],
            due(event('RRULE:FREQ=DAILY;UNTIL=20260102T013000Z'),
                '2026-01-01T12:00:00', 'Europe/Berlin', 9))

    def test_a_whole_calendar(self):
        text = '\n'.join(['BEGIN:VCALENDAR', 'VERSION:2.0', 'PRODID:-//x//',
                          event('SUMMARY:nightly', 'RRULE:FREQ=DAILY'),
                          'END:VCALENDAR'])
        self.assertEqual(['2026-01-01 02:30 +0000'],
                         due(text, '2025-12-01', count=1))

    def test_a_time_that_is_left_out_comes_with_the_change(self):
        self.assertEqual(
            ['2026-03-28 02:30 +0100', '2026-03-29 03:00 +0200',
             '2026-03-30 02:30 +0200'],
            due(event('RRULE:FREQ=DAILY'), '2026-03-28', 'Europe/Berlin'))
        # The zone's whole 30th of December 2011 does not exist.
        self.assertEqual(
            ['2011-12-31 00:00 +1400', '2011-12-31 02:30 +1400'],
            due(event('DTSTART:20110101T023000', 'RRULE:FREQ=DAILY'),
                '2011-12-29T12:00:00', 'Pacific/Apia', 2))

    def test_a_time_that_comes_twice_is_due_the_first_time(self):
        self.assertEqual(
            ['2026-10-25 02:30 +0200', '2026-10-26 02:30 +0100'],
            due(event('RRULE:FREQ=DAILY'), '2026-10-25', 'Europe/Berlin', 2))
        self.assertEqual(
            ['2026-10-26 02:30 +0100'],
            due(event('RRULE:FREQ=DAILY'), '2026-10-25T02:10:00+01:00',
                'Europe/Berlin', 1))

    def test_other_zones_are_refused(self):
        for line in ('DTSTART;TZID=Asia/Tokyo:20260101T000000',
                     'EXDATE;TZID=Asia/Tokyo:20260101T000000'):
            problem = self.refused(event(line, 'RRULE:FREQ=DAILY'),
                                   'Europe/Berlin')
            self.assertIn('Asia/Tokyo', problem)
            self.assertIn('timezone', problem)
        for month in ('01', '07'):
            self.assertIn('UTC', self.refused(
                event(f'DTSTART:2026{month}01T000000Z', 'RRULE:FREQ=DAILY'),
                'Europe/London'))
        of(event('DTSTART:20260701T000000Z', 'RRULE:FREQ=DAILY')).check()

    def test_the_ends_of_time(self):
        for name in ('DTSTART', 'RDATE', 'EXDATE'):
            for year in ('0001', '1969', '3000', '9999'):
                for rest in ('1231T235959Z', '0101T000000', '0101'):
                    for zone in ('UTC', 'Pacific/Apia', 'America/New_York'):
                        kind = '' if 'T' in rest else ';VALUE=DATE'
                        self.refused(event(f'{name}{kind}:{year}{rest}',
                                           'RRULE:FREQ=DAILY'), zone)
        for until in ('99991231T235959Z', '99991231', '30000101T000000'):
            self.assertEqual(
                ['2999-12-31 02:30 -0500', '3000-01-01 02:30 -0500'],
                due(event(f'RRULE:FREQ=DAILY;UNTIL={until}'),
                    '2999-12-31T00:00:00', 'America/New_York', 2))
        self.refused(event('RRULE:FREQ=DAILY;UNTIL=00010101T000000Z'),
                     'Pacific/Apia')

    def test_what_is_wrong_is_named(self):
        for text, words in (
                ('RRULE:FREQ=DAILY', 'not a calendar'),
                ('0 9 * * *', 'not a calendar'),
                ('BEGIN:VEVENT\nRRULE:FREQ=DAILY', 'not a calendar'),
                (event('RRULE:FREQ=DAILY') * 2, 'not a calendar'),
                ('BEGIN:VTODO\nEND:VTODO', 'not 0'),
                (event('SUMMARY:x'), 'RRULE'),
                (event('RRULE:FREQ=DALLY'), 'DALLY'),
                (event('RRULE:'), 'FREQ'),
                (event('DTSTART:tomorrow', 'RRULE:FREQ=DAILY'), 'DTSTART'),
                (event('EXDATE:x', 'RRULE:FREQ=DAILY'), 'EXDATE'),
                (event('RDATE:x'), 'RDATE'),
                (event('DTSTART:123000', 'RRULE:FREQ=DAILY'), 'DTSTART'),
                (event('EXRULE:FREQ=DAILY', 'RRULE:FREQ=DAILY'), 'EXRULE'),
                (event('RECURRENCE-ID:20260101T000000', 'RRULE:FREQ=DAILY'),
                 'RECURRENCE-ID'),
                (event(*['RRULE:FREQ=DAILY'] * 6), '5 RRULE'),
                (event('RDATE:' + ','.join(['20260101T000000'] * 1001)),
                 '1000 RDATE'),
                (event('RRULE:FREQ=DAILY',
                       'RRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30'),
                 'never')):
            self.assertIn(words, self.refused(text), text[:60])

    def test_no_file_is_read(self):
        file = pathlib.Path(self.useFixture(fixtures.TempDir()).path, 'file')
        for content in (event('RRULE:FREQ=DAILY'), 'password = secret'):
            file.write_text(content)
            words = self.refused(str(file))
            self.assertIn('not a calendar', words)
            self.assertNotIn('secret', words)

    def test_letters_of_any_kind(self):
        self.assertEqual(1, len(due(event(
            'SUMMARY:Sicherung täglich 夜', 'RRULE:FREQ=DAILY'),
            '2025-12-01', count=1)))
        self.assertIn('not a calendar', self.refused('\ud800'))

    @hypothesis.settings(max_examples=100, deadline=None)
    @hypothesis.given(strategies.text(max_size=200) | strategies.lists(
        strategies.sampled_from((
            'RRULE:', 'FREQ=DAILY', ';', 'BYDAY=', '1MO', ',', '\n', ':', '=',
            'DTSTART', 'VALUE=DATE', '20260230', 'T', '000000', 'Z', 'TZID=',
            'UNTIL=', 'COUNT=', '-1', 'BEGIN:VEVENT', 'RDATE', '/', 'PT1H',
            'BYMONTH=2', 'BYWEEKNO=54', 'WKST=', 'X'))).map(''.join))
    def test_nonsense_is_refused_in_words(self, text):
        try:
            list(itertools.islice(of(event(text)).runs(
                datetime.datetime(2026, 1, 1, tzinfo=UTC)), 3))
        except errors.Invalid as problem:
            self.assertLess(len(str(problem)), 400)

    @hypothesis.settings(max_examples=60, deadline=None)
    @hypothesis.given(
        test_recurrence.rules(),
        strategies.sampled_from(test_crontab.ZONES),
        strategies.datetimes(datetime.datetime(2011, 12, 1),
                             datetime.datetime(2019, 1, 1),
                             timezones=strategies.just(UTC)))
    def test_times_only_go_forward(self, text, zone, after):
        found = of(event(f'RRULE:{text}'), zone,
                   datetime.datetime(2010, 1, 1, 0, 30))
        runs = list(itertools.islice(found.runs(after), 20))
        for run, following in itertools.pairwise([after, *runs]):
            self.assertLess(run, following)
        for run, following in itertools.pairwise(runs[:5]):
            self.assertEqual(following, next(found.runs(run)))
