# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The volume's plugin over a real Cinder, with real bytes."""

import hashlib
import os
import time
import uuid

from oslo_config import cfg

from karbor_ng import clients
from karbor_ng import errors
from karbor_ng import keystone
from karbor_ng.plugins import project
from karbor_ng.plugins import volume
from karbor_ng.resource import Resource
from karbor_ng.tests.contracts import once
from karbor_ng.tests.contracts import work
from karbor_ng.tests.functional import base

GIB = 1024 * base.MIB


def new_plugin(**options):
    conf = cfg.ConfigOpts()
    conf([])
    group = volume.VolumeProtection.GROUP
    conf.register_opts(volume.VolumeProtection.OPTS, group=group)
    for name, value in dict(options, poll_interval=1).items():
        conf.set_override(name, value, group=group)
    return volume.VolumeProtection(conf)


def hash_of(head):
    """Return the hash of a volume of 1 GiB: these bytes, then zeros."""
    digest = hashlib.sha256(head)
    digest.update(bytes(GIB - len(head)))
    return digest.hexdigest()


class VolumeCase(base.StackTestCase):
    """A test that works with the plugin itself, no karbor in between."""

    def setUp(self):
        super().setUp()
        self.session = keystone.SingleUserCloud('demo').user_session(None)
        self.cinder = clients.cinder(self.session)
        self.frame = work.Frame(new_plugin(), self.session, time.sleep)

    def new_volume(self, head=None, **kwargs):
        """Make a volume that is removed in the end with all of its kin."""
        resource = self.make_volume(head, **kwargs)
        self.addCleanup(remove, self.session, resource.id)
        return resource

    def make_volume(self, head=None, **kwargs):
        """Make a volume, with bytes or empty."""
        if head is None:
            made = self.cinder.volumes.create(1, name='plugin', **kwargs)
            self.demo.volume_in(made.id, 'available')
        else:
            made = self.demo.create_volume(head)
        return Resource(base.VOLUME, made.id, 'plugin')


def remove(session, volume_id):
    """Remove a volume, its snapshots, its backups and what was restored."""
    cinder = clients.cinder(session)
    of_volume = {'volume_id': volume_id}
    for backup in cinder.backups.list(search_opts=of_volume):
        gone(session, volume.Backup(), backup.id)
    for snapshot in cinder.volume_snapshots.list(search_opts=of_volume):
        gone(session, volume.Snapshot(), snapshot.id)
    restored = {'name': f'{work.Work.checkpoint_id}@{volume_id}'}
    for made in cinder.volumes.list(search_opts=restored):
        gone(session, volume.RestoredVolume(), made.id)
    gone(session, volume.RestoredVolume(), volume_id)


def gone(session, kind, thing_id):
    base.wait(lambda: kind.remove(session, thing_id),
              what=f'{kind.name} {thing_id} gone')


class VolumeOnceTest(once.OnceContract, VolumeCase):
    """One volume is enough: the contract looks at things by their tags."""

    protect_labels = ('snapshot', 'backup')
    restore_labels = ('volume',)
    shared = None

    @classmethod
    def tearDownClass(cls):
        if cls.shared:
            remove(*cls.shared)
        super().tearDownClass()

    def new_resource(self):
        if self.shared is None:
            resource = self.make_volume(
                metadata={'purpose': 'to be put back when restoring'})
            type(self).shared = (self.session, resource.id)
        return Resource(base.VOLUME, self.shared[1], 'plugin')


class BytesTest(VolumeCase):

    def rewrite(self, resource, head):
        """Put other bytes into the volume, through the cloud's API."""
        image = self.demo.cloud.image.create_image(
            name='plugin', data=head, disk_format='raw',
            container_format='bare', validate_checksum=False)
        self.cinder.volumes.reimage(resource.id, image.id)
        self.demo.volume_in(resource.id, 'available')
        self.demo.cloud.image.delete_image(image.id)

    def test_both_ends_of_a_chain_give_their_bytes_back(self):
        heads = [os.urandom(4 * base.MIB)]
        heads.append(heads[0][:base.MIB] + os.urandom(3 * base.MIB))
        heads.append(os.urandom(base.MIB) + heads[1][base.MIB:])
        resource = self.new_volume(heads[0])
        made = []
        for head, mode in zip(heads, ('full', 'incremental', 'auto'),
                              strict=True):
            if made:
                self.rewrite(resource, head)
            made.append(self.frame.protect(resource, {'backup_mode': mode}))
        self._assert_chain([item.saved for item in made])
        for head, protect in (heads[0], made[0]), (heads[-1], made[-1]):
            restore = self.frame.restore(protect, resource)
            self._assert_alike(resource.id, restore.restored[resource.id])
            self.assertEqual(hash_of(head), self.demo.hash_through_api(
                restore.restored[resource.id]))
        self._assert_deleting_order(resource, made)

    def _assert_chain(self, saved):
        ids = [item['backup_id'] for item in saved]
        self.assertEqual([False, True, True],
                         [item['is_incremental'] for item in saved])
        self.assertEqual([None, *ids[:2]],
                         [item['parent_backup'] for item in saved])
        self.assertEqual([ids[0]] * 3, [item['chain_id'] for item in saved])
        self.assertEqual([GIB] * 3, [item['size'] for item in saved])

    def _assert_alike(self, original_id, restored_id):
        original = self.cinder.volumes.get(original_id)
        restored = self.cinder.volumes.get(restored_id)
        for name in ('size', 'volume_type', 'availability_zone', 'bootable'):
            self.assertEqual(getattr(original, name),
                             getattr(restored, name), name)
        self.assertEqual('true', restored.bootable)

    def _assert_deleting_order(self, resource, made):
        conflict, = self.frame.plugin.conflicts(self.session,
                                                made[0].journal)
        self.assertIn(made[0].saved['backup_id'], conflict)
        self.assertIn('Incremental backups exist', self.frame.refusal(
            self.frame.delete, made[0], resource))
        for protect in reversed(made):
            self.frame.delete(protect, resource)
        self.assertEqual([], self.demo.backups_of(resource.id))
        self.assertEqual([], self.demo.snapshots_of(resource.id))


