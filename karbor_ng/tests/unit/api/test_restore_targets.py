# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Restores into other clouds and projects, as far as requests go."""

import json
import logging

import fixtures
from oslotest import base
import sqlalchemy as sa

from karbor_ng import credentials
from karbor_ng import errors
from karbor_ng import restore_targets
from karbor_ng.keystone import NoCloud
from karbor_ng.store import checkpoints
from karbor_ng.store import models
from karbor_ng.tests.unit.api import environment
from karbor_ng.tests.unit.api.environment import CHECKPOINT_ID
from karbor_ng.tests.unit.api.environment import DATA_VOLUME
from karbor_ng.tests.unit.api.environment import PROVIDER_ID
from karbor_ng.tests.unit.api.environment import RUNNING_CHECKPOINT_ID
from karbor_ng.tests.unit.api.environment import VOLUME

SECRET = 'open-sesame'
TARGET = 'https://Elsewhere.example/identity/'
PASSWORD = {'type': 'password', 'username': 'admin', 'password': SECRET}
#: As the application credential of a user who names a region.
CREDENTIAL = {'type': 'application_credential', 'region_name': 'north',
              'application_credential_id': 'ac',
              'application_credential_secret': SECRET}


class Cloud(NoCloud):
    """A cloud in which nothing but ways to sign in is asked for."""

    auth_url = 'http://own.example:5000'

    def __init__(self):
        self.tokens = []

    def token_session(self, token):
        self.tokens.append(token)
        raise errors.CredentialsError('The token was revoked.')


class TargetTestCase(base.BaseTestCase):

    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger(level=logging.DEBUG))
        self.sealer = credentials.Sealer([credentials.new_key()])
        self.cloud = Cloud()
        self.api = self.useFixture(environment.Api(
            sealer=self.sealer, cloud=self.cloud))
        self.api.add_history()
        self.allow('https://elsewhere.example:443/identity/v3')

    def allow(self, *urls):
        self.api.set('allowed', list(urls), 'restore_targets')

    def restore(self, target=None, auth=None, status=200, query='',
                checkpoint_id=CHECKPOINT_ID):
        answer = self.api.call('POST', f'/restores{query}', {'restore': {
            'provider_id': PROVIDER_ID, 'checkpoint_id': checkpoint_id,
            'restore_target': target, 'restore_auth': auth,
            'parameters': {}}})
        self.assertEqual(status, answer.status_int, answer.text)
        self.assertNotIn(SECRET, answer.text)
        return next(iter(answer.json.values()))

    def dump(self):
        """Return all that the database has, as one text."""
        def rows(session):
            return [tuple(row) for table in
                    models.Base.metadata.sorted_tables
                    for row in session.execute(sa.select(table))]
        return repr(self.api.db.read(rows))

    def operation_of(self, restore_id):
        return self.api.db.read(lambda session: session.execute(
            sa.select(models.Operation).where(
                models.Operation.restore_id == restore_id)).scalar_one())


class AcceptTest(TargetTestCase):

    def test_shown_without_its_secret(self):
        found = self.restore(TARGET, PASSWORD)
        self.assertEqual(TARGET, found['restore_target'])
        self.assertEqual({**PASSWORD, 'password': '***'},
                         found['restore_auth'])
        for path in (f'/restores/{found["id"]}', '/restores'):
            answer = self.api.call('GET', path)
            self.assertIn('"***"', answer.text)
            self.assertNotIn(SECRET, answer.text)

    def test_only_the_sealed_form_is_kept(self):
        for auth in (PASSWORD, CREDENTIAL,
                     {'type': 'token', 'token': SECRET}):
            found = self.restore(TARGET, auth)
            kept = self.operation_of(found['id']).target_credentials
            self.assertEqual({'url': TARGET, 'auth': auth},
                             json.loads(self.sealer.open(kept)))
        self.assertNotIn(SECRET, self.dump())
        self.assertNotIn(SECRET, self.log.output)
        self.assertNotIn(SECRET, repr(self.api.hints.queued))
        self.assertNotIn(SECRET, repr(restore_targets.Target(None, auth)))

    def test_another_project_of_this_cloud_is_always_allowed(self):
        self.allow()
        found = self.restore(None, CREDENTIAL)
        self.assertIsNone(found['restore_target'])
        self.restore('', CREDENTIAL)
        # However it is written.
        for url in ('http://own.example:5000/', 'HTTP://OWN.example:5000/v3',
                    'http://own.example:5000/v2.0/'):
            self.restore(url, PASSWORD)

    def test_what_is_not_allowed(self):
        for url in ('http://elsewhere.example/identity',
                    'https://elsewhere.example:5000/identity',
                    'https://elsewhere.example/',
                    'https://sub.elsewhere.example/identity',
                    'https://own.example:5000'):
            problem = self.restore(url, PASSWORD, 400)
            self.assertIn(f'does not restore into {url}', problem['message'])
        self.assertEqual([], self.api.hints.queued)

    def test_everything_allowed(self):
        self.allow('*')
        self.restore('http://169.254.169.254/', PASSWORD)

    def test_a_misspelt_allowance_allows_nothing(self):
        self.allow('elsewhere.example')
        self.restore(TARGET, PASSWORD, 400)

    def test_backups_in_the_cloud_can_not_leave_it(self):
        self.api.db.write(checkpoints.change_each, CHECKPOINT_ID, {
            (VOLUME, DATA_VOLUME): {'backup_id': 'cinders'}})
        before = self.api.rows()
        for query in ('', '?dry_run=true'):
            problem = self.restore(None, PASSWORD, 409, query)
            self.assertIn(f'the backups of {VOLUME} {DATA_VOLUME} '
                          'are in the cloud', problem['message'])
        self.assertEqual(before, self.api.rows())
        self.restore()

    def test_not_available(self):
        problem = self.restore(None, PASSWORD, 409,
                               checkpoint_id=RUNNING_CHECKPOINT_ID)
        self.assertIn('is protecting', problem['message'])


class DryRunTest(TargetTestCase):

    def test_the_target_is_entered(self):
        problem = self.restore(None, {'type': 'token', 'token': SECRET}, 400,
                               '?dry_run=true')
        self.assertEqual('restore.restore_auth: The token was revoked.',
                         problem['message'])
        self.assertEqual([SECRET], self.cloud.tokens)
        self.assertNotIn(SECRET, self.dump())
        self.assertNotIn(SECRET, self.log.output)

    def test_no_target_no_entering(self):
        self.restore(query='?dry_run=true')
        self.assertEqual([], self.cloud.tokens)
