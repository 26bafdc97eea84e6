# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Steps: which hooks of an operation have ended, and how."""

import sqlalchemy as sa

from karbor_ng.store import bulk
from karbor_ng.store import models

Step = models.Step


def ended(session, operation_id):
    """Return ``{(type, id, hook): step}`` of the operation."""
    rows = session.execute(sa.select(Step).where(
        Step.operation_id == operation_id)).scalars()
    return {(row.resource_type, row.resource_id, row.hook): row
            for row in rows}


def put(session, *rows):
    """Write the ends of hooks; the caller has checked the fence.

    Writing one twice is harmless: an answer of the database may be lost.
    """
    bulk.put(session, Step, rows)


def remove(session, operation_id, resources, hooks):
    """Forget that hooks of resources, pairs of type and id, have ended."""
    for resource_type, resource_id in resources:
        session.execute(sa.delete(Step).where(
            Step.operation_id == operation_id,
            Step.resource_type == resource_type,
            Step.resource_id == resource_id, Step.hook.in_(hooks)))
