# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""One page about a soak.

Separate because it only reads: what was counted, what the rows say, and what
was found not to hold.
"""

import collections
import os
import re
import time

import sqlalchemy as sa

from karbor_ng.store import models
from karbor_ng.tests.soak import providers

Operation = models.Operation
Run = models.ScheduledOperationRun
_ID = re.compile('[0-9a-f]{8}-?[0-9a-f-]{20,}')
#: Violations of which the report tells in full.
_MOST = 40
#: Those of them that are looked up in logs.
_MOST_LOOKED_UP = 10


def text(options, site, watch, tally, checked, began):
    """Return the report.

    :param checked: ``{what: how many}`` of the proof
    :param began: monotonic time of the beginning
    """
    counts = tally.counts
    operations, runs = site.db.read(_operations), site.db.read(_runs)
    lines = [
        f'Soak of {options.minutes:g} minutes with seed {options.seed}, a '
        f'disturbance every {options.pause:g} s; '
        f'{(time.monotonic() - began) / 60:.1f} minutes in all, load '
        f'{os.getloadavg()[2]:.1f}',
        '',
        'Operations:', *_table(operations),
        f'Take-overs: {site.db.read(_take_overs)}',
        'Why operations failed:',
        *(f'  {number} x {why}' for why, number
          in site.db.read(_reasons).most_common(8)),
        '', 'Runs of schedules: ' + _row(runs),
        'Asked for: ' + _row(counts['asked for']),
        'Answers: ' + _row(counts['answers']),
        'Trouble of tenants with the cloud: '
        + _row(counts['trouble of tenants']),
        'Restored: ' + _row(counts['restored']),
        '']
    for how in ('killed', 'paused', 'restarted', 'ended at the start'):
        lines.append(f'{how.capitalize()}: {sum(counts[how].values())} '
                     f'({_row(counts[how])})')
    lines += [
        f'Longest time until anything went on: {watch.anything.seconds:.1f} '
        f's ({watch.anything.what})',
        f'Longest time until an operation went on that had lost its worker: '
        f'{watch.one.seconds:.1f} s ({watch.one.what})',
        'Memory in MiB at the end: ' + _row(site.memory()),
        '', 'Checked: ' + _row(checked),
        f'Excused, lost by the cloud itself: {len(tally.excused)}',
        *(f'  {one}' for one in tally.excused),
        'Most frequent errors in the logs:',
        *(f'  {number} x {said}' for said, number in site.log_errors(8)),
        '', f'Violations: {len(tally.violations)}',
        *_violations(site, tally)]
    return '\n'.join(lines) + '\n'


def _violations(site, tally):
    """Yield each with what logs say of the things that it names."""
    for number, one in enumerate(tally.violations[:_MOST]):
        yield f'  {one}'
        if number < _MOST_LOOKED_UP:
            for thing_id in dict.fromkeys(_ID.findall(one)):
                yield from (f'      {line}' for line
                            in site.log_lines(thing_id, 4))


def _table(operations):
    by_type = collections.defaultdict(dict)
    for (kind, state), number in sorted(operations.items()):
        by_type[kind][state] = number
    for kind, states in by_type.items():
        yield f'  {kind:16} {sum(states.values()):5}: {_row(states)}'


def _row(numbers):
    return ', '.join(f'{name} {number}' for name, number
                     in sorted(numbers.items())) or '-'


def _operations(session):
    rows = session.execute(
        sa.select(Operation.type, Operation.state, Operation.error_info,
                  Operation.provider_id))
    return collections.Counter((
        f'{row.type} {"nothing" if row.provider_id == providers.NOOP else ""}',
        _outcome(row)) for row in rows)


def _outcome(row):
    if row.state == 'failed' and 'Aborted' in (row.error_info or ''):
        return 'aborted'
    return row.state


def _reasons(session):
    """Return how often operations failed for a reason, without its ids."""
    rows = session.execute(
        sa.select(Operation.error_info)
        .where(Operation.error_info.is_not(None))).scalars()
    return collections.Counter(
        _ID.sub('...', row.replace('\n', ' '))[:150] for row in rows)


def _runs(session):
    return dict(session.execute(
        sa.select(Run.state, sa.func.count()).group_by(Run.state)
    ).tuples().all())


def _take_overs(session):
    return int(session.execute(
        sa.select(sa.func.sum(Operation.resume_count))).scalar() or 0)
