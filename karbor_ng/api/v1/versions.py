# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Which versions of the API there are, and whether it works."""

from karbor_ng.api import auth
from karbor_ng.api import faults
from karbor_ng.api.schemas import versions as schemas
from karbor_ng.api.v1 import base


class Versions(base.Controller):
    """What everybody may ask, without a token."""

    @base.verb(schemas.VERSIONS, statuses=(300,))
    def list(self, req, resp):
        resp.status_int = 300
        return {'versions': [{
            'id': 'v1.0', 'status': 'CURRENT',
            'links': [{'rel': 'self', 'href': f'{self._prefix(req)}/v1/'}],
        }]}

    @base.verb(schemas.DOCUMENT)
    def describe(self, req, resp):
        """Answer what the API is, for programs: OpenAPI 3.1."""
        return {**self._tools.document,
                'servers': [{'url': self._prefix(req)}]}

    @base.verb(schemas.HEALTH, statuses=(200, 503),
               refusals=(401,))
    def health(self, req, resp):
        """Answer 200, or 503 if something essential is not well.

        Everybody is told what fails; the details, with names of hosts, are
        for administrators.
        """
        status, found = self._tools.health.report()
        caller = req.environ.get(auth.CONTEXT)
        is_detailed = (self._conf.healthcheck.detailed
                       or bool(caller and caller.is_admin))
        req.environ[faults.IS_FORMED] = True
        resp.status_int = 503 if status == 'failed' else 200
        resp.cache_control.no_store = True
        return {'status': status, 'checks': {
            name: finding.shown(is_detailed)
            for name, finding in found.items()}}

    def _prefix(self, req):
        prefix = self._conf.osapi_karbor_base_URL or req.application_url
        return prefix.rstrip('/')
