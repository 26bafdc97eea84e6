# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Lets schemathesis send requests that are about what there is.

Apart from what starts it because schemathesis imports this, in an
environment of its own: nothing of ours can be imported here.

A random UUID is nobody's plan, and no request would get any further. So what
names a thing, in a body or in a path, is one of those that were made
beforehand wherever a request is to be right. Those that are to be wrong are
made without this.
"""

import json
import os

import schemathesis

_KNOWN = json.loads(os.environ['KARBOR_KNOWN'])


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Put what there is into the schemas of bodies and paths."""
    raw_schema['paths'] = {
        path.replace('{project_id}', _KNOWN['project_id'][0]): verbs
        for path, verbs in raw_schema['paths'].items()}
    for verbs in raw_schema['paths'].values():
        for method, operation in verbs.items():
            _put_into_body(operation)
            operation['parameters'] = list(_parameters(operation, method))
            for response in operation['responses'].values():
                for link in response.get('links', {}).values():
                    link['parameters'].pop('project_id', None)


@schemathesis.hook
def filter_path_parameters(context, path_parameters):
    """Leave out what ends a path: requests would be to another one."""
    return not path_parameters or '#' not in str(path_parameters)


def _put_into_body(operation):
    for content in operation.get('requestBody', {}).get(
            'content', {}).values():
        content['schema'] = _with_known(content['schema'], '')


def _parameters(operation, method):
    for parameter in operation['parameters']:
        name, place = parameter['name'], parameter['in']
        # What is deleted, or called broken, is what links lead to: the rest
        # would soon have nothing to be about.
        if place == 'path' and method != 'delete' and (
                operation['operationId'] != 'checkpoints.reset'):
            parameter['schema'] = _known(parameter['schema'],
                                         _KNOWN.get(name))
        # An administrator, as whom we ask, may name any project.
        if (name, place) != ('project_id', 'path'):
            yield parameter


def _with_known(schema, name):
    """Return a schema whose fields, wherever they are, are what there is.

    :param name: of the field that the schema is of
    """
    if isinstance(schema, list):
        return [_with_known(item, name) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _fields(inner, name) if key == 'properties'
            else _with_known(inner, name) for key, inner in schema.items()}


def _fields(fields, name):
    found = {}
    for field, schema in fields.items():
        known = _KNOWN.get(f'{name}.{field}', _KNOWN.get(field))
        found[field] = _known(_with_known(schema, field), known)
    return found


def _known(schema, known):
    return {'enum': known} if known else schema
