# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Restores and their resources."""

import sqlalchemy as sa

from karbor_ng.store import models
from karbor_ng.store import of_checkpoint

Resource = models.RestoreResource

_RESTORES = of_checkpoint.OfCheckpoint('restore', models.Restore, Resource)
create = _RESTORES.create
get = _RESTORES.get
list = _RESTORES.list
move = _RESTORES.move
running_of = _RESTORES.running_of
resources = _RESTORES.resources
resources_by_owner = _RESTORES.resources_by_owner
put_resources = _RESTORES.put_resources
change_each = _RESTORES.change_each


def restored(session, restore_id):
    """Return ``{original id: new id}`` of what is restored by now."""
    return dict(session.execute(
        sa.select(Resource.id, Resource.new_id).where(
            Resource.restore_id == restore_id,
            Resource.new_id.isnot(None))).tuples().all())
