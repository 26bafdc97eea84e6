# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The real application over a real database, with rows to ask for.

Apart from the tests because stories, matrices and samples start with it.
"""

import datetime
import json

import fixtures
import sqlalchemy as sa
import webob

from karbor_ng import protectables
from karbor_ng.api import app
from karbor_ng.api.v1 import routes
from karbor_ng.keystone import NoCloud
from karbor_ng.plugins import noop
from karbor_ng.protection import client
from karbor_ng.store import checkpoints
from karbor_ng.store import models
from karbor_ng.store import operations
from karbor_ng.store import plans
from karbor_ng.store import providers
from karbor_ng.store import restores
from karbor_ng.store import scheduled_operations
from karbor_ng.store import services
from karbor_ng.store import triggers
from karbor_ng.store import verifications
from karbor_ng.tests import conformance
from karbor_ng.tests import fixtures as small

PROJECT = 'e486a2f49695423ca9c47e589b948108'
OTHER_PROJECT = '7a3b2d1c0f9e4d8c8b7a6f5e4d3c2b1a'
OWNER = f'demo:{PROJECT}'
READER = f'auditor:{PROJECT}:reader'
STRANGER = f'demo2:{OTHER_PROJECT}'
ADMIN = f'admin:{OTHER_PROJECT}'

VOLUME = 'OS::Cinder::Volume'
SERVER = 'OS::Nova::Server'
IMAGE = 'OS::Glance::Image'

PROVIDER_ID = 'cf56bd3e-97a7-4078-b6d5-f36246333fd9'
SECOND_PROVIDER_ID = '2220f8b1-975d-4621-a872-fa9afb43cb6c'
PLAN_ID = '9e5475d2-6425-4986-9136-a4f09642297f'
CHECKPOINT_ID = 'dcb20606-ad71-40a3-80e4-ef0fafdad0c3'
RUNNING_CHECKPOINT_ID = '5a1f6c0e-6a5c-4a8e-9f5b-0c3f7f1d2e44'
RESTORE_ID = '22b82aa7-9179-4c71-bba2-caf5c0e68db7'
RUNNING_RESTORE_ID = '0c8e2f5b-9f0e-4a55-8d36-7d1f0b1f9c11'
VERIFICATION_ID = '6d0b5c6e-1f53-4f0e-8b7a-54a4f7f3c0d2'
RUNNING_VERIFICATION_ID = 'b2f6a1de-8b0c-4a0e-9a67-3c1e2d7f9a44'
TRIGGER_ID = '2a9ce1f3-cc1a-4516-9435-0ebb13caa398'
SCHEDULED_OPERATION_ID = '5c4a2f6b-1d0e-4a7c-9b3f-6e8d2c1a0f57'
OPERATION_ID = '7a16c731-0658-47dd-aa3b-98ee21830e23'
SERVICE_ID = '1'
SYSTEM_VOLUME = '25336116-f38e-4c22-81ad-e9b7bd71ba51'
DATA_VOLUME = '33b6bb0b-1157-4e66-8553-1c9e14b1c7ba'
RESTORED_VOLUME = 'a1b7f0f2-6f7c-4c62-9c0e-5f2f5dbb2a10'
APP_SERVER = 'cb4ef2ff-10f5-46c9-bce4-cf7a49c65a01'
TRIGGER = {'format': 'crontab', 'pattern': '0 9 * * *',
           'start_time': '2030-01-01T08:30:00', 'window': '3600'}
GONE_BACKUP = 'Its backup does not exist in Cinder any more.'
NOT_INCLUDED = 'Snapshots of the volume.'
MOMENT = datetime.datetime(2025, 11, 21, 8, 30, 15, 123456,
                           tzinfo=datetime.timezone.utc)

_OPTIONS = {
    VOLUME: {
        'title': 'Volume Protection Options', 'type': 'object',
        'properties': {
            'backup_mode': {
                'type': 'string', 'default': 'auto', 'title': 'Backup Mode',
                'enum': ['full', 'incremental', 'auto'],
                'description': 'How volumes are backed up.'},
            'force': {
                'type': 'boolean', 'default': True, 'title': 'Force',
                'description': 'Whether to back up volumes in use.'}}},
    SERVER: {
        'title': 'Server Protection Options', 'type': 'object',
        'properties': {}},
}
_RESTORE = {
    VOLUME: {
        'title': 'Volume Protection Restore', 'type': 'object',
        'properties': {
            'restore_name': {
                'type': 'string', 'title': 'Restore Name',
                'description': 'The name of the restored volume.'}}},
    SERVER: {
        'title': 'Server Protection Restore', 'type': 'object',
        'properties': {}},
}
_VERIFY = {
    VOLUME: {
        'title': 'Volume Protection Verify', 'type': 'object',
        'properties': {}},
    SERVER: {
        'title': 'Server Protection Verify', 'type': 'object',
        'properties': {}},
}
SCHEDULE = {
    'name': 'Nightly', 'operation_type': 'retention_protect',
    'trigger_id': TRIGGER_ID,
    'operation_definition': {
        'provider_id': PROVIDER_ID, 'plan_id': PLAN_ID, 'max_backups': 3}}
_COPY = dict.fromkeys(
    (VOLUME, SERVER), {'type': 'object', 'properties': {}})
SCHEMAS = {'options_schema': _OPTIONS, 'restore_schema': _RESTORE,
           'saved_info_schema': {}, 'verify_schema': _VERIFY,
           'copy_schema': _COPY}
PLAN = {
    'id': PLAN_ID, 'name': 'My 3 tier application',
    'description': 'The shop', 'provider_id': PROVIDER_ID,
    'resources': [
        {'id': APP_SERVER, 'type': SERVER, 'name': 'App server'},
        {'id': SYSTEM_VOLUME, 'type': VOLUME, 'name': 'System volume',
         'extra_info': {'availability_zone': 'az1'}}],
    'parameters': {VOLUME: {'backup_mode': 'full'}}}
GRAPH = json.dumps([
    {'0x0': [VOLUME, DATA_VOLUME, 'Data volume', {'bootable': False}],
     '0x1': [SERVER, APP_SERVER, 'App server', None],
     '0x2': [VOLUME, SYSTEM_VOLUME, 'System volume', None]},
    [['0x1', ['0x0']]]])
RESOURCES = [
    {'id': APP_SERVER, 'type': SERVER, 'name': 'App server',
     'extra_info': {'status': 'ACTIVE'}, 'children': [[VOLUME, DATA_VOLUME]]},
    {'id': SYSTEM_VOLUME, 'type': VOLUME, 'name': 'System volume',
     'status': 'in-use', 'extra_info': {'availability_zone': 'az1'}},
    {'id': DATA_VOLUME, 'type': VOLUME, 'name': 'Data volume',
     'status': 'available', 'extra_info': None},
    {'id': 'project', 'type': 'OS::Keystone::Project', 'name': 'demo',
     'children': [[SERVER, APP_SERVER], [VOLUME, SYSTEM_VOLUME]]}]


class Api(fixtures.Fixture):
    """The application, as ``app``, behind ``auth_strategy = noauth``.

    :param make: keyword arguments for ``make_app``
    :param url: of a database server; None for SQLite
    """

    def __init__(self, url=None, **make):
        self._url = url
        self._make = make

    def _setUp(self):
        self.path = self.useFixture(fixtures.TempDir()).path
        configuration = self.useFixture(small.ConfFixture())
        self.conf, self.set = configuration.conf, configuration.set
        self.set('auth_strategy', 'noauth')
        self.db = self.useFixture(small.DatabaseFixture(self._url)).db
        self.hints = small.Hints()
        self.registry = noop.Registry(f'{self.path}/registry')
        self.registry.put_graph(RESOURCES)
        self.protectables = protectables.Protectables(
            extra=noop.protectables(f'{self.path}/registry'))
        self.client = client.ProtectionClient(self.conf, self.db, self.hints)
        self.app = self.make_app(**self._make)
        self.add_providers()

    def make_app(self, **kwargs):
        """Return one more application over the same rows.

        Each of its answers is held against the description of the API.
        """
        return conformance.Checked(
            self.make_unchecked_app(**kwargs), routes.document())

    def make_unchecked_app(self, **kwargs):
        """Return one that may answer what nobody would expect."""
        return app.make_app(**{
            'conf': self.conf, 'db': self.db, 'client': self.client,
            'cloud': NoCloud(), 'protectables': self.protectables, **kwargs})

    def call(self, method, path, body=None, token=OWNER, app=None,
             **headers):
        """Send one request; return webob's response.

        :param path: below ``/v1/PROJECT`` of the token unless it begins with
            ``/v1`` or is a root path
        :param body: what becomes JSON, or bytes
        """
        if not path.startswith('/v1') and path not in ('/', '/healthcheck'):
            path = f'/v1/{token.split(":")[1]}{path}'
        request = webob.Request.blank(path, method=method, headers=headers)
        if token:
            request.headers['X-Auth-Token'] = token
        if body is not None:
            request.body = (body if isinstance(body, bytes)
                            else json.dumps(body).encode())
            request.headers.setdefault('Content-Type', 'application/json')
            if 'Content-Type' not in headers:
                request.content_type = 'application/json'
        return request.get_response(app or self.app)

    def rows(self):
        """Return how many rows each table has."""
        def count(session):
            return {table.name: session.execute(
                sa.select(sa.func.count()).select_from(table)).scalar()
                for table in models.Base.metadata.sorted_tables}
        return self.db.read(count)

    def add_providers(self):
        for provider_id, name in (
                (PROVIDER_ID, 'OS Infra Provider'),
                (SECOND_PROVIDER_ID, 'Filesystem Provider')):
            self.db.write(providers.publish, {
                'id': provider_id, 'name': name,
                'description': 'Uses the services of this cloud.',
                'schemas': SCHEMAS, 'bank_kind': 'memory', 'host': 'node-1',
                'capabilities': {VOLUME: ['protect', 'restore', 'delete'],
                                 SERVER: ['protect', 'restore', 'delete']},
                'plugins': {VOLUME: 'karbor-noop-protection-plugin',
                            SERVER: 'karbor-noop-protection-plugin'},
                'bank_uuid': small.new_id()})

    def add_history(self, project_id=PROJECT):
        """Add a plan and what was done with it, under the ids above."""
        self.db.write(_add_history, project_id)

    def add_schedule(self, project_id=PROJECT):
        """Add what uses the history's plan and trigger, and keeps them."""
        self.db.write(scheduled_operations.create, {
            'id': SCHEDULED_OPERATION_ID, 'project_id': project_id,
            'user_id': 'demo', 'name': SCHEDULE['name'],
            'operation_type': SCHEDULE['operation_type'],
            'trigger_id': TRIGGER_ID, 'provider_id': PROVIDER_ID,
            'plan_id': PLAN_ID, 'is_enabled': True,
            'definition': SCHEDULE['operation_definition']})

    def add_running(self, project_id=PROJECT):
        """Add what works on the history, one of each kind."""
        self.db.write(_add_running, project_id)


