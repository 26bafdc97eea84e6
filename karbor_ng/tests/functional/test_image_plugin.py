# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The image's plugin over a real Glance, with real bytes."""

import hashlib
import io
import json
import os
import time
import uuid

from oslo_config import cfg

from karbor_ng import clients
from karbor_ng import errors
from karbor_ng import keystone
from karbor_ng.plugins import image
from karbor_ng.resource import Resource
from karbor_ng.tests.contracts import once
from karbor_ng.tests.contracts import work
from karbor_ng.tests.functional import base
from karbor_ng.tests.functional import short_tokens
from karbor_ng.tests.functional import test_keystone

TOKEN_SECONDS = 10
#: Two parts in the bank, the second of which is small.
MIB = 33


def new_plugin(**options):
    conf = cfg.ConfigOpts()
    conf([])
    group = image.ImageProtection.GROUP
    conf.register_opts(image.ImageProtection.OPTS, group=group)
    for name, value in dict(options, poll_interval=1).items():
        conf.set_override(name, value, group=group)
    return image.ImageProtection(conf)


def gone(session, image_id):
    """Remove an image, be it protected or not there."""
    kind = image.RestoredImage()
    base.wait(lambda: kind.remove(session, image_id),
              what=f'image {image_id} gone')


class ImageCase(base.StackTestCase):
    """A test that works with the plugin itself, no karbor in between."""

    def setUp(self):
        super().setUp()
        self.session = keystone.SingleUserCloud('demo').user_session(None)
        self.glance = clients.glance(self.session)
        self.frame = work.Frame(new_plugin(), self.session, time.sleep)

    def new_image(self, data=None, **values):
        """Upload an image; it and its copies are removed in the end."""
        made = self.glance.images.create(**{
            'name': f'plugin-{uuid.uuid4().hex[:8]}', 'disk_format': 'raw',
            'container_format': 'bare', 'visibility': 'private', **values})
        self.addCleanup(gone, self.session, made.id)
        if data is not None:
            self.glance.images.upload(made.id, io.BytesIO(data), len(data))
        return Resource(image.RESOURCE_TYPE, made.id, made.name)

    def lose(self, resource):
        gone(self.session, resource.id)

    def restored(self, protect, resource, **parameters):
        """Restore; return the operation and what is restored."""
        restore = self.frame.restore(protect, resource, parameters)
        new_id = restore.restored[resource.id]
        self.addCleanup(gone, self.session, new_id)
        return restore, self.glance.images.get(new_id)

    def hash_of(self, image_id):
        digest = hashlib.sha256()
        for piece in self.glance.images.data(image_id):
            digest.update(piece)
        return digest.hexdigest()


class ImageOnceTest(once.OnceContract, ImageCase):
    protect_labels = ()
    restore_labels = ('image',)

    def setUp(self):
        super().setUp()
        self.frame = work.LosingFrame(self.lose, self.frame.plugin,
                                      self.session, time.sleep)

    def new_resource(self):
        return self.new_image(b'bytes')

    def _find(self, row, resource):
        found = super()._find(row, resource)
        for image_id in found:
            self.addCleanup(gone, self.session, image_id)
        return found


class BytesTest(ImageCase):

    def test_a_lost_image_comes_back_byte_by_byte(self):
        data = os.urandom(MIB * base.MIB + 1)
        resource = self.new_image(
            data, tags=['golden', 'v1'], min_disk=1, min_ram=64,
            protected=True, os_type='linux', hw_disk_bus='scsi',
            hw_qemu_guest_agent='yes', purpose='to be kept')
        before = self.glance.images.get(resource.id)
        protect = self.frame.protect(resource)
        self.assertEqual(len(data), protect.saved['size'])
        self.lose(resource)
        restore, after = self.restored(protect, resource)
        self.assertEqual(hashlib.sha256(data).hexdigest(),
                         self.hash_of(after.id))
        changed = {'id', 'file', 'created_at', 'updated_at'}
        self.assertEqual(*({name: value for name, value in item.items()
                            if name not in changed}
                           for item in (before, after)))
        self.assertEqual(after.id, restore.journal[0].tag)
        self.assertNotIn('notes', restore.saved)

    def test_a_second_restore_of_what_is_gone_again(self):
        resource = self.new_image(b'bytes')
        protect = self.frame.protect(resource)
        self.lose(resource)
        _, first = self.restored(protect, resource)
        gone(self.session, first.id)
        _, second = self.restored(protect, resource, restore_name='other')
        self.assertEqual('other', second.name)
        self.assertEqual(hashlib.sha256(b'bytes').hexdigest(),
                         self.hash_of(second.id))

    def test_an_image_that_still_exists_is_used(self):
        resource = self.new_image(b'bytes')
        protect = self.frame.protect(resource)
        restore, used = self.restored(protect, resource)
        self.assertEqual(resource.id, used.id)
        self.assertIn('still exists', restore.saved['notes'][0])
        self.assertEqual([], restore.journal)

    def test_two_checkpoints_share_the_data(self):
        resource = self.new_image(os.urandom(MIB * base.MIB))
        first, second = (self.frame.protect(resource) for _ in range(2))
        self.assertEqual(first.saved['streams'], second.saved['streams'])
        self.assertEqual(2, self._objects())
        self.frame.delete(first, resource)
        self.assertEqual(2, self._objects())
        self.lose(resource)
        _, made = self.restored(second, resource)
        self.assertEqual(MIB * base.MIB, made.size)
        self.frame.delete(second, resource)
        self.assertEqual(0, self._objects())

    def _objects(self):
        return len(list(self.frame.streams.bank.list('streams/')))

    def test_a_worker_dies_amid_the_data(self):
        resource = self.new_image(os.urandom(MIB * base.MIB))
        digest = self.hash_of(resource.id)
        protect = work.Operation('Protect', faults={'data': 'kill_between'})
        self.assertRaises(work.Killed, self.frame.run, protect, resource)
        self.frame.run(protect, resource)
        self.lose(resource)
        restore = work.Operation('Restore', saved=protect.saved)
        self._break_next_upload()
        self.assertRaises(work.Killed, self.frame.run, restore, resource)
        row, = restore.journal
        self.addCleanup(gone, self.session, row.external_id)
        self.frame.run(restore, resource)
        self.assertEqual(digest, self.hash_of(restore.restored[resource.id]))

    def _break_next_upload(self):
        """Let the reader of the stream die once, halfway."""
        whole = work.Work.get_stream

        def half(frame, label):
            self.addCleanup(setattr, work.Work, 'get_stream', whole)
            work.Work.get_stream = whole
            yield next(whole(frame, label))
            raise work.Killed(label)
        work.Work.get_stream = half


