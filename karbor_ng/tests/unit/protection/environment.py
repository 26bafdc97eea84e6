# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""A deployment in one process: no-op plugins, a bank, a database, workers."""

import os
import time
import uuid

import fixtures
from oslo_config import cfg

from karbor_ng import conf as configuration
from karbor_ng import context
from karbor_ng import credentials
from karbor_ng import protectables
from karbor_ng.plugins import api
from karbor_ng.plugins import noop
from karbor_ng.protection import client
from karbor_ng.protection import providers
from karbor_ng.protection import service
from karbor_ng.store import checkpoints
from karbor_ng.store import models
from karbor_ng.store import operations
from karbor_ng.store import plans
from karbor_ng.store import providers as provider_rows
from karbor_ng.store import restores
from karbor_ng.store import session as store_session
from karbor_ng.store import verifications

PROVIDER_ID = '5c1d0a51-6fb3-4d3c-8cf2-2a0f3b0d5a8e'
PROVIDER_FILE = '''
[provider]
id = {id}
name = No-op
description = For tests
enabled = True
bank = karbor-fs-bank-plugin
plugin = karbor-noop-protection-plugin
plugin = karbor-project-protection-plugin
plugin = karbor_ng.tests.unit.protection.environment.NotedProtection
plugin = karbor_ng.tests.unit.protection.environment.DraftProtection

[file_system_bank_plugin]
file_system_bank_path = {path}/bank

[noop_protection_plugin]
registry_path = {path}/registry
poll_interval = 0.05
'''


class NotedProtection(api.Protection):
    """Has something to say about what it did; named by its class."""

    resource_types = ('OS::Test::Noted',)

    class Protect(api.Operation):
        def on_main(self):
            self.saved['notes'] = ['The colour was left out.',
                                   'So was the sound.']


class Draft(api.Kind):
    """Something temporary; it may refuse to go."""

    name = 'draft'
    service = 'test'
    temporary = True

    def __init__(self):
        self.there = []
        self.is_stubborn = False

    def find(self, session, tag, resource):
        return [tag] if tag in self.there else []

    def remove(self, session, external_id):
        if not self.is_stubborn and external_id in self.there:
            self.there.remove(external_id)
        return external_id not in self.there


class DraftProtection(api.Protection):
    """Leaves a draft behind; fails for the resource ``bad``."""

    resource_types = ('OS::Test::Draft',)
    draft = Draft()
    kinds = (draft,)

    class Protect(api.Operation):
        def on_main(self):
            draft = self.plugin.draft
            self.once('draft', self._make, draft)
            if self.resource.id == 'bad':
                raise ValueError('this one is bad')

        def _make(self, tag):
            self.plugin.draft.there.append(tag)
            return tag


class NoSessions:
    """A deployment without a cloud."""

    def user_session(self, access):
        return None


class Hints:
    """Hands hints to the workers of the same process, or loses them."""

    def __init__(self):
        self.workers = []

    def operation_queued(self, operation_id):
        for worker in self.workers:
            worker.operation_queued(operation_id=operation_id)

    def operation_aborted(self, operation_id):
        for worker in self.workers:
            worker.operation_aborted(operation_id=operation_id)


