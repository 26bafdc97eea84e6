# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Holds what the API answers against what it says about itself.

Apart from the tests because those of both suites ask through it: every
answer that any of them gets is compared, so that the description can not
rot.
"""

import json
import urllib.parse

import jsonschema
import referencing
from referencing import jsonschema as dialects

from karbor_ng.api import faults

_URI = 'urn:karbor'
_FORMATS = jsonschema.FormatChecker(['date', 'uuid'])


class Description:
    """The description of an API, to hold answers against.

    :param document: what ``/v1/openapi.json`` answers
    """

    def __init__(self, document):
        self._document = document
        self._patterns = {path: path.split('/')
                          for path in document['paths']}
        self._registry = referencing.Registry().with_resource(
            _URI, dialects.DRAFT202012.create_resource(document))

    def check(self, method, path, status, headers, body):
        """Hold one answer against what is described.

        :param path: below the endpoint, with or without a query
        :param headers: names of those that came
        :param body: bytes
        :raises AssertionError: saying what is different
        """
        what = f'{method} {path}: {status}'
        schema = self._schema(method, path, status, what)
        if 'x-openstack-request-id' not in {name.lower() for name in headers}:
            raise AssertionError(f'{what} without the id of the request')
        if method == 'HEAD':
            return
        if schema is None:
            if body:
                raise AssertionError(f'{what} has a body')
            return
        problem = jsonschema.exceptions.best_match(
            jsonschema.Draft202012Validator(
                schema, registry=self._registry, format_checker=_FORMATS
            ).iter_errors(json.loads(body)))
        if problem:
            raise AssertionError(
                f'{what}: {problem.json_path}: {problem.message[:1000]}')

    def _schema(self, method, path, status, what):
        """Return the schema of the body; None where it must be empty."""
        found = self._find(path)
        operation = self._document['paths'].get(found, {}).get(
            'get' if method == 'HEAD' else method.lower())
        if operation is None or status == 500:
            # Nobody describes what is not there, or what breaks.
            return faults.schema(status)
        response = operation['responses'].get(str(status))
        if response is None:
            raise AssertionError(
                f'{what} is not described. Errors belong in the refusals '
                f'that {operation["operationId"]} declares.')
        if '$ref' in response:
            name = response['$ref'].rpartition('/')[2]
            place = f'/components/responses/{name}'
        elif 'content' not in response:
            return None
        else:
            place = (f'/paths/{found.replace("/", "~1")}/{method.lower()}'
                     f'/responses/{status}')
        place = urllib.parse.quote(place, safe='/~')
        return {'$ref': f'{_URI}#{place}/content/application~1json/schema'}

    def _find(self, path):
        """Return which of the described paths this is; None for none."""
        path = path.partition('?')[0]
        segments = (path.removesuffix('/') or '/').split('/')
        for found, pattern in self._patterns.items():
            if len(pattern) == len(segments) and all(
                    want == have or (want.startswith('{') and have)
                    for want, have in zip(pattern, segments, strict=True)):
                return found
        return None


class Checked:
    """WSGI middleware that checks all answers of an application.

    :param document: as for :class:`Description`
    """

    def __init__(self, app, document):
        self._app = app
        self._description = Description(document)

    def __call__(self, environ, start_response):
        begun = []

        def begin(status, headers, exc_info=None):
            begun[:] = status, headers
            return start_response(status, headers, exc_info)
        answer = self._app(environ, begin)
        body = b''.join(answer)
        if hasattr(answer, 'close'):
            answer.close()
        status, headers = begun
        self._description.check(
            environ['REQUEST_METHOD'],
            environ.get('PATH_INFO', '').encode('latin-1').decode(
                'utf-8', 'replace'),
            int(status.partition(' ')[0]), [name for name, _ in headers],
            body)
        return [body]
