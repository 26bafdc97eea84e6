# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Parameters of plans and restores: checking them, and what holds for whom.

Parameters are ``{key: {option: value}}`` with a key of ``type`` or
``type#id``. The API checks them when they come, the worker applies them, so
both rules stand here once.
"""

import copy
import math

import jsonschema

from karbor_ng import errors


def check(parameters, schemas, what='parameters'):
    """Return the parameters with values in the types of their schemas.

    Old clients send everything as text, so "True" and "5" are accepted
    where the schema wants a boolean or a number.

    :param schemas: ``{type: JSON schema}`` of the provider
    :param what: the field's name, for errors
    :raises errors.Invalid: naming the key and option that are wrong
    """
    checked = {}
    for key, options in parameters.items():
        resource_type, _, resource_id = key.partition('#')
        if resource_type not in schemas or ('#' in key and not resource_id):
            raise errors.Invalid(
                f'{what}: "{key}" is neither a resource type of the provider '
                f'nor TYPE#ID with such a type')
        checked[key] = _check_options(
            f'{what}: {key}', options, schemas[resource_type])
    return checked


def effective(resource, parameters, schema):
    """Return what holds for one resource, in full.

    Schema defaults are overlaid with those of the type, and these with the
    resource's own.
    """
    values = {name: copy.deepcopy(option['default'])
              for name, option in schema.get('properties', {}).items()
              if 'default' in option}
    values.update(parameters.get(resource.type, {}))
    values.update(parameters.get(resource.key, {}))
    return values


def problem(values, schema):
    """Return why options in full do not fit their schema, or None.

    They are checked one by one when they come; together with defaults they
    must fit the schema as a whole.
    """
    found = jsonschema.exceptions.best_match(
        jsonschema.Draft202012Validator(schema).iter_errors(values))
    return f'parameters: {found.message}' if found else None


def _check_options(where, options, schema):
    if not isinstance(options, dict):
        raise errors.Invalid(f'{where}: must be an object of options')
    properties = schema.get('properties', {})
    unknown = sorted(set(options) - set(properties))
    if unknown:
        raise errors.Invalid(
            f'{where}: unknown option {", ".join(unknown)}; there are: '
            f'{", ".join(sorted(properties)) or "none"}')
    values = {name: _coerce(value, properties[name])
              for name, value in options.items()}
    # Required options may come from another key or have a default, so only
    # what is there is checked here.
    rules = dict(schema, required=[])
    problem = jsonschema.exceptions.best_match(
        jsonschema.Draft202012Validator(rules).iter_errors(values))
    if problem:
        path = '.'.join(str(part) for part in problem.path)
        raise errors.Invalid(f'{where}.{path}: {problem.message}')
    return values


def _coerce(value, schema):
    wanted = schema.get('type')
    wanted = wanted if isinstance(wanted, list) else [wanted]
    if not isinstance(value, str) or 'string' in wanted:
        return value
    if 'boolean' in wanted and value.lower() in ('true', 'false'):
        return value.lower() == 'true'
    for name, convert in (('integer', int), ('number', _finite)):
        if name in wanted:
            try:
                return convert(value)
            except ValueError:
                pass
    return value


def _finite(text):
    """JSON has no infinity, and nothing that is not a number."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number
