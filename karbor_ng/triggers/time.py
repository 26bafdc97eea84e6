# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The type ``time``: a pattern, in a time zone, from a start to an end.

The two formats of patterns have modules of their own; here is what they have
in common, and what operators limit.
"""

import contextlib
import dataclasses
import datetime
import itertools
import typing
import zoneinfo

from oslo_config import cfg

from karbor_ng import errors
from karbor_ng import triggers
from karbor_ng.triggers import calendar
from karbor_ng.triggers import crontab

_INSTANT = datetime.timedelta(microseconds=1)
#: Due times whose distances are looked at: so many, of so long.
_MOST_CHECKED = 1000
_LONGEST_CHECKED = datetime.timedelta(days=4 * 366)
_YEARS = range(1970, 3000)
#: Files between the zones that depend on the host, or are none.
_NO_ZONES = ('localtime', 'posixrules', 'Factory')

_TIME = {'type': 'string', 'minLength': 1, 'maxLength': 64}
_TIME_WORDS = ('ISO 8601, or with a blank instead of the T. Without an '
               'offset it is in the time zone of the trigger.')


@dataclasses.dataclass(frozen=True)
class TimeSchedule(triggers.Schedule):
    """When a pattern is due, from the start to the end, both included."""

    pattern: typing.Any
    start: datetime.datetime
    end: datetime.datetime | None
    window_seconds: int

    def runs(self, after):
        for run in self.pattern.runs(max(after, self.start - _INSTANT)):
            if self.end is not None and run > self.end:
                return
            yield run


class TimeTrigger(triggers.TriggerType):
    """Fires at times that a pattern describes."""

    SCHEMA = {
        'type': 'object',
        'required': ['format', 'pattern'],
        'additionalProperties': False,
        'properties': {
            'format': {
                'type': 'string', 'enum': ['crontab', 'calendar'],
                'description': 'How the pattern is read.'},
            'pattern': {
                'type': 'string', 'minLength': 1, 'maxLength': 20000,
                'description': 'Five fields of crontab, or a VEVENT of '
                               'RFC 5545.'},
            'timezone': {
                'type': 'string', 'minLength': 1, 'maxLength': 64,
                'description': 'Name of a time zone, such as Europe/Berlin. '
                               'Without it: UTC.'},
            'start_time': {
                **_TIME, 'description': f'The first moment. {_TIME_WORDS} '
                                        'Without it: now.'},
            'end_time': {
                **_TIME, 'description': f'The last moment. {_TIME_WORDS} '
                                        'Without it: never.'},
            'window': {
                'type': ['integer', 'string'], 'maxLength': 16,
                'description': 'Seconds that a run may begin late, as a '
                               'number or as text; answers have it as '
                               'text.'},
        },
    }

    OPTS = [
        cfg.IntOpt('min_interval', default=3600, min=0,
                   help='Seconds that must at least lie between two due '
                        'times of a trigger. What is more often due is '
                        'refused when it is made or changed.'),
        cfg.IntOpt('min_window_time', default=900, min=0,
                   help='Seconds that the window of a trigger must at least '
                        'have, and has if its user names none. A run that '
                        'could not begin within the window is missed.'),
        cfg.IntOpt('max_window_time', default=3600, min=0,
                   help='Seconds that the window of a trigger can have at '
                        'most.'),
    ]

    def __init__(self, conf):
        super().__init__(conf)
        if conf.min_window_time > conf.max_window_time:
            raise errors.ConfigError(
                f'min_window_time ({conf.min_window_time}) must not be '
                f'larger than max_window_time ({conf.max_window_time}).')

    def check(self, properties, now):
        zone = _zone(properties)
        values = dict(properties)
        values['window'] = str(self._window(properties))
        values.setdefault('start_time', now.astimezone(zone).strftime(
            '%Y-%m-%d %H:%M:%S'))
        schedule = self.schedule(values)
        if schedule.end is not None and schedule.end <= schedule.start:
            raise errors.Invalid('properties.end_time must be later than '
                                 'start_time.')
        with _naming_the_pattern():
            schedule.pattern.check()
            if schedule.next_run(schedule.start - _INSTANT) is None:
                raise errors.Invalid(
                    'there is no such time '
                    + ('from start_time on' if schedule.end is None
                       else 'between start_time and end_time'))
            self._check_distances(schedule, zone, now)
        return values

    def schedule(self, properties):
        zone = _zone(properties)
        start = _moment(properties, 'start_time', zone)
        end = _moment(properties, 'end_time', zone)
        with _naming_the_pattern():
            if properties['format'] == 'crontab':
                pattern = crontab.Crontab(properties['pattern'], zone)
            else:
                pattern = calendar.Calendar(
                    properties['pattern'], zone,
                    properties.get('timezone', 'UTC'),
                    start.astimezone(zone).replace(tzinfo=None))
        return TimeSchedule(pattern, start, end, int(properties['window']))

    def _window(self, properties):
        smallest = self._conf.min_window_time
        largest = self._conf.max_window_time
        text = str(properties.get('window', smallest)).strip()
        if not (text.isascii() and text.isdecimal()
                and smallest <= int(text) <= largest):
            raise errors.Invalid(
                'properties.window must be a whole number of seconds from '
                f'{smallest} to {largest}.')
        return int(text)

    def _check_distances(self, schedule, zone, now):
        """Refuse what is due too often.

        Changes of the clock are left aside: they would make two due times
        closer once a year.
        """
        begin = (max(schedule.start, now).astimezone(zone)
                 .replace(tzinfo=None, fold=0))
        runs = itertools.islice(
            schedule.pattern.local_runs(begin), _MOST_CHECKED)
        for run, following in itertools.pairwise(runs):
            if following - begin > _LONGEST_CHECKED:
                return
            seconds = int((following - run).total_seconds())
            if seconds < self._conf.min_interval:
                raise errors.Invalid(
                    f'it is due at {run} and at {following}, {seconds} '
                    f'seconds later; at least {self._conf.min_interval} '
                    'must lie between')


@contextlib.contextmanager
def _naming_the_pattern():
    try:
        yield
    except errors.Invalid as exc:
        text = str(exc).rstrip('.')
        raise errors.Invalid(f'properties.pattern: {text}.') from None


def _zone(properties):
    name = properties.get('timezone', 'UTC')
    if name == 'UTC':
        return datetime.timezone.utc
    try:
        if name in _NO_ZONES:
            raise ValueError
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise errors.Invalid(
            'properties.timezone must be the name of a time zone, such as '
            'Europe/Berlin or UTC.') from None


def _moment(properties, name, zone):
    text = properties.get(name)
    if text is None:
        return None
    try:
        moment = datetime.datetime.fromisoformat(text.strip())
    except ValueError:
        moment = None
    if moment is None or moment.year not in _YEARS:
        raise errors.Invalid(
            f'properties.{name} must be a time of the years 1970 to 2999, '
            'such as 2026-03-01T02:00:00.')
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    return moment.astimezone(datetime.timezone.utc)
