# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Pages follow each other without gaps, and text is found literally."""

import datetime

import hypothesis
from hypothesis import strategies
import sqlalchemy as sa

from karbor_ng import errors
from karbor_ng.store import models
from karbor_ng.store import operations
from karbor_ng.store import plans
from karbor_ng.store import query
from karbor_ng.tests import fixtures

#: Columns to sort by: text, numbers and times, of which some are null.
COLUMNS = ('owner', 'user_id', 'type', 'attempt', 'created_at', 'ended_at',
           'resume_count')
MOMENTS = [fixtures.MOMENT + datetime.timedelta(microseconds=count)
           for count in range(3)]
#: Few values, so that many are equal; of all sizes, so that order matters.
TEXTS = strategies.sampled_from(
    ['', 'A', 'B', 'a', 'b', 'aa', '_', 'é', 'É', '日', '\U0001f4be'])
ROWS = strategies.lists(strategies.fixed_dictionaries({
    'owner': strategies.none() | TEXTS,
    'user_id': strategies.none() | TEXTS,
    'type': strategies.sampled_from(['protect', 'restore', 'verify']),
    'state': strategies.sampled_from(['queued', 'running', 'failed']),
    'attempt': strategies.integers(0, 2),
    'resume_count': strategies.integers(-1, 1),
    'created_at': strategies.sampled_from(MOMENTS),
    'ended_at': strategies.none() | strategies.sampled_from(MOMENTS),
}), max_size=12)
SORTS = strategies.lists(
    strategies.tuples(strategies.sampled_from((*COLUMNS, 'id')),
                      strategies.sampled_from(['asc', 'desc'])),
    max_size=3, unique_by=lambda key: key[0]).map(tuple)


def in_order(rows, sort):
    """Return ids in the order that is promised: nulls are smallest."""
    direction = sort[0][1] if sort else 'desc'
    rows = sorted(rows, key=lambda row: row['id'],
                  reverse=direction == 'desc')
    for name, direction in reversed(sort):
        rows.sort(key=lambda row: _rank(row[name]),
                  reverse=direction == 'desc')
    return [row['id'] for row in rows]


def _rank(value):
    if value is None:
        return (0,)
    return (1, value.encode() if isinstance(value, str) else value)


