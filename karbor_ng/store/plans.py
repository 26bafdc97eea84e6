# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Plans: what users want protected together."""

import sqlalchemy as sa

from karbor_ng import errors
from karbor_ng.store import models
from karbor_ng.store import query
from karbor_ng.store import scheduled_operations

Plan = models.Plan

STATUSES = ('suspended', 'started')
#: What is shown of each plan in a list.
LISTED = (Plan.id, Plan.name, Plan.description, query.stored(Plan.resources),
          Plan.provider_id, Plan.status, query.stored(Plan.parameters))


def create(session, values):
    """Insert a plan; return it."""
    plan = Plan(**values)
    session.add(plan)
    session.flush()
    return plan


def get(session, plan_id, project_id=None):
    """Return a plan.

    :param project_id: whose plan it must be; None for anybody's
    :raises errors.NotFound: there is none, or it is another project's
    """
    plan = session.get(Plan, plan_id)
    if plan is None or project_id not in (None, plan.project_id):
        raise errors.NotFound(f'There is no plan {plan_id}.')
    return plan


def list(session, page, project_id=None, name=None, description=None,
         status=None, provider_id=None, columns=None):
    """Return a page of plans; name and description match substrings.

    :param columns: as :func:`karbor_ng.store.query.page`
    """
    conditions = [] if project_id is None else [Plan.project_id == project_id]
    if name is not None:
        conditions.append(query.contains(Plan.name, name))
    if description is not None:
        conditions.append(query.contains(Plan.description, description))
    if status is not None:
        conditions.append(Plan.status == status)
    if provider_id is not None:
        conditions.append(Plan.provider_id == provider_id)
    return query.page(session, Plan, page, *conditions, columns=columns)


def update(session, plan_id, project_id, values):
    """Change a plan; return it as it is then.

    :raises errors.NotFound: as :func:`get`
    """
    plan = get(session, plan_id, project_id)
    for name, value in values.items():
        setattr(plan, name, value)
    plan.updated_at = models.utcnow()
    session.flush()
    return plan


def hold(session, plan_id, project_id=None):
    """Return a plan that nobody removes until this transaction ends.

    Whoever adds what refers to a plan calls it first.

    :raises errors.NotFound: as :func:`get`
    """
    session.execute(sa.select(Plan.id).where(Plan.id == plan_id)
                    .with_for_update())
    return get(session, plan_id, project_id)


def delete(session, plan_id, project_id=None):
    """Remove a plan; its checkpoints keep a copy of it.

    :raises errors.NotFound: as :func:`get`
    :raises errors.InUse: scheduled operations use it
    """
    hold(session, plan_id, project_id)
    users = [row.id for row
             in scheduled_operations.of_plan(session, plan_id)]
    if users:
        raise errors.InUse(
            f'Plan {plan_id} is used by scheduled operations '
            f'{", ".join(users)}: delete those first.')
    session.execute(sa.delete(Plan).where(Plan.id == plan_id))
