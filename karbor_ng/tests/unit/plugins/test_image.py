# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Tests of the image's plugin over a Glance in memory."""

import hashlib
import time
import unittest
from unittest import mock

from glanceclient import exc
from keystoneauth1 import exceptions as keystone_exceptions
from oslo_config import cfg
import requests

from karbor_ng import clients
from karbor_ng import errors
from karbor_ng.plugins import image
from karbor_ng.protection import work as frame_work
from karbor_ng.resource import Resource
from karbor_ng.tests import fixtures_cloud
from karbor_ng.tests import fixtures_glance
from karbor_ng.tests import fixtures_nova
from karbor_ng.tests import fixtures_service
from karbor_ng.tests.contracts import once
from karbor_ng.tests.contracts import work

PROJECT = Resource('OS::Keystone::Project', fixtures_service.PROJECT)
#: Sent in several pieces, of which the last one is smaller.
DATA = bytes(range(251)) * 5000
#: More than one part of a stream.
LARGE = DATA * 27


def new_plugin(**options):
    conf = cfg.ConfigOpts()
    conf([])
    group = image.ImageProtection.GROUP
    conf.register_opts(image.ImageProtection.OPTS, group=group)
    for name, value in options.items():
        conf.set_override(name, value, group=group)
    return image.ImageProtection(conf)


class ImageCase(unittest.TestCase):
    """A test with a Glance of its own."""

    def setUp(self):
        super().setUp()
        self.cloud = fixtures_glance.Glance()
        self.session = self.cloud.session()
        self.frame = work.Frame(new_plugin(), self.session,
                                lambda seconds: None)

    def new_resource(self, data=b'bytes', **values):
        record = self.cloud.add(data, **{'name': 'base', **values})
        return Resource(image.RESOURCE_TYPE, record['id'], 'base')

    def new_foreign(self, **values):
        return self.new_resource(**{'owner': 'another',
                                    'visibility': 'public', **values})

    def only_image(self):
        record, = self.cloud.images.values()
        return record

    def counted(self, method, ending):
        return len([path for made, path in self.cloud.requests
                    if made == method and path.endswith(ending)])

    def downloads(self):
        return self.counted('GET', '/file')


class OnceTest(once.OnceContract, ImageCase):
    protect_labels = ()
    restore_labels = ('image',)

    def setUp(self):
        super().setUp()
        self.frame = work.LosingFrame(self.lose, self.frame.plugin,
                                      self.session, self.frame.sleep)

    def lose(self, resource):
        if resource.id in self.cloud.images:
            self.cloud.lose(resource.id)


class ClientTest(unittest.TestCase):

    def test_a_cloud_without_glance_is_refused(self):
        with self.assertRaisesRegex(errors.Unavailable, 'image'):
            clients.glance(fixtures_cloud.Cinder().session())

    def test_without_a_cloud(self):
        self.assertRaises(errors.Unavailable, clients.glance, None)

    def test_a_lost_connection_is_keystoneauths_error(self):
        cloud = fixtures_glance.Glance()
        client = clients.glance(cloud.session())
        for raised, expected in (
                (requests.exceptions.ConnectionError,
                 keystone_exceptions.ConnectFailure),
                (requests.exceptions.ReadTimeout,
                 keystone_exceptions.ConnectTimeout)):
            cloud.intercept = mock.Mock(side_effect=raised)
            self.assertRaises(expected, client.images.get, 'some')


