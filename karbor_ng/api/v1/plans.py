# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Plans: what users want protected together."""

import uuid

from karbor_ng import errors
from karbor_ng import parameters as parameter_rules
from karbor_ng import quota
from karbor_ng.api import listing
from karbor_ng.api import validation
from karbor_ng.api import written
from karbor_ng.api.schemas import base as base_schemas
from karbor_ng.api.schemas import plans as schemas
from karbor_ng.api.v1 import base
from karbor_ng.protection import client
from karbor_ng.store import plans
from karbor_ng.store import providers

_CREATE = validation.Body(schemas.CREATE)
_UPDATE = validation.Body(schemas.UPDATE)
_LISTED = listing.Query(
    {'name': base_schemas.TEXT, 'description': base_schemas.TEXT,
     'status': base_schemas.TEXT, 'provider_id': base_schemas.UUID},
    {'created_at': 'created_at', 'id': 'id', 'name': 'name',
     'status': 'status'})


class Plans(base.Controller):
    """Plans of a project."""

    @base.verb(schemas.PAGE, query=_LISTED)
    def list(self, req, resp):
        self._require(req, 'plan:get_all')
        wanted = _LISTED.read(req, self._conf)
        rows = self._db.read(plans.list, wanted.page, wanted.project_id,
                             columns=plans.LISTED, **wanted.filters)
        return wanted.write('plans', rows, write)

    @base.verb(schemas.SHOWN, body=_CREATE)
    def create(self, req, resp):
        self._require(req, 'plan:create')
        body = _CREATE.read(req)
        plan = self._db.write(
            _create, self._conf, req.project_id, req.caller.user_id,
            str(uuid.uuid4()), body)
        return {'plan': view(plan)}

    @base.verb(schemas.SHOWN)
    def show(self, req, resp, plan_id):
        plan = self._read(req, plans.get, plan_id, 'plan:get')
        return {'plan': view(plan)}

    @base.verb(schemas.SHOWN, body=_UPDATE)
    def update(self, req, resp, plan_id):
        plan = self._read(req, plans.get, plan_id, 'plan:update')
        body = _UPDATE.read(req)
        return {'plan': view(self._db.write(
            _update, plan_id, plan.project_id, body))}

    @base.verb(refusals=(409,))
    def delete(self, req, resp, plan_id):
        plan = self._read(req, plans.get, plan_id, 'plan:delete')
        self._db.write(plans.delete, plan_id, plan.project_id)
        return base.empty()


def view(plan):
    """Return a plan as answers have it."""
    return {
        'id': plan.id,
        'name': plan.name,
        'description': plan.description,
        'resources': plan.resources,
        'provider_id': plan.provider_id,
        'status': plan.status,
        'parameters': plan.parameters,
    }


def write(row):
    """Return the same of a row of ``plans.LISTED``, as JSON."""
    plan_id, name, description, resources, provider_id, status, given = row
    return (f'{{"id": "{plan_id}", "name": {written.text(name)}, '
            f'"description": {written.text(description)}, '
            f'"resources": {resources}, "provider_id": "{provider_id}", '
            f'"status": "{status}", "parameters": {given}}}')


def _create(session, conf, project_id, user_id, plan_id, body):
    quota.hold(session, project_id)
    values = _checked(_provider(session, body['provider_id']), body)
    values.setdefault('parameters', {})
    quota.check_plans(session, conf, project_id)
    return plans.create(session, {
        'id': plan_id, 'project_id': project_id, 'user_id': user_id,
        'status': 'suspended', **values})


def _update(session, plan_id, project_id, body):
    if 'resources' in body or 'parameters' in body:
        plan = plans.get(session, plan_id, project_id)
        body = _checked(_provider(session, plan.provider_id), body)
    return plans.update(session, plan_id, project_id, body)


def _provider(session, provider_id):
    try:
        return providers.get(session, provider_id)
    except errors.NotFound:
        raise errors.Invalid(f'plan.provider_id: there is no provider '
                             f'{provider_id}.') from None


def _checked(provider, body):
    """Return what was sent, as it is stored, if the provider can do it."""
    values = dict(body)
    if 'resources' in values:
        values['resources'] = _resources(provider, values['resources'])
    if 'parameters' in values:
        values['parameters'] = parameter_rules.check(
            values['parameters'] or {}, provider.schemas['options_schema'],
            'plan.parameters')
    return values


def _resources(provider, resources):
    try:
        client.check_resources(provider, resources)
    except errors.Invalid as exc:
        raise errors.Invalid(f'plan.{exc}') from None
    places = {}
    for index, resource in enumerate(resources):
        key = (resource['type'], resource['id'])
        if places.setdefault(key, index) != index:
            raise errors.Invalid(
                f'plan.resources[{index}].id: {key[0]} {key[1]} is there '
                f'already, as plan.resources[{places[key]}].')
    return [_resource(resource) for resource in resources]


def _resource(resource):
    kept = {'id': resource['id'], 'type': resource['type'],
            'name': resource['name'] or ''}
    if resource.get('extra_info') not in (None, '', {}, []):
        kept['extra_info'] = resource['extra_info']
    return kept
