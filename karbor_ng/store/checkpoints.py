# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints and their resources."""

import sqlalchemy as sa

from karbor_ng import errors
from karbor_ng.store import bulk
from karbor_ng.store import models
from karbor_ng.store import query

Checkpoint = models.Checkpoint
Resource = models.CheckpointResource

#: Which status may follow which; see :func:`move`.
TRANSITIONS = {
    'protecting': ('available', 'error', 'deleting'),
    'wait_copying': ('copying', 'error', 'deleting'),
    'copying': ('available', 'error', 'deleting'),
    # The owner may reset all but what is deleted.
    'available': ('deleting', 'error'),
    'error': ('deleting', 'available'),
    # Back again when deleting was refused before anything was removed.
    'deleting': ('deleted', 'error-deleting', 'available', 'error'),
    'error-deleting': ('deleting', 'error'),
    'deleted': (),
}
#: Statuses in which nothing changes until the next one follows.
SETTLED = ('available', 'error', 'error-deleting', 'deleted')
#: What tells whether anything of a checkpoint has changed.
STATES = (Checkpoint.id, Checkpoint.status, Checkpoint.revision)
#: What is shown of each checkpoint in a list, and of each resource in it.
LISTED = (
    *STATES, Checkpoint.project_id,
    query.stored(Checkpoint.plan), Checkpoint.graph,
    query.stored(Checkpoint.extra_info), Checkpoint.size,
    Checkpoint.created_at, Checkpoint.finished_at, Checkpoint.copied_from,
    Checkpoint.data_time)
LISTED_RESOURCES = (
    Resource.checkpoint_id, Resource.id, Resource.type, Resource.name,
    Resource.in_plan, Resource.status, Resource.reason, Resource.progress,
    Resource.size, query.stored(Resource.saved),
    query.stored(Resource.extra_info))
#: The packed graph of a checkpoint whose graph is not built yet.
EMPTY_GRAPH = '[{}, []]'


def create(session, values):
    """Insert a checkpoint; return it."""
    checkpoint = Checkpoint(**values)
    session.add(checkpoint)
    session.flush()
    return checkpoint


def get(session, checkpoint_id, project_id=None, provider_id=None):
    """Return a checkpoint; None for project or provider means any.

    :raises errors.NotFound: there is none, or it is another's
    """
    checkpoint = session.get(Checkpoint, checkpoint_id)
    if (checkpoint is None
            or project_id not in (None, checkpoint.project_id)
            or provider_id not in (None, checkpoint.provider_id)):
        raise errors.NotFound(f'There is no checkpoint {checkpoint_id}.')
    return checkpoint


def list(session, page, project_id=None, provider_id=None, plan_id=None,
         status=None, created_from=None, created_before=None, columns=None):
    """Return a page of checkpoints.

    Deleted ones are only there when ``status`` asks for them.

    :param columns: as :func:`karbor_ng.store.query.page`
    """
    equal = {'project_id': project_id, 'provider_id': provider_id,
             'plan_id': plan_id, 'status': status}
    conditions = [getattr(Checkpoint, name) == value
                  for name, value in equal.items() if value is not None]
    if status is None:
        conditions.append(Checkpoint.status != 'deleted')
    if created_from is not None:
        conditions.append(Checkpoint.created_at >= created_from)
    if created_before is not None:
        conditions.append(Checkpoint.created_at < created_before)
    return query.page(session, Checkpoint, page, *conditions,
                      columns=columns)


def move(session, checkpoint_id, status, **values):
    """Change the status along :data:`TRANSITIONS`; set other columns too.

    :raises errors.Conflict: the present status does not lead there
    """
    sources = [source for source, targets in TRANSITIONS.items()
               if status in targets]
    changed = query.change(
        session, Checkpoint,
        dict(values, status=status, revision=Checkpoint.revision + 1),
        Checkpoint.id == checkpoint_id, Checkpoint.status.in_(sources))
    if not changed:
        now = session.execute(sa.select(Checkpoint.status).where(
            Checkpoint.id == checkpoint_id)).scalar()
        raise errors.Conflict(
            f'Checkpoint {checkpoint_id} is {now or "gone"} and can not '
            f'become {status}.')


