# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What is kept and what goes: by example, and for any checkpoints at all."""

import datetime
import random
import time
import zoneinfo

import hypothesis
from hypothesis import strategies
import jsonschema
from oslotest import base

from karbor_ng.operationengine import retention

UTC = datetime.timezone.utc
NOW = datetime.datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR, DAY = datetime.timedelta(hours=1), datetime.timedelta(days=1)
ZONES = ('UTC', 'Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe',
         'Pacific/Apia', 'Asia/Kathmandu')
SETTINGS = hypothesis.settings(max_examples=150, deadline=None)


def at(moment, status='available', parents=(), held='', name=None):
    if isinstance(moment, str):
        moment = datetime.datetime.fromisoformat(moment)
    return retention.Checkpoint(name or f'{moment:%Y-%m-%d %H:%M %z}',
                                moment, status, tuple(parents), held)


def daily(count, hour=2):
    """Return checkpoints of the last days, the newest first."""
    newest = NOW.replace(hour=hour)
    return [at(newest - number * DAY, name=f'day-{number}')
            for number in range(count)]


def decide(checkpoints, now=NOW, **rules):
    return retention.decide(checkpoints, retention.Rules(**rules), now)


def kept(checkpoints, now=NOW, **rules):
    return [one.id for one in decide(checkpoints, now, **rules)
            if one.is_kept]


def why(decisions, name):
    found, = (one for one in decisions if one.id == name)
    return ' '.join(found.reasons)


