# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Protectables: what there is to put in a plan.

The clouds themselves are asked, in this process and with the caller's own
rights.
"""

import collections
import re

from karbor_ng import errors
from karbor_ng.api import listing
from karbor_ng.api import validation
from karbor_ng.api.schemas import base as base_schemas
from karbor_ng.api.schemas import protectables as schemas
from karbor_ng.api.v1 import base

#: Types are few, and their names are their ids.
_TYPES = listing.Query({}, {'name': 'name', 'id': 'id'},
                       default_sort=(('name', 'asc'),))
_FILTERS = ('name', 'status')
_FIND = {'parameters': {
    'type': 'string', 'contentMediaType': 'application/json',
    'description': 'A JSON object, for the plugin of the type.'}}
_LISTED = listing.Query(
    {'name': base_schemas.TEXT, 'status': base_schemas.TEXT,
     'type': base_schemas.TEXT, **_FIND},
    {'id': 'id', 'name': 'name'}, default_sort=())
_SHOWN = validation.Query(_FIND)

#: How old clients write a mapping of texts into a URL.
_OLD_PAIR = re.compile(r"'([^'\\]*)': '([^'\\]*)'")
_OLD_MAPPING = re.compile(
    rf"\{{(?:{_OLD_PAIR.pattern}(?:, {_OLD_PAIR.pattern})*)?\}}")

_Type = collections.namedtuple('_Type', 'id name')


class Protectables(base.Controller):
    """Types of resources, and the resources of the caller's project."""

    def __init__(self, tools):
        super().__init__(tools)
        self._protectables = tools.protectables

    @base.verb(schemas.TYPES, query=_TYPES)
    def list(self, req, resp):
        self._require(req, 'protectable:get_all')
        wanted = _TYPES.read(req, self._conf)
        types = [_Type(name, name) for name in self._protectables.types()]
        return wanted.answer('protectable_type',
                             _sorted_page(types, wanted.page),
                             lambda one: one.name)

    @base.verb(schemas.TYPE)
    def show(self, req, resp, resource_type):
        self._require(req, 'protectable:get')
        return {'protectable_type': {
            'name': resource_type,
            'dependent_types':
                self._protectables.dependent_types(resource_type)}}

    @base.verb(schemas.PAGE, query=_LISTED)
    def list_instances(self, req, resp, resource_type):
        self._require(req, 'protectable:instance_get_all')
        wanted = _LISTED.read(req, self._conf)
        _parameters(wanted.filters)
        with self._cloud(req) as session:
            found = self._instances(session, req, resource_type, wanted)
            children = self._protectables.children_of(
                session, wanted.shown(found))
        return wanted.answer(
            'instances', found,
            lambda resource: view(resource, children.get(resource, ())))

    @base.verb(schemas.SHOWN, query=_SHOWN)
    def show_instance(self, req, resp, resource_type, resource_id):
        self._require(req, 'protectable:instance_get')
        parameters = _parameters(_SHOWN.read(req))
        with self._cloud(req) as session:
            resource = self._protectables.show(
                session, resource_type, resource_id, parameters)
            if resource is None:
                raise errors.NotFound(
                    f'There is no {resource_type} {resource_id[:255]}.')
            children = self._protectables.children_of(session, [resource])
        return {'instance': view(resource, children.get(resource, ()))}

    def _instances(self, session, req, resource_type, wanted):
        self._protectables.get(resource_type)
        if wanted.filters.get('type', resource_type) != resource_type:
            return []
        page = wanted.page
        # A cloud has an order of its own; for any other one all is needed.
        own_order = not page.sort
        found = self._protectables.list(
            session, resource_type, project_id=req.project_id,
            marker=page.marker if own_order else None,
            limit=page.limit if own_order else None,
            filters={name: value for name, value in wanted.filters.items()
                     if name in _FILTERS})
        return found if own_order else _sorted_page(found, page)


def view(resource, children):
    """Return a resource as answers have it, with those one level below."""
    return {**_view(resource),
            'dependent_resources': [_view(child) for child in children]}


def _view(resource):
    return {'id': resource.id, 'type': resource.type, 'name': resource.name,
            'extra_info': resource.extra_info}


def _sorted_page(resources, page):
    for key, direction in reversed(page.sort):
        resources = sorted(resources, reverse=direction == 'desc',
                           key=lambda item: getattr(item, key) or '')
    begin = 0
    if page.marker is not None:
        ids = [resource.id for resource in resources]
        if page.marker not in ids:
            raise errors.Invalid(
                f'marker: "{page.marker[:255]}" is not in this list')
        begin = ids.index(page.marker) + 1
    return resources[begin:begin + page.limit]


def _parameters(given):
    """Return the query parameter ``parameters`` as a dict, or None."""
    text = given.get('parameters')
    if text is None:
        return None
    if _OLD_MAPPING.fullmatch(text):
        return dict(_OLD_PAIR.findall(text))
    value = validation.parse(text.encode(), 'parameters')
    if not isinstance(value, dict):
        raise errors.Invalid('parameters must be a JSON object.')
    return value
