# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Streams, their parts, and who uses them."""

from alembic import op
import sqlalchemy as sa

from karbor_ng.store.migrations import columns

revision = '0002'
down_revision = '0001'

exact = columns.exact
uuid = columns.uuid


def upgrade():
    _streams()
    _stream_parts()
    _stream_uses()


def _streams():
    op.create_table(
        'streams',
        sa.Column('id', uuid(), primary_key=True),
        sa.Column('bank_uuid', uuid(), nullable=False),
        sa.Column('project_id', exact(255), nullable=False),
        sa.Column('resource_type', exact(64), nullable=False),
        sa.Column('resource_id', exact(255), nullable=False),
        sa.Column('identity', exact(64)),
        sa.Column('state', exact(32), nullable=False),
        sa.Column('size', sa.BigInteger),
        sa.Column('sha256', exact(64)),
        sa.Column('created_at', columns.time(), nullable=False),
        sa.Index('streams_by_identity', 'identity', 'resource_id',
                 'project_id', 'bank_uuid'),
        sa.Index('streams_by_state', 'state', 'bank_uuid'),
        **columns.TABLE)


def _stream_parts():
    op.create_table(
        'stream_parts',
        sa.Column('stream_id', uuid(), sa.ForeignKey('streams.id'),
                  primary_key=True),
        sa.Column('number', sa.Integer, primary_key=True,
                  autoincrement=False),
        sa.Column('key', sa.Text, nullable=False),
        sa.Column('size', sa.BigInteger, nullable=False),
        sa.Column('sha256', exact(64), nullable=False),
        **columns.TABLE)


def _stream_uses():
    op.create_table(
        'stream_uses',
        sa.Column('checkpoint_id', uuid(), primary_key=True),
        sa.Column('resource_type', exact(64), primary_key=True),
        sa.Column('resource_id', exact(255), primary_key=True),
        sa.Column('label', exact(64), primary_key=True),
        sa.Column('stream_id', uuid(), sa.ForeignKey('streams.id'),
                  nullable=False),
        sa.Index('stream_uses_by_stream', 'stream_id'),
        **columns.TABLE)