def _add_running(session, project_id):
    shared = {'project_id': project_id, 'user_id': 'demo',
              'provider_id': PROVIDER_ID}
    restores.create(session, {
        **shared, 'id': RUNNING_RESTORE_ID, 'checkpoint_id': CHECKPOINT_ID,
        'parameters': {}, 'status': 'started'})
    verifications.create(session, {
        **shared, 'id': RUNNING_VERIFICATION_ID,
        'checkpoint_id': CHECKPOINT_ID, 'parameters': {},
        'status': 'started'})
    for kind, checkpoint_id, ids in (
            ('protect', RUNNING_CHECKPOINT_ID, {}),
            ('restore', CHECKPOINT_ID, {'restore_id': RUNNING_RESTORE_ID}),
            ('verify', CHECKPOINT_ID,
             {'verification_id': RUNNING_VERIFICATION_ID})):
        operations.create(session, {
            **shared, **ids, 'id': small.new_id(), 'type': kind,
            'plan_id': PLAN_ID, 'checkpoint_id': checkpoint_id})


def _add_history(session, project_id):
    shared = {'project_id': project_id, 'user_id': 'demo',
              'provider_id': PROVIDER_ID, 'created_at': MOMENT}
    plans.create(session, {**shared, **PLAN, 'status': 'suspended'})
    _add_checkpoints(session, shared)
    triggers.create(session, {
        'id': TRIGGER_ID, 'project_id': project_id, 'user_id': 'demo',
        'name': 'My backup trigger', 'type': 'time', 'properties': TRIGGER,
        'next_run_at': datetime.datetime(
            2030, 1, 1, 9, tzinfo=datetime.timezone.utc),
        'created_at': MOMENT})
    services.seen(session, {
        'id': 'node-1:a', 'binary': 'karbor-protection', 'host': 'node-1',
        'version': '1.0', 'started_at': MOMENT})
    restores.create(session, {
        **shared, 'id': RESTORE_ID, 'checkpoint_id': CHECKPOINT_ID,
        'parameters': {VOLUME: {'restore_name': 'again'}},
        'status': 'success', 'finished_at': MOMENT})
    restores.put_resources(session, RESTORE_ID, [
        {'type': VOLUME, 'id': SYSTEM_VOLUME, 'name': 'System volume',
         'new_id': RESTORED_VOLUME, 'status': 'available', 'progress': 100,
         'parameters': {}, 'saved': {'not_included': [NOT_INCLUDED]}},
        {'type': SERVER, 'id': APP_SERVER, 'name': 'App server',
         'new_id': None, 'status': 'error', 'progress': 0,
         'reason': 'The image is gone.', 'parameters': {}, 'saved': {}}])
    verifications.create(session, {
        **shared, 'id': VERIFICATION_ID, 'checkpoint_id': CHECKPOINT_ID,
        'parameters': {}, 'status': 'failed', 'finished_at': MOMENT})
    verifications.put_resources(session, VERIFICATION_ID, [
        {'type': VOLUME, 'id': SYSTEM_VOLUME, 'name': 'System volume',
         'status': 'error', 'progress': 0, 'reason': GONE_BACKUP,
         'parameters': {}, 'saved': {}},
        {'type': SERVER, 'id': APP_SERVER, 'name': 'App server',
         'status': 'available', 'progress': 100, 'reason': None,
         'parameters': {}, 'saved': {}}])
    operations.create(session, {
        **shared, 'id': OPERATION_ID, 'type': 'protect',
        'plan_id': PLAN_ID, 'checkpoint_id': CHECKPOINT_ID,
        'request_id': 'req-9d0a3c22-6a8f-4a5e-9d53-3b7d1f0d3a11',
        'started_at': MOMENT, 'ended_at': MOMENT})
    session.execute(sa.update(models.Operation).values(state='done'))


