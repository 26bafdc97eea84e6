# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Pages of rows, and changes that only one of several may win."""

import dataclasses
import json

import sqlalchemy as sa
from sqlalchemy.ext import compiler
from sqlalchemy.sql import functions
from sqlalchemy.sql import operators
from sqlalchemy.sql import visitors

from karbor_ng import errors

#: More rows than there are.
_ALL = 2 ** 63 - 1


@dataclasses.dataclass(frozen=True)
class Page:
    """Which rows of a list are wanted.

    :ivar limit: at most so many rows
    :ivar marker: id of the last row of the previous page
    :ivar sort: ((column name, 'asc' or 'desc'), ...); ties are broken by id
    """

    limit: int = 1000
    marker: str | None = None
    sort: tuple = (('created_at', 'desc'),)


def page(session, model, page, *conditions, columns=None, either=((),)):
    """Return one page of the rows that meet the conditions.

    Pages follow each other by key and never by offset, so that the
    hundredth costs what the first does.

    :param columns: what to read of each row; without, rows are objects,
        which take three times as long
    :param either: more conditions, in tuples: a row meets all those of one
        tuple, and never of two
    :raises errors.Invalid: a sort key is unknown, the marker is not one of
        the rows
    """
    keys, behind = _sort_columns(model, page.sort), ()
    if page.marker is not None:
        among = sa.or_(*[sa.and_(sa.true(), *more) for more in either])
        behind = (_after(session, model, page, (*conditions, among), keys),)

    def first(more, *what):
        return _first(session, model, (*conditions, *more), behind, keys,
                      page.limit, what)

    what = columns or [model]
    if len(either) == 1:
        rows = first(either[0], *what)
    else:
        # Together they would be sorted; one by one each has its index.
        found = sa.union_all(*[sa.select(first(more, model.id).subquery())
                               for more in either]).subquery()
        rows = (sa.select(*what).join(found, found.c.id == model.id)
                .order_by(*_order(session, keys)).limit(page.limit))
    found = session.execute(rows)
    return (found if columns else found.scalars()).all()


def _first(session, model, conditions, behind, keys, limit, what):
    """Return the query of the first rows behind a marker.

    :param behind: the condition that tells what is behind, or nothing
    """
    order = _order(session, keys)

    def first(*what):
        return sa.select(*what).where(*conditions, *behind).order_by(
            *order).limit(limit)

    if _asks_for_texts(session, conditions):
        if index := _index_of_text(model, conditions):
            # To MySQL a text in a row costs ten times what it costs in an
            # index.
            found = _forced(first(model.id), model, index).subquery()
        else:
            found = _found_before_sorting(
                model, (*conditions, *behind), keys, limit)
        return (sa.select(*what).join(found, found.c.id == model.id)
                .order_by(*order))
    if behind and (index := _index_of_order(model, conditions, keys)):
        # Left alone MySQL reads all pages before the marker too.
        return _forced(first(*what), model, index)
    return first(*what)


def _found_before_sorting(model, conditions, keys, limit):
    """Return ids of the page, of rows that are all found before any order.

    Otherwise MySQL looks up row after row in the order of the page, in the
    hope for an early end, which takes many times what reading all of the
    project's rows takes. Without a limit it would see through this.
    """
    rows = sa.select(model.id, *[column for column, _up in keys
                                 if column.key != 'id']).where(
        *conditions).limit(_ALL).subquery()
    return sa.select(rows.c.id).order_by(*[
        rows.c[column.key].asc() if up else rows.c[column.key].desc()
        for column, up in keys]).limit(limit).subquery()


def stored(column):
    """Return a column of JSON as the text that it is stored as."""
    return sa.type_coerce(column, sa.Text).label(column.key)


def _forced(query, model, index):
    return query.with_hint(model, f'FORCE INDEX ({index.name})', 'mysql')


class packed(functions.GenericFunction):  # noqa: N801
    """All columns of a row as one text, a JSON list; see :func:`unpacked`.

    PyMySQL takes three times as long for ten columns as for this one.
    """

    type = sa.Text()
    inherit_cache = True


@compiler.compiles(packed)
def _packed(element, render, **kwargs):
    return f'json_array({render.process(element.clauses, **kwargs)})'


@compiler.compiles(packed, 'postgresql')
def _packed_on_postgresql(element, render, **kwargs):
    columns = render.process(element.clauses, **kwargs)
    return f'CAST(json_build_array({columns}) AS TEXT)'


def unpacked(texts):
    """Return rows that were read as :class:`packed`, as lists.

    They are what JSON has: times and JSON in columns are text, and a truth
    is a number on some databases.
    """
    return json.loads(f'[{",".join(texts)}]')


