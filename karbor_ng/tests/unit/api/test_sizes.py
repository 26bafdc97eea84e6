# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Sizes: whatever is larger than it may be is refused, wherever it stands.

Walks all routes that the description of the API names, so that a new one is
tried as well: a request that its test has made, with one thing blown up.
"""

import tracemalloc
import urllib.parse

from oslotest import base
import webob

from karbor_ng.api.v1 import routes
from karbor_ng.tests.unit.api import environment
from karbor_ng.tests.unit.api import test_tenancy as tenancy

MIB = 2 ** 20
#: More than any limit allows, of characters, items and digits.
HUGE_TEXT = 'x' * 20000
HUGE_LIST = 6000
HUGE_NUMBER = 10 ** 400
#: Bytes of a body that are looked at before it is refused.
LIMIT = 4 * MIB

REQUESTS = {row[0]: row[1:3] for row in tenancy.ANSWERS}


def described():
    """Yield method, path with braces, and description of each route."""
    for path, verbs in sorted(routes.document()['paths'].items()):
        for method, verb in sorted(verbs.items()):
            if method in ('get', 'post', 'put', 'delete'):
                yield method.upper(), path, verb


def request_of(method, path):
    """Return the path and the body of a request that is right."""
    prefix = '/v1/{project_id}/'
    if not path.startswith(prefix):
        return path, None
    name = '/'.join('*' if part.startswith('{') else part
                    for part in path.removeprefix(prefix).split('/'))
    return REQUESTS[f'{method} {name}']


def blown_up(value, name='', is_item=False):
    """Yield what became too large in it, by name, and a copy like that.

    What items of lists have beyond what they need is left out, not refused:
    clients have always sent all that they know of a resource.
    """
    if isinstance(value, dict):
        for key, item in value.items():
            for inner, larger in blown_up(item, key):
                yield inner, {**value, key: larger}
        if not is_item:
            yield name, {**value, **{f'unknown-{number}': number
                                     for number in range(HUGE_LIST)}}
            yield name, {**value, HUGE_TEXT: 1}
    elif isinstance(value, list):
        for number, item in enumerate(value):
            for inner, larger in blown_up(item, name, is_item=True):
                yield inner, [*value[:number], larger, *value[number + 1:]]
        yield name, [_another(value, number)
                     for number in range(HUGE_LIST)]
    elif isinstance(value, str):
        yield name, HUGE_TEXT
    elif isinstance(value, int) and not isinstance(value, bool):
        yield name, HUGE_NUMBER
        yield name, -HUGE_NUMBER


def _another(items, number):
    """Return an item like the first; equal ones may count as one."""
    first = items[0] if items else number
    return ({**first, 'id': str(number)} if isinstance(first, dict)
            else first)


class Endless:
    """A body that never ends, as bytes come from a socket.

    :ivar taken: how many were read
    """

    def __init__(self):
        self.taken = 0

    def read(self, size=-1):
        # Who asks for all of them gets more than there is memory.
        size = 100 * MIB if size is None or size < 0 else size
        self.taken += size
        return b' ' * size


class SizesTest(base.BaseTestCase):

    def setUp(self):
        super().setUp()
        self.api = self.useFixture(environment.Api())
        self.api.add_history()
        self.api.add_running()
        self.api.add_schedule()
        self.before = self.api.rows()

    def call(self, method, url, body=None, **kwargs):
        # Whoever may do everything in this project.
        return self.api.call(method, url, body,
                             token=f'admin:{environment.PROJECT}', **kwargs)

    def refused(self, answer, statuses, about, named=''):
        self.assertIn(answer.status_int, statuses,
                      (about, answer.text[:300]))
        fault, = answer.json.values()
        self.assertIn(named, fault['message'], about)
        self.assertLess(len(answer.body), 2000, about)
        self.assertEqual(self.before, self.api.rows(), about)
        self.assertEqual([], self.api.hints.queued, about)

    def bodies(self):
        """Yield method, URL and right body of routes that take one."""
        for method, path, verb in described():
            if 'requestBody' in verb:
                yield method, *request_of(method, path)

    def test_each_part_of_a_body(self):
        for method, url, right in self.bodies():
            for name, body in blown_up(right):
                self.refused(self.call(method, url, body), (400, 413),
                             (method, url, name), name)

    def test_bodies_as_a_whole(self):
        unchecked = self.api.make_unchecked_app()
        for method, path, verb in described():
            url, _body = request_of(method, path)
            if path in ('/', '/healthcheck'):
                continue
            self.refused(
                self.call(method, url, b' ' * (LIMIT + 1), app=(
                    None if 'requestBody' in verb else unchecked)),
                (413,), (method, url), 'max_request_body_size')

    def test_bodies_that_do_not_say_how_large_they_are(self):
        for method, url, _right in self.bodies():
            body = Endless()
            request = webob.Request.blank(
                f'/v1/{environment.PROJECT}{url}', method=method,
                headers={'X-Auth-Token': f'admin:{environment.PROJECT}',
                         'Content-Type': 'application/json'})
            request.environ.update({'wsgi.input': body,
                                    'wsgi.input_terminated': True})
            request.environ.pop('CONTENT_LENGTH', None)
            self.refused(request.get_response(self.api.app), (413,),
                         (method, url), 'max_request_body_size')
            self.assertLess(body.taken, LIMIT + MIB, (method, url))

    def test_each_part_of_a_path(self):
        for method, path, _verb in described():
            url, body = request_of(method, path)
            if path.startswith('/v1/{'):
                url = f'/v1/{environment.PROJECT}{url}'
            parts = url.split('/')
            for number, part in enumerate(path.split('/')):
                if part.startswith('{'):
                    larger = '/'.join([*parts[:number], HUGE_TEXT,
                                       *parts[number + 1:]])
                    self.refused(self.call(method, larger, body),
                                 (400, 403, 404), (method, path, part))

    def test_each_question(self):
        for method, path, verb in described():
            for parameter in verb.get('parameters', ()):
                if parameter['in'] == 'query':
                    self.ask(method, path, parameter['name'])

    def ask(self, method, path, name):
        url, body = request_of(method, path)
        for value in (HUGE_TEXT, '9' * 400, 'x' * 1000):
            query = urllib.parse.urlencode({name: value})
            answer = self.call(method, f'{url}?{query}', body)
            about = (method, path, name, value[:3])
            if value is HUGE_TEXT:
                self.refused(answer, (400,), about, 'query')
            elif method != 'GET' or answer.status_int != 200:
                self.refused(answer, (400,), about, name)


class MemoryTest(base.BaseTestCase):

    def test_a_refusal_keeps_nothing(self):
        api = self.useFixture(environment.Api())
        body = b'{"plan": "' + b'x' * LIMIT
        for _warm_up in range(2):
            self.refuse(api, body)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        for _ in range(10):
            self.refuse(api, body)
        kept, _most = tracemalloc.get_traced_memory()
        self.assertLess(kept, MIB)

    def refuse(self, api, body):
        self.assertEqual(413, api.call('POST', '/plans', body).status_int)