class OthersTest(ImageCase):

    def setUp(self):
        super().setUp()
        self.admin = clients.glance(
            keystone.SingleUserCloud('admin').user_session(None))

    def foreign(self, **values):
        made = self.admin.images.create(**{
            'name': f'plugin-{uuid.uuid4().hex[:8]}', 'disk_format': 'raw',
            'container_format': 'bare', 'visibility': 'public', **values})
        self.addCleanup(self._remove, made.id)
        self.admin.images.upload(made.id, io.BytesIO(b'theirs'), 6)
        return Resource(image.RESOURCE_TYPE, made.id, made.name)

    def _remove(self, image_id):
        if image.find_image(self.admin, image_id):
            self.admin.images.delete(image_id)

    def test_of_public_images_the_id_is_kept(self):
        resource = self.foreign()
        protect = self.frame.protect(resource)
        self.assertTrue(protect.saved['by_reference'])
        self.assertIn(resource.id, protect.saved['not_included'][0])
        self.assertEqual([], self.frame.streams.stored)
        restore, used = self.restored(protect, resource)
        self.assertEqual(resource.id, used.id)
        self.admin.images.delete(resource.id)
        with self.assertRaisesRegex(errors.Skipped, resource.id):
            self.frame.restore(protect, resource)

    def test_of_shared_images_the_id_is_kept(self):
        resource = self.foreign(visibility='shared')
        self.admin.image_members.create(resource.id, self.demo.project_id)
        listed = image.images_by_id(self.glance, {resource.id, 'a', 'b'})
        self.assertEqual({resource.id}, set(listed))
        self.assertTrue(self.frame.protect(resource).saved['by_reference'])

    def test_others_see_nothing(self):
        resource = self.new_image(b'mine')
        other = keystone.SingleUserCloud('demo2').user_session(None)
        images = image.ImageProtectable()
        self.assertEqual(resource, images.show(self.session, resource.id))
        self.assertIsNone(images.show(other, resource.id))
        self.assertNotIn(resource, images.list(
            other, project_id=other.get_project_id()))
        mine = Resource(base.PROJECT, self.demo.project_id)
        self.assertNotIn(resource, images.children(other, [mine])[mine])


class StatesTest(ImageCase):

    def test_what_can_not_be_read_is_told(self):
        empty = self.new_image()
        self.assertIn('"queued"', self.frame.refusal(
            self.frame.protect, empty))
        without = self.new_image(b'')
        self.assertIn('0 bytes', self.frame.refusal(
            self.frame.protect, without))
        shut = self.new_image(b'bytes')
        clients.glance(keystone.SingleUserCloud('admin').user_session(
            None)).images.deactivate(shut.id)
        self.assertIn('reactivate', self.frame.refusal(
            self.frame.protect, shut))
        missing = Resource(image.RESOURCE_TYPE, str(uuid.uuid4()))
        self.assertIn(missing.id, self.frame.refusal(
            self.frame.protect, missing))

    def test_an_expired_token_is_good_enough(self):
        resource = self.new_image(b'bytes')
        tokens = self.useFixture(short_tokens.ShortTokens(TOKEN_SECONDS))
        token = tokens.token('demo')
        token.sleep_until(2)
        cloud = keystone.Cloud(test_keystone.stacks_conf())
        self.frame.session = cloud.user_session(token.kept())
        protect = self.frame.protect(resource)
        self.lose(resource)
        _, made = self.restored(protect, resource)
        self.assertEqual(hashlib.sha256(b'bytes').hexdigest(),
                         self.hash_of(made.id))


