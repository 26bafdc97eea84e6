# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Providers: what they can protect, and with which options."""

from karbor_ng.api import listing
from karbor_ng.api import written
from karbor_ng.api.schemas import base as base_schemas
from karbor_ng.api.schemas import providers as schemas
from karbor_ng.api.v1 import base
from karbor_ng.store import providers

_LISTED = listing.Query(
    {'name': base_schemas.TEXT, 'description': base_schemas.TEXT},
    {'id': 'id', 'name': 'name'}, default_sort=(('id', 'asc'),))


class Providers(base.Controller):
    """Providers are everybody's; the services publish them."""

    @base.verb(schemas.PAGE, query=_LISTED)
    def list(self, req, resp):
        self._require(req, 'provider:get_all')
        wanted = _LISTED.read(req, self._conf)
        rows = self._db.read(providers.list, wanted.page,
                             columns=providers.LISTED, **wanted.filters)
        return wanted.write('providers', rows, _write)

    @base.verb(schemas.SHOWN)
    def show(self, req, resp, provider_id):
        self._require(req, 'provider:get')
        return {'provider': view(self._db.read(providers.get, provider_id))}


def view(provider):
    """Return a provider as answers have it."""
    return {
        'id': provider.id,
        'name': provider.name,
        'description': provider.description,
        'extended_info_schema': provider.schemas,
    }


def _write(row):
    """Return the same of a row of ``providers.LISTED``, as JSON."""
    provider_id, name, description, offered = row
    return (f'{{"id": "{provider_id}", "name": {written.text(name)}, '
            f'"description": {written.text(description)}, '
            f'"extended_info_schema": {offered}}}')
