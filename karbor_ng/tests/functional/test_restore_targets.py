# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Restores into another project, and into another cloud, with real bytes.

The other cloud is a second Keystone, which leads to the services of the same
one: what is signed in to, and with what, is all that differs.
"""

import hashlib
import json
import os
import uuid

import testscenarios

from karbor_ng.tests.functional import base
from karbor_ng.tests.functional import secrecy
from karbor_ng.tests.functional import shells
from karbor_ng.tests.functional import short_tokens
from karbor_ng.tests.functional import tenant

IMAGE = 'OS::Glance::Image'
SERVER = 'OS::Nova::Server'
SECOND_PORT = 15001
#: Of a token in the other cloud: it is renewed while bytes move.
TOKEN_SECONDS = 20
#: Two parts in the bank, the second of which is small.
MIB = 33


def second_keystone(seconds=600):
    offset = int((base.STACK / 'port_offset').read_text())
    return short_tokens.ShortTokens(seconds, SECOND_PORT + offset)


class TargetTestCase(base.StackTestCase):
    """A user of the stack, and somebody else's empty project."""

    def setUp(self):
        super().setUp()
        self.other = tenant.Tenant()
        self.addCleanup(self.other.remove)

    def password(self):
        """As the old clients send it; the user has one project."""
        return {'type': 'password', 'password': self.other.password,
                'username': self._other_user()}

    def token(self):
        return {'type': 'token', 'token': secrecy.note(
            'token', self.other.cloud.auth_token)}

    def application_credential(self):
        identity = self.other.cloud.identity
        made = identity.create_application_credential(
            self.other.cloud.current_user_id, f'test-{uuid.uuid4().hex[:8]}')
        return {'type': 'application_credential',
                'application_credential_id': made.id,
                'application_credential_secret': secrecy.note(
                    'application credential', made.secret)}

    def _other_user(self):
        return self.other.cloud.config.get_auth_args()['username']

    def start(self, path, auth, target=None, expect=200, query='',
              **parameters):
        """Ask for a restore; return what is answered."""
        _, _, provider, _, checkpoint_id = path.split('/')
        return self.request('POST', f'/restores{query}', {'restore': {
            'provider_id': provider, 'checkpoint_id': checkpoint_id,
            'restore_target': target, 'restore_auth': auth,
            'parameters': parameters}}, expect)

    def restored_there(self, path, auth, target=None, **parameters):
        """Restore; return the restore as it ended, which must be well."""
        made = self.start(path, auth, target, **parameters)['restore']
        return self.restore_ended(made['id'])

    def restore_ended(self, restore_id, status='success'):
        def look():
            found = self.request('GET', f'/restores/{restore_id}')['restore']
            return found if found['status'] != 'started' else None
        found = base.wait(look, 300, what=f'end of restore {restore_id}')
        self.assertEqual(status, found['status'], json.dumps(found))
        return found

    def checkpoint_of(self, kind, thing_id, user=None):
        """Protect one thing; return the checkpoint's path."""
        user = user or self.demo
        plan = self.request('POST', '/plans', {'plan': {
            'name': 'elsewhere', 'provider_id': base.FILESYSTEM_PROVIDER,
            'resources': [{'id': thing_id, 'type': kind, 'name': 'it'}]}})
        self.addCleanup(self.remove_plan, user, plan['plan']['id'])
        path = self.protect(plan['plan']['id'])
        self.addCleanup(self.delete, path)
        self.ended(path)
        return path

    def new_image(self, mib=MIB):
        """Make an image of random bytes; return its id and their hash."""
        data = os.urandom(mib * base.MIB)
        made = self.demo._upload(data)
        self.addCleanup(self.demo.cloud.image.delete_image, made.id)
        return made.id, hashlib.sha256(data).hexdigest()

    def hash_of(self, image_id):
        digest = hashlib.sha256()
        answer = self.other.cloud.image.download_image(image_id, stream=True)
        for piece in answer.iter_content(4 * base.MIB):
            digest.update(piece)
        return digest.hexdigest()

    def assert_unheard(self, secret):
        """None of our services has written it into its log."""
        for name in ('karbor-api', 'karbor-protection'):
            log = base.STACK / 'log' / f'{name}.log'
            self.assertNotIn(secret.encode(), log.read_bytes(), name)