class ProtectableTest(ImageCase):

    def test_listing(self):
        images = image.ImageProtectable()
        made = [self.new_image(b'bytes') for _ in range(3)]
        hidden = self.new_image(b'bytes', os_hidden=True)
        whole = images.list(self.session, project_id=self.demo.project_id)
        self.assertLessEqual(set(made), set(whole))
        place = whole.index(made[1])
        self.assertEqual(
            whole[place + 1:place + 2], images.list(
                self.session, project_id=self.demo.project_id, limit=1,
                marker=made[1].id))
        self.assertEqual([made[0]], images.list(
            self.session, project_id=self.demo.project_id,
            filters={'name': made[0].name, 'status': 'active'}))
        self.assertRaises(errors.Invalid, images.list, self.session,
                          project_id=self.demo.project_id,
                          marker=str(uuid.uuid4()))
        mine = Resource(base.PROJECT, self.demo.project_id)
        self.assertLessEqual({*made, hidden}, set(
            images.children(self.session, [mine])[mine]))

    def test_servers_and_the_images_they_were_booted_from(self):
        own = self.new_image(b'boot')
        tiny, = self.glance.images.list(filters={'name': 'tiny'})
        public = Resource(image.RESOURCE_TYPE, tiny.id)
        servers = [self.new_server(boot) for boot in (own, own, public)]
        images = image.ImageProtectable()
        for asked in servers, servers[:1], [*servers, self.missing()]:
            found = images.children(self.session, asked)
            self.assertEqual(
                {server: [boot] for server, boot in
                 zip(servers, (own, own, public), strict=True)
                 if server in asked}, found)

    def missing(self):
        return Resource('OS::Nova::Server', str(uuid.uuid4()))

    def new_server(self, boot):
        compute = self.demo.cloud.compute
        flavor = min(compute.flavors(), key=lambda flavor: flavor.ram)
        server = compute.create_server(
            name='plugin', image_id=boot.id, networks='none',
            flavor_id=flavor.id)
        self.addCleanup(compute.wait_for_delete, server)
        self.addCleanup(compute.delete_server, server.id)
        compute.wait_for_server(server)
        return Resource('OS::Nova::Server', server.id)


class LifeTest(ImageCase):
    """The whole way, through the stack's karbor and its bank in files."""

    def plan_of(self, resource):
        plan = {'name': 'functional', 'parameters': {},
                'provider_id': base.FILESYSTEM_PROVIDER,
                'resources': [{'id': resource.id, 'type': resource.type,
                               'name': resource.name}]}
        made = self.request('POST', '/plans', {'plan': plan})['plan']['id']
        self.addCleanup(self.remove_plan, self.demo, made)
        return made

    def checkpoint(self, plan_id):
        """Make a checkpoint; return its path and what it kept."""
        path = self.protect(plan_id)
        self.ended(path)
        manifest, = (base.STACK / 'bank').rglob(
            f'{path.rpartition("/")[2]}/manifest.json')
        item, = json.loads(manifest.read_text())['resources']
        return path, item

    def in_bank(self, item):
        """Return the files of what a checkpoint kept."""
        stream_id = item['saved']['streams']['data']['id']
        return [path for path in (base.STACK / 'bank').rglob(
            f'*/{stream_id}/**/*') if path.is_file()]

    def test_checkpoints_share_an_image(self):
        data = os.urandom(MIB * base.MIB)
        resource = self.new_image(data, tags=['golden'], os_type='linux')
        plan_id = self.plan_of(resource)
        first, item = self.checkpoint(plan_id)
        second, same = self.checkpoint(plan_id)
        self.assertEqual(item['saved']['streams'], same['saved']['streams'])
        self.assertEqual(len(data), sum(path.stat().st_size for path
                                        in self.in_bank(item)))
        self.delete(first)
        self.lose(resource)
        new_id, = self.restored_ids(self.restore(second))
        self.addCleanup(gone, self.session, new_id)
        self.assertNotEqual(resource.id, new_id)
        self.assertEqual(hashlib.sha256(data).hexdigest(),
                         self.hash_of(new_id))
        made = self.glance.images.get(new_id)
        self.assertEqual((resource.name, ['golden'], 'linux'),
                         (made.name, made.tags, made.os_type))
        self.delete(second)
        self.assertEqual([], self.in_bank(same))

    def test_a_public_image(self):
        tiny, = self.glance.images.list(filters={'name': 'tiny'})
        path, item = self.checkpoint(self.plan_of(
            Resource(image.RESOURCE_TYPE, tiny.id, tiny.name)))
        self.assertTrue(item['saved']['by_reference'])
        self.assertIn('another project', item['saved']['not_included'][0])
        self.assertEqual([tiny.id],
                         self.restored_ids(self.restore(path)))
        self.delete(path)