class ExampleTest(base.BaseTestCase):

    def test_without_rules_all_stay(self):
        self.assertEqual([one.id for one in daily(9)], kept(daily(9)))

    def test_the_newest_stay(self):
        decisions = decide(daily(5), max_backups=3)
        self.assertEqual(['day-0', 'day-1', 'day-2'],
                         [one.id for one in decisions if one.is_kept])
        self.assertIn('3 newer ones are available', why(decisions, 'day-3'))
        self.assertIn('max_backups', why(decisions, 'day-3'))

    def test_the_young_stay(self):
        self.assertEqual(['day-0', 'day-1', 'day-2'],
                         kept(daily(9), retention_days=3))
        # Not older than two times 24 hours.
        self.assertEqual(['day-0', 'day-1', 'day-2'],
                         kept(daily(9, hour=12), retention_days=2))

    def test_each_limit_is_one(self):
        self.assertEqual(['day-0', 'day-1'],
                         kept(daily(9), retention_days=5, max_backups=2))
        self.assertEqual(['day-0', 'day-1'],
                         kept(daily(9), retention_days=2, max_backups=5))

    def test_the_last_good_one_stays_however_old(self):
        old = [at(NOW - 900 * DAY, name='old'),
               at(NOW - 901 * DAY, name='older')]
        decisions = decide(old, retention_days=1)
        self.assertEqual([True, False], [one.is_kept for one in decisions])
        self.assertIn('newest', why(decisions, 'old'))

    def test_what_failed_is_not_counted_and_goes_later(self):
        checkpoints = [
            at(NOW - 1 * DAY, 'error', name='failed now'),
            at(NOW - 2 * DAY, name='good'),
            at(NOW - 3 * DAY, 'error', name='failed before'),
            at(NOW - 4 * DAY, name='good before'),
            at(NOW - 5 * DAY, 'error', name='failed long before'),
            at(NOW - 6 * DAY, name='good long before')]
        self.assertEqual(
            ['failed now', 'good', 'failed before', 'good before'],
            kept(checkpoints, max_backups=2))
        self.assertEqual(['failed now', 'good'],
                         kept(checkpoints, keep_last=1))

    def test_only_failures(self):
        failed = [at(NOW - number * DAY, 'error') for number in range(5)]
        self.assertEqual([one.id for one in failed],
                         kept(failed, max_backups=1, retention_days=1))

    def test_what_is_worked_on_or_held_stays(self):
        checkpoints = [at(NOW - HOUR, name='new'),
                       at(NOW - 7 * DAY, 'protecting', name='slow'),
                       at(NOW - 8 * DAY, held='A restore reads it.',
                          name='read'),
                       at(NOW - 9 * DAY, name='old')]
        decisions = decide(checkpoints, max_backups=1)
        self.assertEqual(['new', 'slow', 'read'],
                         [one.id for one in decisions if one.is_kept])
        self.assertIn('protecting', why(decisions, 'slow'))
        self.assertEqual('A restore reads it.', why(decisions, 'read'))

    def test_chains_stay_whole(self):
        full = at(NOW - 4 * DAY, name='full')
        chain = [full]
        for number in (3, 2, 1):
            chain.append(at(NOW - number * DAY, name=f'inc-{number}',
                            parents=[chain[-1].id]))
        old = at(NOW - 9 * DAY, name='old')
        decisions = decide([old, *chain], max_backups=1)
        self.assertEqual(['inc-1', 'inc-2', 'inc-3', 'full'],
                         [one.id for one in decisions if one.is_kept])
        self.assertIn('inc-3 builds on it', why(decisions, 'full'))
        new = at(NOW - HOUR, name='new full')
        self.assertEqual(['new full'],
                         kept([old, *chain, new], max_backups=1))

    def test_children_come_before_what_they_build_on(self):
        # The clock went back while the increment was made.
        full = at(NOW - 3 * DAY, name='full')
        increment = at(NOW - 5 * DAY, parents=['full'], name='increment')
        new = at(NOW, name='new')
        self.assertEqual(
            [('new', True), ('increment', False), ('full', False)],
            [(one.id, one.is_kept) for one in decide(
                [full, increment, new], max_backups=1)])

    def test_failed_increments_hold_what_they_build_on(self):
        full = at(NOW - 3 * DAY, name='full')
        failed = at(NOW - 1 * DAY, 'error', ['full'], name='failed')
        newer = at(NOW - 2 * DAY, name='newer')
        self.assertEqual(['failed', 'newer', 'full'],
                         kept([full, failed, newer], max_backups=1))

    def test_grandfathers(self):
        decisions = decide(daily(800), keep_daily=3, keep_weekly=2,
                           keep_monthly=3, keep_yearly=2)
        self.assertEqual(
            ['2026-11-21', '2026-11-20', '2026-11-19', '2026-11-15',
             '2026-10-31', '2026-09-30', '2025-12-31'],
            [str((NOW - int(one.id[4:]) * DAY).date())
             for one in decisions if one.is_kept])
        self.assertIn('month 2026-10 (keep_monthly)', why(
            decisions, 'day-21'))
        self.assertIn('week 2026-W46 (keep_weekly)', why(decisions, 'day-6'))
        self.assertEqual('No rule keeps it.', why(decisions, 'day-7'))

    def test_periods_without_checkpoints_do_not_count(self):
        checkpoints = [at(NOW - days * DAY, name=str(days))
                       for days in (0, 1, 400, 401, 900)]
        self.assertEqual(['0', '400', '900'],
                         kept(checkpoints, keep_monthly=3))
        self.assertEqual(['0', '1', '400'], kept(checkpoints, keep_daily=3))

    def test_limits_and_keeping_add_up(self):
        self.assertEqual(
            ['day-0', 'day-1', 'day-21', 'day-52'],
            kept(daily(100), max_backups=2, keep_monthly=3))

    def test_days_begin_in_the_zone(self):
        checkpoints = [at('2026-11-20T22:30:00+00:00', name='late'),
                       at('2026-11-20T23:30:00+00:00', name='next day'),
                       at('2026-11-21T01:30:00+00:00', name='newest')]
        self.assertEqual(['newest', 'next day'],
                         kept(checkpoints, keep_daily=2))
        self.assertEqual(['newest', 'late'], kept(
            checkpoints, keep_daily=2, timezone='Europe/Berlin'))

    def test_a_week_of_two_years_is_one(self):
        checkpoints = [at(f'{day}T02:00:00+00:00', name=day) for day in (
            '2026-01-02', '2025-12-30', '2025-12-28', '2025-12-21')]
        self.assertEqual(['2026-01-02', '2025-12-28'],
                         kept(checkpoints, keep_weekly=2))

    def test_an_hour_that_comes_twice_is_two(self):
        checkpoints = [at('2026-10-25T02:30:00+02:00', name='first'),
                       at('2026-10-25T02:30:00+01:00', name='second')]
        self.assertEqual(['second', 'first'], kept(
            checkpoints, keep_hourly=2, timezone='Europe/Berlin'))

    def test_a_clock_that_was_ahead(self):
        checkpoints = [at(NOW + 4000 * DAY, name='of 2037'), *daily(3)]
        decisions = decide(checkpoints, max_backups=1)
        self.assertEqual(['of 2037', 'day-0'],
                         [one.id for one in decisions if one.is_kept])
        self.assertIn('future', why(decisions, 'of 2037'))

    def test_a_clock_that_goes_back(self):
        for checkpoint in daily(5):
            self.assertIn(checkpoint.id, kept(
                daily(5), NOW - 4000 * DAY, max_backups=1, retention_days=1))

    def test_definitions(self):
        self.assertEqual(
            retention.Rules(max_backups=3, retention_days=10, keep_weekly=4,
                            timezone='Asia/Tokyo'),
            retention.Rules.from_definition(
                {'provider_id': 'a', 'plan_id': 'b', 'max_backups': '3',
                 'retention_duration': 10, 'keep_weekly': '4',
                 'keep_daily': 0, 'keep_last': -1}, 'Asia/Tokyo'))
        self.assertFalse(retention.Rules.from_definition({}, 'UTC').is_any)
        for name, schema in retention.SCHEMA_PROPERTIES.items():
            for value in (1, '1', 0, -1, '-1'):
                jsonschema.validate(value, schema)
            for value in (-2, '', 'a', '1.5', 1.5, None, 10 ** 7, [1]):
                self.assertRaises(jsonschema.ValidationError,
                                  jsonschema.validate, value, schema)
            self.assertTrue(retention.Rules.from_definition(
                {name: 1}, 'UTC').is_any)

    def test_thousands(self):
        checkpoints = [at(NOW - number * HOUR, name=str(number),
                          parents=[str(number + 1)] if number % 9 else [])
                       for number in range(5000)]
        random.Random(1).shuffle(checkpoints)
        begin = time.monotonic()
        self.assertEqual(5000, len(decide(
            checkpoints, max_backups=100, keep_daily=30, keep_yearly=1,
            timezone='Europe/Berlin')))
        self.assertLess(time.monotonic() - begin, 5)


