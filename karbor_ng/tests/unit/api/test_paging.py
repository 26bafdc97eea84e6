# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Pages: followed to the end, every row comes once and in order."""

import datetime
import itertools

from oslotest import base
import testscenarios

from karbor_ng.store import checkpoints
from karbor_ng.store import operations
from karbor_ng.store import plans
from karbor_ng.store import restores
from karbor_ng.store import verifications
from karbor_ng.tests import fixtures
from karbor_ng.tests.unit.api import environment
from karbor_ng.tests.unit.api.environment import MOMENT
from karbor_ng.tests.unit.api.environment import PROJECT

COUNT = 23
SHARED = {'project_id': PROJECT, 'provider_id': environment.PROVIDER_ID}
NOUNS = {
    'plans': ('/plans', plans.create, fixtures.plan_values),
    'checkpoints': (
        f'/providers/{environment.PROVIDER_ID}/checkpoints',
        checkpoints.create, fixtures.checkpoint_values),
    'restores': ('/restores', restores.create, fixtures.restore_values),
    'verifications': ('/verifications', verifications.create,
                      fixtures.verification_values),
    'operation_logs': ('/operation_logs', operations.create,
                       fixtures.operation_values),
}


class FollowTest(testscenarios.WithScenarios, base.BaseTestCase):
    """Links, for every noun and in several orders."""

    scenarios = testscenarios.multiply_scenarios(
        [(noun, {'noun': noun}) for noun in NOUNS],
        fixtures.database_scenarios())

    def setUp(self):
        super().setUp()
        self.api = self.useFixture(environment.Api(self.database_url))
        self.path, create, values = NOUNS[self.noun]
        # Three moments for all: ties are the rule, not the exception.
        self.ids = [self.api.db.write(create, values(
            created_at=MOMENT + datetime.timedelta(seconds=number % 3),
            **SHARED)).id for number in range(COUNT)]
        self.api.db.write(create, values(
            **dict(SHARED, project_id=environment.OTHER_PROJECT)))

    def _follow(self, query, app=None):
        path = f'{self.path}?{query}'
        found = []
        for _turn in itertools.count():
            self.assertLess(_turn, COUNT + 2)
            body = self.api.call('GET', path, app=app).json
            found.append([item['id'] for item in body[self.noun]])
            if f'{self.noun}_links' not in body:
                return found
            link, = body[f'{self.noun}_links']
            self.assertEqual('next', link['rel'])
            path = link['href'].partition('//')[2].partition('/')[2]
            path = f'/{path}'

    def test_every_row_comes_once(self):
        for size in (1, 7, COUNT - 1, COUNT, COUNT + 1):
            pages = self._follow(f'limit={size}')
            found = list(itertools.chain.from_iterable(pages))
            self.assertEqual(COUNT, len(found))
            self.assertEqual(set(self.ids), set(found))
            self.assertEqual(-(-COUNT // size), len(pages))

    def test_pages_are_slices_of_the_whole(self):
        for order in ('sort=created_at:asc', 'sort=id:desc', 'sort_key=id',
                      'sort=created_at:desc,id:asc', 'sort=status,id:desc'):
            whole, = self._follow(f'{order}&limit=1000')
            pages = self._follow(f'{order}&limit=5')
            self.assertEqual(
                whole, list(itertools.chain.from_iterable(pages)), order)

    def test_equal_rows_follow_by_age(self):
        oldest = [row_id for start in range(3) for row_id in sorted(
            self.ids[start::3])]
        for query, wanted in (
                ('sort=status:asc', oldest),
                ('sort_key=status&sort_dir=desc', oldest[::-1]),
                ('sort=status:desc,created_at:asc', None)):
            whole, = self._follow(query)
            if wanted is None:
                wanted = [row_id for start in range(3) for row_id in sorted(
                    self.ids[start::3], reverse=True)]
            self.assertEqual(wanted, whole, query)

    def test_newest_first(self):
        whole, = self._follow('')
        moments = {row_id: number % 3
                   for number, row_id in enumerate(self.ids)}
        order = [moments[row_id] for row_id in whole]
        self.assertEqual(sorted(order, reverse=True), order)

    def test_pages_are_never_longer_than_configured(self):
        self.api.set('osapi_max_limit', 10)
        for query in ('', 'limit=500'):
            pages = self._follow(query)
            self.assertEqual([10, 10, 3], [len(page) for page in pages])

    def test_marker_of_another_project(self):
        self.api.set('osapi_max_limit', 100)
        other = self.api.call('GET', self.path,
                              token=environment.STRANGER).json[self.noun]
        answer = self.api.call('GET', f'{self.path}?marker={other[0]["id"]}')
        self.assertEqual(400, answer.status_int)

    def test_links_keep_what_was_asked_for(self):
        link = self._link(f'{self.path}?status={self._status()}&limit=1')
        self.assertIn('limit=1', link)
        self.assertIn(f'status={self._status()}', link)
        self.assertTrue(link.startswith(
            f'http://localhost/v1/{PROJECT}{self.path}?'), link)

    def test_links_begin_as_configured(self):
        self.api.set('osapi_karbor_base_URL', 'https://cloud/data-protect/')
        link = self._link(f'{self.path}?limit=1')
        self.assertTrue(link.startswith(
            f'https://cloud/data-protect/v1/{PROJECT}{self.path}?'), link)

    def test_links_behind_a_proxy(self):
        self.api.set('enable_proxy_headers_parsing', True, 'oslo_middleware')
        link = self._link(f'{self.path}?limit=1', **{
            'X-Forwarded-Proto': 'https', 'X-Forwarded-Host': 'cloud'})
        self.assertTrue(link.startswith(f'https://cloud/v1/{PROJECT}/'), link)

    def _status(self):
        return {'plans': 'suspended', 'restores': 'started',
                'verifications': 'started'}.get(self.noun, 'protecting')

    def _link(self, path, **headers):
        body = self.api.call('GET', path, **headers).json
        return body[f'{self.noun}_links'][0]['href']
