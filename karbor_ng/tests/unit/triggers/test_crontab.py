# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Patterns in crontab's format."""

import datetime
import itertools
import zoneinfo

import hypothesis
from hypothesis import strategies
from oslotest import base

from karbor_ng import errors
from karbor_ng.triggers import crontab

UTC = datetime.timezone.utc
ZONES = ('Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe',
         'Africa/Cairo', 'America/Sao_Paulo', 'Pacific/Apia', 'Asia/Kolkata')


def due(pattern, after, zone='UTC', count=3):
    """Return the next due times as local texts with their offsets."""
    zone = zoneinfo.ZoneInfo(zone)
    after = datetime.datetime.fromisoformat(after)
    if after.tzinfo is None:
        after = after.replace(tzinfo=zone)
    runs = crontab.Crontab(pattern, zone).runs(after.astimezone(UTC))
    return [run.astimezone(zone).strftime('%Y-%m-%d %H:%M %z')
            for run in itertools.islice(runs, count)]


class CrontabTest(base.BaseTestCase):

    def refused(self, pattern):
        return str(self.assertRaises(
            errors.Invalid,
            lambda: crontab.Crontab(pattern, UTC).check()))

    def test_each_morning(self):
        self.assertEqual(
            ['2025-12-31 09:00 +0000', '2026-01-01 09:00 +0000'],
            due('0 9 * * *', '2025-12-30T09:00:00', count=2))

    def test_nicknames(self):
        self.assertEqual(due('0 0 * * 0', '2026-01-01T00:00:00'),
                         due('@Weekly', '2026-01-01T00:00:00'))

    def test_the_last_day_of_months(self):
        self.assertEqual(
            ['2026-01-31 03:00 +0000', '2026-02-28 03:00 +0000',
             '2026-03-31 03:00 +0000'],
            due('0 3 L * *', '2026-01-01T00:00:00'))

    def test_a_leap_day_is_found_over_a_century(self):
        self.assertEqual(['2104-02-29 00:00 +0000'],
                         due('0 0 29 2 *', '2096-03-01T00:00:00', count=1))

    def test_local_times(self):
        self.assertEqual(
            ['2026-03-28 09:00 +0100', '2026-03-29 09:00 +0200'],
            due('0 9 * * *', '2026-03-28T00:00:00', 'Europe/Berlin', 2))

    def test_a_time_that_is_left_out_comes_with_the_change(self):
        self.assertEqual(
            ['2026-03-28 02:30 +0100', '2026-03-29 03:00 +0200',
             '2026-03-30 02:30 +0200'],
            due('30 2 * * *', '2026-03-28T00:00:00', 'Europe/Berlin'))

    def test_several_times_that_are_left_out_are_one(self):
        self.assertEqual(
            ['2026-03-29 03:00 +0200', '2026-03-30 02:00 +0200'],
            due('0,30 2 * * *', '2026-03-28T12:00:00', 'Europe/Berlin', 2))

    def test_a_time_that_comes_twice_is_due_the_first_time(self):
        self.assertEqual(
            ['2026-10-24 02:30 +0200', '2026-10-25 02:30 +0200',
             '2026-10-26 02:30 +0100'],
            due('30 2 * * *', '2026-10-24T00:00:00', 'Europe/Berlin'))

    def test_asked_between_both_times(self):
        for minute in (10, 30, 50):
            self.assertEqual(
                ['2026-10-26 02:30 +0100'],
                due('30 2 * * *', f'2026-10-25T02:{minute}:00+01:00',
                    'Europe/Berlin', 1))

    def test_each_hour_goes_by_real_hours(self):
        self.assertEqual(
            ['2026-10-25 01:00 +0200', '2026-10-25 02:00 +0200',
             '2026-10-25 02:00 +0100', '2026-10-25 03:00 +0100'],
            due('0 * * * *', '2026-10-25T00:30:00', 'Europe/Berlin', 4))
        self.assertEqual(
            ['2026-03-29 01:00 +0100', '2026-03-29 03:00 +0200'],
            due('0 * * * *', '2026-03-29T00:30:00', 'Europe/Berlin', 2))

    def test_the_end_of_time(self):
        self.assertEqual([], due('0 0 1 1 *', '9999-06-01T00:00:00'))

    def test_what_never_comes_is_refused(self):
        for pattern in ('0 0 30 2 *', '0 0 31 4,6,9,11 *'):
            self.assertIn('day-of-month', self.refused(pattern))
        self.assertIn('no such time', self.refused('* * */20 * 1L'))

    def test_what_is_wrong_is_named(self):
        for pattern, words in (
                ('', 'five fields'), ('0 9 * *', 'not 4'),
                ('0 0 9 * * *', 'not 6'), ('60 * * * *', 'minute'),
                ('0 24 * * *', 'hour'), ('0 0 0 * *', 'day-of-month'),
                ('0 0 * 13 *', 'month'), ('0 0 * * 8', 'day-of-week'),
                ('0 0 * * MOO', 'day-of-week'), ('*/0 * * * *', 'minute'),
                ('5-1 * * * *', 'minute'), ('1,,2 * * * *', 'minute'),
                ('0 9 * * *; rm', 'not 6'), ('@often', 'five fields')):
            self.assertIn(words, self.refused(pattern))

    @hypothesis.settings(max_examples=150, deadline=None)
    @hypothesis.given(strategies.data())
    def test_times_only_go_forward(self, data):
        pattern = ' '.join(data.draw(strategies.sampled_from(values))
                           for values in (
            ('*', '0', '30', '*/15', '0,30', '59'),
            ('*', '0', '1', '2', '1-3', '*/2', '23'),
            ('*', '1', '*/10', 'L', '31'), ('*', '3', '10', '*/2'),
            ('*', '0', 'SUN', 'MON#1', '5L')))
        zone = zoneinfo.ZoneInfo(data.draw(strategies.sampled_from(ZONES)))
        after = data.draw(strategies.datetimes(
            datetime.datetime(2005, 1, 1), datetime.datetime(2030, 1, 1),
            timezones=strategies.just(UTC)))
        runs = list(itertools.islice(
            crontab.Crontab(pattern, zone).runs(after), 20))
        for run, following in itertools.pairwise([after, *runs]):
            self.assertLess(run, following)
        again = crontab.Crontab(pattern, zone)
        for run, following in itertools.pairwise(runs):
            self.assertEqual(following, next(again.runs(run)))
