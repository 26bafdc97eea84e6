# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Plans, checkpoints and operations by the thousand, as benchmarks ask for.

Apart because more than one benchmark asks the same rows. They are numbered
by age. The oldest ones carry what is asked for as the rare: who has no index
for a filter passes all the others before it comes to them.
"""

import datetime
import uuid

import sqlalchemy as sa

from karbor_ng.store import models
from karbor_ng.tests.unit.api import environment

PROVIDER = environment.PROVIDER_ID
RARE_PROVIDER = environment.SECOND_PROVIDER_ID
#: So many rows have each of the rare values: a page.
RARE = 20
SMALLEST = 5 * RARE
_BEGIN = datetime.datetime(2010, 1, 1, tzinfo=datetime.timezone.utc)
_AT_ONCE = 1000
_SHARED = {'project_id': environment.PROJECT, 'user_id': 'demo'}


def identity(noun, number):
    """Return the id of a row."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f'{noun} {number}'))


def day(number):
    """Return the day on which a row was created; each has twenty rows."""
    return (_BEGIN + datetime.timedelta(days=number // RARE)).date()


RARE_PLAN = identity('plan', 0)
COMMON_PLAN = identity('plan', 1)
RARE_CHECKPOINT = identity('checkpoint', 'of many operations')
RARE_RESTORE = identity('restore', 'of many operations')


def fill(db, size):
    """Insert so many rows of each noun; tell the database what is there."""
    fill_plans(db, 0, size)
    for model, make in ((models.Checkpoint, checkpoint),
                        (models.CheckpointResource, resource),
                        (models.Operation, _operation),
                        (models.Trigger, trigger),
                        (models.ScheduledOperation, scheduled_operation)):
        _fill(db, model, make, 0, size)


def fill_plans(db, begin, end):
    """Insert the plans of these numbers only."""
    _fill(db, models.Plan, plan, begin, end)


def _fill(db, model, make, begin, end):
    for number in range(begin, end, _AT_ONCE):
        db.write(_insert, model, [
            make(n) for n in range(number, min(end, number + _AT_ONCE))])
    db.write(analyze, model.__tablename__)


def _insert(session, model, values):
    session.execute(sa.insert(model), values)


def analyze(session, table):
    """Tell the database what is in a table."""
    word = ('ANALYZE TABLE' if session.bind.dialect.name == 'mysql'
            else 'ANALYZE')
    session.execute(sa.text(f'{word} {table}'))


def _created(number):
    return _BEGIN + datetime.timedelta(days=number // RARE,
                                       minutes=number % RARE)


def _resources(number):
    return [{'id': identity('volume', f'{number} {disk}'),
             'type': environment.VOLUME, 'name': disk}
            for disk in ('system', 'data')]


def plan(number):
    """Return the values of a plan."""
    is_rare = number < RARE
    return {
        **_SHARED, 'id': identity('plan', number),
        'provider_id': RARE_PROVIDER if is_rare else PROVIDER,
        # In another order than by age.
        'name': f'shop {number * 7919 % 1000003:07d}',
        'description': 'All disks of one shop, each night.',
        'status': 'started' if is_rare else 'suspended',
        'resources': _resources(number), 'parameters': {},
        'created_at': _created(number)}


def checkpoint(number):
    """Return the values of a checkpoint."""
    is_rare = number < RARE
    done = {'id': RARE_PLAN if is_rare else COMMON_PLAN, 'name': 'shop',
            'description': None, 'provider_id': PROVIDER, 'parameters': {},
            'resources': _resources(number)}
    return {
        **_SHARED, 'id': identity('checkpoint', number),
        'provider_id': PROVIDER, 'plan_id': done['id'], 'plan': done,
        'status': 'error' if is_rare else 'available',
        'graph': environment.GRAPH, 'extra_info': {'created_by': 'manual'},
        'created_at': _created(number), 'finished_at': _created(number)}


def resource(number):
    """Return the values of a resource of the checkpoint."""
    return {
        'checkpoint_id': identity('checkpoint', number),
        'id': identity('volume', f'{number} system'),
        'type': environment.VOLUME, 'name': 'system', 'in_plan': True,
        'status': 'available', 'progress': 100, 'parameters': {},
        'saved': {}, 'objects': []}


def trigger(number):
    """Return the values of a trigger."""
    return {
        **_SHARED, 'id': identity('trigger', number), 'type': 'time',
        'name': f'night {number * 7919 % 1000003:07d}',
        'properties': {
            'format': 'crontab', 'pattern': f'{number % 60} 2 * * *',
            'timezone': 'Europe/Berlin', 'window': '900',
            'start_time': '2026-01-01 00:00:00'},
        'created_at': _created(number)}


def scheduled_operation(number):
    """Return the values of a scheduled operation."""
    wanted = {'plan_id': identity('plan', number), 'provider_id': PROVIDER}
    return {
        **_SHARED, **wanted, 'id': identity('scheduled operation', number),
        'name': f'nightly {number * 7919 % 1000003:07d}',
        'operation_type': 'retention_protect',
        'trigger_id': identity('trigger', number),
        'definition': {**wanted, 'max_backups': '7'}, 'is_enabled': True,
        'created_at': _created(number)}


def _operation(number):
    values = {
        **_SHARED, 'id': identity('operation', number), 'type': 'protect',
        'state': 'done', 'provider_id': PROVIDER, 'plan_id': COMMON_PLAN,
        'checkpoint_id': identity('checkpoint', number), 'restore_id': None,
        'created_at': _created(number), 'ended_at': _created(number)}
    rare = ({'state': 'failed'}, {'plan_id': RARE_PLAN},
            {'provider_id': RARE_PROVIDER},
            {'checkpoint_id': RARE_CHECKPOINT},
            {'type': 'restore', 'restore_id': RARE_RESTORE})
    return {**values, **(rare[number // RARE]
                         if number < RARE * len(rare) else {})}
