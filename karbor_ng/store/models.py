# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The tables. Migrations must lead to exactly these; a test compares."""

import datetime
import json

import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.dialects import mysql
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeDecorator

LARGE = 2 ** 32 - 1


def exact(length):
    """A text column that compares and sorts by bytes on every database."""
    return sa.String(length).with_variant(
        mysql.VARCHAR(length, charset='utf8mb4', collation='utf8mb4_bin'),
        'mysql', 'mariadb').with_variant(
        postgresql.VARCHAR(length, collation='C'), 'postgresql')


def long_text():
    """Text of megabytes (MySQL's plain TEXT ends at 64 KB)."""
    return sa.Text().with_variant(mysql.LONGTEXT(charset='utf8mb4'),
                                  'mysql', 'mariadb')


class Json(TypeDecorator):
    """Any JSON value, stored as text."""

    impl = sa.Text
    cache_ok = True

    def load_dialect_impl(self, dialect):
        # As it is: PostgreSQL's descriptor of a text is a VARCHAR.
        return (mysql.LONGTEXT(charset='utf8mb4')
                if dialect.name in ('mysql', 'mariadb') else sa.TEXT())

    def process_bind_param(self, value, dialect):
        return None if value is None else json.dumps(value)

    def process_result_value(self, value, dialect):
        return None if value is None else json.loads(value)


class Time(TypeDecorator):
    """A moment: UTC with microseconds; in Python always with its zone."""

    impl = sa.DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect):
        return dialect.type_descriptor(
            mysql.DATETIME(fsp=6)
            if dialect.name in ('mysql', 'mariadb') else sa.DateTime())

    def process_bind_param(self, value, dialect):
        if value is None:
            return None
        return value.astimezone(datetime.timezone.utc).replace(tzinfo=None)

    def process_result_value(self, value, dialect):
        if value is None:
            return None
        return value.replace(tzinfo=datetime.timezone.utc)


def utcnow():
    """Return the present time of this host, in UTC with zone."""
    return datetime.datetime.now(datetime.timezone.utc)


class Base(orm.DeclarativeBase):
    """Base of all tables."""

    __table_args__ = {'mysql_engine': 'InnoDB', 'mysql_charset': 'utf8mb4'}


def _id(**kwargs):
    return sa.Column(exact(36), **kwargs)


def _ordered(name, *columns):
    """Return an index that finds rows in the order in which lists are."""
    return sa.Index(name, *columns, 'created_at', 'id')


class Provider(Base):
    """A provider, as the last protection service that loaded it said."""

    __tablename__ = 'providers'

    id = _id(primary_key=True)
    name = sa.Column(exact(255), nullable=False)
    description = sa.Column(sa.String(255), nullable=False, default='')
    #: {'options_schema': {type: schema}, 'restore_schema': ..., ...}
    schemas = sa.Column(Json, nullable=False)
    #: {type: ['protect', 'restore', 'delete', ...]}
    capabilities = sa.Column(Json, nullable=False)
    bank_kind = sa.Column(sa.String(64), nullable=False)
    bank_uuid = _id(nullable=False)
    host = sa.Column(exact(255), nullable=False)
    published_at = sa.Column(Time, nullable=False)
    #: {type: plugin}; None as long as only an older release published it
    plugins = sa.Column(Json)
    #: what a service found wrong with the bank last, and when
    problem = sa.Column(sa.String(1024))
    problem_at = sa.Column(Time)


class Plan(Base):
    """What a user wants protected together."""

    __tablename__ = 'plans'
    __table_args__ = (
        _ordered('plans_by_age'),
        _ordered('plans_by_project', 'project_id'),
        _ordered('plans_by_name', 'project_id', 'name'),
        _ordered('plans_by_description', 'project_id', 'description'),
        _ordered('plans_by_status', 'project_id', 'status'),
        _ordered('plans_by_project_provider', 'project_id', 'provider_id'),
        sa.Index('plans_by_provider', 'provider_id'),
        Base.__table_args__)

    id = _id(primary_key=True)
    project_id = sa.Column(exact(255), nullable=False)
    user_id = sa.Column(exact(255))
    provider_id = _id(nullable=False)
    name = sa.Column(exact(255), nullable=False)
    description = sa.Column(sa.String(255))
    status = sa.Column(exact(64), nullable=False)
    #: [{'id', 'type', 'name', 'extra_info'?}, ...]
    resources = sa.Column(Json, nullable=False)
    #: {'type' or 'type#id': {option: value}}
    parameters = sa.Column(Json, nullable=False)
    created_at = sa.Column(Time, nullable=False, default=utcnow)
    updated_at = sa.Column(Time)


