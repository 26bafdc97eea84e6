# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Which checkpoints of a scheduled operation are kept, and why.

Pure rules over plain values: rows, clocks and clouds are elsewhere.
"""

import dataclasses
import datetime

_NUMBER = {
    'anyOf': [{'type': 'integer', 'minimum': -1, 'maximum': 10 ** 6},
              {'type': 'string', 'pattern': '^(-1|[0-9]{1,6})$'}]}

#: JSON schemas of what a definition can say; nothing and what is not
#: positive are no rule. Old clients send numbers as text.
SCHEMA_PROPERTIES = {
    'max_backups': {
        **_NUMBER, 'description': 'How many available checkpoints stay.'},
    'retention_duration': {
        **_NUMBER, 'description': 'Days for which checkpoints stay.'},
}


@dataclasses.dataclass(frozen=True)
class Rules:
    """What is kept: what all of the rules keep; None is no rule.

    :ivar max_backups: the newest ones, so many
    :ivar retention_days: those that are younger
    :ivar timezone: in which days begin
    """

    max_backups: int | None = None
    retention_days: int | None = None
    timezone: str = 'UTC'

    @classmethod
    def from_definition(cls, definition, timezone):
        """Read the definition of a scheduled operation."""
        def number(name):
            value = int(definition.get(name, 0))
            return value if value > 0 else None
        return cls(number('max_backups'), number('retention_duration'),
                   timezone)


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What is known of a checkpoint.

    :ivar time: of its data
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
    """What becomes of a checkpoint, and why."""

    id: str
    is_kept: bool
    reasons: tuple


def decide(checkpoints, rules, now):
    """Return a :class:`Decision` for each, newest first.

    Only available ones are counted and deleted. The newest of them stays,
    and so does whatever one that stays builds on.
    """
    ordered = sorted(checkpoints, key=lambda one: (one.time, one.id),
                     reverse=True)
    kept, goes, place = {}, {}, 0
    for one in ordered:
        if one.held or one.status != 'available' or one.time > now:
            kept[one.id] = one.held or f'It is {one.status}.'
            continue
        place += 1
        why = _why_it_goes(one, place, rules, now)
        if why and place > 1:
            goes[one.id] = why
        else:
            kept[one.id] = 'The rules keep it.'
    _keep_chains(ordered, kept, goes)
    return [Decision(one.id, one.id in kept,
                     (kept.get(one.id) or goes[one.id],)) for one in ordered]


def _why_it_goes(one, place, rules, now):
    if rules.max_backups is not None and place > rules.max_backups:
        return f'There are {rules.max_backups} newer ones.'
    if rules.retention_days is not None and (
            now - one.time > datetime.timedelta(days=rules.retention_days)):
        return f'It is older than {rules.retention_days} days.'
    return None


def _keep_chains(ordered, kept, goes):
    """Keep what those that are kept build on, however far down."""
    parents = {one.id: one.parents for one in ordered}
    waiting = list(kept)
    while waiting:
        child = waiting.pop()
        for parent in parents[child]:
            if goes.pop(parent, None):
                kept[parent] = f'Checkpoint {child} builds on it.'
                waiting.append(parent)
