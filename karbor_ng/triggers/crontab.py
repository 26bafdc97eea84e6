# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Patterns in crontab's format, read as Debian's cron reads them.

What that format means is the library's business; what users are told of a
pattern that is wrong, and that due times only ever go forward, is ours.
"""

import datetime

import cronsim

from karbor_ng import errors

_FIELDS = {
    'minute': '0-59', 'hour': '0-23', 'day-of-month': '1-31, L or LW',
    'month': '1-12 or JAN-DEC', 'day-of-week': '0-7 or SUN-SAT'}

_NICKNAMES = {
    '@hourly': '0 * * * *', '@daily': '0 0 * * *', '@midnight': '0 0 * * *',
    '@weekly': '0 0 * * 0', '@monthly': '0 0 1 * *',
    '@yearly': '0 0 1 1 *', '@annually': '0 0 1 1 *'}

_ANY_TIME = datetime.datetime(2000, 1, 1)


class Crontab:
    """A pattern in five fields, in a time zone."""

    def __init__(self, pattern, zone):
        """:raises errors.Invalid: saying what is wrong with the pattern"""
        self._zone = zone
        self._pattern = _NICKNAMES.get(pattern.strip().lower(), pattern)
        if len(self._pattern.split()) != len(_FIELDS):
            raise errors.Invalid(
                f'there must be five fields, "{" ".join(_FIELDS)}", and not '
                f'{len(self._pattern.split())}')
        try:
            cronsim.CronSim(self._pattern, _ANY_TIME)
        except (cronsim.CronSimError, AssertionError, ValueError) as exc:
            raise errors.Invalid(_explain(str(exc))) from None

    def check(self):
        """:raises errors.Invalid: the pattern never comes true"""
        if next(self._ticks(_ANY_TIME), None) is None:
            raise errors.Invalid('there is no such time')

    def runs(self, after):
        """Yield due times after a moment, in UTC, ascending.

        The library looks 50 years ahead and then gives up. It begins at a
        local time, which a change of the clock can make ambiguous, so what
        is not later than what was before is left out.
        """
        for run in self._ticks(after.astimezone(self._zone)):
            run = run.astimezone(datetime.timezone.utc)
            if run > after:
                after = run
                yield run

    def local_runs(self, after):
        """Yield due times after a local time, as if no clock ever changed."""
        return self._ticks(after)

    def _ticks(self, after):
        try:
            yield from cronsim.CronSim(self._pattern, after)
        except OverflowError:  # the year 9999
            return


def _explain(problem):
    name = problem.removeprefix('Bad ')
    if name in _FIELDS:
        return (f'the field {name} is wrong, or never fits the other fields; '
                f'it can have {_FIELDS[name]}, lists with commas, ranges '
                'with -, steps with /')
    return 'not a crontab pattern, such as "0 2 * * *"'