class Checkpoint(Base):
    """One execution of a plan."""

    __tablename__ = 'checkpoints'
    __table_args__ = (
        _ordered('checkpoints_by_project', 'project_id', 'provider_id'),
        _ordered('checkpoints_by_status', 'project_id', 'provider_id',
                 'status'),
        _ordered('checkpoints_by_plan', 'plan_id'),
        sa.Index('checkpoints_by_provider', 'provider_id', 'created_at'),
        sa.Index('checkpoints_by_source', 'copied_from', 'provider_id'),
        Base.__table_args__)

    id = _id(primary_key=True)
    project_id = sa.Column(exact(255), nullable=False)
    user_id = sa.Column(exact(255))
    provider_id = _id(nullable=False)
    plan_id = _id(nullable=False)
    status = sa.Column(exact(64), nullable=False)
    #: the plan as it was then: id, name, description, provider_id,
    #: resources, parameters
    plan = sa.Column(Json, nullable=False)
    #: packed graph, text as clients decode it (see karbor_ng/graph.py)
    graph = sa.Column(long_text(), nullable=False)
    extra_info = sa.Column(Json, nullable=False)
    #: bytes of backup data, None while unknown
    size = sa.Column(sa.BigInteger)
    #: which bank it is in: the marker's uuid, None before the first write
    bank_uuid = _id()
    created_at = sa.Column(Time, nullable=False, default=utcnow)
    finished_at = sa.Column(Time)
    deleted_at = sa.Column(Time)
    #: of a copy: the checkpoint that it was copied from, and the moment
    #: whose data it has
    copied_from = _id()
    data_time = sa.Column(Time)
    #: grows with each change of the status, with which all that is shown of
    #: a checkpoint and its resources stays as it is, unless work is going on
    revision = sa.Column(sa.Integer, nullable=False, default=0,
                         server_default='0')


class CheckpointResource(Base):
    """One resource in a checkpoint."""

    __tablename__ = 'checkpoint_resources'
    __table_args__ = (
        sa.Index('checkpoint_resources_by_parent', 'parent_backup'),
        Base.__table_args__)

    checkpoint_id = sa.Column(exact(36), sa.ForeignKey('checkpoints.id'),
                              primary_key=True)
    type = sa.Column(exact(64), primary_key=True)
    id = sa.Column(exact(255), primary_key=True)
    name = sa.Column(sa.String(255))
    in_plan = sa.Column(sa.Boolean, nullable=False)
    status = sa.Column(exact(64), nullable=False)
    reason = sa.Column(long_text())
    #: percent
    progress = sa.Column(sa.Integer, nullable=False, default=0)
    plugin = sa.Column(sa.String(255))
    plugin_version = sa.Column(sa.String(64))
    parameters = sa.Column(Json, nullable=False)
    saved = sa.Column(Json, nullable=False)
    #: what it has in the bank: [{'key', 'size', 'sha256'}, ...]
    objects = sa.Column(Json, nullable=False, default=list)
    extra_info = sa.Column(Json)
    #: what this resource's backup is called, what it builds on, and the
    #: full backup that the chain starts with
    backup_id = sa.Column(exact(255))
    parent_backup = sa.Column(exact(255))
    chain_id = sa.Column(exact(255))
    size = sa.Column(sa.BigInteger)