class ListTest(ImageCase):

    def setUp(self):
        super().setUp()
        self.images = image.ImageProtectable()

    def _list(self, **kwargs):
        return self.images.list(self.session, project_id=PROJECT.id, **kwargs)

    def test_own_images_with_data_are_listed(self):
        own = [self.new_resource(visibility=visibility) for visibility in
               ('private', 'shared', 'community', 'public')]
        self.new_foreign()
        self.new_resource(None)
        self.new_resource(b'')
        self.new_resource(karbor_tag='temporary')
        self.new_resource(status='deactivated')
        self.assertEqual(own[::-1], self._list())
        self.assertEqual(
            {'size': 5, 'disk_format': 'raw', 'visibility': 'public'},
            self._list()[0].extra_info)

    def test_pages_are_full_in_spite_of_what_is_left_out(self):
        made = [self.new_resource(data) for data in
                (b'1', b'', b'', b'2', b'3')]
        self.assertEqual([made[4], made[3]], self._list(limit=2))
        self.assertEqual([made[0]], self._list(limit=2, marker=made[3].id))
        self.assertEqual([], self._list(limit=0))
        self.assertEqual([made[4], made[3], made[0]], self._list(limit=9))

    def test_an_unknown_marker_is_named(self):
        with self.assertRaisesRegex(errors.Invalid, 'marker.*nowhere'):
            self._list(marker='nowhere')

    def test_filters(self):
        named = self.new_resource(name='other')
        self.new_resource()
        self.assertEqual([named], self._list(filters={'name': 'other'}))
        self.assertEqual([], self._list(filters={'name': 'in:other,base'}))
        self.assertEqual([], self._list(filters={'status': 'queued'}))
        self.assertEqual(2, len(self._list(filters={'status': 'active'})))

    def test_showing(self):
        queued = self.new_resource(None)
        foreign = self.new_foreign()
        hidden = self.new_foreign(visibility='private')
        for resource in queued, foreign:
            shown = self.images.show(self.session, resource.id)
            self.assertEqual(('base', resource), (shown.name, shown))
        self.assertIsNone(self.images.show(self.session, hidden.id))

    def test_images_of_a_project(self):
        own = {self.new_resource(), self.new_resource(None),
               self.new_resource(os_hidden=True),
               self.new_resource(visibility='community')}
        self.new_foreign()
        self.new_resource(status='killed')
        self.new_resource(karbor_tag='temporary')
        found = self.images.children(self.session, [PROJECT])
        self.assertEqual({PROJECT: own}, {
            parent: set(children) for parent, children in found.items()})

    def test_many_images_cost_few_requests(self):
        glance = clients.glance(self.session)
        made = {self.new_resource().id for _ in range(60)}
        made.add(self.new_foreign(visibility='community').id)
        made.add(self.new_resource(os_hidden=True).id)
        found = image.images_by_id(glance, made | {'gone'})
        self.assertEqual(made, set(found))
        # The schema, two listings, what is hidden and what is gone.
        self.assertEqual(5, len(self.cloud.requests) - 1)


class ServersTest(unittest.TestCase):
    """Servers and what they were booted from."""

    def setUp(self):
        super().setUp()
        self.nova = fixtures_nova.Nova()
        self.session = self.nova.session()
        self.images = image.ImageProtectable()

    def new_server(self, **values):
        record = self.nova.glance.add(**{'data': b'boot', **values})
        return self.server_on(record), Resource(image.RESOURCE_TYPE,
                                                record['id'])

    def server_on(self, record):
        return Resource('OS::Nova::Server', self.nova.add(record)['id'])

    def children(self, *parents):
        return self.images.children(self.session, list(parents))

    def test_few_servers_are_asked_for_themselves(self):
        server, boot = self.new_server()
        self.new_server()
        self.assertEqual({server: [boot]}, self.children(server))
        self.assertNotIn(('GET', 'servers/detail'), self.nova.requests)

    def test_many_servers_cost_one_listing(self):
        pairs = [self.new_server() for _ in range(5)]
        foreign, theirs = self.new_server(owner='another',
                                          visibility='public')
        twin = self.server_on(self.nova.glance.get(pairs[0][1].id))
        on_volume = self.server_on(None)
        servers = [*(server for server, _ in pairs), foreign, twin,
                   on_volume]
        self.children(*servers)
        self.nova.requests.clear()
        self.nova.glance.requests.clear()
        self.assertEqual(
            {**{server: [boot] for server, boot in pairs},
             foreign: [theirs], twin: [pairs[0][1]]},
            self.children(*servers))
        # Nova's client asks once more whether that was all.
        self.assertEqual([('GET', 'servers/detail')] * 2,
                         self.nova.requests)
        self.assertEqual([('GET', 'v2/images'), ('GET', 'v2/schemas/image')],
                         sorted(self.nova.glance.requests))

    def test_servers_and_images_that_are_gone(self):
        lost, boot = self.new_server()
        self.nova.glance.lose(boot.id)
        missing = [Resource('OS::Nova::Server', name) for name in 'abc']
        self.assertEqual({}, self.children(lost))
        self.assertEqual({}, self.children(lost, *missing))

    def test_images_that_nobody_misses(self):
        servers = [self.new_server(**values)[0] for values in (
            {'karbor_tag': 'temporary'}, {'status': 'deactivated'},
            {'data': b''})]
        self.assertEqual({}, self.children(*servers))
        shut, theirs = self.new_server(owner='another', visibility='public',
                                       status='deactivated')
        self.assertEqual({shut: [theirs]}, self.children(shut))

    def test_servers_and_their_project(self):
        server, boot = self.new_server()
        self.assertEqual({server: [boot], PROJECT: [boot]},
                         self.children(server, PROJECT))