def contains(column, text):
    """Return a condition: the column contains the text, case aside.

    The text is taken literally: no wild cards, no regular expressions.
    """
    for special in ('\\', '%', '_'):
        text = text.replace(special, '\\' + special)
    return _folded(column).like(_folded(sa.literal(f'%{text}%')),
                                escape='\\')


class _folded(functions.GenericFunction):
    """Text with its case taken away, however the column is collated."""

    type = sa.String()
    inherit_cache = True


@compiler.compiles(_folded)
def _folded_by_default(element, render, **kwargs):
    return f'lower({render.process(element.clauses, **kwargs)})'


@compiler.compiles(_folded, 'mysql')
def _folded_on_mysql(element, render, **kwargs):
    # Collations would take the accents away too, or compare characters,
    # which takes twice as long as comparing their bytes.
    return (f'CAST(lower({render.process(element.clauses, **kwargs)}) '
            f'AS BINARY)')


@compiler.compiles(_folded, 'postgresql')
def _folded_on_postgresql(element, render, **kwargs):
    # In our columns' collation, C, only A to Z have a lower case.
    return (f'lower(({render.process(element.clauses, **kwargs)}) '
            f'COLLATE "default")')


def change(session, model, values, *conditions):
    """Update the rows that meet the conditions; return how many did.

    Columns are set in the order of ``values``: on MySQL expressions see the
    new values of columns that were set before.
    """
    return session.execute(
        sa.update(model).where(*conditions).ordered_values(*values.items())
        .execution_options(synchronize_session=False)).rowcount


def _sort_columns(model, sort):
    keys = []
    for name, direction in sort:
        if name not in model.__table__.columns:
            raise errors.Invalid(f'sort_key: unknown key "{name}"')
        keys.append((getattr(model, name), direction == 'asc'))
    if not any(column.key == 'id' for column, _up in keys):
        keys.append((model.id, keys[0][1] if keys else False))
    return keys


def _order(session, keys):
    return [_ordered(session, column, up) for column, up in keys]


def _ordered(session, column, up):
    order = column.asc() if up else column.desc()
    if session.bind.dialect.name != 'postgresql' or not column.nullable:
        return order
    # The others take nulls as the smallest values by themselves.
    return order.nulls_first() if up else order.nulls_last()


def _index_of_order(model, conditions, keys):
    """Return the index that has just these rows in this order, or None.

    :param conditions: of which those that compare for equality count
    """
    order = [column.key for column, _up in keys]
    equal = {condition.left.key for condition in conditions
             if _operator(condition) is operators.eq}
    for index in model.__table__.indexes:
        columns = index.columns.keys()
        if (columns[-len(order):] == order
                and set(columns[:-len(order)]) == equal):
            return index


def _asks_for_texts(session, conditions):
    """Return whether MySQL is to look into texts; others need no help."""
    return session.bind.dialect.name == 'mysql' and any(
        _operator(condition) is operators.like_op for condition in conditions)


def _index_of_text(model, conditions):
    """Return the index with all that these conditions ask, or None."""
    asked = {column.key for condition in conditions
             for column in visitors.iterate(condition)
             if isinstance(column, sa.Column)}
    for index in model.__table__.indexes:
        if asked <= set(index.columns.keys()):
            return index


def _operator(condition):
    return getattr(condition, 'operator', None)


def _after(session, model, page, conditions, keys):
    """Rows behind the marker, in the order of ``keys``; nulls come first."""
    row = session.execute(sa.select(model).where(
        model.id == page.marker, *conditions)).scalars().first()
    if row is None:
        raise errors.Invalid(f'marker: "{page.marker}" is not in this list')
    if _is_one_way(session, keys):
        columns = sa.tuple_(*[column for column, _up in keys])
        marker = tuple(getattr(row, column.key) for column, _up in keys)
        return columns > marker if keys[0][1] else columns < marker
    clauses, equal = [], []
    for column, up in keys:
        value = getattr(row, column.key)
        clauses.append(sa.and_(*equal, _behind(column, up, value)))
        equal.append(column == value if value is not None
                     else column.is_(None))
    return sa.or_(*clauses)


def _is_one_way(session, keys):
    """Return whether comparing all keys at once finds what is behind.

    Then PostgreSQL and SQLite begin to read at the marker, and not at the
    first page. MySQL does so with the conditions one by one.
    """
    return (session.bind.dialect.name != 'mysql'
            and len({up for _column, up in keys}) == 1
            and not any(column.nullable for column, _up in keys))


def _behind(column, up, value):
    if value is None:
        return column.isnot(None) if up else sa.false()
    if up:
        return column > value
    return sa.or_(column < value, column.is_(None))