def _add_checkpoints(session, shared):
    shared = {**shared, 'plan_id': PLAN_ID, 'plan': PLAN,
              'extra_info': {'created_by': 'manual'}}
    checkpoints.create(session, {
        **shared, 'id': CHECKPOINT_ID, 'status': 'available',
        'graph': GRAPH, 'size': 2048, 'finished_at': MOMENT})
    checkpoints.create(session, {
        **shared, 'id': RUNNING_CHECKPOINT_ID, 'status': 'protecting',
        'graph': checkpoints.EMPTY_GRAPH,
        'created_at': MOMENT + datetime.timedelta(days=1)})
    checkpoints.put_resources(session, CHECKPOINT_ID, [
        small.resource_values(
            type=kind, id=resource_id, name=name, in_plan=in_plan,
            status='available', progress=100, size=size,
            plugin='karbor-noop-protection-plugin',
            saved={'backup_id': f'backup of {name}', 'not_included': left})
        for kind, resource_id, name, in_plan, size, left in (
            (SERVER, APP_SERVER, 'App server', True, None, []),
            (VOLUME, DATA_VOLUME, 'Data volume', False, 1024, []),
            (VOLUME, SYSTEM_VOLUME, 'System volume', True, 1024,
             [NOT_INCLUDED]))])
