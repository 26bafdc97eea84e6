# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Restores of checkpoints."""

import contextlib

from karbor_ng import errors
from karbor_ng import restore_targets
from karbor_ng.api import dry_runs
from karbor_ng.api import listing
from karbor_ng.api import validation
from karbor_ng.api.schemas import base as base_schemas
from karbor_ng.api.schemas import dry_runs as dry_run_schemas
from karbor_ng.api.schemas import restores as schemas
from karbor_ng.api.v1 import base
from karbor_ng.api.v1 import dry_runs as dry_run_views
from karbor_ng.store import checkpoints
from karbor_ng.store import restores

_ABORT = validation.Body(base_schemas.ABORT)
_CREATE = validation.Body(schemas.CREATE)
_LISTED = listing.Query(
    {'status': base_schemas.TEXT, 'checkpoint_id': base_schemas.UUID},
    {'created_at': 'created_at', 'id': 'id', 'status': 'status'})


class Restores(base.Controller):
    """Restores of a project."""

    def __init__(self, tools):
        super().__init__(tools)
        self._targets = restore_targets.Targets(tools.conf, tools.cloud)

    @base.verb(schemas.PAGE, query=_LISTED)
    def list(self, req, resp):
        self._require(req, 'restore:get_all')
        wanted = _LISTED.read(req, self._conf)
        rows, resources = self._db.read(_list, wanted)
        return wanted.answer('restores', rows,
                             lambda row: view(row, resources[row.id]))

    @base.verb(
        base_schemas.either(schemas.SHOWN, dry_run_schemas.SHOWN),
        query=dry_runs.QUERY, body=_CREATE, refusals=(404, 409))
    def create(self, req, resp):
        self._require(req, 'restore:create')
        is_dry_run = dry_runs.is_wanted(req)
        body = _CREATE.read(req)
        target = self._target(body)
        caller = self._acting(
            req, checkpoints.get, body['checkpoint_id'], 'restore:create',
            provider_id=body['provider_id'])
        asked = (caller, body['checkpoint_id'], body['provider_id'],
                 body.get('parameters'),
                 target and target.keep(self._tools.sealer))
        if is_dry_run:
            return {'dry_run': self._dry_run(req, target, *asked)}
        return {'restore': view(self._tools.client.restore(*asked), ())}

    def _target(self, body):
        """Return where to, if not into the checkpoint's own project.

        :raises errors.Invalid: naming what is wrong with it
        """
        target = restore_targets.Target.wanted(
            body.get('restore_target'), body.get('restore_auth'))
        if target is not None:
            self._targets.check(target)
        return target

    def _dry_run(self, req, target, *asked):
        checkpoint, provider, parameters = (
            self._tools.client.check_restore(*asked))
        rows = self._db.read(checkpoints.resources, checkpoint.id)
        with self._entered(req, target) as session:
            found = dry_runs.Restoring(session, provider).run(
                checkpoint, rows, parameters)
        return dry_run_views.view(found, provider.id, checkpoint.plan_id,
                                  checkpoint.id)

    @contextlib.contextmanager
    def _entered(self, req, target):
        """Hand out a session of where the restore would go."""
        with self._cloud(req) as session:
            if target is not None:
                try:
                    session = self._targets.session(target)
                except errors.CredentialsError as refusal:
                    raise errors.Invalid(
                        f'restore.restore_auth: {refusal}') from None
            yield session

    @base.verb(base_schemas.NOTHING, body=_ABORT, refusals=(409,))
    def act(self, req, resp, restore_id):
        caller = self._acting(req, restores.get, restore_id, 'restore:abort')
        _ABORT.read(req)
        self._tools.client.abort_restore(caller, restore_id)
        return {}

    @base.verb(schemas.SHOWN)
    def show(self, req, resp, restore_id):
        restore = self._read(req, restores.get, restore_id, 'restore:get')
        resources = self._db.read(restores.resources, restore_id)
        return {'restore': view(restore, resources)}


def view(restore, resources):
    """Return a restore as answers have it.

    :param resources: its rows of resources
    """
    statuses = {_key(row): row.status for row in resources}
    reasons = {_key(row): row.reason for row in resources if row.reason}
    return {
        'id': restore.id,
        'project_id': restore.project_id,
        'provider_id': restore.provider_id,
        'checkpoint_id': restore.checkpoint_id,
        'restore_target': restore.restore_target,
        'restore_auth': restore.restore_auth,
        'parameters': restore.parameters,
        'status': restore.status,
        'resources_status': statuses,
        'resources_reason': reasons,
        'resource_status': statuses,
        'resource_reason': reasons,
        'created_at': base.moment(restore.created_at),
        'finished_at': base.moment(restore.finished_at),
        'resources': [_resource_view(row) for row in resources],
    }


def _key(row):
    return f'{row.type}#{row.new_id or row.id}'


def _resource_view(row):
    return {
        'id': row.id,
        'type': row.type,
        'name': row.name,
        'new_id': row.new_id,
        'status': row.status,
        'reason': row.reason,
        'progress': row.progress,
        'not_included': row.saved.get('not_included', []),
    }


def _list(session, wanted):
    rows = restores.list(session, wanted.page, wanted.project_id,
                         **wanted.filters)
    return rows, restores.resources_by_owner(
        session, [row.id for row in wanted.shown(rows)])