@strategies.composite
def histories(draw):
    """Return checkpoints around changes of the clock, some in chains."""
    begin = draw(strategies.sampled_from((
        datetime.datetime(2026, 3, 27), datetime.datetime(2026, 10, 23),
        datetime.datetime(2025, 12, 29), datetime.datetime(2011, 12, 28),
        datetime.datetime(2024, 2, 27)))).replace(tzinfo=UTC)
    found = []
    for number in range(draw(strategies.integers(0, 25))):
        hours = draw(strategies.integers(-30, 24 * 20))
        before = [one.id for one in found]
        parents = draw(strategies.lists(strategies.sampled_from(
            before), max_size=2)) if before else []
        found.append(at(
            begin + hours * HOUR, draw(strategies.sampled_from(
                ('available',) * 4 + ('error', 'protecting'))),
            parents, draw(strategies.sampled_from(('',) * 9 + ('Held.',))),
            name=f'checkpoint-{number:02}'))
    return draw(strategies.permutations(found)), begin


RULES = strategies.builds(
    retention.Rules, **{
        name: strategies.none() | strategies.integers(1, 5)
        for name in ('max_backups', 'retention_days', 'keep_last',
                     'keep_hourly', 'keep_daily', 'keep_weekly',
                     'keep_monthly', 'keep_yearly')},
    timezone=strategies.sampled_from(ZONES))


class AnyHistoryTest(base.BaseTestCase):
    """What holds whatever has happened and whatever the clock says."""

    @SETTINGS
    @hypothesis.given(histories(), RULES, strategies.integers(-100, 1000))
    def test_promises(self, history, rules, hours):
        checkpoints, begin = history
        now = begin + hours * HOUR
        decisions = retention.decide(checkpoints, rules, now)
        stays = {one.id for one in decisions if one.is_kept}
        self.assertEqual(sorted(one.id for one in checkpoints),
                         sorted(one.id for one in decisions))
        self.assertTrue(all(one.reasons for one in decisions))
        self._check_kept(checkpoints, stays, now)
        self._check_chains(checkpoints, decisions, stays)
        left = [one for one in checkpoints if one.id in stays]
        self.assertEqual(stays, {
            one.id for one in retention.decide(left, rules, now)
            if one.is_kept})
        self.assertEqual(decisions, retention.decide(
            checkpoints[::-1], rules, now))

    def _check_kept(self, checkpoints, stays, now):
        good = [one for one in checkpoints
                if one.status == 'available' and one.time <= now]
        if good:
            newest = max(good, key=lambda one: (one.time, one.id))
            self.assertIn(newest.id, stays)
        for one in checkpoints:
            if one.held or one.status == 'protecting' or one.time > now:
                self.assertIn(one.id, stays)

    def _check_chains(self, checkpoints, decisions, stays):
        places = {one.id: place for place, one in enumerate(decisions)}
        for one in checkpoints:
            for parent in one.parents:
                self.assertLess(places[one.id], places[parent])
                if one.id in stays:
                    self.assertIn(parent, stays)

    @SETTINGS
    @hypothesis.given(histories(), strategies.sampled_from(ZONES),
                      strategies.integers(1, 6), strategies.sampled_from((
                          ('keep_daily', lambda when: when.date()),
                          ('keep_weekly',
                           lambda when: when.isocalendar()[:2]),
                          ('keep_monthly',
                           lambda when: (when.year, when.month)),
                          ('keep_yearly', lambda when: when.year))))
    def test_periods(self, history, zone, count, rule):
        """The same, found the long way round."""
        name, period = rule
        checkpoints = [at(one.time, name=one.id) for one in history[0]]
        by_period = {}
        for one in checkpoints:
            local = one.time.astimezone(zoneinfo.ZoneInfo(zone))
            by_period.setdefault(period(local), []).append(
                (one.time, one.id))
        newest = sorted((max(found) for found in by_period.values()),
                        reverse=True)[:count]
        self.assertEqual(
            {one_id for _time, one_id in newest},
            set(kept(checkpoints, NOW + 1000 * DAY, timezone=zone,
                     **{name: count})))

    @SETTINGS
    @hypothesis.given(histories(), strategies.integers(1, 9),
                      strategies.integers(1, 9))
    def test_limits(self, history, count, days):
        checkpoints = [at(one.time, name=one.id) for one in history[0]]
        now = history[1] + 20 * DAY
        newest_first = sorted(((one.time, one.id) for one in checkpoints),
                              reverse=True)
        expected = {one_id for place, (when, one_id)
                    in enumerate(newest_first)
                    if place == 0
                    or place < count and now - when <= days * DAY}
        self.assertEqual(expected, set(kept(
            checkpoints, now, max_backups=count, retention_days=days)))
