# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Reading bodies and queries, held against a schema.

Bodies are strict JSON. Whatever gets through can be stored in every database and written as JSON
again. Errors name the field by its path, such as ``plan.resources[0].id``,
and never quote its value: it can be megabytes, or a secret.
"""

import collections
import datetime
import itertools
import json
import math
import re

import jsonschema
from oslo_utils import uuidutils

from karbor_ng import errors

#: Far more than any request needs, far less than Python's stack holds.
_DEEPEST = 32
_LARGEST_INTEGER = 2 ** 63 - 1
#: One is told; a body of megabytes can have a million.
_MOST_PROBLEMS = 20
_UNWRITABLE = re.compile('[\0\ud800-\udfff]')

#: What a broken rule of a schema is called; ``{}`` is the rule's value.
_WORDS = {
    'type': 'must be of type {}',
    'enum': 'must be one of {}',
    'format': 'must be {}',
    'minLength': 'must have at least {} characters',
    'maxLength': 'must not have more than {} characters',
    'minItems': 'must have at least {} items',
    'maxItems': 'must not have more than {} items',
    'minProperties': 'must have at least {} fields',
    'maxProperties': 'must not have more than {} fields',
    'minimum': 'must be at least {}',
    'maximum': 'must not be more than {}',
}

#: What a format is called.
_FORMATS = {'uuid': 'a UUID', 'date': 'a day written as YYYY-MM-DD'}

_WHOLE = re.compile('-?[0-9]{1,100}')

_formats = jsonschema.FormatChecker(formats=())


@_formats.checks('uuid')
def _is_uuid(value):
    return not isinstance(value, str) or uuidutils.is_uuid_like(value)


@_formats.checks('date', raises=ValueError)
def _is_day(value):
    return not isinstance(value, str) or bool(
        datetime.datetime.strptime(value, '%Y-%m-%d'))


class Body:
    """What the body of one kind of request must be.

    :param schema: JSON schema (2020-12) of an object with a single field,
        the noun that the request is about
    :param is_enveloped: whether that is so; otherwise the object itself is
        what the request is about
    """

    def __init__(self, schema, is_enveloped=True):
        jsonschema.Draft202012Validator.check_schema(schema)
        self.schema = schema
        self._noun = None
        if is_enveloped:
            self._noun, = schema['required']
        self._validator = jsonschema.Draft202012Validator(
            schema, format_checker=_formats)

    def read(self, req):
        """Return what the body holds, under its noun if there is one.

        :raises errors.UnsupportedMediaType: it says that it is not JSON
        :raises errors.Invalid: naming the field that is wrong
        """
        if not req.body:
            field = self._noun or self.schema['required'][0]
            raise errors.Invalid(
                f'The request needs a body: {{"{field}": ...}}.')
        if req.content_type not in ('', 'application/json'):
            raise errors.UnsupportedMediaType(
                'Content-Type must be application/json, not '
                f'{req.content_type[:64]}.')
        value = parse(req.body)
        problem = jsonschema.exceptions.best_match(itertools.islice(
            self._validator.iter_errors(value), _MOST_PROBLEMS))
        if problem:
            raise errors.Invalid(_explain(problem))
        return value[self._noun] if self._noun else value


class Query:
    """What query parameters one kind of request can have.

    :param parameters: JSON schema of each by its name. Values are texts,
        except where the schema's type is boolean (``true`` or ``false``) or
        integer.
    """

    def __init__(self, parameters):
        self.parameters = parameters
        self._validator = jsonschema.Draft202012Validator(
            {'type': 'object', 'properties': parameters},
            format_checker=_formats)

    def read(self, req):
        """Return the parameters of a request, in the types of their schemas.

        :raises errors.Invalid: naming the one that is wrong, unknown, or
            there twice
        """
        given = parameters(req)
        for name in given:
            if name not in self.parameters:
                raise errors.Invalid(
                    f'Unknown query parameter "{name[:64]}"; there are: '
                    f'{", ".join(self.parameters)}.')
        return self.check(given)

    def check(self, given):
        """Return texts in the types of their schemas.

        :raises errors.Invalid: naming the one that is wrong
        """
        values = {name: _typed(name, text, self.parameters[name].get('type'))
                  for name, text in given.items()}
        problem = next(self._validator.iter_errors(values), None)
        if problem:
            raise errors.Invalid(_explain(problem))
        return values


def parameters(req):
    """Return the query parameters of a request as a dict of texts.

    :raises errors.Invalid: one is there twice
    """
    given = req.GET
    if len(given) > len(set(given)):
        twice, _count = collections.Counter(list(given)).most_common(1)[0]
        raise errors.Invalid(
            f'The query parameter "{twice[:64]}" is there twice.')
    return dict(given)


def _typed(name, text, kind):
    if kind == 'boolean':
        if text not in ('true', 'false'):
            raise errors.Invalid(f'{name} must be true or false.')
        return text == 'true'
    if kind == 'integer':
        if not _WHOLE.fullmatch(text):
            raise errors.Invalid(f'{name} must be a whole number.')
        return int(text)
    return text


def parse(data, what='The body'):
    """Return the value that JSON text, as bytes, holds.

    :param what: how errors call the text
    :raises errors.Invalid: not JSON, or more than JSON promises everybody to
        understand: fields given twice, numbers out of range, characters that
        are none
    """
    try:
        value = json.loads(
            data.decode('utf-8'), object_pairs_hook=_object,
            parse_constant=_no_number, parse_float=_finite)
    except UnicodeDecodeError:
        raise errors.Invalid(f'{what} is not UTF-8.') from None
    except json.JSONDecodeError as exc:
        raise errors.Invalid(
            f'{what} is not JSON: {exc.msg} at line {exc.lineno}, column '
            f'{exc.colno}.') from None
    except RecursionError:
        raise errors.Invalid(f'{what} is nested too deeply.') from None
    except ValueError as exc:  # of Python's own limit for digits
        raise errors.Invalid(f'{what} has a number out of range.') from exc
    _check_storable(value, '', 0, what)
    return value


def _object(pairs):
    found = dict(pairs)
    if len(found) < len(pairs):
        names = collections.Counter(name for name, _value in pairs)
        twice, _count = names.most_common(1)[0]
        raise errors.Invalid(f'The field "{twice[:64]}" is there twice.')
    return found


def _no_number(text):
    raise errors.Invalid(f'{text} is not a number that JSON knows.')


def _finite(text):
    value = float(text)
    if not math.isfinite(value):
        raise errors.Invalid('A number is out of range.')
    return value


def _check_storable(value, path, depth, what):
    if depth > _DEEPEST:
        raise errors.Invalid(
            f'{what} is nested more than {_DEEPEST} levels deep.')
    if isinstance(value, dict):
        for name, item in value.items():
            _check_text(name, f'A name in {path or what}')
            _check_storable(item, _join(path, name), depth + 1, what)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_storable(item, f'{path}[{index}]', depth + 1, what)
    elif isinstance(value, str):
        _check_text(value, path or what)
    elif isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
        raise errors.Invalid(f'{path or what} is a number out of range.')


def _check_text(text, what):
    if _UNWRITABLE.search(text):
        raise errors.Invalid(
            f'{what} has a character that can not be stored (NUL or half of '
            'a surrogate pair).')


def _join(path, name):
    return f'{path}.{name[:64]}' if path else name[:64]


def _explain(problem):
    path = ''
    for part in problem.absolute_path:
        path = (f'{path}[{part}]' if isinstance(part, int)
                else _join(path, part))
    where = path or 'The body'
    if 'propertyNames' in problem.absolute_schema_path:
        where = f'A name in {where}'
    rule, value = problem.validator, problem.validator_value
    if rule == 'required':
        missing = [name for name in value if name not in problem.instance]
        return f'{_join(path, missing[0])} is missing.'
    if rule == 'additionalProperties':
        return _explain_unknown(where, problem)
    if value == r'\S':
        return f'{where} must not be blank.'
    if rule == 'format':
        value = _FORMATS.get(value, value)
    if isinstance(value, list):
        value = ', '.join(str(item) for item in value)
    return f'{where} {_WORDS.get(rule, "must fulfil " + rule).format(value)}.'


def _explain_unknown(where, problem):
    known = problem.schema.get('properties', {})
    unknown = next(name for name in problem.instance if name not in known)
    return (f'{where} has an unknown field "{unknown[:64]}"; there are: '
            f'{", ".join(known)}.')
