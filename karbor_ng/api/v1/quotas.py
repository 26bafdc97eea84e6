# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Quotas: how much a project may have, and has."""

from karbor_ng import errors
from karbor_ng import quota
from karbor_ng.api import validation
from karbor_ng.api.schemas import quotas as schemas
from karbor_ng.api.v1 import base
from karbor_ng.store import quotas

_UPDATE = validation.Body(schemas.UPDATE)
_UPDATE_CLASS = validation.Body(schemas.UPDATE_CLASS)


class Quotas(base.Controller):
    """Of one project, which may be another one than the path begins with."""

    @base.verb(schemas.SHOWN)
    def show(self, req, resp, target_project_id):
        self._check(req, 'quota:get', target_project_id)
        return {'quota': self._db.read(_view, self._conf,
                                       target_project_id)}

    @base.verb(schemas.DETAIL)
    def show_detail(self, req, resp, target_project_id):
        self._check(req, 'quota:get', target_project_id)
        return {'quota': self._db.read(_detail, self._conf,
                                       target_project_id)}

    @base.verb(schemas.DEFAULTS)
    def show_defaults(self, req, resp, target_project_id):
        """Answer what projects have of which nothing is said."""
        self._check(req, 'quota:get_default', target_project_id)
        return {'quota': {
            'id': target_project_id,
            **self._db.read(quota.default_limits, self._conf)}}

    @base.verb(schemas.SHOWN, body=_UPDATE)
    def update(self, req, resp, target_project_id):
        self._check(req, 'quota:update', target_project_id)
        body = _UPDATE.read(req)
        return {'quota': self._db.write(_update, self._conf,
                                        target_project_id, body)}

    @base.verb()
    def delete(self, req, resp, target_project_id):
        self._check(req, 'quota:delete', target_project_id)
        self._db.write(quotas.remove, target_project_id)
        return base.empty()

    def _check(self, req, rule, project_id):
        self._require(req, rule, project_id)
        _check_length(project_id, 'project_id')


class QuotaClasses(base.Controller):
    """What the projects have that were put together into a class."""

    @base.verb(schemas.CLASS_SHOWN)
    def show(self, req, resp, class_name):
        self._require(req, 'quota_class:get')
        _check_length(class_name, 'class_name')
        if not req.caller.is_admin:
            self._refuse_other_class(req, class_name)
        return {'quota_class': self._db.read(_class_view, self._conf,
                                             class_name)}

    @base.verb(schemas.CLASS_SHOWN, body=_UPDATE_CLASS)
    def update(self, req, resp, class_name):
        self._require(req, 'quota_class:update')
        _check_length(class_name, 'class_name')
        body = _UPDATE_CLASS.read(req)
        return {'quota_class': self._db.write(_update_class, self._conf,
                                              class_name, body)}

    def _refuse_other_class(self, req, class_name):
        own = self._db.read(quotas.class_of, req.project_id)
        if class_name not in (quotas.DEFAULT_CLASS, own):
            raise errors.Forbidden(
                'The project is not in this class of quotas.')


def _check_length(text, what):
    if len(text) > 255:
        raise errors.Invalid(f'{what} must not have more than 255 '
                             f'characters.')


def _view(session, conf, project_id):
    return {'id': project_id, **quota.limits(session, conf, project_id),
            'quota_class': quotas.class_of(session, project_id)}


def _detail(session, conf, project_id):
    found = _view(session, conf, project_id)
    used = quota.usage(session, project_id)
    # Nothing is reserved: what is accepted is there, and counted.
    return {**found, **{
        resource: {'limit': found[resource], 'in_use': used[resource],
                   'reserved': 0} for resource in quota.RESOURCES}}


def _update(session, conf, project_id, body):
    if 'quota_class' in body:
        quotas.set_class(session, project_id, body['quota_class'])
    quotas.set_limits(session, project_id, _limits(body))
    return _view(session, conf, project_id)


def _class_view(session, conf, class_name):
    return {'id': class_name,
            **quota.class_limits(session, conf, class_name)}


def _update_class(session, conf, class_name, body):
    quotas.set_class_limits(session, class_name, _limits(body))
    return _class_view(session, conf, class_name)


def _limits(body):
    return {resource: int(body[resource]) for resource in quota.RESOURCES
            if resource in body}
