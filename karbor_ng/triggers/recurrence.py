# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Recurrence rules of RFC 5545, in local time, at a bounded cost.

The library reads a rule from its first day on, up to the year 9999: a rule of
2015 costs more each year, and one that never comes true costs seconds. Here
rules begin in the period that is asked about, and end after some centuries.
"""

import datetime
import itertools
import math

from dateutil import rrule

from karbor_ng import errors

_DAY = datetime.timedelta(days=1)

_FREQUENCIES = {'YEARLY': rrule.YEARLY, 'MONTHLY': rrule.MONTHLY,
                'WEEKLY': rrule.WEEKLY, 'DAILY': rrule.DAILY}
_STEPS = {'HOURLY': datetime.timedelta(hours=1),
          'MINUTELY': datetime.timedelta(minutes=1)}

#: Parts with numbers: the library's name, the largest, negative ones too?
_NUMBERS = {
    'BYMONTH': ('bymonth', 1, 12, False),
    'BYWEEKNO': ('byweekno', 1, 53, True),
    'BYYEARDAY': ('byyearday', 1, 366, True),
    'BYMONTHDAY': ('bymonthday', 1, 31, True),
    'BYHOUR': ('byhour', 0, 23, False),
    'BYMINUTE': ('byminute', 0, 59, False),
    'BYSECOND': ('bysecond', 0, 59, False),
    'BYSETPOS': ('bysetpos', 1, 366, True),
}
_DATE_PARTS = ('BYMONTH', 'BYWEEKNO', 'BYYEARDAY', 'BYMONTHDAY', 'BYDAY')
_PARTS = {'FREQ', 'INTERVAL', 'COUNT', 'UNTIL', 'WKST', 'BYDAY', *_NUMBERS}

#: What the RFC does not allow together.
_FORBIDDEN = {
    'YEARLY': set(),
    'MONTHLY': {'BYYEARDAY', 'BYWEEKNO'},
    'WEEKLY': {'BYMONTHDAY', 'BYYEARDAY', 'BYWEEKNO'},
    'DAILY': {'BYYEARDAY', 'BYWEEKNO'},
    # Positions within an hour: the RFC knows them, nobody needs them.
    'HOURLY': {'BYWEEKNO', 'BYSETPOS'},
    'MINUTELY': {'BYWEEKNO', 'BYSETPOS'},
}

#: They are counted again each time; UNTIL costs nothing.
_MOST_COUNT = 1000
_MOST_INTERVAL = 10_000
#: Times of one day: each five minutes.
_MOST_TIMES = 288
#: Days that a rule by hours or minutes is looked for, some 55 years.
_MOST_DAYS = 20_000


class Rule:
    """One rule, from a start on.

    :param parts: as icalendar has them: ``{'FREQ': ['DAILY'], ...}``
    :param start: local, without zone
    :param until: the last moment, local, without zone; or None
    :raises errors.Invalid: saying what is wrong with the rule
    """

    def __init__(self, parts, start, until=None):
        _check(parts)
        self._start = start.replace(microsecond=0)
        self._until = until
        self._frequency = str(parts['FREQ'][0])
        self._interval = parts.get('INTERVAL', [1])[0]
        self._count = parts.get('COUNT', [None])[0]
        self._week_start = _weekday(parts.get('WKST', ['MO'])[0])
        self._parts = {name: _values(name, parts[name]) for name in parts
                       if name in _NUMBERS or name == 'BYDAY'}
        if self._frequency not in _STEPS:
            self._complete()

    def runs(self, after):
        """Yield its local times after a local time, ascending."""
        # Only from the first one on can they be counted.
        begin = self._start if self._count else max(after, self._start)
        if self._frequency in _STEPS:
            moments = self._within_days(begin)
        else:
            moments = self._whole_days(begin)
        moments = (moment for moment in moments if moment >= self._start)
        for moment in itertools.islice(moments, self._count):
            if self._until is not None and moment > self._until:
                return
            if moment > after:
                yield moment

    def check(self):
        """:raises errors.Invalid: the rule never comes true"""
        if next(self.runs(self._start - _DAY), None) is None:
            raise errors.Invalid('RRULE never comes true')

    def _complete(self):
        """Take from the start what the rule leaves open, as the RFC says."""
        parts, start = self._parts, self._start
        parts.setdefault('BYHOUR', [start.hour])
        parts.setdefault('BYMINUTE', [start.minute])
        parts.setdefault('BYSECOND', [start.second])
        days = set(parts) & {'BYWEEKNO', 'BYYEARDAY', 'BYMONTHDAY', 'BYDAY'}
        if days or self._frequency == 'DAILY':
            return
        if self._frequency == 'WEEKLY':
            parts['BYDAY'] = [rrule.weekdays[start.weekday()]]
            return
        parts['BYMONTHDAY'] = [start.day]
        if self._frequency == 'YEARLY':
            parts.setdefault('BYMONTH', [start.month])

    def _whole_days(self, begin):
        """Yield times of rules by days and more, from before begin on."""
        return _library(_FREQUENCIES[self._frequency], self._period(begin),
                        self._parts, interval=self._interval,
                        wkst=self._week_start)

    def _period(self, begin):
        """Return a start that leads to the same times, close to begin."""
        place = getattr(self, f'_{self._frequency.lower()}_period')
        return place(begin) or self._start

    def _past(self, periods):
        """Return how many of the periods go by whole intervals."""
        return periods - periods % self._interval

    def _yearly_period(self, begin):
        years = self._past(begin.year - self._start.year)
        return years and datetime.datetime(self._start.year + years, 1, 1)

    def _monthly_period(self, begin):
        first = self._start.year * 12 + self._start.month - 1
        months = self._past(begin.year * 12 + begin.month - 1 - first)
        year, month = divmod(first + months, 12)
        return months and datetime.datetime(year, month + 1, 1)

    def _weekly_period(self, begin):
        first = _midnight(self._start)
        first -= _DAY * ((first.weekday() - self._week_start.weekday) % 7)
        weeks = self._past((begin - first) // (7 * _DAY))
        return weeks and first + 7 * weeks * _DAY

    def _daily_period(self, begin):
        first = _midnight(self._start)
        days = self._past((begin - first) // _DAY)
        return days and first + days * _DAY

    def _within_days(self, begin):
        """Yield times of rules by hours or minutes, from begin's day on."""
        if not self._is_in_step():
            return
        filters = {name: self._parts[name] for name in _DATE_PARTS
                   if name in self._parts}
        days = _library(rrule.DAILY, _midnight(begin),
                        {**filters, 'BYHOUR': [0], 'BYMINUTE': [0],
                         'BYSECOND': [0]})
        for day in itertools.islice(days, _MOST_DAYS):
            yield from self._times(day)

    def _is_in_step(self):
        """Return whether steps from the start lead to any allowed time."""
        step = math.gcd(int(self._step().total_seconds()), 86400)
        first = self._first_step()
        return any((hour * 3600 + minute * 60 - first.hour * 3600
                    - first.minute * 60) % step == 0
                   for hour in self._hours() for minute in self._minutes())

    def _times(self, day):
        moment = day + (self._first_step() - day) % self._step()
        while moment < day + _DAY:
            if (moment.hour in self._hours()
                    and moment.minute in self._minutes()):
                yield from self._moments(moment)
            moment += self._step()

    def _moments(self, step):
        minutes = [step.minute]
        if self._frequency == 'HOURLY':
            minutes = self._parts.get('BYMINUTE', [self._start.minute])
        for minute in minutes:
            for second in self._parts.get('BYSECOND', [self._start.second]):
                yield step.replace(minute=minute, second=second)

    def _step(self):
        return _STEPS[self._frequency] * self._interval

    def _first_step(self):
        if self._frequency == 'HOURLY':
            return self._start.replace(minute=0, second=0)
        return self._start.replace(second=0)

    def _hours(self):
        return self._parts.get('BYHOUR', range(24))

    def _minutes(self):
        """Return at which minutes a step may be."""
        if self._frequency == 'HOURLY':
            return (0,)
        return self._parts.get('BYMINUTE', range(60))


