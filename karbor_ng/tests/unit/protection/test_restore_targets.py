# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Restores into another cloud, from the request to the bytes there."""

import logging
import pathlib
import threading

import fixtures
from keystoneauth1 import exceptions
from oslotest import base
import sqlalchemy as sa

from karbor_ng import context
from karbor_ng import credentials
from karbor_ng import errors
from karbor_ng import restore_targets
from karbor_ng.protection import verb
from karbor_ng.store import models
from karbor_ng.store import operations
from karbor_ng.store import restores
from karbor_ng.tests import fixtures_glance
from karbor_ng.tests import fixtures_service
from karbor_ng.tests.unit.protection import environment

IMAGE = 'OS::Glance::Image'
VOLUME = 'OS::Cinder::Volume'
SECRET = 'open-sesame'
DATA = bytes(range(251)) * 5000


class TwoClouds:
    """Our cloud, and what lies behind the right password."""

    auth_url = 'http://own.test:5000/v3'

    def __init__(self):
        self.here, self.there = (fixtures_glance.Glance() for _ in range(2))
        self.signed_in = []
        self.away = 0

    def user_session(self, access):
        return self.here.session()

    def session_of(self, auth, refused):
        self.signed_in.append(auth.auth_methods[0].username)
        if self.away:
            self.away -= 1
            raise exceptions.ConnectFailure('no route')
        if auth.auth_methods[0].password != SECRET:
            raise exceptions.Unauthorized()
        return self.there.session()