class Restore(Base):
    """One restore of a checkpoint."""

    __tablename__ = 'restores'
    __table_args__ = (
        _ordered('restores_by_age'),
        _ordered('restores_by_project', 'project_id'),
        _ordered('restores_by_status', 'project_id', 'status'),
        sa.Index('restores_by_checkpoint', 'checkpoint_id'),
        Base.__table_args__)

    id = _id(primary_key=True)
    project_id = sa.Column(exact(255), nullable=False)
    user_id = sa.Column(exact(255))
    provider_id = _id(nullable=False)
    checkpoint_id = _id(nullable=False)
    restore_target = sa.Column(sa.String(255))
    parameters = sa.Column(Json, nullable=False)
    status = sa.Column(exact(64), nullable=False)
    created_at = sa.Column(Time, nullable=False, default=utcnow)
    finished_at = sa.Column(Time)
    #: what was given to enter the target with, without its secrets
    restore_auth = sa.Column(Json)


class RestoreResource(Base):
    """One resource in a restore."""

    __tablename__ = 'restore_resources'

    restore_id = sa.Column(exact(36), sa.ForeignKey('restores.id'),
                           primary_key=True)
    type = sa.Column(exact(64), primary_key=True)
    id = sa.Column(exact(255), primary_key=True)
    name = sa.Column(sa.String(255))
    #: under which id it lives after the restore
    new_id = sa.Column(exact(255))
    status = sa.Column(exact(64), nullable=False)
    reason = sa.Column(long_text())
    progress = sa.Column(sa.Integer, nullable=False, default=0)
    parameters = sa.Column(Json, nullable=False)
    saved = sa.Column(Json, nullable=False)


class Verification(Base):
    """One verification of a checkpoint."""

    __tablename__ = 'verifications'
    __table_args__ = (
        _ordered('verifications_by_age'),
        _ordered('verifications_by_project', 'project_id'),
        _ordered('verifications_by_status', 'project_id', 'status'),
        _ordered('verifications_by_checkpoint', 'checkpoint_id'),
        Base.__table_args__)

    id = _id(primary_key=True)
    project_id = sa.Column(exact(255), nullable=False)
    user_id = sa.Column(exact(255))
    provider_id = _id(nullable=False)
    checkpoint_id = _id(nullable=False)
    parameters = sa.Column(Json, nullable=False)
    status = sa.Column(exact(64), nullable=False)
    created_at = sa.Column(Time, nullable=False, default=utcnow)
    finished_at = sa.Column(Time)


class VerificationResource(Base):
    """One resource in a verification."""

    __tablename__ = 'verification_resources'

    verification_id = sa.Column(exact(36), sa.ForeignKey('verifications.id'),
                                primary_key=True)
    type = sa.Column(exact(64), primary_key=True)
    id = sa.Column(exact(255), primary_key=True)
    name = sa.Column(sa.String(255))
    status = sa.Column(exact(64), nullable=False)
    reason = sa.Column(long_text())
    progress = sa.Column(sa.Integer, nullable=False, default=0)
    parameters = sa.Column(Json, nullable=False)
    saved = sa.Column(Json, nullable=False)