class ProjectTest(testscenarios.WithScenarios, TargetTestCase):
    """An image, into another project of the same cloud."""

    scenarios = [(name, {'kind': name}) for name in (
        'password', 'token', 'application_credential')]

    def test_image(self):
        image_id, digest = self.new_image()
        path = self.checkpoint_of(IMAGE, image_id)
        auth = getattr(self, self.kind)()
        found = self.restored_there(path, auth)
        made, = self.other.images()
        self.assertEqual([f'{IMAGE}#{made.id}'],
                         list(found['resources_status']))
        self.assertEqual(digest, self.hash_of(made.id))
        secret = ('application_credential_secret'
                  if self.kind == 'application_credential' else self.kind)
        self.assertEqual('***', found['restore_auth'][secret])
        self.assert_unheard(auth[secret])


class CloudTest(TargetTestCase):
    """Into another cloud."""

    def test_image_while_tokens_end(self):
        elsewhere = self.useFixture(second_keystone(TOKEN_SECONDS))
        image_id, digest = self.new_image()
        path = self.checkpoint_of(IMAGE, image_id)
        dry_run = self.start(path, self.password(), elsewhere.url,
                             query='?dry_run=true')['dry_run']
        self.assertEqual([], self.other.images())
        self.assertTrue(dry_run['possible'])
        self.assertIn('A new image', dry_run['resources'][0]['action'])
        found = self.restored_there(path, self.password(), elsewhere.url)
        self.assertEqual(elsewhere.url, found['restore_target'])
        made, = self.other.images()
        self.assertEqual(digest, self.hash_of(made.id))

    def test_what_is_refused_at_once(self):
        made = self.demo.cloud.block_storage.create_volume(size=1)
        self.addCleanup(self.demo.delete_volume, made.id)
        self.demo.volume_in(made.id, 'available')
        path = self.checkpoint_of(base.VOLUME, made.id)
        refused = self.start(path, self.password(), expect=409)
        self.assertIn(f'{base.VOLUME} {made.id}',
                      refused['conflictingRequest']['message'])
        for target in ('http://elsewhere/v3', 'http://127.0.0.1:3306/'):
            refused = self.start(path, self.password(), target, expect=400)
            self.assertIn('does not restore into',
                          refused['badRequest']['message'])

    def test_wrong_credentials(self):
        image_id, _ = self.new_image(1)
        path = self.checkpoint_of(IMAGE, image_id)
        wrong = {**self.password(), 'password': secrecy.note(
            'password', 'wrong-in-every-cloud')}
        refused = self.start(path, wrong, expect=400, query='?dry_run=true')
        self.assertIn('refuses the credentials',
                      refused['badRequest']['message'])
        made = self.start(path, wrong)['restore']
        self.restore_ended(made['id'], 'failed')
        log, = self.request('GET', f'/operation_logs?restore_id={made["id"]}')[
            'operation_logs']
        self.assertIn('refuses the credentials', log['error_info'])
        self.assertEqual([], self.other.images())
        self.assert_unheard('wrong-in-every-cloud')


class ClientTest(testscenarios.WithScenarios, TargetTestCase):
    """The old command lines name a target, a user and a password."""

    scenarios = [('karbor', {'program': shells.Karbor}),
                 ('openstack', {'program': shells.OpenStack})]

    def test_image(self):
        elsewhere = self.useFixture(second_keystone())
        image_id, digest = self.new_image(1)
        path = self.checkpoint_of(IMAGE, image_id)
        _, _, provider, _, checkpoint_id = path.split('/')
        made = self.program(self.demo).fields(
            'restore', 'create', provider, checkpoint_id,
            '--restore_target', elsewhere.url,
            '--restore_username', self._other_user(),
            '--restore_password', self.other.password)
        self.assertEqual(elsewhere.url, made['restore_target'])
        self.restore_ended(made['id'])
        there, = self.other.images()
        self.assertEqual(digest, self.hash_of(there.id))


class ServerTest(TargetTestCase):
    """A server with its root disk, into another project."""

    def test_server(self):
        source = tenant.Tenant()
        self.addCleanup(source.remove)
        self.demo = source
        image_id, _ = self.new_image(4)
        server_id = source.create_server('web', [], image_id)
        source.write_as_guest(server_id)
        before = source.portrait(server_id)
        path = self.checkpoint_of(SERVER, server_id)
        found = self.restored_there(
            path, {**self.password(), 'project_id': self.other.project_id},
            **{SERVER: {'restore_net_id': self.other.network_id}})
        new_id, = (item['new_id'] for item in found['resources']
                   if item['type'] == SERVER)
        after = self.other.portrait(new_id)
        for name in ('name', 'flavor', 'metadata', 'root disk', 'key'):
            self.assertEqual(before[name], after[name], name)
        self.assertEqual([server_id], source.everything()['servers'])
