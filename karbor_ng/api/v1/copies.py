# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Copies of checkpoints in the banks of other providers.

Apart from checkpoints because one request makes many of them; once made,
each is a checkpoint of the provider that has it.
"""

from karbor_ng.api import validation
from karbor_ng.api.schemas import copies as schemas
from karbor_ng.api.v1 import base
from karbor_ng.store import plans

_CREATE = validation.Body(schemas.CREATE)


class Copies(base.Controller):
    """Copies of what a provider has of a plan."""

    @base.verb(schemas.SHOWN, body=_CREATE, refusals=(409,))
    def create(self, req, resp, provider_id):
        self._require(req, 'copy:create')
        body = _CREATE.read(req)
        plan = self._read(req, plans.get, body['plan_id'], 'copy:create')
        pairs, parameters = self._tools.client.copy(
            self._caller(req, plan.project_id), plan.id, provider_id,
            body['target_provider_id'], body.get('parameters'))
        return {'copy': {
            'project_id': plan.project_id,
            'provider_id': provider_id,
            'target_provider_id': body['target_provider_id'],
            'plan_id': plan.id,
            'checkpoint_id': [
                {'checkpoint_protect_id': source_id,
                 'checkpoint_copy_id': copy_id}
                for source_id, copy_id in pairs],
            'parameters': parameters,
        }}
