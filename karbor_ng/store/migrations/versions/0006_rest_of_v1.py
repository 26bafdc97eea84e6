# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What the rest of v1 needs: verifications, copies, quotas, schedules."""

from alembic import op
import sqlalchemy as sa

from karbor_ng.store.migrations import columns

revision = '0006'
down_revision = '0005'

#: Behind each is what breaks ties, so that the rows come sorted.
_ORDER = ('created_at', 'id')


def upgrade():
    _verifications()
    _columns()
    _services()
    _quotas()
    _triggers()
    _scheduled_operations()
    _runs()


def _verifications():
    _create(
        'verifications',
        _id(primary_key=True),
        sa.Column('project_id', columns.exact(255), nullable=False),
        sa.Column('user_id', columns.exact(255)),
        sa.Column('provider_id', columns.uuid(), nullable=False),
        sa.Column('checkpoint_id', columns.uuid(), nullable=False),
        sa.Column('parameters', columns.long_text(), nullable=False),
        sa.Column('status', columns.exact(64), nullable=False),
        sa.Column('created_at', columns.time(), nullable=False),
        sa.Column('finished_at', columns.time()))
    _index('verifications_by_project', 'verifications', 'project_id')
    _index('verifications_by_status', 'verifications', 'project_id', 'status')
    _index('verifications_by_checkpoint', 'verifications', 'checkpoint_id')
    _create(
        'verification_resources',
        sa.Column('verification_id', columns.uuid(),
                  sa.ForeignKey('verifications.id'), primary_key=True),
        sa.Column('type', columns.exact(64), primary_key=True),
        sa.Column('id', columns.exact(255), primary_key=True),
        sa.Column('name', sa.String(255)),
        sa.Column('status', columns.exact(64), nullable=False),
        sa.Column('reason', columns.long_text()),
        sa.Column('progress', sa.Integer, nullable=False),
        sa.Column('parameters', columns.long_text(), nullable=False),
        sa.Column('saved', columns.long_text(), nullable=False))


def _columns():
    for table, column in (
            ('checkpoints', sa.Column('copied_from', columns.uuid())),
            ('checkpoints', sa.Column('data_time', columns.time())),
            ('restores', sa.Column('restore_auth', columns.long_text())),
            ('operations', sa.Column('verification_id', columns.uuid())),
            ('operations', sa.Column('source_checkpoint_id',
                                     columns.uuid())),
            ('operations', sa.Column('target_credentials',
                                     columns.long_text()))):
        op.add_column(table, column)
    op.create_index('checkpoints_by_source', 'checkpoints',
                    ['copied_from', 'provider_id'])
    _index('operations_by_verification', 'operations', 'verification_id')
    _index('operations_by_schedule', 'operations', 'scheduled_operation_id')


def _services():
    _create(
        'service_hosts',
        sa.Column('id', sa.Integer, primary_key=True, autoincrement=True),
        sa.Column('binary', columns.exact(64), nullable=False),
        sa.Column('host', columns.exact(255), nullable=False),
        sa.Column('is_disabled', sa.Boolean, nullable=False),
        sa.Column('disabled_reason', sa.String(255)),
        sa.Column('updated_at', columns.time()),
        sa.UniqueConstraint('binary', 'host', name='service_hosts_key'))


def _quotas():
    for table, name in (('quotas', 'project_id'),
                        ('quota_class_limits', 'class_name')):
        _create(
            table,
            sa.Column(name, columns.exact(255), primary_key=True),
            sa.Column('resource', columns.exact(64), primary_key=True),
            sa.Column('limit', sa.BigInteger, nullable=False))
    _create(
        'quota_projects',
        sa.Column('project_id', columns.exact(255), primary_key=True),
        sa.Column('class_name', columns.exact(255)))


