# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What is done with a checkpoint: rows that restores and verifications share.

Apart from both because they differ in their tables only: each has a status,
which is ``started`` until it has ended, and a row for each resource.
"""

import collections

import sqlalchemy as sa

from karbor_ng import errors
from karbor_ng.store import bulk
from karbor_ng.store import query

#: Which status may follow which.
TRANSITIONS = {'started': ('success', 'failed'), 'success': (), 'failed': ()}


class OfCheckpoint:
    """Functions for one of the nouns; they take the session first.

    :param name: of the noun, as users are told it
    :param model: of its rows
    :param resource: model of its resources' rows
    """

    def __init__(self, name, model, resource):
        self._name = name
        self._model = model
        self._resource = resource
        self._owner = getattr(resource, f'{name}_id')

    def create(self, session, values):
        """Insert one; return it."""
        made = self._model(**values)
        session.add(made)
        session.flush()
        return made

    def get(self, session, row_id, project_id=None):
        """:raises errors.NotFound: there is none, or it is another project's"""
        found = session.get(self._model, row_id)
        if found is None or project_id not in (None, found.project_id):
            raise errors.NotFound(f'There is no {self._name} {row_id}.')
        return found

    def list(self, session, page, project_id=None, status=None,
             checkpoint_id=None):
        """Return a page."""
        equal = {'project_id': project_id, 'status': status,
                 'checkpoint_id': checkpoint_id}
        return query.page(session, self._model, page, *[
            getattr(self._model, name) == value
            for name, value in equal.items() if value is not None])

    def move(self, session, row_id, status, **values):
        """Change the status along :data:`TRANSITIONS`.

        :raises errors.Conflict: the present status does not lead there
        """
        sources = [source for source, targets in TRANSITIONS.items()
                   if status in targets]
        if not query.change(session, self._model,
                            dict(values, status=status),
                            self._model.id == row_id,
                            self._model.status.in_(sources)):
            raise errors.Conflict(
                f'{self._name.capitalize()} {row_id} has ended and can not '
                f'become {status}.')

    def running_of(self, session, checkpoint_id):
        """Return ids of those of the checkpoint that have not ended."""
        # Locking, because a plain read may show MySQL's older state of
        # affairs.
        return session.execute(
            sa.select(self._model.id)
            .where(self._model.checkpoint_id == checkpoint_id,
                   self._model.status == 'started')
            .order_by(self._model.id).with_for_update()).scalars().all()

    def resources(self, session, *row_ids):
        """Return the rows of resources, in a stable order."""
        return session.execute(
            sa.select(self._resource).where(self._owner.in_(row_ids))
            .order_by(self._owner, self._resource.type, self._resource.id)
        ).scalars().all()

    def resources_by_owner(self, session, row_ids):
        """Return ``{id: rows of its resources}``, each in a stable order."""
        found = collections.defaultdict(list)
        for row in self.resources(session, *row_ids):
            found[getattr(row, self._owner.key)].append(row)
        return found

    def put_resources(self, session, row_id, rows):
        """Insert rows of resources that are not there yet."""
        bulk.put_missing(session, self._resource, [
            {**row, self._owner.key: row_id} for row in rows])

    def change_each(self, session, row_id, changes):
        """Set columns of resources: ``{(type, id): values}``."""
        bulk.change_each(session, self._resource, [
            ({self._owner.key: row_id, 'type': kind, 'id': number}, values)
            for (kind, number), values in changes.items()])