class StatesTest(VolumeCase):

    def test_a_failed_backup_quotes_cinder(self):
        resource = self.new_volume()
        text = self.frame.refusal(self.frame.protect, resource,
                                  {'container': 'not/a/container'})
        backup, = self.cinder.backups.list(
            search_opts={'volume_id': resource.id})
        self.assertEqual('error', backup.status)
        self.assertTrue(backup.fail_reason)
        self.assertIn(backup.fail_reason, text)

    def test_an_incremental_backup_needs_another_one(self):
        resource = self.new_volume()
        self.assertIn('"incremental"', self.frame.refusal(
            self.frame.protect, resource, {'backup_mode': 'incremental'}))

    def test_a_volume_that_is_not_there(self):
        gone = Resource(base.VOLUME, str(uuid.uuid4()))
        self.assertIn(gone.id, self.frame.refusal(self.frame.protect, gone))

    def test_an_attached_volume_whose_type_and_zone_go(self):
        resource = self.new_volume()
        server = self.new_server()
        self.demo.cloud.compute.create_volume_attachment(
            server, volume_id=resource.id)
        self.demo.volume_in(resource.id, 'in-use')
        parents = [Resource('OS::Nova::Server', server.id),
                   Resource(base.PROJECT, self.demo.project_id)]
        found = volume.VolumeProtectable().children(self.session, parents)
        self.assertEqual([resource], found[parents[0]])
        self.assertIn(resource, found[parents[1]])
        protect = self.frame.protect(resource)
        self.assertEqual('in-use',
                         self.cinder.volumes.get(resource.id).status)
        protect.saved.update(volume_type='gone', availability_zone='sunk')
        restore = self.frame.restore(protect, resource)
        self.assertIn(resource.id, restore.restored)
        self.assertEqual(2, len(restore.saved['notes']))

    def new_server(self):
        compute = self.demo.cloud.compute
        image = self.demo.cloud.image.create_image(
            name='plugin', data=b'boot', disk_format='raw',
            container_format='bare', validate_checksum=False)
        self.addCleanup(self.demo.cloud.image.delete_image, image.id)
        server = compute.create_server(
            name='plugin', image_id=image.id, networks='none',
            flavor_id=next(flavor.id for flavor in compute.flavors()
                           if flavor.disk))
        self.addCleanup(compute.wait_for_delete, server)
        self.addCleanup(compute.delete_server, server.id)
        return compute.wait_for_server(server)


class ProtectableTest(VolumeCase):

    def test_listing(self):
        volumes = volume.VolumeProtectable()
        made = [self.new_volume() for _ in range(3)]
        whole = volumes.list(self.session, project_id=self.demo.project_id)
        self.assertLessEqual(set(made), set(whole))
        place = whole.index(made[1])
        self.assertEqual(
            whole[place + 1:place + 2], volumes.list(
                self.session, project_id=self.demo.project_id, limit=1,
                marker=made[1].id))
        self.assertEqual([], volumes.list(
            self.session, project_id=self.demo.project_id,
            filters={'name': str(uuid.uuid4())}))
        self.assertIn(made[0], volumes.list(
            self.session, project_id=self.demo.project_id,
            filters={'name': 'plugin', 'status': 'available'}))
        self.assertRaises(errors.Invalid, volumes.list, self.session,
                          project_id=self.demo.project_id,
                          marker=str(uuid.uuid4()))

    def test_others_see_nothing(self):
        resource = self.new_volume()
        other = keystone.SingleUserCloud('demo2').user_session(None)
        volumes = volume.VolumeProtectable()
        self.assertEqual(resource, volumes.show(self.session, resource.id))
        self.assertIsNone(volumes.show(other, resource.id))
        found = volumes.list(other, project_id=other.get_project_id())
        self.assertNotIn(resource, found)
        mine = Resource(base.PROJECT, self.demo.project_id)
        self.assertEqual([], volumes.children(other, [mine])[mine])

    def test_the_project(self):
        projects = project.ProjectProtectable()
        own, = projects.list(self.session, project_id=self.demo.project_id)
        self.assertEqual(('demo', self.demo.project_id), (own.name, own.id))
        other = keystone.SingleUserCloud('demo2').user_session(None)
        self.assertIsNone(projects.show(other, own.id))
