#!/usr/bin/env python3
# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""How many requests the API answers, and what it adds to policy and query.

    benchmarks/rest.py [--rounds N] [--seconds S] [--database URL]

Run it with the product's Python. Two parts, both without authentication:

- The application beside a bare WSGI function that asks the same rule of the
  policy, makes the same query and writes the same JSON: both are called in
  this process, over the same database, in turns. Exits with 1 if, by the
  medians, a list of 100 plans comes at less than 60 percent of the
  function's rate, or one plan at less than 35 percent.
- karbor-api as a service with one process, over HTTP: each of 1 and of 16
  connections sends its next request when the last one is answered. Prints
  requests for each second, and median and 99th percentile of milliseconds.

Each plan has two resources. The database is a SQLite file, or made for this
on the server at URL and dropped at the end.
"""

import argparse
from concurrent import futures
import contextlib
import http.client
import json
import statistics
import sys
import time

import rows
import webob

from karbor_ng import context
from karbor_ng import policy
from karbor_ng.api.v1 import plans as views
from karbor_ng.store import plans
from karbor_ng.store import query
from karbor_ng.tests.unit.api import environment
from karbor_ng.tests.unit.api import test_program

GOALS = {'list of 100 plans': 0.6, 'one plan': 0.35}
PLANS = 100
LONG_LIST = 10000
CONNECTIONS = (1, 16)
ONE_PLAN = rows.identity('plan', 50)
PREFIX = f'/v1/{environment.PROJECT}'
HEADERS = {'X-Auth-Token': environment.OWNER,
           'Content-Type': 'application/json'}


def main():
    options = _options()
    with contextlib.ExitStack() as stack:
        api = stack.enter_context(environment.Api(options.database))
        # Nobody compares a service's answers with its description.
        api.app = api.make_unchecked_app()
        rows.fill(api.db, PLANS)
        is_enough = _compare_with_bare(api, options)
        _serve(stack, api, options)
    return int(not is_enough)


def _options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=5, metavar='N',
                        help='of all measurements, in turns (default: 5)')
    parser.add_argument('--seconds', type=float, default=1, metavar='S',
                        help='for each measurement (default: 1)')
    parser.add_argument('--database', metavar='URL',
                        help='of a server that lets databases be made, as in '
                             '[database] connection (default: SQLite)')
    return parser.parse_args()


class Bare:
    """A WSGI function that does what an answer can not do without.

    :param rule: of the policy
    :param answer: returns the JSON
    """

    def __init__(self, conf, rule, answer):
        self._enforcer = policy.Enforcer(conf)
        self._rule = rule
        self._answer = answer

    def __call__(self, environ, start_response):
        caller = context.RequestContext(
            user_id='demo', project_id=environment.PROJECT,
            roles=['member', 'reader'])
        self._enforcer.require(caller, self._rule, environment.PROJECT)
        body = self._answer().encode()
        start_response('200 OK', [('Content-Type', 'application/json'),
                                  ('Content-Length', str(len(body)))])
        return [body]


def _compare_with_bare(api, options):
    """Return whether the application does well beside the function."""
    pairs = {
        'list of 100 plans': ('/plans', Bare(
            api.conf, 'plan:get_all', lambda: _list(api.db))),
        'one plan': (f'/plans/{ONE_PLAN}', Bare(
            api.conf, 'plan:get', lambda: _show(api.db))),
    }
    found = [_compare(api.app, bare, what, path, options)
             for what, (path, bare) in pairs.items()]
    return all(found)


def _list(db):
    found = db.read(plans.list, query.Page(limit=1001), environment.PROJECT,
                    columns=plans.LISTED)
    return f'{{"plans": [{", ".join(map(views.write, found))}]}}'


def _show(db):
    return json.dumps({'plan': views.view(
        db.read(plans.get, ONE_PLAN, environment.PROJECT))})


def _compare(app, bare, what, path, options):
    environ = webob.Request.blank(PREFIX + path, headers=HEADERS).environ
    if json.loads(_call(app, environ)) != json.loads(_call(bare, environ)):
        raise SystemExit(f'{what}: the answers differ.')
    rates = {app: [], bare: []}
    for _ in range(options.rounds):
        for answering, found in rates.items():
            found.append(_rate(answering, environ, options.seconds))
    ours, theirs = (statistics.median(found) for found in rates.values())
    print(f'{what}: {ours:.0f} each second, bare function {theirs:.0f}; '
          f'ratio {ours / theirs:.2f}, goal: at least {GOALS[what]}',
          flush=True)
    return ours / theirs >= GOALS[what]


def _call(app, environ):
    """Return the body of an answer, which must be a good one."""
    statuses = []
    body = b''.join(app(dict(environ), lambda status, *_: statuses.append(
        status)))
    if statuses != ['200 OK']:
        raise SystemExit(f'{environ["PATH_INFO"]}: {statuses} {body[:200]}')
    return body


def _rate(app, environ, seconds):
    count, begin = 0, time.perf_counter()
    while time.perf_counter() < begin + seconds:
        _call(app, environ)
        count += 1
    return count / (time.perf_counter() - begin)


def _serve(stack, api, options):
    """Measure karbor-api over the rows there are, and over more plans."""
    program = stack.enter_context(test_program.Program(
        api.db.engine.url.render_as_string(hide_password=False),
        more='[DEFAULT]\nosapi_karbor_workers = 1\nquota_plans = -1'))
    program.wait_until_ready()
    print(f'{"over HTTP":34}{"connections":>12}{"each second":>12}'
          f'{"median ms":>10}{"99 % ms":>10}')
    for what, method, path in (
            ('list of 100 plans', 'GET', '/plans'),
            ('20 of 100 plans', 'GET', '/plans?limit=20'),
            ('one plan', 'GET', f'/plans/{ONE_PLAN}'),
            ('providers', 'GET', '/providers')):
        _measure(program, what, _same(method, path), options)
    _measure_writing(program, options)
    rows.fill_plans(api.db, PLANS, LONG_LIST)
    for what, path in (('1,000 of 10,000 plans', '/plans'),
                       ('20 of 10,000 plans', '/plans?limit=20')):
        _measure(program, what, _same('GET', path), options)


def _same(method, path, body=None):
    return lambda: (method, path, body)


def _measure_writing(program, options):
    made = []
    _measure(program, 'create a plan', _same('POST', '/plans', _plan()),
             options,
             lambda body: made.append(json.loads(body)['plan']['id']))
    _measure(program, 'delete a plan', _deletions(made), options)


def _deletions(made):
    def take():
        try:
            return 'DELETE', f'/plans/{made.pop()}', None
        except IndexError:
            return None
    return take


def _plan():
    return json.dumps({'plan': {
        'name': 'shop', 'description': 'All disks of one shop, each night.',
        'provider_id': rows.PROVIDER, 'parameters': {},
        'resources': [{'id': rows.identity('volume', disk), 'name': disk,
                       'type': environment.VOLUME}
                      for disk in ('system', 'data')]}})


def _measure(program, what, take, options, collect=None):
    """Print how a kind of request is answered.

    :param take: returns method, path and body of the next request, or None;
        is called by many threads
    :param collect: is called with the body of each answer
    """
    seconds = options.seconds * options.rounds
    for connections in CONNECTIONS:
        begin = time.perf_counter()
        with futures.ThreadPoolExecutor(connections) as pool:
            running = [pool.submit(_ask, program.port, take, collect,
                                   begin + seconds)
                       for _ in range(connections)]
        costs = [cost for one in running for cost in one.result()]
        rate = len(costs) / (time.perf_counter() - begin)
        print(f'{what:34}{connections:12}{rate:12.0f}'
              f'{statistics.median(costs):10.1f}'
              f'{statistics.quantiles(costs, n=100)[98]:10.1f}', flush=True)


def _ask(port, take, collect, until):
    """Return the milliseconds of each answer on one connection."""
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=60)
    costs = []
    with contextlib.closing(connection):
        while time.perf_counter() < until and (request := take()):
            method, path, body = request
            begin = time.perf_counter()
            connection.request(method, PREFIX + path, body, HEADERS)
            answer = connection.getresponse()
            content = answer.read()
            costs.append((time.perf_counter() - begin) * 1000)
            if answer.status != 200:
                raise SystemExit(f'{method} {path}: {answer.status} '
                                 f'{content[:200]}')
            if collect:
                collect(content)
    return costs


if __name__ == '__main__':
    sys.exit(main())
