# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Which checkpoints of a scheduled operation are kept, and why.

Pure rules over plain values: rows, clocks and clouds are elsewhere. What is
decided here is deleted for good, so in doubt something is kept.
"""

import bisect
import collections
import dataclasses
import datetime
import itertools
import zoneinfo

#: What can be restored whole: only such are counted.
_GOOD = 'available'
_FAILED = 'error'

_NUMBER = {
    'anyOf': [{'type': 'integer', 'minimum': -1, 'maximum': 10 ** 6},
              {'type': 'string', 'pattern': '^(-1|[0-9]{1,6})$'}]}

#: What periods are called, and what is the same for all times of one. At the
#: end of summer an hour comes twice, so its offset tells the two apart.
_PERIODS = {
    'keep_hourly': ('hour', '%Y-%m-%d %H:00 %z'),
    'keep_daily': ('day', '%Y-%m-%d'),
    'keep_weekly': ('week', '%G-W%V'),
    'keep_monthly': ('month', '%Y-%m'),
    'keep_yearly': ('year', '%Y'),
}

#: JSON schemas of what a definition can say; nothing and what is not
#: positive are no rule. Old clients send numbers as text.
SCHEMA_PROPERTIES = {
    'max_backups': {
        **_NUMBER, 'description': 'How many available checkpoints stay.'},
    'retention_duration': {
        **_NUMBER, 'description': 'Days for which checkpoints stay.'},
    'keep_last': {
        **_NUMBER, 'description': 'The newest checkpoints, so many, stay.'},
    **{name: {**_NUMBER, 'description': f'The newest checkpoint of each '
                                        f'{period} stays, for so many '
                                        f'{period}s that have one.'}
       for name, (period, _pattern) in _PERIODS.items()},
}


@dataclasses.dataclass(frozen=True)
class Rules:
    """What is kept. None is no rule; without any rule everything is kept.

    ``max_backups`` and ``retention_days`` are limits: what is beyond one of
    them goes, unless a ``keep`` rule wants it. Without limits, all that no
    ``keep`` rule wants goes.

    :ivar max_backups: the newest ones, so many
    :ivar retention_days: those that are not older than so many times 24
        hours
    :ivar keep_last: the newest ones, so many
    :ivar keep_hourly: the newest of each hour, of so many hours that have
        one; the same of days, weeks (of ISO 8601), months and years
    :ivar timezone: in which these begin
    """

    max_backups: int | None = None
    retention_days: int | None = None
    keep_last: int | None = None
    keep_hourly: int | None = None
    keep_daily: int | None = None
    keep_weekly: int | None = None
    keep_monthly: int | None = None
    keep_yearly: int | None = None
    timezone: str = 'UTC'

    @classmethod
    def from_definition(cls, definition, timezone):
        """Read the definition of a scheduled operation.

        :param definition: what fits SCHEMA_PROPERTIES
        """
        numbers = {name: int(definition.get(name, 0))
                   for name in SCHEMA_PROPERTIES}
        numbers['retention_days'] = numbers.pop('retention_duration')
        return cls(timezone=timezone, **{
            name: number for name, number in numbers.items() if number > 0})

    @property
    def has_limits(self):
        return self.max_backups is not None or self.retention_days is not None

    @property
    def is_any(self):
        """Whether there is any rule."""
        return self.has_limits or any(
            getattr(self, name) is not None
            for name in ('keep_last', *_PERIODS))


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What is known of a checkpoint.

    :ivar time: of its data, with a zone
    :ivar status: ``available`` is good, ``error`` has failed; with any other
        one something still works on it
    :ivar parents: ids of those that it builds on
    :ivar held: why it must stay whatever the rules say; empty if nothing
    """

    id: str
    time: datetime.datetime
    status: str
    parents: tuple = ()
    held: str = ''


@dataclasses.dataclass(frozen=True)
class Decision:
    """What becomes of a checkpoint.

    :ivar reasons: texts: why it is kept, or why it goes
    """

    id: str
    is_kept: bool
    reasons: tuple