class TargetTest(base.BaseTestCase):

    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger(level=logging.DEBUG))
        self.site = self.useFixture(environment.Deployment())
        self.site.cloud = self.cloud = TwoClouds()
        self.site.caller = context.Caller(
            fixtures_service.PROJECT, 'user', 'req-1',
            self.site.sealer.seal('{}'))
        self.site.registry.put_graph([])
        self.offer_images()
        self.worker = self.site.start_worker()
        self.image = self.cloud.here.add(DATA, name='base')['id']

    def offer_images(self):
        path = pathlib.Path(self.site.provider_directory) / 'noop.conf'
        plugin = 'plugin = karbor-project-protection-plugin\n'
        text = path.read_text().replace(
            plugin, f'{plugin}plugin = karbor-image-protection-plugin\n')
        path.write_text(f'{text}\n[image_backup_plugin]\npoll_interval = 1\n')

    def protect(self, *resources):
        checkpoint_id = self.site.protect(
            resources or [(IMAGE, self.image)])
        self.assertEqual('available', self.site.ended(checkpoint_id).status)
        return checkpoint_id

    def restore(self, checkpoint_id, password=SECRET):
        return self.site.restore(checkpoint_id, target=restore_targets.Target(
            None, {'type': 'password', 'username': 'other',
                   'password': password}).keep(self.site.sealer))

    def operation(self, restore_id):
        return self.site.db.read(operations.restore_of, restore_id)

    def texts(self):
        """Return all that is written anywhere."""
        def rows(session):
            return [tuple(row) for table in
                    models.Base.metadata.sorted_tables
                    for row in session.execute(sa.select(table))]
        yield repr(self.site.db.read(rows))
        yield self.log.output
        for path in pathlib.Path(self.site.path).rglob('*'):
            if path.is_file():
                yield path.read_bytes().decode(errors='replace')

    def assert_secret_is_kept(self):
        for text in self.texts():
            self.assertNotIn(SECRET, text)

    def assert_there(self, restore_id):
        """The image is there, once, with its bytes, and here as it was."""
        restore = self.site.restored(restore_id)
        self.assertEqual('success', restore.status)
        row, = self.site.db.read(restores.resources, restore_id)
        made, = self.cloud.there.images.values()
        self.assertEqual((row.new_id, DATA, 'base'),
                         (made['id'], made['_data'], made['name']))
        self.assertEqual([self.image], list(self.cloud.here.images))
        self.assertIsNone(self.operation(restore_id).target_credentials)
        self.assert_secret_is_kept()

    def test_the_image_is_made_there(self):
        restore_id = self.restore(self.protect())
        self.assert_there(restore_id)
        self.assertEqual(['other'], self.cloud.signed_in)
        shown = self.site.restored(restore_id).restore_auth
        self.assertEqual({'type': 'password', 'username': 'other',
                          'password': '***'}, shown)

    def test_the_secret_is_kept_while_it_works(self):
        arrived, go_on = threading.Event(), threading.Event()
        self.addCleanup(go_on.set)

        def pause(method, path, body):
            if method == 'PUT' and path.endswith('/file'):
                arrived.set()
                go_on.wait(60)
        self.cloud.there.intercept = pause
        restore_id = self.restore(self.protect())
        self.assertTrue(arrived.wait(60))
        self.assertIsNotNone(self.operation(restore_id).target_credentials)
        self.assert_secret_is_kept()
        go_on.set()
        self.assert_there(restore_id)

    def test_another_worker_goes_on_there(self):
        checkpoint_id = self.protect()
        self.worker.stop()
        restore_id = self.restore(checkpoint_id)
        for _ in range(2):
            self.assertIsNotNone(self.site.db.write(
                operations.claim, self.operation(restore_id).id,
                'dead:worker', -1))
        self.site.start_worker()
        self.assert_there(restore_id)
        self.assertEqual(3, self.operation(restore_id).attempt)

    def test_a_worker_that_stops_hands_the_secret_on(self):
        arrived = threading.Event()

        def hang(method, path, body):
            if method == 'PUT' and path.endswith('/file'):
                arrived.set()
                raise fixtures_service.Refused(503, 'later')
        self.cloud.there.intercept = hang
        restore_id = self.restore(self.protect())
        self.assertTrue(arrived.wait(60))
        self.worker.stop()
        self.cloud.there.intercept = lambda *request: None
        self.site.start_worker()
        self.assert_there(restore_id)

    def test_a_target_that_is_away_for_a_moment(self):
        self.cloud.away = 1
        self.assert_there(self.restore(self.protect()))
        self.assertEqual(['other'] * 2, self.cloud.signed_in)

    def test_a_wrong_password(self):
        restore_id = self.restore(self.protect(), 'wrong-' + SECRET[:4])
        self.assertEqual('failed', self.site.restored(restore_id).status)
        operation = self.operation(restore_id)
        self.assertIn('refuses the credentials in restore_auth',
                      operation.error_info)
        self.assertIsNone(operation.target_credentials)
        self.assertEqual({}, self.cloud.there.images)

    def test_a_key_that_is_gone(self):
        checkpoint_id = self.protect()
        self.worker.stop()
        restore_id = self.restore(checkpoint_id)
        self.site.sealer = credentials.Sealer(
            [credentials.new_key()])
        self.site.start_worker()
        self.assertEqual('failed', self.site.restored(restore_id).status)
        self.assertIn('[credentials] keys',
                      self.operation(restore_id).error_info)

    def test_what_an_aborted_one_has_made_is_removed_there(self):
        arrived = threading.Event()

        def hang(method, path, body):
            if method == 'PUT' and path.endswith('/file'):
                arrived.set()
                raise fixtures_service.Refused(503, 'later')
        self.cloud.there.intercept = hang
        restore_id = self.restore(self.protect())
        self.assertTrue(arrived.wait(60))
        self.site.client.abort_restore(self.site.caller, restore_id)
        self.assertEqual('failed', self.site.restored(restore_id).status)
        operation = self.operation(restore_id)
        self.assertIn(verb.ABORTED, operation.error_info)
        self.assertIsNone(operation.target_credentials)
        self.assertEqual({}, self.cloud.there.images)
        self.assertEqual([self.image], list(self.cloud.here.images))

    def test_what_has_its_backup_in_the_cloud_is_refused(self):
        checkpoint_id = self.protect(
            (IMAGE, self.image), *((VOLUME, f'v{number:02}')
                                   for number in range(12)))
        problem = self.assertRaises(errors.Conflict, self.restore,
                                    checkpoint_id)
        self.assertIn(f'the backups of {VOLUME} v00, {VOLUME} v01, ',
                      str(problem))
        self.assertIn('v09 are in the cloud', str(problem))
        self.assertNotIn(self.image, str(problem))
