# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Patterns in the format of calendars: one VEVENT of RFC 5545.

Apart from the rules inside, because this is about what an event is made of,
and about changes of the clock: due times are local times, rules know no zone.
"""

import datetime
import heapq

from icalendar import cal

from karbor_ng import errors
from karbor_ng.triggers import recurrence

_MINUTE = datetime.timedelta(minutes=1)
_LAST_SECOND = datetime.time(23, 59, 59)

_YEARS = range(1970, 3000)
_MOST_RULES = 5
_MOST_DATES = 1000
#: What changes when an event happens and is not one of these is refused.
_REFUSED = ('EXRULE', 'RECURRENCE-ID')


class Calendar:
    """An event and when it happens, in a time zone.

    :param start: local, without zone: where rules begin if the event has no
        DTSTART
    """

    def __init__(self, pattern, zone, zone_name, start):
        """:raises errors.Invalid: saying what is wrong with the pattern"""
        self._zone = zone
        self._zone_name = zone_name
        event = _event(pattern)
        first = self._moments(event, 'DTSTART')
        start = first[0] if first else start
        self._dates = sorted(self._moments(event, 'RDATE'))
        self._rules = [self._rule(parts, start)
                       for parts in _properties(event, 'RRULE')]
        if len(self._rules) > _MOST_RULES:
            raise errors.Invalid(f'there must not be more than {_MOST_RULES} '
                                 'RRULE')
        if not self._rules:
            self._dates = sorted([*first, *self._dates])
        self._excluded = set(self._moments(event, 'EXDATE', whole_days=True))
        if not self._rules and not self._dates:
            raise errors.Invalid('the VEVENT needs an RRULE, an RDATE or a '
                                 'DTSTART')

    def check(self):
        """:raises errors.Invalid: a rule never comes true"""
        for rule in self._rules:
            rule.check()

    def runs(self, after):
        """Yield due times after a moment, in UTC, ascending.

        A local time that the clock leaves out happens when it is changed,
        one that it shows twice happens the first time.
        """
        local = after.astimezone(self._zone).replace(tzinfo=None, fold=0)
        for run in self.local_runs(local):
            run = self._moment(run)
            if run > after:
                after = run
                yield run

    def local_runs(self, after):
        """Yield due times after a local time, as if no clock ever changed."""
        sources = [rule.runs(after) for rule in self._rules]
        for run in heapq.merge(self._dates, *sources):
            if (run > after and run not in self._excluded
                    and run.date() not in self._excluded):
                after = run
                yield run

    def _moment(self, local):
        moment = self._in_utc(local)
        if moment.astimezone(self._zone).replace(tzinfo=None) == local:
            return moment
        local = local.replace(second=0)
        while moment.astimezone(self._zone).replace(tzinfo=None) != local:
            local += _MINUTE
            moment = self._in_utc(local)
        return moment

    def _in_utc(self, local):
        return local.replace(tzinfo=self._zone).astimezone(
            datetime.timezone.utc)

    def _rule(self, parts, start):
        until = parts.get('UNTIL', [None])[0]
        if isinstance(until, datetime.date) and until.year > _YEARS[-1]:
            until = None  # how some write "for ever"
        if until is not None:
            until = self._local(until, 'UNTIL of RRULE')
            if not isinstance(until, datetime.datetime):
                until = datetime.datetime.combine(until, _LAST_SECOND)
        return recurrence.Rule(parts, start, until)

    def _moments(self, event, name, whole_days=False):
        """Return the local times that a property has.

        :param whole_days: leave dates what they are; without it they are
            their midnights
        """
        found = []
        for value in _properties(event, name):
            self._check_zone(name, value)
            for item in getattr(value, 'dts', [value]):
                found.append(self._day_or_time(item.dt, name, whole_days))
        if len(found) > _MOST_DATES:
            raise errors.Invalid(f'there must not be more than {_MOST_DATES} '
                                 f'{name}')
        return found

    def _day_or_time(self, value, name, whole_days):
        if isinstance(value, tuple):  # a period; when it begins counts
            value = value[0]
        value = self._local(value, name)
        if isinstance(value, datetime.datetime) or whole_days:
            return value
        return datetime.datetime.combine(value, datetime.time())

    def _local(self, value, name):
        """Return a date, or a local time without zone."""
        if (not isinstance(value, datetime.date)
                or value.year not in _YEARS):
            raise errors.Invalid(f'{name} must be a date or a time of the '
                                 f'years {_YEARS[0]} to {_YEARS[-1]}')
        if not isinstance(value, datetime.datetime):
            return value
        if value.tzinfo is None:
            return value.replace(microsecond=0)
        return value.astimezone(self._zone).replace(tzinfo=None, fold=0)

    def _check_zone(self, name, value):
        """Refuse another zone than the trigger's: it would mean nothing."""
        zone_name = value.params.get('TZID')
        if (name == 'DTSTART' and zone_name is None
                and getattr(value.dt, 'tzinfo', None) is not None):
            zone_name = 'UTC'
        if zone_name not in (None, self._zone_name):
            raise errors.Invalid(
                f'{name} is in the time zone {zone_name[:64]}, and the '
                f'trigger in {self._zone_name}: set the property timezone '
                'to the same')


def _event(pattern):
    """Return the pattern's VEVENT.

    In JSON some write the ends of lines escaped twice, so that a backslash
    and an n arrive here.
    """
    text = pattern.replace('\\r', '').replace('\\n', '\n')
    try:
        # Of a text without ends of lines icalendar opens the file that has
        # this name (GHSA-j72g-xg6j-fq68); of bytes it does not.
        component = cal.Component.from_ical(text.encode())
    except (ValueError, KeyError, IndexError) as exc:
        raise errors.Invalid(
            f'not a calendar: {str(exc).splitlines()[0][:90]}') from None
    events = component.walk('VEVENT')
    if len(events) != 1:
        raise errors.Invalid('there must be one VEVENT (BEGIN:VEVENT, '
                             f'RRULE:..., END:VEVENT), and not {len(events)}')
    event, = events
    for name, problem in event.errors:
        if name in (None, 'RRULE', 'RDATE', 'EXDATE', 'DTSTART'):
            raise errors.Invalid(
                f'{name or "a line"} is wrong: {str(problem)[:90]}')
    for name in _REFUSED:
        if name in event:
            raise errors.Invalid(f'{name} is not supported')
    return event


def _properties(event, name):
    values = event.get(name, [])
    return values if isinstance(values, list) else [values]
