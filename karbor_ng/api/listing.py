# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Lists: which page, in which order, of which rows; and where it goes on.

The query string is settled here for all nouns. What a list does not know is
refused by name: a filter that is ignored shows other rows than were asked
for.
"""

import json
import re
import urllib.parse

from oslo_utils import strutils
import webob

from karbor_ng import errors
from karbor_ng.api import validation
from karbor_ng.api import written
from karbor_ng.api.schemas import base as schemas
from karbor_ng.store import query

_PAGING = {
    'limit': {'type': 'integer', 'minimum': 1},
    'marker': {'type': 'string',
               'description': 'The last id of the page before.'},
    'offset': {'type': 'integer', 'const': 0},
}
_DIRECTION = {'enum': ['asc', 'desc']}
_FLAGS = sorted({*strutils.TRUE_STRINGS, *strutils.FALSE_STRINGS})
#: Heard from administrators only.
_TENANCY = {
    'all_tenants': {'enum': [
        *_FLAGS, *(word.capitalize() for word in _FLAGS if len(word) > 1)]},
    'project_id': schemas.TEXT,
}
_NUMBER = re.compile('[0-9]{1,100}')


class Query:
    """The query parameters that a list of one noun knows.

    :param filters: JSON schemas of those that choose rows, by name
    :param sort_keys: what rows can be sorted by, as ``{name: column}``
    :param default_sort: the order of those who ask for none

    :ivar parameters: JSON schemas of all, by name
    """

    def __init__(self, filters, sort_keys,
                 default_sort=(('created_at', 'desc'),)):
        self.filters = validation.Query(filters)
        self.sort_keys = sort_keys
        self.default_sort = default_sort
        self.parameters = {**_PAGING, **_sorting(sort_keys), **_TENANCY,
                           **filters}

    def read(self, req, conf):
        """Return the :class:`Listing` that a request asks for.

        :raises errors.Invalid: naming the query parameter that is wrong
        """
        return Listing(req, conf, self)


def _sorting(sort_keys):
    key = f'({"|".join(sort_keys)})(:(asc|desc))?'
    return {'sort': {'type': 'string', 'pattern': f'^{key}(,{key})*$'},
            'sort_key': {'enum': list(sort_keys)},
            'sort_dir': _DIRECTION}


class Listing:
    """One request for a list.

    :ivar page: the page to ask the store for; it has one row more than are
        shown, which tells whether there is a next page
    :ivar filters: ``{name: value}`` of the filters that were given
    """

    def __init__(self, req, conf, known):
        """:param known: the :class:`Query`"""
        self._req = req
        self._conf = conf
        given = validation.parameters(req)
        _refuse_unknown(given, known.parameters)
        _check_offset(given)
        self._limit = _limit(given, conf.osapi_max_limit)
        self.page = query.Page(
            limit=self._limit + 1, marker=given.get('marker'),
            sort=_sort(given, known.sort_keys) or known.default_sort)
        self.filters = known.filters.check({
            name: value for name, value in given.items()
            if name in known.filters.parameters})
        self.project_id = _project(given, req.caller, req.project_id)

    def shown(self, rows):
        """Return the rows that belong on this page."""
        return rows[:self._limit]

    def answer(self, key, rows, view):
        """Return the body: the rows, and a link if there are more."""
        shown = self.shown(rows)
        body = {key: [view(row) for row in shown]}
        if len(rows) > len(shown):
            body[f'{key}_links'] = [
                {'rel': 'next', 'href': self._next(shown[-1].id)}]
        return body

    def write(self, key, rows, write):
        """Return the same as a response, of rows that are written as JSON.

        :param write: returns the JSON text of a row
        """
        shown = self.shown(rows)
        fields = [f'"{key}": {written.items(map(write, shown))}']
        if len(rows) > len(shown):
            links = [{'rel': 'next', 'href': self._next(shown[-1].id)}]
            fields.append(f'"{key}_links": {json.dumps(links)}')
        return webob.Response(
            f'{{{", ".join(fields)}}}'.encode(), charset=None,
            content_type='application/json')

    def _next(self, marker):
        given = dict(validation.parameters(self._req), marker=marker)
        base = self._conf.osapi_karbor_base_URL or self._req.application_url
        path = urllib.parse.quote(self._req.path_info)
        return (f'{base.rstrip("/")}{path}?'
                f'{urllib.parse.urlencode(sorted(given.items()))}')


def _refuse_unknown(given, known):
    for name in given:
        if name not in known:
            raise errors.Invalid(
                f'Unknown query parameter "{name[:64]}"; there are: '
                f'{", ".join(known)}.')


def _check_offset(given):
    if given.get('offset', '0') != '0':
        raise errors.Invalid('offset: pages follow each other by marker; '
                             'only 0 is possible.')


def _limit(given, largest):
    text = given.get('limit', str(largest))
    if not _NUMBER.fullmatch(text) or int(text) < 1:
        raise errors.Invalid('limit must be a whole number of at least 1.')
    return min(int(text), largest)


def _sort(given, sort_keys):
    if 'sort' in given:
        if 'sort_key' in given or 'sort_dir' in given:
            raise errors.Invalid('sort can not be given together with '
                                 'sort_key or sort_dir.')
        wanted = [part.partition(':') for part in given['sort'].split(',')]
        pairs = [(key.strip(), (direction or 'desc').strip())
                 for key, _colon, direction in wanted]
    elif 'sort_key' in given or 'sort_dir' in given:
        pairs = [(given.get('sort_key'), given.get('sort_dir', 'desc'))]
    else:
        return ()
    sort = tuple(_sort_column(key, direction, sort_keys)
                 for key, direction in dict(pairs).items())
    return sort + _ties(sort, sort_keys)


def _ties(sort, sort_keys):
    """Let rows that the keys leave equal follow by their age.

    That is how the indexes of the tables go on behind what is sorted by.
    """
    named = {column for column, _direction in sort}
    if 'created_at' not in sort_keys or named & {'created_at', 'id'}:
        return ()
    return (('created_at', sort[-1][1]),)


def _sort_column(key, direction, sort_keys):
    if direction not in ('asc', 'desc'):
        raise errors.Invalid('sort_dir must be asc or desc.')
    if key is None:
        key = next(iter(sort_keys))
    if key not in sort_keys:
        raise errors.Invalid(
            f'sort_key: "{key[:64]}" is unknown; there are: '
            f'{", ".join(sort_keys)}.')
    return sort_keys[key], direction


def _project(given, caller, own):
    """Return whose rows are asked for; None for everybody's."""
    if not caller.is_admin:
        return own
    try:
        everybody = strutils.bool_from_string(
            given.get('all_tenants', 'false'), strict=True)
    except ValueError:
        raise errors.Invalid('all_tenants must be true or false.') from None
    return given.get('project_id', None if everybody else own)
