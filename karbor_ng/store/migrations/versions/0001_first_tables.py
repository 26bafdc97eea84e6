# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""First tables."""

from alembic import op
import sqlalchemy as sa

from karbor_ng.store.migrations import columns

revision = '0001'
down_revision = None

exact = columns.exact
uuid = columns.uuid
long_text = columns.long_text
time = columns.time


def upgrade():
    _providers()
    _plans()
    _checkpoints()
    _checkpoint_resources()
    _restores()
    _restore_resources()
    _operations()
    _steps()
    _externals()


def _table(name, *parts):
    op.create_table(name, *parts, **columns.TABLE)


def _providers():
    _table(
        'providers',
        sa.Column('id', uuid(), primary_key=True),
        sa.Column('name', exact(255), nullable=False),
        sa.Column('description', sa.String(255), nullable=False),
        sa.Column('schemas', long_text(), nullable=False),
        sa.Column('capabilities', long_text(), nullable=False),
        sa.Column('bank_kind', sa.String(64), nullable=False),
        sa.Column('bank_uuid', uuid(), nullable=False),
        sa.Column('host', exact(255), nullable=False),
        sa.Column('published_at', time(), nullable=False))


def _plans():
    _table(
        'plans',
        sa.Column('id', uuid(), primary_key=True),
        sa.Column('project_id', exact(255), nullable=False),
        sa.Column('user_id', exact(255)),
        sa.Column('provider_id', uuid(), nullable=False),
        sa.Column('name', exact(255), nullable=False),
        sa.Column('description', sa.String(255)),
        sa.Column('status', exact(64), nullable=False),
        sa.Column('resources', long_text(), nullable=False),
        sa.Column('parameters', long_text(), nullable=False),
        sa.Column('created_at', time(), nullable=False),
        sa.Column('updated_at', time()),
        sa.Index('plans_by_project', 'project_id', 'created_at', 'id'),
        sa.Index('plans_by_provider', 'provider_id'))


def _checkpoints():
    _table(
        'checkpoints',
        sa.Column('id', uuid(), primary_key=True),
        sa.Column('project_id', exact(255), nullable=False),
        sa.Column('user_id', exact(255)),
        sa.Column('provider_id', uuid(), nullable=False),
        sa.Column('plan_id', uuid(), nullable=False),
        sa.Column('status', exact(64), nullable=False),
        sa.Column('plan', long_text(), nullable=False),
        sa.Column('graph', long_text(), nullable=False),
        sa.Column('extra_info', long_text(), nullable=False),
        sa.Column('size', sa.BigInteger),
        sa.Column('bank_uuid', uuid()),
        sa.Column('created_at', time(), nullable=False),
        sa.Column('finished_at', time()),
        sa.Column('deleted_at', time()),
        sa.Index('checkpoints_by_project', 'project_id', 'provider_id',
                 'created_at', 'id'),
        sa.Index('checkpoints_by_plan', 'plan_id', 'created_at', 'id'),
        sa.Index('checkpoints_by_provider', 'provider_id', 'created_at'))


def _checkpoint_resources():
    _table(
        'checkpoint_resources',
        sa.Column('checkpoint_id', uuid(), sa.ForeignKey('checkpoints.id'),
                  primary_key=True),
        sa.Column('type', exact(64), primary_key=True),
        sa.Column('id', exact(255), primary_key=True),
        sa.Column('name', sa.String(255)),
        sa.Column('in_plan', sa.Boolean, nullable=False),
        sa.Column('status', exact(64), nullable=False),
        sa.Column('reason', long_text()),
        sa.Column('progress', sa.Integer, nullable=False),
        sa.Column('plugin', sa.String(255)),
        sa.Column('plugin_version', sa.String(64)),
        sa.Column('parameters', long_text(), nullable=False),
        sa.Column('saved', long_text(), nullable=False),
        sa.Column('objects', long_text(), nullable=False),
        sa.Column('extra_info', long_text()),
        sa.Column('backup_id', exact(255)),
        sa.Column('parent_backup', exact(255)),
        sa.Column('chain_id', exact(255)),
        sa.Column('size', sa.BigInteger),
        sa.Index('checkpoint_resources_by_parent', 'parent_backup'))