class Operation(Base):
    """The durable unit of work; users see it as an operation log."""

    __tablename__ = 'operations'
    __table_args__ = (
        _ordered('operations_by_age'),
        _ordered('operations_by_project', 'project_id'),
        _ordered('operations_by_plan', 'plan_id'),
        _ordered('operations_by_state', 'project_id', 'state'),
        _ordered('operations_by_type', 'project_id', 'type', 'state'),
        _ordered('operations_by_provider', 'project_id', 'provider_id'),
        sa.Index('operations_to_claim', 'state', 'provider_id',
                 'created_at'),
        sa.Index('operations_by_owner', 'owner', 'state'),
        _ordered('operations_by_checkpoint', 'checkpoint_id'),
        _ordered('operations_by_restore', 'restore_id'),
        _ordered('operations_by_verification', 'verification_id'),
        _ordered('operations_by_schedule', 'scheduled_operation_id'),
        Base.__table_args__)

    id = _id(primary_key=True)
    #: protect, restore, delete, verify, copy
    type = sa.Column(exact(32), nullable=False)
    project_id = sa.Column(exact(255), nullable=False)
    user_id = sa.Column(exact(255))
    request_id = sa.Column(exact(255))
    provider_id = _id(nullable=False)
    plan_id = _id()
    checkpoint_id = _id()
    restore_id = _id()
    scheduled_operation_id = _id()
    scheduled_run_id = _id(unique=True)
    #: queued, running, done, failed
    state = sa.Column(exact(32), nullable=False)
    #: host:process uuid of the worker that runs it
    owner = sa.Column(exact(255))
    lease_until = sa.Column(Time)
    #: fencing token: grows with each claim
    attempt = sa.Column(sa.Integer, nullable=False, default=0)
    #: take-overs after a lost lease
    resume_count = sa.Column(sa.Integer, nullable=False, default=0)
    abort_requested = sa.Column(sa.Boolean, nullable=False, default=False)
    #: sealed; None once the operation has ended
    credentials = sa.Column(long_text())
    error_info = sa.Column(long_text())
    extra_info = sa.Column(Json)
    created_at = sa.Column(Time, nullable=False, default=utcnow)
    started_at = sa.Column(Time)
    ended_at = sa.Column(Time)
    verification_id = _id()
    #: of a copy: what it is copied from
    source_checkpoint_id = _id()
    #: sealed, of a restore into another cloud or project; goes as well
    target_credentials = sa.Column(long_text())


class Step(Base):
    """One hook of one resource that has ended."""

    __tablename__ = 'steps'

    operation_id = sa.Column(exact(36), sa.ForeignKey('operations.id'),
                             primary_key=True)
    resource_type = sa.Column(exact(64), primary_key=True)
    resource_id = sa.Column(exact(255), primary_key=True)
    hook = sa.Column(exact(32), primary_key=True)
    #: done, failed, skipped
    state = sa.Column(exact(32), nullable=False)
    attempt = sa.Column(sa.Integer, nullable=False)
    #: why it failed or was skipped
    result = sa.Column(long_text())
    started_at = sa.Column(Time, nullable=False)
    ended_at = sa.Column(Time, nullable=False)


class External(Base):
    """A thing that exists in a cloud, or may exist, because of us."""

    __tablename__ = 'externals'
    __table_args__ = (
        sa.UniqueConstraint('operation_id', 'tag', name='externals_tag'),
        sa.Index('externals_by_checkpoint', 'checkpoint_id', 'state'),
        Base.__table_args__)

    id = _id(primary_key=True)
    operation_id = sa.Column(exact(36), sa.ForeignKey('operations.id'),
                             nullable=False)
    checkpoint_id = _id(nullable=False)
    resource_type = sa.Column(exact(64), nullable=False)
    resource_id = sa.Column(exact(255), nullable=False)
    label = sa.Column(exact(64), nullable=False)
    tag = _id(nullable=False)
    service = sa.Column(exact(64), nullable=False)
    kind = sa.Column(exact(64), nullable=False)
    external_id = sa.Column(exact(255))
    #: intended, exists, gone
    state = sa.Column(exact(32), nullable=False)
    attempt = sa.Column(sa.Integer, nullable=False)
    created_at = sa.Column(Time, nullable=False, default=utcnow)


class Service(Base):
    """A process that works on operations, until it stops in order."""

    __tablename__ = 'services'

    #: what operations have as their owner
    id = sa.Column(exact(255), primary_key=True)
    #: name of the program
    binary = sa.Column(exact(64), nullable=False)
    host = sa.Column(exact(255), nullable=False)
    version = sa.Column(sa.String(64), nullable=False)
    started_at = sa.Column(Time, nullable=False)
    #: by the database's clock
    seen_at = sa.Column(Time, nullable=False)


class ServiceHost(Base):
    """A program on a host; the operator may stop it from claiming work."""

    __tablename__ = 'service_hosts'
    __table_args__ = (
        sa.UniqueConstraint('binary', 'host', name='service_hosts_key'),
        Base.__table_args__)

    #: a number, because that is what clients print
    id = sa.Column(sa.Integer, primary_key=True, autoincrement=True)
    binary = sa.Column(exact(64), nullable=False)
    host = sa.Column(exact(255), nullable=False)
    is_disabled = sa.Column(sa.Boolean, nullable=False, default=False)
    disabled_reason = sa.Column(sa.String(255))
    updated_at = sa.Column(Time)


