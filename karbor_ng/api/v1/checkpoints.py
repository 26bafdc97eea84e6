# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: executions of a plan, found under their provider."""

import collections
import datetime
import functools
import json

from karbor_ng import errors
from karbor_ng.api import dry_runs
from karbor_ng.api import listing
from karbor_ng.api import validation
from karbor_ng.api import written
from karbor_ng.api.schemas import base as base_schemas
from karbor_ng.api.schemas import checkpoints as schemas
from karbor_ng.api.schemas import dry_runs as dry_run_schemas
from karbor_ng.api.v1 import base
from karbor_ng.api.v1 import dry_runs as dry_run_views
from karbor_ng.store import checkpoints
from karbor_ng.store import plans
from karbor_ng.store import providers

_ABORT = validation.Body(base_schemas.ABORT)
_CREATE = validation.Body(schemas.CREATE)
_RESET = validation.Body(schemas.RESET)
_LISTED = listing.Query(
    {'plan_id': base_schemas.UUID, 'status': base_schemas.TEXT,
     'start_date': base_schemas.DAY, 'end_date': base_schemas.DAY},
    {'created_at': 'created_at', 'id': 'id', 'status': 'status'})
_DAY = datetime.timedelta(days=1)
#: Bytes of JSON that each process keeps, of some ten thousand checkpoints.
_REMEMBERED_BYTES = 32 * 1024 * 1024


class Checkpoints(base.Controller):
    """Checkpoints of a project with one provider."""

    def __init__(self, tools):
        super().__init__(tools)
        self._texts = written.Memory(_REMEMBERED_BYTES)

    @base.verb(schemas.PAGE, query=_LISTED)
    def list(self, req, resp, provider_id):
        self._require(req, 'provider:checkpoint_get_all')
        wanted = _LISTED.read(req, self._conf)
        rows, texts = self._db.read(self._list, wanted, provider_id)
        return wanted.write('checkpoints', rows, lambda row: texts[row.id])

    def _list(self, session, wanted, provider_id):
        """Return the rows of a list, and the JSON of those that are shown."""
        rows = checkpoints.list(
            session, wanted.page, wanted.project_id, provider_id,
            columns=checkpoints.STATES, **_conditions(wanted.filters))
        if not rows:
            # An unknown provider is a mistake of the caller, an empty one
            # none.
            providers.get(session, provider_id)
        texts = self._texts.recall(map(tuple, wanted.shown(rows)))
        texts = {checkpoint_id: text for (checkpoint_id, *_), text
                 in texts.items()}
        missing = [row.id for row in wanted.shown(rows)
                   if row.id not in texts]
        if missing:
            texts.update(self._write_all(session, missing))
        # Some may have been purged since they were found.
        gone = set(missing).difference(texts)
        return [row for row in rows if row.id not in gone], texts

    def _write_all(self, session, checkpoint_ids):
        """Return the JSON of checkpoints, by id; remember what will stay."""
        texts = _texts(session, checkpoint_ids)
        self._texts.remember({
            state: text for state, text in texts.items()
            if state[1] in checkpoints.SETTLED})
        return {checkpoint_id: text for (checkpoint_id, *_), text
                in texts.items()}

    @base.verb(
        base_schemas.either(schemas.SHOWN, dry_run_schemas.SHOWN),
        query=dry_runs.QUERY, body=_CREATE, refusals=(409,))
    def create(self, req, resp, provider_id):
        self._require(req, 'provider:checkpoint_create')
        is_dry_run = dry_runs.is_wanted(req)
        body = _CREATE.read(req)
        extra_info = _extra_info(body)
        asked = (self._acting(req, plans.get, body['plan_id'],
                              'provider:checkpoint_create'),
                 body['plan_id'], provider_id)
        if is_dry_run:
            return {'dry_run': self._dry_run(req, *asked)}
        checkpoint = self._tools.client.protect(*asked, extra_info)
        return {'checkpoint': view(checkpoint, ())}

    def _dry_run(self, req, caller, plan_id, provider_id):
        plan, provider = self._tools.client.check_protect(
            caller, plan_id, provider_id)
        with self._cloud(req) as session:
            found = dry_runs.Protecting(
                session, provider, self._tools.protectables).run(plan)
        return dry_run_views.view(found, provider.id, plan.id)

    @base.verb(schemas.SHOWN)
    def show(self, req, resp, provider_id, checkpoint_id):
        checkpoint = self._read(
            req, checkpoints.get, checkpoint_id, 'provider:checkpoint_get',
            provider_id=provider_id)
        resources = self._db.read(
            checkpoints.shown_resources, checkpoint_id)
        return {'checkpoint': view(checkpoint, resources)}

    @base.verb(base_schemas.NOTHING, refusals=(409,))
    def delete(self, req, resp, provider_id, checkpoint_id):
        self._tools.client.delete(
            self._acting_on(req, provider_id, checkpoint_id,
                            'provider:checkpoint_delete'),
            checkpoint_id, provider_id)
        return {}

    @base.verb(base_schemas.NOTHING, body=_RESET, refusals=(409,))
    def reset(self, req, resp, provider_id, checkpoint_id):
        self._tools.client.reset_state(
            self._acting_on(req, provider_id, checkpoint_id,
                            'provider:checkpoint_update'),
            checkpoint_id, _RESET.read(req)['state'], provider_id)
        return {}

    @base.verb(base_schemas.NOTHING, body=_ABORT, refusals=(409,))
    def act(self, req, resp, provider_id, checkpoint_id):
        caller = self._acting_on(req, provider_id, checkpoint_id,
                                 'provider:checkpoint_abort')
        _ABORT.read(req)
        self._tools.client.abort_checkpoint(caller, checkpoint_id,
                                            provider_id)
        return {}

    def _acting_on(self, req, provider_id, checkpoint_id, rule):
        return self._acting(req, checkpoints.get, checkpoint_id, rule,
                            provider_id=provider_id)