class Deployment(fixtures.Fixture):
    """Database, bank, registry, front door, and workers as wanted.

    :param options: for the ``[protection]`` section
    """

    def __init__(self, db=None, **options):
        self._given_db = db
        self._options = dict({
            'lease_seconds': 3, 'sweep_seconds': 0.2,
            'graceful_shutdown_timeout': 10, 'max_parallel_resources': 8,
        }, **options)

    def _setUp(self):
        self.path = self.useFixture(fixtures.TempDir()).path
        self.conf = self._conf()
        self.db = self._given_db or store_session.Database(
            f'sqlite:///{self.path}/karbor.sqlite')
        if self._given_db is None:
            models.Base.metadata.create_all(self.db.engine)
            self.addCleanup(self.db.dispose)
        self.registry = noop.Registry(f'{self.path}/registry')
        self.protectables = protectables.Protectables(
            extra=noop.protectables(f'{self.path}/registry'))
        self.hints = Hints()
        self.client = client.ProtectionClient(self.conf, self.db, self.hints)
        self.sealer = credentials.Sealer([credentials.new_key()])
        self.caller = context.Caller('project', 'user', 'req-1')
        self.cloud = NoSessions()
        self._write_provider()

    def _conf(self):
        conf = cfg.ConfigOpts()
        configuration.register(conf, ('karbor_ng.conf', 'karbor_ng.quota',
                                      'karbor_ng.protection.options',
                                      'karbor_ng.restore_targets'))
        conf(args=[], default_config_files=[], default_config_dirs=[])
        for name, value in self._options.items():
            conf.set_override(name, value, 'protection')
        return conf

    def _write_provider(self):
        directory = os.path.join(self.path, 'providers.d')
        os.mkdir(directory)
        with open(os.path.join(directory, 'noop.conf'), 'w') as file:
            file.write(PROVIDER_FILE.format(id=PROVIDER_ID, path=self.path))
        self.provider_directory = directory

    def worker(self):
        """Return a new worker that is not started."""
        return service.ProtectionService(
            self.conf, self.db, self.cloud, self.sealer,
            providers.load_all(self.provider_directory), self.protectables)

    def start_worker(self):
        """Start a worker and wait until it offers the provider."""
        worker = self.worker()
        worker.start()
        self.addCleanup(worker.stop)
        self.hints.workers.append(worker)
        self.wait(self._is_offered)
        return worker

    def _is_offered(self):
        return self.db.read(_provider_exists)

    def wait(self, done, seconds=60):
        """Wait until ``done()`` is true and return what it returned."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            result = done()
            if result:
                return result
            time.sleep(0.02)
        raise AssertionError(f'not within {seconds} seconds')

    # What a user does

    def plan(self, resources, parameters=None):
        """Insert a plan of ``(type, id)`` pairs; return its id."""
        plan_id = str(uuid.uuid4())
        self.db.write(plans.create, {
            'id': plan_id, 'project_id': self.caller.project_id,
            'provider_id': PROVIDER_ID, 'name': 'plan',
            'status': 'suspended', 'parameters': parameters or {},
            'resources': [{'type': kind, 'id': number, 'name': number}
                          for kind, number in resources]})
        return plan_id

    def protect(self, resources, parameters=None):
        """Protect resources; return the checkpoint's id at once."""
        return self.client.protect(
            self.caller, self.plan(resources, parameters)).id

    def checkpoint(self, checkpoint_id):
        return self.db.read(checkpoints.get, checkpoint_id)

    def ended(self, checkpoint_id, *statuses):
        """Wait until the checkpoint has one of these statuses."""
        wanted = statuses or ('available', 'error', 'deleted',
                              'error-deleting')

        def look():
            found = self.checkpoint(checkpoint_id)
            return found if found.status in wanted else None
        return self.wait(look)

    def restore(self, checkpoint_id, **kwargs):
        return self.client.restore(self.caller, checkpoint_id, **kwargs).id

    def restored(self, restore_id):
        """Wait until a restore has ended; return its row."""
        def look():
            found = self.db.read(restores.get, restore_id)
            return found if found.status != 'started' else None
        return self.wait(look)

    def verify(self, checkpoint_id, **kwargs):
        return self.client.verify(self.caller, checkpoint_id, **kwargs).id

    def verified(self, verification_id):
        """Wait until a verification has ended; return its row."""
        def look():
            found = self.db.read(verifications.get, verification_id)
            return found if found.status != 'started' else None
        return self.wait(look)

    def delete(self, checkpoint_id):
        self.client.delete(self.caller, checkpoint_id)

    def resources(self, checkpoint_id):
        """Return ``{resource id: row}`` of a checkpoint."""
        return {row.id: row for row in self.db.read(
            checkpoints.resources, checkpoint_id)}

    def operation(self, checkpoint_id, kind='protect'):
        """Return the latest operation of a kind on a checkpoint."""
        from karbor_ng.store import query
        return self.db.read(operations.list, query.Page(),
                            checkpoint_id=checkpoint_id, type=kind)[0]


def _provider_exists(session):
    return bool(session.get(provider_rows.Provider, PROVIDER_ID))