class Quota(Base):
    """A limit of one project that is not its class's."""

    __tablename__ = 'quotas'

    project_id = sa.Column(exact(255), primary_key=True)
    #: plans, checkpoints
    resource = sa.Column(exact(64), primary_key=True)
    #: -1: none
    limit = sa.Column(sa.BigInteger, nullable=False)


class QuotaClassLimit(Base):
    """A limit of all projects of a class; ``default`` is everybody's."""

    __tablename__ = 'quota_class_limits'

    class_name = sa.Column(exact(255), primary_key=True)
    resource = sa.Column(exact(64), primary_key=True)
    limit = sa.Column(sa.BigInteger, nullable=False)


class QuotaProject(Base):
    """A project whose things are counted; its row is locked meanwhile."""

    __tablename__ = 'quota_projects'

    project_id = sa.Column(exact(255), primary_key=True)
    #: None: the class ``default``
    class_name = sa.Column(exact(255))


class Trigger(Base):
    """When something is to happen."""

    __tablename__ = 'triggers'
    __table_args__ = (
        _ordered('triggers_by_age'),
        _ordered('triggers_by_project', 'project_id'),
        _ordered('triggers_by_name', 'project_id', 'name'),
        _ordered('triggers_by_type', 'project_id', 'type'),
        sa.Index('triggers_due', 'next_run_at', 'id'),
        Base.__table_args__)

    id = _id(primary_key=True)
    project_id = sa.Column(exact(255), nullable=False)
    user_id = sa.Column(exact(255))
    name = sa.Column(exact(255), nullable=False)
    #: time
    type = sa.Column(exact(64), nullable=False)
    #: as the user wrote them
    properties = sa.Column(Json, nullable=False)
    #: None: never again
    next_run_at = sa.Column(Time)
    created_at = sa.Column(Time, nullable=False, default=utcnow)
    updated_at = sa.Column(Time)


class Trust(Base):
    """A right to act for a user in a project, given to our own user.

    It lasts as long as scheduled operations use it; those that name it are
    its references.
    """

    __tablename__ = 'trusts'
    __table_args__ = (
        sa.Index('trusts_by_user', 'user_id', 'project_id'),
        Base.__table_args__)

    #: Keystone's id
    id = sa.Column(exact(64), primary_key=True)
    user_id = sa.Column(exact(255), nullable=False)
    project_id = sa.Column(exact(255), nullable=False)
    #: living, broken (revoked or expired), removing
    state = sa.Column(exact(32), nullable=False)
    reason = sa.Column(long_text())
    created_at = sa.Column(Time, nullable=False, default=utcnow)


class ScheduledOperation(Base):
    """What is to happen whenever a trigger fires."""

    __tablename__ = 'scheduled_operations'
    __table_args__ = (
        _ordered('scheduled_operations_by_age'),
        _ordered('scheduled_operations_by_project', 'project_id'),
        _ordered('scheduled_operations_by_name', 'project_id', 'name'),
        _ordered('scheduled_operations_by_type', 'project_id',
                 'operation_type'),
        _ordered('scheduled_operations_by_trigger', 'trigger_id'),
        _ordered('scheduled_operations_by_plan', 'plan_id'),
        sa.Index('scheduled_operations_by_trust', 'trust_id'),
        Base.__table_args__)

    id = _id(primary_key=True)
    project_id = sa.Column(exact(255), nullable=False)
    user_id = sa.Column(exact(255))
    name = sa.Column(exact(255), nullable=False)
    description = sa.Column(sa.String(255))
    #: protect, retention_protect
    operation_type = sa.Column(exact(64), nullable=False)
    trigger_id = sa.Column(exact(36), sa.ForeignKey('triggers.id'),
                           nullable=False)
    #: what the definition names, for those who ask who uses it
    provider_id = _id(nullable=False)
    plan_id = _id(nullable=False)
    #: as the user wrote it
    definition = sa.Column(Json, nullable=False)
    is_enabled = sa.Column(sa.Boolean, nullable=False, default=True)
    #: why it is disabled, if nobody asked for that
    disabled_reason = sa.Column(long_text())
    #: None where there is no cloud
    trust_id = sa.Column(exact(64), sa.ForeignKey('trusts.id'))
    created_at = sa.Column(Time, nullable=False, default=utcnow)
    updated_at = sa.Column(Time)
    #: since when there is a disabled_reason, by the database's time: what was
    #: due by then has its runs
    disabled_at = sa.Column(Time)