def _restores():
    _table(
        'restores',
        sa.Column('id', uuid(), primary_key=True),
        sa.Column('project_id', exact(255), nullable=False),
        sa.Column('user_id', exact(255)),
        sa.Column('provider_id', uuid(), nullable=False),
        sa.Column('checkpoint_id', uuid(), nullable=False),
        sa.Column('restore_target', sa.String(255)),
        sa.Column('parameters', long_text(), nullable=False),
        sa.Column('status', exact(64), nullable=False),
        sa.Column('created_at', time(), nullable=False),
        sa.Column('finished_at', time()),
        sa.Index('restores_by_project', 'project_id', 'created_at', 'id'),
        sa.Index('restores_by_checkpoint', 'checkpoint_id'))


def _restore_resources():
    _table(
        'restore_resources',
        sa.Column('restore_id', uuid(), sa.ForeignKey('restores.id'),
                  primary_key=True),
        sa.Column('type', exact(64), primary_key=True),
        sa.Column('id', exact(255), primary_key=True),
        sa.Column('name', sa.String(255)),
        sa.Column('new_id', exact(255)),
        sa.Column('status', exact(64), nullable=False),
        sa.Column('reason', long_text()),
        sa.Column('progress', sa.Integer, nullable=False),
        sa.Column('parameters', long_text(), nullable=False),
        sa.Column('saved', long_text(), nullable=False))


def _operations():
    _table(
        'operations',
        sa.Column('id', uuid(), primary_key=True),
        sa.Column('type', exact(32), nullable=False),
        sa.Column('project_id', exact(255), nullable=False),
        sa.Column('user_id', exact(255)),
        sa.Column('request_id', exact(255)),
        sa.Column('provider_id', uuid(), nullable=False),
        sa.Column('plan_id', uuid()),
        sa.Column('checkpoint_id', uuid()),
        sa.Column('restore_id', uuid()),
        sa.Column('scheduled_operation_id', uuid()),
        sa.Column('scheduled_run_id', uuid(), unique=True),
        sa.Column('state', exact(32), nullable=False),
        sa.Column('owner', exact(255)),
        sa.Column('lease_until', time()),
        sa.Column('attempt', sa.Integer, nullable=False),
        sa.Column('resume_count', sa.Integer, nullable=False),
        sa.Column('abort_requested', sa.Boolean, nullable=False),
        sa.Column('credentials', long_text()),
        sa.Column('error_info', long_text()),
        sa.Column('extra_info', long_text()),
        sa.Column('created_at', time(), nullable=False),
        sa.Column('started_at', time()),
        sa.Column('ended_at', time()),
        sa.Index('operations_by_project', 'project_id', 'created_at', 'id'),
        sa.Index('operations_to_claim', 'state', 'provider_id',
                 'created_at'),
        sa.Index('operations_by_owner', 'owner', 'state'),
        sa.Index('operations_by_checkpoint', 'checkpoint_id'),
        sa.Index('operations_by_plan', 'plan_id'),
        sa.Index('operations_by_restore', 'restore_id'))


def _steps():
    _table(
        'steps',
        sa.Column('operation_id', uuid(), sa.ForeignKey('operations.id'),
                  primary_key=True),
        sa.Column('resource_type', exact(64), primary_key=True),
        sa.Column('resource_id', exact(255), primary_key=True),
        sa.Column('hook', exact(32), primary_key=True),
        sa.Column('state', exact(32), nullable=False),
        sa.Column('attempt', sa.Integer, nullable=False),
        sa.Column('result', long_text()),
        sa.Column('started_at', time(), nullable=False),
        sa.Column('ended_at', time(), nullable=False))


def _externals():
    _table(
        'externals',
        sa.Column('id', uuid(), primary_key=True),
        sa.Column('operation_id', uuid(), sa.ForeignKey('operations.id'),
                  nullable=False),
        sa.Column('checkpoint_id', uuid(), nullable=False),
        sa.Column('resource_type', exact(64), nullable=False),
        sa.Column('resource_id', exact(255), nullable=False),
        sa.Column('label', exact(64), nullable=False),
        sa.Column('tag', uuid(), nullable=False),
        sa.Column('service', exact(64), nullable=False),
        sa.Column('kind', exact(64), nullable=False),
        sa.Column('external_id', exact(255)),
        sa.Column('state', exact(32), nullable=False),
        sa.Column('attempt', sa.Integer, nullable=False),
        sa.Column('created_at', time(), nullable=False),
        sa.UniqueConstraint('operation_id', 'tag', name='externals_tag'),
        sa.Index('externals_by_checkpoint', 'checkpoint_id', 'state'))