def decide(checkpoints, rules, now):
    """Return a :class:`Decision` for each of one schedule's checkpoints.

    Newest first, and what builds on others before these: they can be deleted
    in this order. The newest good one always stays, and so do all that one
    that stays builds on. What claims to be of the future is left alone and
    not counted: when some clock was wrong, it would seem the newest for
    years.

    :param checkpoints: in any order
    :param now: with a zone
    """
    ordered = _in_order(checkpoints)
    if not rules.is_any:
        return [Decision(one.id, True, ('No rule deletes it.',))
                for one in ordered]
    known = sorted((one for one in ordered if one.time <= now
                    and one.status in (_GOOD, _FAILED)),
                   key=_age, reverse=True)
    good = [one for one in known if one.status == _GOOD]
    kept = collections.defaultdict(list)
    for one, reason in (*_untouchable(ordered, now), *_wanted(good, rules)):
        kept[one.id].append(reason)
    goes, oldest_first = {}, good[::-1]
    for one in known:
        newer = len(good) - bisect.bisect_right(
            oldest_first, _age(one), key=_age)
        goes[one.id] = _reasons_to_go(one, newer, rules, now)
        if not goes[one.id]:
            kept[one.id].append('No limit is reached.')
    _keep_chains(ordered, kept)
    return [Decision(one.id, one.id in kept,
                     tuple(kept.get(one.id) or goes[one.id]))
            for one in ordered]


def _age(one):
    return one.time, one.id


def _in_order(checkpoints):
    """Return the newest first, but what builds on others before these."""
    known = {one.id: one for one in checkpoints}
    children = collections.Counter(
        parent for one in known.values() for parent in set(one.parents)
        if parent in known)
    ready = sorted((one for one in known.values() if not children[one.id]),
                   key=_age)
    found = []
    while ready:
        one = ready.pop()
        found.append(one)
        for parent in set(one.parents) & set(known):
            children[parent] -= 1
            if not children[parent]:
                bisect.insort(ready, known[parent], key=_age)
    return found


def _untouchable(checkpoints, now):
    """Yield what no rule can delete, with the reason."""
    for one in checkpoints:
        if one.held:
            yield one, one.held
        if one.status not in (_GOOD, _FAILED):
            yield one, f'Its status is {one.status}.'
        if one.time > now:
            yield one, 'Its time lies in the future.'


def _wanted(good, rules):
    """Yield what rules keep, newest first, with the reason."""
    for one in good[:1]:
        yield one, 'It is the newest that is available.'
    for one in good[:rules.keep_last or 0]:
        yield one, f'It is one of the newest {rules.keep_last} (keep_last).'
    zone = zoneinfo.ZoneInfo(rules.timezone)
    for name, (period, pattern) in _PERIODS.items():
        newest = {}
        for one in good:
            newest.setdefault(one.time.astimezone(zone).strftime(pattern),
                              one)
        for when, one in itertools.islice(newest.items(),
                                          getattr(rules, name) or 0):
            yield one, f'It is the newest of the {period} {when} ({name}).'


def _reasons_to_go(one, newer, rules, now):
    """Return why the limits, or that there are none, do not keep it.

    What has failed stays until something newer is good, so that people can
    see why, and counts for nothing.
    """
    if one.status == _FAILED and not newer:
        return []
    reasons = []
    if not rules.has_limits:
        reasons.append('It has failed.' if one.status == _FAILED
                       else 'No rule keeps it.')
    if rules.max_backups is not None and newer >= rules.max_backups:
        reasons.append(f'{newer} newer ones are available; the limit is '
                       f'{rules.max_backups} (max_backups).')
    if rules.retention_days is not None and now - one.time > (
            datetime.timedelta(days=rules.retention_days)):
        reasons.append(f'It is older than {rules.retention_days} days '
                       '(retention_duration).')
    return reasons


def _keep_chains(ordered, kept):
    """Keep what those that are kept build on, however far down."""
    for one in ordered:
        if one.id not in kept:
            continue
        for parent in one.parents:
            reason = f'Checkpoint {one.id} builds on it.'
            if reason not in kept[parent]:
                kept[parent].append(reason)