def listed(session, checkpoint_ids):
    """Return rows of :data:`LISTED`, in any order."""
    return session.execute(sa.select(*LISTED).where(
        Checkpoint.id.in_(checkpoint_ids))).all()


def resources(session, *checkpoint_ids):
    """Return the resource rows of checkpoints, in a stable order."""
    return _resources(session, checkpoint_ids)


def _resources(session, checkpoint_ids, *options):
    return session.execute(
        sa.select(Resource).where(Resource.checkpoint_id.in_(checkpoint_ids))
        .order_by(Resource.checkpoint_id, Resource.type, Resource.id)
        .options(*options)).scalars().all()


def shown_resources(session, *checkpoint_ids):
    """Return :func:`resources` without what only workers need.

    Lists of objects in the bank grow with the data. Asking a row for what
    was left out is an error.
    """
    return _resources(session, checkpoint_ids, sa.orm.defer(
        Resource.objects, raiseload=True), sa.orm.defer(
        Resource.parameters, raiseload=True))


def listed_resources(session, checkpoint_ids):
    """Return lists of :data:`LISTED_RESOURCES`, in a stable order."""
    return query.unpacked(session.execute(
        sa.select(query.packed(*LISTED_RESOURCES))
        .where(Resource.checkpoint_id.in_(checkpoint_ids))
        .order_by(Resource.checkpoint_id, Resource.type, Resource.id)
    ).scalars())


def put_resources(session, checkpoint_id, rows):
    """Insert resource rows that are not there yet.

    :param rows: dicts of columns without ``checkpoint_id``
    """
    bulk.put_missing(session, Resource, [
        dict(row, checkpoint_id=checkpoint_id) for row in rows])


def size_of_resources(session, checkpoint_id):
    """Return the bytes of all resources; None where nobody knows any."""
    size = session.execute(sa.select(sa.func.sum(Resource.size)).where(
        Resource.checkpoint_id == checkpoint_id)).scalar()
    return None if size is None else int(size)


def change_each(session, checkpoint_id, changes):
    """Set columns of resources: ``{(type, id): values}``."""
    bulk.change_each(session, Resource, [
        ({'checkpoint_id': checkpoint_id, 'type': kind, 'id': number}, values)
        for (kind, number), values in changes.items()])


def change_resources(session, checkpoint_id, values):
    """Set columns of all resources."""
    query.change(session, Resource, values,
                 Resource.checkpoint_id == checkpoint_id)


def spoil_resources(session, checkpoint_id, reason):
    """Let what is, or would have become, a backup be none any more."""
    query.change(session, Resource, {'status': 'error', 'reason': reason},
                 Resource.checkpoint_id == checkpoint_id,
                 Resource.status.in_(('protecting', 'copying',
                                      'available')))


def is_whole(session, checkpoint_id):
    """Return whether there is a backup of all that was not skipped."""
    # Locking, because a plain read may show MySQL's older state of affairs.
    statuses = set(session.execute(
        sa.select(Resource.status)
        .where(Resource.checkpoint_id == checkpoint_id)
        .with_for_update()).scalars())
    return bool(statuses) and statuses <= {'available', 'skipped'}


def built_upon(session, checkpoint_id):
    """Return ids of living checkpoints whose backups build on this one's."""
    base = sa.orm.aliased(Resource)
    # To MySQL what has no parent has the same one: it would rather look at
    # all resources there are for each of this checkpoint's.
    rows = session.execute(
        sa.select(Resource.checkpoint_id).distinct()
        .prefix_with('STRAIGHT_JOIN', dialect='mysql')
        .with_hint(Resource, 'FORCE INDEX (checkpoint_resources_by_parent)',
                   'mysql')
        .select_from(base)
        .join(Resource, Resource.parent_backup == base.backup_id)
        .join(Checkpoint, Checkpoint.id == Resource.checkpoint_id)
        .where(base.checkpoint_id == checkpoint_id,
               Resource.checkpoint_id != checkpoint_id,
               Resource.status != 'deleted',
               Checkpoint.status != 'deleted')
        .order_by(Resource.checkpoint_id))
    return rows.scalars().all()