class ScheduledOperationRun(Base):
    """What became of one due time of a scheduled operation."""

    __tablename__ = 'scheduled_operation_runs'
    __table_args__ = (
        sa.UniqueConstraint('scheduled_operation_id', 'planned_at',
                            name='scheduled_operation_runs_key'),
        _ordered('scheduled_operation_runs_by_project', 'project_id'),
        _ordered('scheduled_operation_runs_by_operation',
                 'scheduled_operation_id'),
        sa.Index('scheduled_operation_runs_by_state', 'state',
                 'planned_at', 'id'),
        Base.__table_args__)

    id = _id(primary_key=True)
    #: no foreign key: runs are history, they outlive what was scheduled
    scheduled_operation_id = _id(nullable=False)
    project_id = sa.Column(exact(255), nullable=False)
    trigger_id = _id(nullable=False)
    planned_at = sa.Column(Time, nullable=False)
    #: due, started, succeeded, failed, missed, skipped
    state = sa.Column(exact(32), nullable=False)
    reason = sa.Column(long_text())
    checkpoint_id = _id()
    created_at = sa.Column(Time, nullable=False, default=utcnow)
    ended_at = sa.Column(Time)


class Stream(Base):
    """Data in a bank that checkpoints may share, whole or in the making."""

    __tablename__ = 'streams'
    __table_args__ = (
        sa.Index('streams_by_identity', 'identity', 'resource_id',
                 'project_id', 'bank_uuid'),
        sa.Index('streams_by_state', 'state', 'bank_uuid'),
        Base.__table_args__)

    id = _id(primary_key=True)
    bank_uuid = _id(nullable=False)
    project_id = sa.Column(exact(255), nullable=False)
    resource_type = sa.Column(exact(64), nullable=False)
    resource_id = sa.Column(exact(255), nullable=False)
    #: SHA-256 of what is the same for the same data; None: never shared
    identity = sa.Column(exact(64))
    #: writing, complete, damaged, removing; see store/streams.py
    state = sa.Column(exact(32), nullable=False)
    #: bytes, and their SHA-256, once it is complete
    size = sa.Column(sa.BigInteger)
    sha256 = sa.Column(exact(64))
    created_at = sa.Column(Time, nullable=False, default=utcnow)


class StreamPart(Base):
    """A part of a stream that lies in the bank."""

    __tablename__ = 'stream_parts'

    stream_id = sa.Column(exact(36), sa.ForeignKey('streams.id'),
                          primary_key=True)
    number = sa.Column(sa.Integer, primary_key=True, autoincrement=False)
    #: whole, up to the bank's longest
    key = sa.Column(sa.Text, nullable=False)
    size = sa.Column(sa.BigInteger, nullable=False)
    sha256 = sa.Column(exact(64), nullable=False)


class StreamUse(Base):
    """Which stream is what a resource of a checkpoint calls by a label."""

    __tablename__ = 'stream_uses'
    __table_args__ = (
        sa.Index('stream_uses_by_stream', 'stream_id'),
        Base.__table_args__)

    checkpoint_id = _id(primary_key=True)
    resource_type = sa.Column(exact(64), primary_key=True)
    resource_id = sa.Column(exact(255), primary_key=True)
    label = sa.Column(exact(64), primary_key=True)
    stream_id = sa.Column(exact(36), sa.ForeignKey('streams.id'),
                          nullable=False)