class PageTest(fixtures.DatabaseTest):

    @hypothesis.settings(max_examples=40, deadline=None, database=None,
                         suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(ROWS, SORTS, strategies.integers(1, 5),
                      strategies.sampled_from((None, 'started', 'failed')))
    def test_pages_yield_each_row_once_in_order(self, rows, sort, limit,
                                                status):
        project_id = fixtures.new_id()
        rows = [dict(row, id=fixtures.new_id()) for row in rows]
        self.write(self._insert, project_id, rows)
        called = [row for row in rows if status in (
            None, operations.LOG_STATUSES[row['type']][row['state']])]
        self.assertEqual(
            in_order(called, sort),
            self.read(self._walk, project_id, sort, limit, status))

    def _insert(self, session, project_id, rows):
        session.add_all(
            models.Operation(**fixtures.operation_values(
                project_id=project_id, **row)) for row in rows)

    def _walk(self, session, project_id, sort, limit, status):
        """Follow the markers from page to page; return the ids."""
        found, page = [], True
        while page:
            marker = found[-1] if found else None
            page = operations.list(
                session, query.Page(limit, marker, sort), project_id, status)
            self.assertLessEqual(len(page), limit)
            found.extend(row.id for row in page)
        return found

    def _plans(self, *names):
        for name in names:
            self.write(plans.create, fixtures.plan_values(name=name))

    def test_default_is_newest_first(self):
        for count in range(3):
            self.write(plans.create, fixtures.plan_values(
                name=str(count), created_at=MOMENTS[count]))
        self.assertEqual(['2', '1', '0'], [
            plan.name for plan in self.read(plans.list, query.Page())])

    def test_pages_within_a_status_follow_each_other(self):
        # All equal but for the id; with the index of filter and order.
        for count in range(7):
            self.write(plans.create, fixtures.plan_values(
                status=('started', 'suspended')[count % 2],
                created_at=MOMENTS[0]))
        whole = self.read(plans.list, query.Page(), fixtures.PROJECT,
                          status='started')
        self.assertEqual(4, len(whole))
        after = self.read(
            plans.list, query.Page(limit=2, marker=whole[1].id),
            fixtures.PROJECT, status='started')
        self.assertEqual([plan.id for plan in whole[2:]],
                         [plan.id for plan in after])

    def test_limit_of_zero(self):
        self._plans('one')
        self.assertEqual([], self.read(plans.list, query.Page(limit=0)))

    def test_unknown_sort_key(self):
        problem = self.assertRaises(
            errors.Invalid, self.read, plans.list,
            query.Page(sort=(('nonsense', 'asc'),)))
        self.assertIn('sort_key', str(problem))
        self.assertIn('nonsense', str(problem))

    def test_sort_key_that_is_no_column(self):
        for name in ('metadata', '__table__', 'registry'):
            self.assertRaises(errors.Invalid, self.read, plans.list,
                              query.Page(sort=((name, 'asc'),)))

    def test_unknown_marker(self):
        marker = fixtures.new_id()
        problem = self.assertRaises(errors.Invalid, self.read, plans.list,
                                    query.Page(marker=marker))
        self.assertIn('marker', str(problem))
        self.assertIn(marker, str(problem))

    def test_marker_of_another_project(self):
        foreign = self.write(plans.create, fixtures.plan_values(
            project_id=fixtures.OTHER_PROJECT))
        self.assertRaises(
            errors.Invalid, self.read, plans.list,
            query.Page(marker=foreign.id), fixtures.PROJECT)


class ContainsTest(fixtures.DatabaseTest):

    NAMES = ('100% safe', '100 x safe', 'under_score', 'underXscore',
             'back\\slash', "quo'te", 'Élan', 'elan', 'SHOUT', '')

    def setUp(self):
        super().setUp()
        for name in self.NAMES:
            self.write(plans.create, fixtures.plan_values(
                name=name, description=name))

    def found(self, text):
        by_name = self._names(name=text)
        self.assertEqual(by_name, self._names(description=text), text)
        return by_name

    def _names(self, **filters):
        return {plan.name for plan in
                self.read(plans.list, query.Page(), **filters)}

    def test_special_characters_mean_themselves(self):
        self.assertEqual({'100% safe'}, self.found('%'))
        self.assertEqual({'100% safe'}, self.found('0% s'))
        self.assertEqual({'under_score'}, self.found('_'))
        self.assertEqual({'back\\slash'}, self.found('\\'))
        self.assertEqual({"quo'te"}, self.found("'"))
        self.assertEqual(set(), self.found('.*'))

    def test_case_does_not_matter(self):
        self.assertEqual({'SHOUT'}, self.found('shout'))
        self.assertEqual({'elan'}, self.found('ELAN'))

    def test_accents_do(self):
        self.assertEqual({'Élan'}, self.found('Élan'))
        self.assertEqual({'Élan'}, self.found('élAN'))

    def test_empty_text_is_in_all(self):
        self.assertEqual(set(self.NAMES), self.found(''))

    def test_pages_within_a_text_follow_each_other(self):
        for key in ('name', 'created_at', 'status'):
            for filters in ({}, {'status': 'suspended'}):
                self._check_pages(((key, 'asc'),), name='e', **filters)
                self._check_pages(((key, 'desc'),), name='e',
                                  description='e', **filters)

    def _check_pages(self, sort, **filters):
        whole = self.read(plans.list, query.Page(sort=sort),
                          fixtures.PROJECT, **filters)
        self.assertEqual({'100% safe', '100 x safe', 'under_score', 'elan',
                          'underXscore', "quo'te"},
                         {plan.name for plan in whole})
        found, marker, page = [], None, True
        while page:
            page = self.read(
                plans.list, query.Page(limit=2, marker=marker, sort=sort),
                fixtures.PROJECT, **filters)
            found += [plan.id for plan in page]
            marker = found[-1]
        self.assertEqual([plan.id for plan in whole], found)

    def test_mysql_looks_into_no_rows_for_a_text(self):
        is_mysql = self.db.engine.dialect.name == 'mysql'
        for column in ('name', 'description'):
            asked = self.read(self._asked, query.Page(limit=2),
                              fixtures.PROJECT, **{column: 'e'})
            # The others do well when left alone: they know no such hint.
            self.assertEqual(is_mysql, 'FORCE INDEX' in asked[0])
            if is_mysql:
                self._check_steps(column, self.read(self._explained, *asked))

    def test_mysql_finds_all_with_two_texts_before_it_sorts(self):
        if self.db.engine.dialect.name != 'mysql':
            return
        for filters in ({'description': 'e'}, {'status': 'suspended'}):
            asked = self.read(self._asked, query.Page(limit=2),
                              fixtures.PROJECT, name='e', **filters)
            self.assertEqual(2, asked[0].count('LIMIT'))
            steps = self.read(self._explained, *asked)
            self.assertNotIn('filesort', steps[-1].Extra)

    def _check_steps(self, column, steps):
        """The page's few rows by their ids, and the texts in the index."""
        self.assertEqual([None, 'PRIMARY', f'plans_by_{column}'],
                         [step.key for step in steps])
        self.assertIn('Using index', steps[-1].Extra.split('; '))

    def _asked(self, session, *args, **filters):
        """Return the statement that finds plans, and its values."""
        asked = []
        sa.event.listen(session.bind, 'before_cursor_execute',
                        lambda *what: asked.append(what[2:4]), once=True)
        plans.list(session, *args, **filters)
        return asked[0]

    def _explained(self, session, statement, values):
        """Return the steps by which the database answers."""
        return session.connection().exec_driver_sql(
            f'EXPLAIN {statement}', values).all()


class ChangeTest(fixtures.DatabaseTest):

    def test_counts_rows_that_meet_the_conditions(self):
        plan = self.write(plans.create, fixtures.plan_values(name='old'))
        for expected, old in ((1, 'old'), (0, 'old'), (1, 'new')):
            # The last one sets what is there already: it counts too.
            self.assertEqual(expected, self.write(
                query.change, models.Plan, {'name': 'new'},
                models.Plan.id == plan.id, models.Plan.name == old))
