# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Rules of RFC 5545: the library's answers, sooner."""

import datetime
import itertools

from dateutil import rrule
import hypothesis
from hypothesis import strategies
from icalendar import vRecur
from oslotest import base

from karbor_ng import errors
from karbor_ng.triggers import recurrence

START = datetime.datetime(2020, 2, 29, 10, 30, 15)
#: Reading the library's own answers costs up to a second each.
SETTINGS = hypothesis.settings(
    max_examples=120, deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck))


def rule(text, start=START, until=None):
    return recurrence.Rule(vRecur.from_ical(text), start, until)


def times(found, count=3):
    return [str(moment) for moment in itertools.islice(found, count)]


def some(*values):
    return strategies.lists(strategies.sampled_from(values), min_size=1,
                            max_size=3, unique=True)


HOURS = some(0, 2, 9, 10, 23)
MINUTES = some(0, 15, 30, 59)
DAYS = some('MO', 'WE', 'SU')
NUMBERED = some('MO', '1TU', '-1FR', '5WE')
MONTHS = some(1, 2, 6, 12)
MONTH_DAYS = some(1, 15, 29, 31, -1)
PARTS = {
    'YEARLY': {'BYMONTH': MONTHS, 'BYMONTHDAY': MONTH_DAYS,
               'BYYEARDAY': some(1, 60, 366, -1), 'BYHOUR': HOURS,
               'BYDAY': NUMBERED},
    'MONTHLY': {'BYMONTH': MONTHS, 'BYMONTHDAY': MONTH_DAYS,
                'BYDAY': NUMBERED, 'BYHOUR': HOURS, 'BYMINUTE': MINUTES,
                'BYSETPOS': some(1, 2, -1)},
    'WEEKLY': {'BYMONTH': MONTHS, 'BYDAY': DAYS, 'BYHOUR': HOURS,
               'WKST': some('SU', 'MO')},
    'DAILY': {'BYMONTH': MONTHS, 'BYMONTHDAY': MONTH_DAYS, 'BYDAY': DAYS,
              'BYHOUR': HOURS, 'BYMINUTE': MINUTES},
    'HOURLY': {'BYMONTH': MONTHS, 'BYMONTHDAY': MONTH_DAYS, 'BYDAY': DAYS,
               'BYHOUR': HOURS, 'BYMINUTE': MINUTES},
    'MINUTELY': {'BYMONTH': MONTHS, 'BYDAY': DAYS, 'BYHOUR': HOURS,
                 'BYMINUTE': MINUTES},
}


@strategies.composite
def rules(draw):
    """Return the text of a rule."""
    frequency = draw(strategies.sampled_from(sorted(PARTS)))
    parts = {'FREQ': frequency}
    if draw(strategies.booleans()):
        parts['INTERVAL'] = draw(strategies.integers(1, 7))
    if draw(strategies.integers(0, 3)) == 0:
        parts['COUNT'] = draw(strategies.integers(1, 40))
    known = PARTS[frequency]
    for name in draw(strategies.lists(strategies.sampled_from(sorted(known)),
                                      max_size=3, unique=True)):
        values = draw(known[name])
        parts[name] = ','.join(map(
            str, values[:1] if name == 'WKST' else values))
    hypothesis.assume('BYSETPOS' not in parts or 'BYDAY' in parts)
    return ';'.join(f'{name}={value}' for name, value in parts.items())


def of_library(text, start, end):
    """Return what the library finds, from the start to an end."""
    try:
        found = rrule.rrulestr(text, dtstart=start)
    except ValueError:  # the rule can not come true
        return []
    return list(itertools.takewhile(
        lambda moment: moment <= end,
        itertools.islice(found.xafter(start, inc=True), 3000)))


