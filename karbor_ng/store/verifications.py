# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Verifications of checkpoints, and what they found of each resource."""

from karbor_ng.store import models
from karbor_ng.store import of_checkpoint

Resource = models.VerificationResource

_VERIFICATIONS = of_checkpoint.OfCheckpoint(
    'verification', models.Verification, Resource)
create = _VERIFICATIONS.create
get = _VERIFICATIONS.get
list = _VERIFICATIONS.list
move = _VERIFICATIONS.move
running_of = _VERIFICATIONS.running_of
resources = _VERIFICATIONS.resources
resources_by_owner = _VERIFICATIONS.resources_by_owner
put_resources = _VERIFICATIONS.put_resources
change_each = _VERIFICATIONS.change_each
