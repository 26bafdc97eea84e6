# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""How much a project may have.

A quota is a question, not a ledger: what exists is counted when something
is to be added, in the transaction that adds it.
"""

from oslo_config import cfg
from sqlalchemy import func
from sqlalchemy import select

from karbor_ng import errors
from karbor_ng.store import models

GROUP = None
OPTS = [
    cfg.IntOpt('quota_plans', default=50, min=-1,
               help='Plans that one project may have; -1 for no limit.'),
    cfg.IntOpt('quota_checkpoints', default=-1, min=-1,
               help='Checkpoints that one project may have, those that are '
                    'deleted not counted; -1 for no limit.'),
]


def check_plans(session, conf, project_id):
    """:raises errors.OverQuota: the project has all the plans it may have"""
    count = select(func.count()).select_from(models.Plan).where(
        models.Plan.project_id == project_id)
    _check(session, count, conf.quota_plans, 'plans')


def check_checkpoints(session, conf, project_id):
    """:raises errors.OverQuota: no more checkpoints for this project"""
    count = select(func.count()).select_from(models.Checkpoint).where(
        models.Checkpoint.project_id == project_id,
        models.Checkpoint.status != 'deleted')
    _check(session, count, conf.quota_checkpoints, 'checkpoints')


def _check(session, count, limit, what):
    if limit >= 0 and session.execute(count).scalar_one() >= limit:
        raise errors.OverQuota(
            f'The project already has {limit} {what}, which is its limit. '
            f'Delete some, or ask for a higher quota.')