def view(checkpoint, resources):
    """Return a checkpoint as answers have it.

    :param resources: its rows of resources
    """
    return {
        'id': checkpoint.id,
        'project_id': checkpoint.project_id,
        'status': checkpoint.status,
        'protection_plan': _plan_view(checkpoint.plan),
        'resource_graph': checkpoint.graph,
        'extra_info': json.dumps(checkpoint.extra_info),
        'size': checkpoint.size,
        'created_at': checkpoint.created_at.date().isoformat(),
        'created_at_time': base.moment(checkpoint.created_at),
        'finished_at_time': base.moment(checkpoint.finished_at),
        'copied_from': checkpoint.copied_from,
        'data_time': base.moment(checkpoint.data_time
                                 or checkpoint.created_at),
        'resources': [_resource_view(row) for row in resources],
    }


def _plan_view(plan):
    return {
        'id': plan['id'],
        'name': plan['name'],
        'provider_id': plan['provider_id'],
        'resources': [_plan_resource_view(resource)
                      for resource in plan['resources']],
    }


def _plan_resource_view(resource):
    """Return a resource of the plan; its notes as text, or None."""
    notes = resource.get('extra_info')
    return {**resource,
            'extra_info': None if notes is None else json.dumps(notes)}


def _resource_view(row):
    return {
        'id': row.id,
        'type': row.type,
        'name': row.name,
        'in_plan': row.in_plan,
        'status': row.status,
        'reason': row.reason,
        'progress': row.progress,
        'size': row.size,
        'not_included': row.saved.get('not_included', []),
        'extra_info': row.extra_info,
    }


def _write(row, write_plan, resources):
    """Return a row of ``checkpoints.LISTED`` as :func:`view` has it, as JSON.

    :param write_plan: returns the JSON of a plan as it is stored
    :param resources: JSON of each
    """
    (checkpoint_id, status, _revision, project_id, plan, graph, extra_info,
     size, created_at, finished_at, copied_from, data_time) = row
    created = base.moment(created_at)
    return (f'{{"id": "{checkpoint_id}", '
            f'"project_id": {written.text(project_id)}, '
            f'"status": "{status}", "protection_plan": {write_plan(plan)}, '
            f'"resource_graph": {written.text(graph)}, '
            f'"extra_info": {written.text(extra_info)}, '
            f'"size": {written.number(size)}, '
            f'"created_at": "{created[:10]}", '
            f'"created_at_time": "{created}", "finished_at_time": '
            f'{written.text(base.moment(finished_at))}, '
            f'"copied_from": {written.text(copied_from)}, "data_time": '
            f'"{base.moment(data_time) if data_time else created}", '
            f'"resources": {written.items(resources)}}}')


def _write_plan(stored):
    return json.dumps(_plan_view(json.loads(stored)))


def _write_resource(row):
    """Return a row of ``checkpoints.LISTED_RESOURCES`` as JSON."""
    (_checkpoint_id, resource_id, kind, name, in_plan, status, reason,
     progress, size, saved, extra_info) = row
    return (f'{{"id": {written.text(resource_id)}, '
            f'"type": {written.text(kind)}, "name": {written.text(name)}, '
            f'"in_plan": {written.flag(in_plan)}, "status": "{status}", '
            f'"reason": {written.text(reason)}, "progress": {progress}, '
            f'"size": {written.number(size)}, '
            f'"not_included": {_write_not_included(saved)}, '
            f'"extra_info": {written.raw(extra_info)}}}')


def _write_not_included(saved):
    # Few have it, and what else is saved can be long.
    if '"not_included"' not in saved:
        return '[]'
    return json.dumps(json.loads(saved).get('not_included', []))


def _texts(session, checkpoint_ids):
    """Return the JSON of checkpoints, by what tells whether it has changed."""
    rows = checkpoints.listed(session, checkpoint_ids)
    resources = collections.defaultdict(list)
    for row in checkpoints.listed_resources(session, checkpoint_ids):
        resources[row[0]].append(_write_resource(row))
    # Most checkpoints in a list are of the same few plans.
    write_plan = functools.cache(_write_plan)
    return {tuple(row[:len(checkpoints.STATES)]): _write(
        row, write_plan, resources[row.id]) for row in rows}


def _conditions(filters):
    """Return the filters as the store knows them; dates are whole days."""
    conditions = dict(filters)
    if 'start_date' in filters:
        conditions['created_from'] = _midnight(
            'start_date', conditions.pop('start_date'))
    if 'end_date' in filters:
        conditions['created_before'] = _midnight(
            'end_date', conditions.pop('end_date'), _DAY)
    return conditions


def _midnight(name, text, later=datetime.timedelta(0)):
    try:
        day = datetime.datetime.strptime(text, '%Y-%m-%d') + later
    except (ValueError, OverflowError):
        raise errors.Invalid(
            f'{name} must be a day written as YYYY-MM-DD.') from None
    return day.replace(tzinfo=datetime.timezone.utc)


def _extra_info(body):
    """Return the notes, under whichever of their two names they came."""
    given = [body[name] for name in ('extra_info', 'extra-info')
             if body.get(name)]
    if len(given) > 1 and given[0] != given[1]:
        raise errors.Invalid('checkpoint.extra_info and checkpoint.extra-info '
                             'are two names of one field, and differ.')
    return given[0] if given else None