def _triggers():
    _create(
        'triggers',
        _id(primary_key=True),
        sa.Column('project_id', columns.exact(255), nullable=False),
        sa.Column('user_id', columns.exact(255)),
        sa.Column('name', columns.exact(255), nullable=False),
        sa.Column('type', columns.exact(64), nullable=False),
        sa.Column('properties', columns.long_text(), nullable=False),
        sa.Column('next_run_at', columns.time()),
        sa.Column('created_at', columns.time(), nullable=False),
        sa.Column('updated_at', columns.time()))
    _index('triggers_by_project', 'triggers', 'project_id')
    _index('triggers_by_name', 'triggers', 'project_id', 'name')
    _index('triggers_by_type', 'triggers', 'project_id', 'type')
    op.create_index('triggers_due', 'triggers', ['next_run_at', 'id'])


def _scheduled_operations():
    _create(
        'trusts',
        sa.Column('id', columns.exact(64), primary_key=True),
        sa.Column('user_id', columns.exact(255), nullable=False),
        sa.Column('project_id', columns.exact(255), nullable=False),
        sa.Column('state', columns.exact(32), nullable=False),
        sa.Column('reason', columns.long_text()),
        sa.Column('created_at', columns.time(), nullable=False))
    op.create_index('trusts_by_user', 'trusts', ['user_id', 'project_id'])
    table = 'scheduled_operations'
    _create(
        table,
        _id(primary_key=True),
        sa.Column('project_id', columns.exact(255), nullable=False),
        sa.Column('user_id', columns.exact(255)),
        sa.Column('name', columns.exact(255), nullable=False),
        sa.Column('description', sa.String(255)),
        sa.Column('operation_type', columns.exact(64), nullable=False),
        sa.Column('trigger_id', columns.uuid(),
                  sa.ForeignKey('triggers.id'), nullable=False),
        sa.Column('provider_id', columns.uuid(), nullable=False),
        sa.Column('plan_id', columns.uuid(), nullable=False),
        sa.Column('definition', columns.long_text(), nullable=False),
        sa.Column('is_enabled', sa.Boolean, nullable=False),
        sa.Column('disabled_reason', columns.long_text()),
        sa.Column('trust_id', columns.exact(64),
                  sa.ForeignKey('trusts.id')),
        sa.Column('created_at', columns.time(), nullable=False),
        sa.Column('updated_at', columns.time()))
    _index(f'{table}_by_project', table, 'project_id')
    _index(f'{table}_by_name', table, 'project_id', 'name')
    _index(f'{table}_by_type', table, 'project_id', 'operation_type')
    _index(f'{table}_by_trigger', table, 'trigger_id')
    _index(f'{table}_by_plan', table, 'plan_id')
    op.create_index(f'{table}_by_trust', table, ['trust_id'])


def _runs():
    table = 'scheduled_operation_runs'
    _create(
        table,
        _id(primary_key=True),
        sa.Column('scheduled_operation_id', columns.uuid(), nullable=False),
        sa.Column('project_id', columns.exact(255), nullable=False),
        sa.Column('trigger_id', columns.uuid(), nullable=False),
        sa.Column('planned_at', columns.time(), nullable=False),
        sa.Column('state', columns.exact(32), nullable=False),
        sa.Column('reason', columns.long_text()),
        sa.Column('checkpoint_id', columns.uuid()),
        sa.Column('created_at', columns.time(), nullable=False),
        sa.Column('ended_at', columns.time()),
        sa.UniqueConstraint('scheduled_operation_id', 'planned_at',
                            name='scheduled_operation_runs_key'))
    _index(f'{table}_by_project', table, 'project_id')
    _index(f'{table}_by_operation', table, 'scheduled_operation_id')
    op.create_index(f'{table}_by_state', table,
                    ['state', 'planned_at', 'id'])


def _id(**kwargs):
    return sa.Column('id', columns.uuid(), **kwargs)


def _create(name, *items):
    op.create_table(name, *items, **columns.TABLE)


def _index(name, table, *names):
    op.create_index(name, table, [*names, *_ORDER])
