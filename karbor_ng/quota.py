# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""How much a project may have.

A quota is a question, not a ledger: what exists is counted when something
is to be added, in the transaction that adds it. What may be had is what
operators have set for the project, else for its class, else for the class
``default``, else in the configuration.
"""

from oslo_config import cfg
import sqlalchemy as sa

from karbor_ng import errors
from karbor_ng.store import models
from karbor_ng.store import quotas

GROUP = None
OPTS = [
    cfg.IntOpt('quota_plans', default=50, min=-1,
               help='Plans that one project may have; -1 for no limit. '
                    'Quotas of a project, of its class, and of the class '
                    '"default" come before this.'),
    cfg.IntOpt('quota_checkpoints', default=-1, min=-1,
               help='Checkpoints that one project may have, those that are '
                    'deleted not counted; -1 for no limit. Quotas of a '
                    'project, of its class, and of the class "default" come '
                    'before this.'),
]
#: What is counted.
RESOURCES = ('plans', 'checkpoints')

#: Call it first in a transaction that adds something: of all that a
#: transaction locks, the project is the first.
hold = quotas.hold


def check_plans(session, conf, project_id):
    """:raises errors.OverQuota: the project has all the plans it may have"""
    _check(session, conf, project_id, 'plans')


def check_checkpoints(session, conf, project_id):
    """:raises errors.OverQuota: no more checkpoints for this project"""
    _check(session, conf, project_id, 'checkpoints')


def limits(session, conf, project_id):
    """Return ``{resource: limit}`` of a project; -1 is no limit."""
    return _filled(conf, quotas.limits(session, project_id))


def class_limits(session, conf, class_name):
    """Return ``{resource: limit}`` of projects in a class."""
    return _filled(conf, quotas.class_limits(session, class_name))


def default_limits(session, conf):
    """Return ``{resource: limit}`` of projects of which nothing is said."""
    return class_limits(session, conf, quotas.DEFAULT_CLASS)


def usage(session, project_id):
    """Return ``{resource: number}`` of what a project has."""
    return {resource: _count(session, project_id, resource)
            for resource in RESOURCES}


def _filled(conf, found):
    return {resource: found.get(resource, getattr(conf, f'quota_{resource}'))
            for resource in RESOURCES}


def _count(session, project_id, resource):
    if resource == 'plans':
        conditions = [models.Plan.project_id == project_id]
    else:
        conditions = [models.Checkpoint.project_id == project_id,
                      models.Checkpoint.status != 'deleted']
    return session.execute(
        sa.select(sa.func.count()).where(*conditions)).scalar_one()


def _check(session, conf, project_id, resource):
    limit = limits(session, conf, project_id)[resource]
    if limit >= 0 and _count(session, project_id, resource) >= limit:
        raise errors.OverQuota(
            f'The project already has {limit} {resource}, which is its '
            f'limit. Delete some, or ask for a higher quota.')
