# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Services: programs on hosts, which operators may stop from claiming."""

import dataclasses
import re

from karbor_ng import errors
from karbor_ng.api import listing
from karbor_ng.api import validation
from karbor_ng.api.schemas import base as base_schemas
from karbor_ng.api.schemas import services as schemas
from karbor_ng.api.v1 import base
from karbor_ng.store import services

_UPDATE = validation.Body(schemas.UPDATE, is_enveloped=False)
_LISTED = listing.Query(
    {'host': base_schemas.TEXT, 'binary': base_schemas.TEXT},
    {'id': 'id', 'host': 'host', 'binary': 'binary'},
    default_sort=(('id', 'asc'),))
_NUMBER = re.compile('[0-9]{1,9}')
#: Programs that claim nothing: there is nothing to stop.
_IDLE = ('karbor-api',)


class Services(base.Controller):
    """Whoever works on what users ask for, for administrators."""

    @base.verb(schemas.PAGE, query=_LISTED)
    def list(self, req, resp):
        self._require(req, 'service:get_all')
        wanted = _LISTED.read(req, self._conf)
        found = self._db.read(services.hosts, _page(wanted.page),
                              **wanted.filters)
        return wanted.answer('services', found, self._view)

    @base.verb(schemas.SHOWN, body=_UPDATE)
    def update(self, req, resp, service_id):
        self._require(req, 'service:update')
        body = _UPDATE.read(req)
        return {'service': self._view(self._db.write(
            _update, service_id, body['status'],
            body.get('disabled_reason')))}

    def _view(self, host):
        """Return a program on a host as answers have it."""
        row, silence = host.row, host.silent_seconds
        moments = [moment for moment in (host.seen_at, row.updated_at)
                   if moment is not None]
        is_up = (silence is not None
                 and silence <= self._conf.protection.lease_seconds)
        return {
            'id': row.id,
            'binary': row.binary,
            'host': row.host,
            'status': 'disabled' if row.is_disabled else 'enabled',
            'state': 'up' if is_up else 'down',
            'updated_at': base.naive_moment(max(moments, default=None)),
            'disabled_reason': row.disabled_reason,
        }


def _update(session, number, status, reason):
    host = services.get_host(session, number)
    if status == 'enabled':
        if reason is not None:
            raise errors.Invalid(
                'disabled_reason can only be given with status "disabled".')
        services.enable(session, number)
    elif host.row.binary in _IDLE:
        raise errors.Invalid(
            f'status: {host.row.binary} claims no operations, so there is '
            f'nothing to disable. Take it out of the balancer instead.')
    else:
        services.disable(session, number, reason)
    session.expire_all()
    return services.get_host(session, number)


def _page(page):
    """Return the page with a marker that compares with numbers."""
    if page.marker is None:
        return page
    number = _number(page.marker)
    if number is None:
        raise errors.Invalid(
            f'marker: "{page.marker[:255]}" is not in this list')
    return dataclasses.replace(page, marker=number)


def _number(text):
    return int(text) if _NUMBER.fullmatch(text) else None