class RuleTest(base.BaseTestCase):

    def refused(self, text):
        return str(self.assertRaises(
            errors.Invalid, lambda: rule(text).check()))

    def test_what_a_rule_leaves_open_is_the_starts(self):
        for text, expected in (
                ('FREQ=YEARLY', ['2024-02-29 10:30:15',
                                 '2028-02-29 10:30:15']),
                ('FREQ=YEARLY;BYMONTH=3', ['2023-03-29 10:30:15',
                                           '2024-03-29 10:30:15']),
                ('FREQ=MONTHLY', ['2023-01-29 10:30:15',
                                  '2023-03-29 10:30:15']),
                ('FREQ=WEEKLY', ['2023-01-07 10:30:15',
                                 '2023-01-14 10:30:15']),
                ('FREQ=DAILY;BYHOUR=3', ['2023-01-01 03:30:15',
                                         '2023-01-02 03:30:15']),
                ('FREQ=HOURLY;BYSECOND=0', ['2023-01-01 00:30:00',
                                            '2023-01-01 01:30:00'])):
            self.assertEqual(expected, times(rule(text).runs(
                datetime.datetime(2023, 1, 1)), 2))

    def test_intervals_are_counted_from_the_start(self):
        asked = datetime.datetime(2026, 6, 1)
        for text in ('FREQ=DAILY;INTERVAL=100', 'FREQ=WEEKLY;INTERVAL=5',
                     'FREQ=WEEKLY;INTERVAL=3;WKST=TH;BYDAY=WE,TH',
                     'FREQ=MONTHLY;INTERVAL=5', 'FREQ=YEARLY;INTERVAL=4',
                     'FREQ=HOURLY;INTERVAL=1000',
                     'FREQ=MINUTELY;INTERVAL=9999'):
            found, = times(rule(text).runs(asked), 1)
            self.assertEqual(str(rrule.rrulestr(text, dtstart=START).after(
                asked)), found, text)

    def test_count_is_from_the_start(self):
        found = rule('FREQ=DAILY;COUNT=4')
        self.assertEqual(['2020-03-02 10:30:15', '2020-03-03 10:30:15'],
                         times(found.runs(datetime.datetime(2020, 3, 2))))

    def test_until(self):
        found = rule('FREQ=DAILY', until=datetime.datetime(
            2020, 3, 2, 10, 30, 15))
        self.assertEqual(['2020-03-01 10:30:15', '2020-03-02 10:30:15'],
                         times(found.runs(START)))

    def test_a_start_long_ago_costs_nothing(self):
        found = rule('FREQ=MINUTELY', datetime.datetime(1970, 1, 1))
        self.assertEqual(['2999-12-31 12:01:00'], times(found.runs(
            datetime.datetime(2999, 12, 31, 12)), 1))

    def test_what_never_comes_true_is_refused(self):
        for text in ('FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30',
                     'FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30',
                     'FREQ=HOURLY;BYMONTH=2;BYMONTHDAY=31',
                     'FREQ=MINUTELY;INTERVAL=7;BYHOUR=3;BYMONTH=4;'
                     'BYMONTHDAY=31',
                     'FREQ=MINUTELY;INTERVAL=2;BYMINUTE=1',
                     'FREQ=HOURLY;INTERVAL=24;BYHOUR=9',
                     'FREQ=HOURLY;INTERVAL=168;BYDAY=MO',
                     'FREQ=YEARLY;BYDAY=MO;BYSETPOS=60'):
            self.assertIn('never', self.refused(text), text)

    def test_what_is_wrong_is_named(self):
        for text, words in (
                ('INTERVAL=1', 'FREQ'), ('FREQ=SECONDLY', 'FREQ'),
                ('FREQ=DAILY;INTERVAL=0', 'INTERVAL'),
                ('FREQ=DAILY;COUNT=1001', 'COUNT'),
                ('FREQ=DAILY;COUNT=0', 'COUNT'),
                ('FREQ=DAILY;COUNT=1;UNTIL=20270101T000000', 'UNTIL'),
                ('FREQ=DAILY;BYHOUR=24', 'BYHOUR'),
                ('FREQ=DAILY;BYHOUR=-1', 'BYHOUR'),
                ('FREQ=MONTHLY;BYMONTHDAY=0', 'BYMONTHDAY'),
                ('FREQ=YEARLY;BYMONTH=5L', 'BYMONTH'),
                ('FREQ=WEEKLY;BYMONTHDAY=1', 'BYMONTHDAY'),
                ('FREQ=WEEKLY;BYDAY=1MO', 'BYDAY'),
                ('FREQ=MONTHLY;BYDAY=6MO', 'BYDAY'),
                ('FREQ=YEARLY;BYMONTH=1;BYDAY=6MO', 'BYDAY'),
                ('FREQ=YEARLY;BYWEEKNO=1;BYDAY=1MO', 'BYDAY'),
                ('FREQ=DAILY;BYSETPOS=1', 'BYSETPOS'),
                ('FREQ=HOURLY;BYMINUTE=1;BYSETPOS=1', 'BYSETPOS'),
                ('FREQ=YEARLY;RSCALE=CHINESE', 'RSCALE'),
                ('FREQ=DAILY;BYHOUR=%s;BYMINUTE=%s' % (
                    ','.join(map(str, range(24))),
                    ','.join(map(str, range(0, 60, 4)))), '360 times')):
            self.assertIn(words, self.refused(text), text)

    @SETTINGS
    @hypothesis.given(
        rules(), strategies.datetimes(datetime.datetime(2015, 1, 1),
                                      datetime.datetime(2021, 1, 1)),
        strategies.integers(0, 1500 * 86400))
    def test_it_finds_what_the_library_finds(self, text, start, seconds):
        start = start.replace(microsecond=0)
        end = start + datetime.timedelta(days=1500)
        expected = of_library(text, start, end)
        after = start + datetime.timedelta(seconds=seconds)
        if expected and after > expected[-1]:
            after = expected[len(expected) // 2]
        expected = [moment for moment in expected if moment > after][:30]
        found = itertools.takewhile(lambda moment: moment <= end,
                                    rule(text, start).runs(after))
        self.assertEqual(
            expected, list(itertools.islice(found, len(expected) or 1)))