class ProtectTest(ImageCase):

    def test_data_and_properties_are_kept(self):
        resource = self.new_resource(
            DATA, tags=['golden'], min_disk=3, protected=True,
            hw_disk_bus='scsi', os_distro='debian', locations=[],
            stores='file', direct_url='rbd://x', os_glance_stage_host='h',
            img_signature_key_type='RSA', **{'owner_specified.md5': 'm'})
        protect = self.frame.protect(resource, {'backup_name': 'nightly'})
        saved = protect.saved
        self.assertEqual(
            ('nightly', resource.id, 'base', len(DATA), False),
            (saved['name'], saved['image_id'], saved['image_name'],
             saved['size'], saved['by_reference']))
        self.assertEqual({
            'name': 'base', 'disk_format': 'raw', 'container_format': 'bare',
            'min_disk': 3, 'min_ram': 0, 'protected': True,
            'os_hidden': False, 'tags': ['golden'], 'visibility': 'shared',
            'hw_disk_bus': 'scsi', 'os_distro': 'debian'},
            saved['properties'])
        self.assertEqual(hashlib.sha256(DATA).hexdigest(),
                         saved['streams']['data']['sha256'])
        self.assertNotIn('not_included', saved)

    def test_the_same_data_is_stored_once(self):
        resource = self.new_resource()
        first = self.frame.protect(resource)
        second = self.frame.protect(resource)
        self.assertEqual(first.saved['streams'], second.saved['streams'])
        self.assertEqual(1, self.downloads())
        self.frame.delete(first, resource)
        self.cloud.lose(resource.id)
        self.frame.restore(second, resource)
        self.assertEqual(b'bytes', self.only_image()['_data'])
        self.frame.delete(second, resource)
        self.assertEqual([], self.frame.streams.stored)

    def test_images_from_before_the_second_hash(self):
        resource = self.new_resource(os_hash_algo=None, os_hash_value=None)
        self.frame.protect(resource)
        self.frame.protect(resource)
        self.assertEqual(1, self.downloads())
        self.cloud.lose(resource.id)
        without = self.new_resource(os_hash_algo=None, os_hash_value=None,
                                    checksum=None)
        self.frame.protect(without)
        self.frame.protect(without)
        self.assertEqual(3, self.downloads())

    def test_damaged_data_is_refused(self):
        for values in ({}, {'os_hash_algo': None, 'os_hash_value': None},
                       {'os_hash_algo': 'of-the-future'}):
            with self.subTest(**values):
                resource = self.new_resource(**values)
                self.cloud.serve = lambda data: b'bytez'
                self.assertIn('damaged in Glance', self.frame.refusal(
                    self.frame.protect, resource))
        self.cloud.serve = lambda data: b'byte'
        self.assertIn('4 bytes', self.frame.refusal(
            self.frame.protect, resource))

    def test_a_download_that_breaks_off_is_begun_again(self):
        resource = self.new_resource()
        answers = [fixtures_service.Broken(b'by'), b'bytes']
        self.cloud.serve = lambda data: answers.pop(0)
        protect = self.frame.protect(resource)
        self.assertEqual(5, protect.saved['streams']['data']['size'])
        self.assertEqual([], answers)

    def test_a_worker_dies_while_it_reads(self):
        resource = self.new_resource(LARGE)
        for fault in ('kill_before', 'kill_between', 'kill_after'):
            protect = work.Operation('Protect', faults={'data': fault})
            self.assertRaises(work.Killed, self.frame.run, protect, resource)
            self.frame.run(protect, resource)
            self.assertEqual(len(LARGE), protect.saved['size'])
            self.frame.delete(protect, resource)
            self.assertEqual([], self.frame.streams.stored)

    def test_of_others_images_the_id_is_kept(self):
        for values in ({}, {'visibility': 'community'},
                       {'status': 'deactivated'},
                       {'visibility': 'shared', '_members': [PROJECT.id]}):
            with self.subTest(**values):
                protect = self.frame.protect(self.new_foreign(**values))
                self.assertTrue(protect.saved['by_reference'])
                self.assertIn('another project',
                              protect.saved['not_included'][0])
        self.assertEqual(0, self.downloads())
        self.assertEqual([], self.frame.streams.stored)

    def test_what_can_not_be_read_is_skipped_with_the_reason(self):
        for values, text in (
                ({'data': None}, '"queued"'), ({'data': b''}, '0 bytes'),
                ({'status': 'deactivated'}, 'reactivate'),
                ({'status': 'killed'}, '"killed"')):
            with self.subTest(text), self.assertRaisesRegex(
                    errors.Skipped, text):
                self.frame.protect(self.new_resource(**values))
        gone = Resource(image.RESOURCE_TYPE, 'gone')
        self.assertIn('gone does not exist', self.frame.refusal(
            self.frame.protect, gone))

    def test_an_image_that_is_being_filled_is_waited_for(self):
        resource = self.new_resource(status='saving', _looks=3)
        self.assertEqual(5, self.frame.protect(resource).saved['size'])

    def test_an_image_that_is_never_filled(self):
        self.frame.plugin = new_plugin(timeout=1, poll_interval=1)
        self.frame.sleep = time.sleep
        resource = self.new_resource(status='saving', _looks=10 ** 9)
        self.assertIn(f'image {resource.id}: status is still "saving"',
                      self.frame.refusal(self.frame.protect, resource))

    def test_an_image_that_is_deleted_meanwhile(self):
        resource = self.new_resource()

        def lose(method, path, body):
            if path.endswith('/file'):
                self.cloud.lose(resource.id)
        self.cloud.intercept = lose
        self.assertIn('does not exist in Glance any more',
                      self.frame.refusal(self.frame.protect, resource))

    def test_what_is_not_in_the_backup_is_said(self):
        resource = self.new_resource(
            _members=['friend'], cinder_encryption_key_id='key-1',
            cinder_encryption_key_deletion_policy='on_image_deletion')
        saved = self.frame.protect(resource).saved
        self.assertIn('key-1', saved['not_included'][0])
        self.assertIn('shared', saved['not_included'][1])
        self.assertEqual('key-1',
                         saved['properties']['cinder_encryption_key_id'])
        self.assertNotIn('cinder_encryption_key_deletion_policy',
                         saved['properties'])