def _check(parts):
    unknown = [name for name in parts if name not in _PARTS]
    if unknown:
        raise errors.Invalid(f'RRULE has an unknown part {unknown[0][:64]}')
    frequency = str(parts.get('FREQ', [''])[0])
    if frequency not in _FORBIDDEN:
        raise errors.Invalid(
            f'FREQ of RRULE must be one of {", ".join(_FORBIDDEN)}')
    _check_size(parts, 'INTERVAL', _MOST_INTERVAL)
    _check_size(parts, 'COUNT', _MOST_COUNT)
    if 'COUNT' in parts and 'UNTIL' in parts:
        raise errors.Invalid('RRULE can not have both COUNT and UNTIL')
    wrong = sorted(_FORBIDDEN[frequency] & set(parts))
    if wrong:
        raise errors.Invalid(
            f'RRULE can not have {wrong[0]} with FREQ={frequency}')
    _check_days(parts, frequency)
    _check_times(parts)


def _check_size(parts, name, largest):
    number = parts.get(name, [1])[0]
    if not 1 <= number <= largest:
        raise errors.Invalid(
            f'{name} of RRULE must be from 1 to {largest}')


def _check_days(parts, frequency):
    largest = max((abs(_weekday(day).n or 0)
                   for day in parts.get('BYDAY', ())), default=0)
    if largest and (frequency not in ('YEARLY', 'MONTHLY')
                    or 'BYWEEKNO' in parts):
        raise errors.Invalid(
            'BYDAY of RRULE can have numbers, as in 1MO, only with '
            'FREQ=MONTHLY or, without BYWEEKNO, FREQ=YEARLY')
    is_of_year = frequency == 'YEARLY' and 'BYMONTH' not in parts
    if largest > (53 if is_of_year else 5):
        raise errors.Invalid('BYDAY of RRULE has a number that no month, or '
                             'no year, reaches')
    if 'BYSETPOS' in parts and not set(parts) & {
            'BYDAY', 'BYHOUR', 'BYMINUTE', 'BYSECOND', *_NUMBERS} - {
                'BYSETPOS'}:
        raise errors.Invalid('BYSETPOS of RRULE needs another BY part')


