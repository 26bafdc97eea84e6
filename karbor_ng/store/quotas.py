# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Quotas: the limits that operators have set, for projects and classes.

Rows hold what differs from the configuration, and never what is used: that
is counted, see ``karbor_ng.quota``.
"""

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects import sqlite

from karbor_ng.store import models
from karbor_ng.store import query

ClassLimit = models.QuotaClassLimit
Project = models.QuotaProject
Quota = models.Quota

#: The class of all projects that are in no other one.
DEFAULT_CLASS = 'default'


def hold(session, project_id):
    """Let nobody else hold the project until this transaction ends.

    What is counted afterwards is what others have committed, if this is the
    first statement of the transaction: on MySQL the first one that reads
    fixes what all others see.
    """
    dialect = session.bind.dialect.name
    if dialect == 'mysql':
        # One statement: two that first lock what is missing would deadlock.
        session.execute(mysql.insert(Project).values(project_id=project_id)
                        .on_duplicate_key_update(project_id=project_id))
    elif dialect == 'postgresql':
        session.execute(postgresql.insert(Project)
                        .values(project_id=project_id)
                        .on_conflict_do_nothing())
        session.execute(sa.select(Project.project_id).where(
            Project.project_id == project_id).with_for_update())
    # SQLite has one transaction that writes at a time.


def limits(session, project_id):
    """Return ``{resource: limit}`` of what is set for a project.

    Its own rows come before those of its class, and these before those of
    the class ``default``.
    """
    own_class = (sa.select(Project.class_name)
                 .where(Project.project_id == project_id).scalar_subquery())
    of_class = _of_classes(own_class)
    own = sa.select(sa.literal(2).label('rank'), Quota.resource,
                    Quota.limit).where(Quota.project_id == project_id)
    return _by_rank(session, sa.union_all(own, of_class))


def class_limits(session, class_name):
    """Return ``{resource: limit}`` of what is set for a class, or for all."""
    return _by_rank(session, _of_classes(class_name))


def _of_classes(class_name):
    rank = sa.case((ClassLimit.class_name == DEFAULT_CLASS, 0), else_=1)
    return sa.select(rank.label('rank'), ClassLimit.resource,
                     ClassLimit.limit).where(sa.or_(
                         ClassLimit.class_name == DEFAULT_CLASS,
                         ClassLimit.class_name == class_name))


def _by_rank(session, rows):
    found = session.execute(rows).all()
    return {row.resource: row.limit
            for row in sorted(found, key=lambda row: row.rank)}


def class_of(session, project_id):
    """Return the name of the class that a project was put into, or None."""
    return session.execute(sa.select(Project.class_name).where(
        Project.project_id == project_id)).scalar()


def set_limits(session, project_id, values):
    """Set limits of a project; others stay as they are.

    :param values: ``{resource: limit}``
    """
    _put(session, Quota, {'project_id': project_id}, values)


def set_class(session, project_id, class_name):
    """Put a project into a class; None for that of everybody."""
    hold(session, project_id)
    if not query.change(session, Project, {'class_name': class_name},
                        Project.project_id == project_id):
        session.add(Project(project_id=project_id, class_name=class_name))
        session.flush()


def set_class_limits(session, class_name, values):
    """Set limits of a class; others stay as they are.

    :param values: ``{resource: limit}``
    """
    _put(session, ClassLimit, {'class_name': class_name}, values)


def _put(session, model, key, values):
    """Insert or change; two that do so at once do not meet."""
    for resource, limit in sorted(values.items()):
        row = {**key, 'resource': resource, 'limit': limit}
        if session.bind.dialect.name == 'mysql':
            put = mysql.insert(model).values(row).on_duplicate_key_update(
                limit=limit)
        else:
            insert = (sqlite if session.bind.dialect.name == 'sqlite'
                      else postgresql).insert
            put = insert(model).values(row).on_conflict_do_update(
                index_elements=[*key, 'resource'], set_={'limit': limit})
        session.execute(put)


def remove(session, project_id):
    """Let a project have what everybody has: no limits and class of its own.
    """
    hold(session, project_id)
    session.execute(sa.delete(Quota).where(Quota.project_id == project_id))
    # The row stays: others may wait for it.
    query.change(session, Project, {'class_name': None},
                 Project.project_id == project_id)