class RestoreTest(ImageCase):

    def setUp(self):
        super().setUp()
        self.resource = self.new_resource(
            DATA, tags=['golden'], min_disk=3, hw_disk_bus='scsi')
        self.protected = self.frame.protect(self.resource)
        self.cloud.requests.clear()

    def lose(self):
        self.cloud.lose(self.resource.id)

    def restore(self, parameters=None):
        return self.frame.restore(self.protected, self.resource, parameters)

    def new_id(self, restore):
        return restore.restored[self.resource.id]

    def test_the_image_is_as_it_was(self):
        self.lose()
        restore = self.restore()
        made = self.only_image()
        self.assertEqual(
            (self.new_id(restore), DATA, 'base', ['golden'], 3, 'scsi',
             'raw', 'bare', 'shared', 'active'),
            (made['id'], made['_data'], made['name'], made['tags'],
             made['min_disk'], made['hw_disk_bus'], made['disk_format'],
             made['container_format'], made['visibility'], made['status']))
        self.assertEqual([row.tag for row in restore.journal], [made['id']])
        self.assertNotIn('notes', restore.saved)
        self.assertEqual([100], self.frame.last_work.percents[-1:])

    def test_what_still_exists_is_used(self):
        restore = self.restore({'restore_name': 'other'})
        self.assertEqual(self.resource.id, self.new_id(restore))
        self.assertIn('still exists', restore.saved['notes'][0])
        self.assertEqual([], restore.journal)
        self.assertEqual('base', self.only_image()['name'])

    def test_what_exists_in_another_project_is_made_anew(self):
        # Restoring works with the rights of that other project's user.
        self.cloud.images[self.resource.id]['owner'] = 'protected one'
        restore = self.restore()
        made = self.cloud.get(self.new_id(restore))
        self.assertNotEqual(self.resource.id, made['id'])
        self.assertEqual((fixtures_service.PROJECT, DATA),
                         (made['owner'], made['_data']))
        self.assertNotIn('notes', restore.saved)

    def test_what_exists_but_can_not_be_used_is_made_anew(self):
        self.cloud.images[self.resource.id]['status'] = 'deactivated'
        restore = self.restore({'restore_name': 'other'})
        made = self.cloud.get(self.new_id(restore))
        self.assertEqual(('other', DATA), (made['name'], made['_data']))

    def test_public_images_become_private(self):
        public = self.new_resource(visibility='public')
        protect = self.frame.protect(public)
        self.cloud.lose(public.id)
        restore = self.frame.restore(protect, public)
        made = self.cloud.get(restore.restored[public.id])
        self.assertEqual('private', made['visibility'])
        self.assertIn('was public', restore.saved['notes'][0])

    def test_others_images(self):
        foreign = self.new_foreign()
        protect = self.frame.protect(foreign)
        restore = self.frame.restore(protect, foreign)
        self.assertEqual({foreign.id: foreign.id}, restore.restored)
        self.cloud.lose(foreign.id)
        with self.assertRaisesRegex(errors.Skipped,
                                    f'{foreign.id}.*another project'):
            self.frame.restore(protect, foreign)

    def test_protected_images_of_ours_can_be_removed(self):
        self.lose()
        self.protected.saved['properties']['protected'] = True
        restore = self.restore()
        self.assertTrue(self.only_image()['protected'])
        kind = self.frame.plugin.kind('image')
        self.assertFalse(kind.remove(self.session, self.new_id(restore)))
        self.assertTrue(kind.remove(self.session, self.new_id(restore)))
        self.assertEqual({}, self.cloud.images)

    def test_a_refused_removal_quotes_glance(self):
        self.lose()
        restore = self.restore()

        def refuse(method, path, body):
            if method == 'DELETE':
                raise fixtures_service.Refused(409, 'volumes use it')
        self.cloud.intercept = refuse
        with self.assertRaisesRegex(errors.ResourceError, 'volumes use it'):
            self.frame.plugin.kind('image').remove(self.session,
                                                   self.new_id(restore))

    def test_another_algorithm_of_glance(self):
        self.lose()
        self.cloud.algorithm = 'sha256'
        self.restore()
        self.assertEqual(DATA, self.only_image()['_data'])