def _check_times(parts):
    times = math.prod(len(_values(name, parts.get(name, [0]))) for name in (
        'BYHOUR', 'BYMINUTE', 'BYSECOND'))
    if times > _MOST_TIMES:
        raise errors.Invalid(
            f'RRULE names {times} times of a day; {_MOST_TIMES} are possible')


def _values(name, values):
    """Return the values of a part as the library wants them, once each."""
    if name == 'BYDAY':
        return [_weekday(value) for value in dict.fromkeys(map(str, values))]
    _name, smallest, largest, is_signed = _NUMBERS[name]
    found = set()
    for value in values:
        try:
            number = int(str(value))  # a leap month, 5L, is not just a 5
        except ValueError:
            number = None
        if number is None or not smallest <= (
                abs(number) if is_signed else number) <= largest:
            raise errors.Invalid(f'{name} of RRULE must have numbers from '
                                 f'{smallest} to {largest}')
        found.add(number)
    return sorted(found)


def _weekday(text):
    """Return the library's weekday of a text such as MO or -1FR."""
    text = str(text).upper()
    number = text[:-2]
    try:
        weekday = getattr(rrule, text[-2:])
        return weekday(int(number)) if number else weekday
    except (AttributeError, ValueError, TypeError):
        raise errors.Invalid(f'RRULE has an unknown day {text[:16]}; days '
                             'are MO to SU, as in MO or -1FR') from None


def _library(frequency, start, parts, **rules):
    """Yield the times that the library finds from a start on.

    It gives up in the year 9999 only, so it is asked about the last centuries
    before that: each 400 years the calendar is the same again.
    """
    cycles = (9899 - start.year) // 400
    later = start.replace(year=start.year + 400 * cycles)
    for name, values in parts.items():
        rules['byweekday' if name == 'BYDAY' else _NUMBERS[name][0]] = values
    for moment in rrule.rrule(frequency, dtstart=later, **rules):
        yield moment.replace(year=moment.year - 400 * cycles)


def _midnight(moment):
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)
