# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Which versions of the API there are, and whether it works."""

import sqlalchemy as sa

from karbor_ng.api.v1 import base


class Versions(base.Controller):
    """What everybody may ask, without a token."""

    @base.verb
    def list(self, req, resp):
        resp.status_int = 300
        prefix = self._conf.osapi_karbor_base_URL or req.application_url
        return {'versions': [{
            'id': 'v1.0', 'status': 'CURRENT',
            'links': [{'rel': 'self', 'href': f'{prefix.rstrip("/")}/v1/'}],
        }]}

    @base.verb
    def health(self, req, resp):
        """Answer 200 while the database can be reached, else 503."""
        self._db.read(lambda session: session.execute(sa.text('SELECT 1')))
        return {'status': 'ok'}