class VerifyTest(ImageCase):

    def test_what_was_stored_is_all_there_was(self):
        resource = self.new_resource(LARGE)
        protect = self.frame.protect(resource)
        self.cloud.lose(resource.id)
        self.cloud.requests.clear()
        self.frame.verify(protect, resource)
        self.assertEqual([], self.cloud.requests)
        protect.saved['streams']['data']['size'] -= 1
        self.assertIn(str(len(LARGE)), self.frame.refusal(
            self.frame.verify, protect, resource))
        del protect.saved['streams']
        self.assertIn('not in the bank', self.frame.refusal(
            self.frame.verify, protect, resource))

    def test_others_images(self):
        foreign = self.new_foreign()
        protect = self.frame.protect(foreign)
        self.frame.verify(protect, foreign)
        self.cloud.lose(foreign.id)
        with self.assertRaisesRegex(errors.Skipped,
                                    f'{foreign.id}.*another project'):
            self.frame.verify(protect, foreign)


class FaultsTest(ImageCase):
    """Uploads that go wrong; what is there in the end is right."""

    def setUp(self):
        super().setUp()
        self.resource = self.new_resource(DATA)
        self.protected = self.frame.protect(self.resource)
        self.cloud.lose(self.resource.id)
        self.cloud.requests.clear()

    def restore(self):
        return self.frame.restore(self.protected, self.resource)

    def at_upload(self, problem, times=1, after=False):
        """Have uploads fail, before or after Glance has the data."""
        problems = [problem] * times

        def fail(method, path, body):
            if method == 'PUT' and problems:
                raise problems.pop()
        setattr(self.cloud, 'after' if after else 'intercept', fail)

    def assert_restored(self, restore, images=1, uploads=1):
        made = self.only_image()
        self.assertEqual(
            (restore.restored[self.resource.id], DATA, 'active'),
            (made['id'], made['_data'], made['status']))
        self.assertEqual(
            ['gone'] * (images - 1) + ['exists'],
            [row.state for row in restore.journal])
        self.assertEqual(uploads, self.counted('PUT', '/file'))

    def test_the_connection_breaks_before_all_is_sent(self):
        self.at_upload(requests.exceptions.ConnectionError('broken'))
        self.assert_restored(self.restore(), uploads=2)

    def test_only_the_answer_is_lost(self):
        for problem in (requests.exceptions.ReadTimeout('late'),
                        fixtures_service.Refused(504, 'proxy')):
            with self.subTest(problem):
                self.at_upload(problem, after=True)
                self.assert_restored(self.restore())
                self.cloud.images.clear()
                self.cloud.requests.clear()

    def test_a_slow_store(self):
        self.cloud.looks = 5
        self.at_upload(requests.exceptions.ReadTimeout('late'), after=True)
        self.assert_restored(self.restore())

    def test_an_upload_that_never_succeeds_is_given_up(self):
        self.at_upload(fixtures_service.Refused(500, 'no workers'), 99)
        text = self.frame.refusal(self.restore)
        self.assertIn('broke off 3 times', text)
        self.assertIn('no workers', text)
        self.assertEqual({}, self.cloud.images)

    def test_a_busy_glance_is_left_to_the_frame(self):
        for code in (429, 503):
            self.at_upload(fixtures_service.Refused(code, 'busy'), 99)
            with self.assertRaises(exc.HTTPException) as caught:
                self.restore()
            self.assertTrue(frame_work.is_passing(caught.exception))
        self.assertEqual(2, self.counted('PUT', '/file'))

    def test_a_refusal_is_passed_on_and_leaves_nothing(self):
        self.at_upload(fixtures_service.Refused(413, 'quota'), 99)
        with self.assertRaisesRegex(Exception, 'quota'):
            self.restore()
        self.assertEqual(1, self.counted('PUT', '/file'))
        self.assertEqual({}, self.cloud.images)

    def test_changed_data_is_never_left(self):
        spoilt = [b'other']
        self.cloud.spoil = lambda data: spoilt.pop() if spoilt else data
        self.assert_restored(self.restore(), images=2, uploads=2)
        self.cloud.images.clear()
        self.cloud.spoil = lambda data: b'other'
        self.assertIn('5 images', self.frame.refusal(self.restore))
        self.assertEqual({}, self.cloud.images)

    def test_a_glance_that_died_while_saving(self):
        looks = [10 ** 9]

        def stick(method, path, body):
            if method == 'PUT' and looks:
                self.only_image().update(status='saving',
                                         _looks=looks.pop())
        self.cloud.after = stick
        with mock.patch.object(image, 'SAVING_SECONDS', 0):
            self.assert_restored(self.restore(), images=2, uploads=2)

    def test_an_image_that_somebody_deletes_meanwhile(self):
        victims = ['POST', 'PUT']

        def lose(method, path, body):
            if method in victims:
                victims.remove(method)
                self.cloud.lose(self.only_image()['id'])
        self.cloud.after = lose
        self.assert_restored(self.restore(), images=3, uploads=2)

    def test_an_image_deleted_before_the_journal_knew_it(self):
        restore = work.Operation('Restore', saved=self.protected.saved,
                                 faults={'image': 'kill_after'})
        self.assertRaises(work.Killed, self.frame.run, restore,
                          self.resource)
        self.cloud.lose(self.only_image()['id'])
        self.frame.run(restore, self.resource)
        self.assert_restored(restore, images=2)

    def test_a_worker_dies_while_it_sends(self):
        restore = work.Operation('Restore', saved=self.protected.saved)
        self.at_upload(work.Killed('sending'))
        self.assertRaises(work.Killed, self.frame.run, restore,
                          self.resource)
        self.assertEqual('queued', self.only_image()['status'])
        self.frame.run(restore, self.resource)
        self.assert_restored(restore, uploads=2)

    def test_a_worker_dies_when_all_is_sent(self):
        restore = work.Operation('Restore', saved=self.protected.saved)
        self.at_upload(work.Killed('sent'), after=True)
        self.assertRaises(work.Killed, self.frame.run, restore,
                          self.resource)
        self.frame.run(restore, self.resource)
        self.assert_restored(restore)

    def test_a_damaged_bank_leaves_no_image(self):
        stored, = self.frame.streams.stored
        self.frame.streams.bank.delete_prefix(f'streams/{stored.id}')
        self.assertRaises(errors.BankError, self.restore)
        self.assertEqual({}, self.cloud.images)


