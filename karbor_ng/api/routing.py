# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""From a path to the controller's verb.

The routes of a dialect stand in one table; :class:`Root` knows where a
request goes. pecan's own ways find controllers by the names of attributes,
so that things would be reachable that nobody meant to publish.
"""

import inspect
import re
import urllib.parse

from pecan import core
import webob

from karbor_ng import errors
from karbor_ng.api import auth
from karbor_ng.api import faults
from karbor_ng.api import validation
from karbor_ng.api.schemas import paths

_CONTROL_CHARACTER = re.compile('[\0-\x1f\x7f]')
#: The description of the API, which is nobody's.
DOCUMENT = 'v1/openapi.json'

_PROJECT = validation.Query({'project_id': paths.of('project_id')})
#: Bytes; far more than all parameters of any list together.
_LONGEST_QUERY = 16384


class Request(core.Request):
    """A request, with who sends it and whose project it is about.

    pecan merges query and body into the arguments of verbs. Ours read both
    themselves, strictly, so pecan finds nothing there.

    :ivar project_id: the project that the path names
    """

    params = property(lambda self: self.GET)
    json = property(lambda self: {})

    @property
    def caller(self):
        """The :class:`karbor_ng.context.RequestContext` of the caller."""
        return self.environ[auth.CONTEXT]


class WellFormed:
    """WSGI middleware that refuses paths and queries that are no text.

    Too long a query is refused as well: reading it takes the square of its
    length.
    """

    def __init__(self, app):
        self._app = app

    def __call__(self, environ, start_response):
        query = environ.get('QUERY_STRING', '')
        if len(query) > _LONGEST_QUERY:
            raise errors.Invalid('The query string is longer than '
                                 f'{_LONGEST_QUERY} bytes.')
        for what, data in (
                ('path', environ.get('PATH_INFO', '').encode('latin-1')),
                ('query string', urllib.parse.unquote_to_bytes(query))):
            try:
                text = data.decode('utf-8')
            except UnicodeDecodeError:
                raise errors.Invalid(f'The {what} is not UTF-8.') from None
            if _CONTROL_CHARACTER.search(text) or not query.isascii():
                raise errors.Invalid(
                    f'The {what} has characters that do not belong there.')
        return self._app(environ, start_response)


class Dispatcher(core.ExplicitPecan):
    """pecan, which asks :class:`Root` where a request goes.

    By itself it walks attributes and looks at signatures for each request.
    """

    def route(self, req, node, path):
        return node.find(path.split('/')[1:], req)

    def get_args(self, state, all_params, remainder, argspec, im_self):
        return [state.request, state.response, *remainder], [], {}

    def invoke_controller(self, controller, args, kwargs, state):
        answer = controller(*args)
        if isinstance(answer, webob.Response):
            state.response = answer
        else:
            state.response.text = self.render('json', answer)
            state.response.content_type = 'application/json'


class Root:
    """The table of routes.

    :param routes: ``{path: {method: 'noun.verb'}}`` without slashes at the
        ends; a ``*`` is any single segment, and its text an argument of the
        verb. The second segment of a path, if it is one, is the project.
    :param controllers: ``{noun: controller}``
    """

    def __init__(self, routes, controllers):
        self._routes = [
            (path.split('/'), {
                method: _Target(controllers, name)
                for method, name in verbs.items()})
            for path, verbs in routes.items()]

    def find(self, segments, request):
        """Return the verb for a request, and its arguments.

        :param segments: the parts of the path
        :raises errors.NotFound: there is no such path
        :raises faults.MethodNotAllowed: there is, for other methods
        :raises errors.Forbidden: it is in another project
        :raises errors.Invalid: naming the segment that can not be right
        """
        if segments[-1:] == ['']:
            segments = segments[:-1]
        pattern, verbs, arguments = self._find(segments or [''])
        if has_project(pattern):
            _check_project(request, arguments.pop(0))
        method = 'GET' if request.method == 'HEAD' else request.method
        if method not in verbs:
            raise faults.MethodNotAllowed(request.method, verbs)
        # There is nothing to negotiate: all answers are JSON.
        request.pecan['content_type'] = 'application/json'
        return verbs[method].verb, verbs[method].read(arguments)

    def _find(self, segments):
        for pattern, verbs in self._routes:
            if len(pattern) == len(segments) and all(
                    want in ('*', have)
                    for want, have in zip(pattern, segments, strict=True)):
                arguments = [have for want, have
                             in zip(pattern, segments, strict=True)
                             if want == '*']
                if '' not in arguments:
                    return pattern, verbs, arguments
        raise errors.NotFound('There is no such path.')


def has_project(pattern):
    """Return whether a path, as its segments, is about one project."""
    return pattern[1:2] == ['*']


def is_public(environ):
    """Return whether a path needs no authentication: it is no project's.

    Whoever shows a token may be told more of the service's health.
    """
    path = environ.get('PATH_INFO', '').strip('/')
    if path == 'healthcheck' and environ.get('HTTP_X_AUTH_TOKEN'):
        return False
    return path == DOCUMENT or path.count('/') == 0


def arguments(verb):
    """Return the names of the segments that a verb is given."""
    return [name for name in inspect.signature(verb).parameters
            if name not in ('self', 'req', 'resp')]


class _Target:
    """A verb, and what it is given of the path."""

    def __init__(self, controllers, name):
        noun, _dot, word = name.partition('.')
        self.verb = getattr(controllers[noun], word)
        self._names = arguments(self.verb)
        self._segments = validation.Query({
            name: paths.of(name) for name in self._names})

    def read(self, segments):
        """Return segments in the types of their schemas.

        :raises errors.Invalid: naming the one that is wrong
        """
        found = self._segments.check(
            dict(zip(self._names, segments, strict=True)))
        return [found[name] for name in self._names]


def _check_project(request, project_id):
    caller = request.caller
    if project_id != caller.project_id and not caller.is_admin:
        raise errors.Forbidden(
            'The project in the path is not the one of the token.')
    _PROJECT.check({'project_id': project_id})
    request.project_id = project_id
