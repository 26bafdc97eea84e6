# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The description of the API, in the words of OpenAPI 3.1.

Nothing is written here about any noun: paths stand in the table of routes,
and each verb declares the very objects with which it reads requests. Errors
and what every path has in common follow from the path.
"""

from karbor_ng.api import declaration
from karbor_ng.api import faults
from karbor_ng.api import routing
from karbor_ng.api.schemas import base as schemas
from karbor_ng.api.schemas import paths as path_schemas

#: What can be answered to whom: everybody, those who name a project, those
#: who name something else in the path, those who send a body.
_ALWAYS = (503,)
_TO_PROJECTS = (400, 401, 403)
_TO_NAMES = (404,)
_TO_BODIES = (400, 413, 415)
_TOKEN = {'type': 'apiKey', 'in': 'header', 'name': 'X-Auth-Token',
          'description': 'A token of the identity service.'}
_REQUEST_ID = {'X-Openstack-Request-Id': {
    'description': 'What the log calls this request.', 'required': True,
    'schema': schemas.TEXT}}


def build(routes, controllers):
    """Return the description as a dict.

    :param routes: as for :class:`karbor_ng.api.routing.Root`
    :param controllers: classes of controllers by noun
    :raises ValueError: a verb declares nothing, or two different schemas
        have the same title
    """
    components = Components()
    paths = {}
    for pattern, names in routes.items():
        path = None
        for method, name in names.items():
            noun, _dot, word = name.partition('.')
            verb = getattr(controllers[noun], word)
            path = path or _path(pattern, verb)
            paths.setdefault(path, {})[method.lower()] = _operation(
                path, name, verb, components)
    _add_links(paths, components.schemas)
    return {
        'openapi': '3.1.0',
        'info': {'title': 'karbor_ng', 'version': 'v1',
                 'summary': 'Application data protection as a service.',
                 'license': {'name': 'Apache-2.0',
                             'identifier': 'Apache-2.0'}},
        'paths': paths,
        'components': {'schemas': components.schemas,
                       'responses': components.responses,
                       'securitySchemes': {'token': _TOKEN}},
    }


class Components:
    """Schemas that have a title, and errors, each once."""

    def __init__(self):
        self.schemas = {}
        self.responses = {}

    def put(self, schema):
        """Return a schema in which those with titles are references."""
        if isinstance(schema, list):
            return [self.put(item) for item in schema]
        if not isinstance(schema, dict):
            return schema
        found = {name: self.put(item) for name, item in schema.items()}
        title = schema.get('title')
        if not isinstance(title, str):
            return found
        if self.schemas.setdefault(title, found) != found:
            raise ValueError(f'Two schemas are called {title}.')
        return {'$ref': f'#/components/schemas/{title}'}

    def refusal(self, status):
        """Return what describes errors with this status."""
        fault = faults.schema(status)
        self.responses[fault['title']] = {
            'description': f'Refused: {fault["title"]}.',
            'headers': _REQUEST_ID, 'content': _json(self.put(fault))}
        return {'$ref': f'#/components/responses/{fault["title"]}'}


def _path(pattern, verb):
    segments = pattern.split('/')
    names = routing.arguments(verb)
    if routing.has_project(segments):
        names = ['project_id', *names]
    names = iter(names)
    return '/' + '/'.join(
        f'{{{next(names)}}}' if segment == '*' else segment
        for segment in segments)


def _operation(path, name, verb, components):
    declared = declaration.of(verb)
    if declared is None:
        raise ValueError(f'{name} declares nothing: see api/declaration.py.')
    noun, _dot, word = name.partition('.')
    has_project = path.startswith('/v1/{project_id}')
    found = {
        'operationId': name if path != '/v1' else f'{name}.v1',
        'summary': f'{word} {noun}'.replace('_', ' ').capitalize() + '.',
        'tags': [noun],
        'parameters': [
            *_path_parameters(path),
            *_query_parameters(declared.query, components)],
        'responses': _responses(declared, _names(path), components),
    }
    if has_project:
        found['security'] = [{'token': []}]
    if declared.bodies:
        found['requestBody'] = {'required': True, 'content': _json(_either(
            [components.put(body.schema) for body in declared.bodies]))}
    return found


def _path_parameters(path):
    for segment in path.split('/'):
        if segment.startswith('{'):
            name = segment[1:-1]
            yield {'name': name, 'in': 'path', 'required': True,
                   'schema': path_schemas.of(name)}


def _query_parameters(query, components):
    for name, schema in (query.parameters if query else {}).items():
        yield {'name': name, 'in': 'query', 'required': False,
               'schema': components.put(schema)}


def _responses(declared, names, components):
    answer = {'description': 'Success.', 'headers': _REQUEST_ID}
    if declared.answer is not None:
        answer['content'] = _json(components.put(declared.answer))
    refusals = {*_ALWAYS, *declared.refusals,
                *(_TO_PROJECTS if names else ()),
                *(_TO_NAMES if len(names) > 1 else ()),
                *(_TO_BODIES if declared.bodies else ())}
    return {
        **{str(status): answer for status in declared.statuses},
        **{str(status): components.refusal(status)
           for status in sorted(refusals - set(declared.statuses))}}


def _either(forms):
    return forms[0] if len(forms) == 1 else schemas.either(*forms)


def _json(schema):
    return {'application/json': {'schema': schema}}


def _add_links(paths, things):
    """Tell where to go on with what an answer is about.

    What stands in a path behind that of a list is an id of what the list
    has, and of what is made there.

    :param things: the schemas that have a title
    """
    for path, verbs in paths.items():
        argument = _argument_below(path, paths)
        for method, operation in verbs.items():
            pointer = argument and _pointer(method, operation, things)
            if pointer:
                operation['responses']['200']['links'] = _links(
                    path, argument, pointer, paths)


def _argument_below(path, paths):
    """Return the name of the segment that follows a path; None if none."""
    for target in paths:
        if target.startswith(f'{path}/{{'):
            return target.removeprefix(f'{path}/{{').partition('}')[0]
    return None


def _pointer(method, operation, things):
    """Return where an answer has an id that paths take; None if nowhere."""
    content = operation['responses'].get('200', {}).get('content')
    if not content:
        return None
    schema = content['application/json']['schema']
    for form in schema.get('anyOf', [schema]):
        for key, value in form.get('properties', {}).items():
            item = value.get('items', {}) if method == 'get' else value
            title = item.get('$ref', '').rpartition('/')[2]
            if 'id' in things.get(title, {}).get('properties', ()):
                return f'/{key}/0/id' if method == 'get' else f'/{key}/id'
    return None


def _links(path, argument, pointer, paths):
    """Return links to the operations that need this argument and no other.

    Beside those that the path itself has.
    """
    known = {name: f'$request.path.{name}' for name in _names(path)}
    known[argument] = f'$response.body#{pointer}'
    found = {}
    for target, verbs in paths.items():
        names = _names(target)
        if argument in names and known.keys() >= set(names):
            for operation in verbs.values():
                found[operation['operationId']] = {
                    'operationId': operation['operationId'],
                    'parameters': {name: known[name] for name in names}}
    return found


def _names(path):
    return [parameter['name'] for parameter in _path_parameters(path)]