class PreviewTest(ImageCase):

    def setUp(self):
        super().setUp()
        self.previews = image.ImageProtection

    def _protecting(self, *resources):
        found = self.previews.preview_protect(
            self.session, resources, dict.fromkeys(resources, {}))
        self.assertEqual(set(resources), set(found))
        return [found[resource] for resource in resources]

    def test_protecting(self):
        own, foreign, queued, saving, gone = self._protecting(
            self.new_resource(), self.new_foreign(),
            self.new_resource(None), self.new_resource(status='saving'),
            Resource(image.RESOURCE_TYPE, 'gone'))
        self.assertEqual((5, ()), (own.size, own.problems))
        self.assertEqual((0, ()), (foreign.size, foreign.problems))
        self.assertIn('another project', foreign.not_included[0])
        self.assertIn('"queued"', queued.skipped)
        self.assertEqual((5, (), None), (saving.size, saving.problems,
                                         saving.skipped))
        self.assertIn('gone', gone.problems[0])

    def test_restoring(self):
        here, lost, public = (
            self.new_resource(), self.new_resource(name='lost'),
            self.new_resource(visibility='public'))
        foreign, shut = self.new_foreign(), self.new_foreign()
        kept = {resource: self.frame.protect(resource).saved
                for resource in (here, lost, public, foreign, shut)}
        for resource in lost, public, shut:
            self.cloud.lose(resource.id)
        self.cloud.requests.clear()
        found = self.previews.preview_restore(
            self.session, kept, {public: {'restore_name': 'new'}})
        self.assertEqual([0, 5, 5, 0, None],
                         [found[resource].size for resource in kept])
        self.assertIn('"lost"', found[lost].action)
        self.assertIn('"new"', found[public].action)
        self.assertIn('was public', found[public].notes[0])
        self.assertIn('still exists', found[here].notes[0])
        self.assertEqual([shut], [resource for resource, preview
                                  in found.items() if preview.skipped])
        self.assertEqual({'GET'}, {method for method, _
                                   in self.cloud.requests})
