# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Triggers: when something is to happen."""

import uuid

from karbor_ng import errors
from karbor_ng import triggers as trigger_types
from karbor_ng.api import listing
from karbor_ng.api import validation
from karbor_ng.api.schemas import base as base_schemas
from karbor_ng.api.schemas import triggers as schemas
from karbor_ng.api.v1 import base
from karbor_ng.store import session as store_session
from karbor_ng.store import triggers

_RUNS = {'type': 'integer', 'minimum': 0, 'maximum': 100, 'default': 5,
         'description': 'How many of the next due times the answer has.'}
_SHOWN = validation.Query({'runs': _RUNS})
_CREATED = validation.Query({
    'dry_run': {'type': 'boolean', 'default': False}, 'runs': _RUNS})
_LISTED = listing.Query(
    {'name': base_schemas.TEXT, 'type': base_schemas.TEXT,
     'properties': base_schemas.TEXT},
    {'created_at': 'created_at', 'id': 'id', 'name': 'name',
     'type': 'type'})


class _Forms:
    """What the body of one kind of request can be, by the trigger's type."""

    def __init__(self, forms):
        self._typed = validation.Body(schemas.TYPED)
        self._forms = {name: validation.Body(schema)
                       for name, schema in forms.items()}
        self.bodies = tuple(self._forms.values())

    def read(self, req, type_name=None):
        """Return what the body holds.

        :param type_name: None where the body itself tells
        """
        return self._forms[
            type_name or self._typed.read(req)['type']].read(req)


_CREATE = _Forms(schemas.CREATE)
_UPDATE = _Forms(schemas.UPDATE)


class Triggers(base.Controller):
    """Triggers of a project."""

    def __init__(self, tools):
        super().__init__(tools)
        self._types = trigger_types.load(tools.conf)

    @base.verb(schemas.PAGE, query=_LISTED)
    def list(self, req, resp):
        self._require(req, 'trigger:list')
        wanted = _LISTED.read(req, self._conf)
        rows = self._db.read(triggers.list, wanted.page, wanted.project_id,
                             **wanted.filters)
        return wanted.answer('triggers', rows, _listed_view)

    @base.verb(base_schemas.either(schemas.SHOWN, schemas.DRY_RUN),
               query=_CREATED, body=_CREATE.bodies)
    def create(self, req, resp):
        self._require(req, 'trigger:create')
        asked = _CREATED.read(req)
        body = _CREATE.read(req)
        values, runs = self._planned(body['type'], body['properties'],
                                     _count(asked))
        if asked.get('dry_run'):
            return {'dry_run': {
                'type': body['type'], 'properties': values['properties'],
                'next_runs': _moments(runs)}}
        trigger = self._db.write(triggers.create, {
            'id': str(uuid.uuid4()), 'project_id': req.project_id,
            'user_id': req.caller.user_id, 'name': body['name'],
            'type': body['type'], **values})
        return {'trigger_info': _shown_view(trigger, runs)}

    @base.verb(schemas.SHOWN, query=_SHOWN)
    def show(self, req, resp, trigger_id):
        trigger = self._read(req, triggers.get, trigger_id, 'trigger:get')
        return {'trigger_info': _shown_view(
            trigger, self._next_runs(trigger, _count(_SHOWN.read(req))))}

    @base.verb(schemas.SHOWN, query=_SHOWN, body=_UPDATE.bodies,
               refusals=(409,))
    def update(self, req, resp, trigger_id):
        trigger = self._read(req, triggers.get, trigger_id, 'trigger:update')
        count = _count(_SHOWN.read(req))
        trigger = self._db.write(self._change, trigger,
                                 self._changed(trigger, req))
        return {'trigger_info': _shown_view(
            trigger, self._next_runs(trigger, count))}

    @base.verb(refusals=(424,))
    def delete(self, req, resp, trigger_id):
        trigger = self._read(req, triggers.get, trigger_id, 'trigger:delete')
        self._db.write(triggers.delete, trigger_id, trigger.project_id)
        return base.empty()

    def _changed(self, trigger, req):
        """Return the columns that a request changes."""
        if trigger.type not in self._types:
            raise errors.Conflict(
                f'Triggers of the type {trigger.type} can not be changed: '
                'this service does not know it.')
        body = _UPDATE.read(req, trigger.type)
        values = {name: body[name] for name in body if name == 'name'}
        if body.get('properties'):
            values.update(self._planned(trigger.type, body['properties'])[0])
        return values

    def _change(self, session, trigger, values):
        """Write a change; when it is due next counts from then on."""
        now = self._tools.engine.catch_up(session, trigger.id)
        if 'properties' in values:
            schedule = self._types[trigger.type].schedule(
                values['properties'])
            values = dict(values, next_run_at=schedule.next_run(now))
        return triggers.update(session, trigger.id, trigger.project_id,
                               values, now)

    def _planned(self, type_name, properties, count=0):
        """Return what follows from a user's properties.

        :returns: the columns, and so many of the next due times
        """
        now = self._db.read(store_session.now)
        trigger_type = self._types[type_name]
        try:
            properties = trigger_type.check(properties, now)
        except errors.Invalid as exc:
            raise errors.Invalid(f'trigger_info.{exc}') from None
        runs = trigger_type.schedule(properties).preview(now, max(count, 1))
        return {'properties': properties,
                'next_run_at': runs[0] if runs else None}, runs[:count]

    def _next_runs(self, trigger, count):
        """Return the next due times; none of what can not be read here."""
        trigger_type = self._types.get(trigger.type)
        if trigger_type is None:
            return []
        try:
            schedule = trigger_type.schedule(trigger.properties)
        except errors.Invalid:
            return []
        return schedule.preview(self._db.read(store_session.now), count)


def view(trigger):
    """Return a trigger as answers have it."""
    return {
        'id': trigger.id,
        'project_id': trigger.project_id,
        'name': trigger.name,
        'type': trigger.type,
        'properties': trigger.properties,
        'next_run_at': base.moment(trigger.next_run_at),
        'created_at': base.moment(trigger.created_at),
        'updated_at': base.moment(trigger.updated_at),
    }


def _shown_view(trigger, runs):
    return {**view(trigger), 'next_runs': _moments(runs)}


def _listed_view(trigger):
    item = view(trigger)
    return {**item, 'trigger_info': item}


def _moments(runs):
    return [base.moment(run) for run in runs]


def _count(asked):
    return asked.get('runs', _RUNS['default'])
