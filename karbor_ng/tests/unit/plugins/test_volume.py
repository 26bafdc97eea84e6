# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Tests of the volume's plugin over a Cinder in memory."""

import time
import types
import unittest

from keystoneauth1 import fixture
from keystoneauth1 import session
from keystoneauth1.access import access
from keystoneauth1.identity import access as access_plugin
from oslo_config import cfg
import requests

from karbor_ng import clients
from karbor_ng import errors
from karbor_ng.plugins import volume
from karbor_ng.resource import Resource
from karbor_ng.tests import fixtures_cloud
from karbor_ng.tests.contracts import once
from karbor_ng.tests.contracts import work

PROJECT = Resource('OS::Keystone::Project', fixtures_cloud.PROJECT)


def new_plugin(**options):
    conf = cfg.ConfigOpts()
    conf([])
    group = volume.VolumeProtection.GROUP
    conf.register_opts(volume.VolumeProtection.OPTS, group=group)
    for name, value in options.items():
        conf.set_override(name, value, group=group)
    return volume.VolumeProtection(conf)


class VolumeCase(unittest.TestCase):
    """A test with a Cinder of its own."""

    options = {}

    def setUp(self):
        super().setUp()
        self.cloud = fixtures_cloud.Cinder()
        self.session = self.cloud.session()
        self.frame = work.Frame(new_plugin(**self.options), self.session,
                                lambda seconds: None)

    def new_resource(self, content=b'bytes', **values):
        record = self.cloud.add('volumes', name='data', _content=content,
                                **values)
        return Resource(volume.RESOURCE_TYPE, record['id'], 'data')

    def record(self, collection, thing_id):
        return self.cloud.get(collection, thing_id)


class SnapshotOnceTest(once.OnceContract, VolumeCase):
    protect_labels = ('snapshot', 'backup')
    restore_labels = ('volume',)


class DirectOnceTest(once.OnceContract, VolumeCase):
    options = {'backup_from_snapshot': False}
    protect_labels = ('backup',)
    restore_labels = ('volume',)


class SurveyTest(VolumeCase):

    def test_all_that_is_ours_and_no_users(self):
        volume_id = self.new_resource().id
        for kind, collection in ((volume.Snapshot(), 'snapshots'),
                                 (volume.Backup(), 'backups')):
            for metadata in {}, {volume.TAG: 'one'}:
                record = self.cloud.add(collection, volume_id=volume_id,
                                        name='x', metadata=metadata)
            self.assertEqual({record['id']: 'one'},
                             kind.survey(self.session))
        self.assertIsNone(volume.RestoredVolume().survey(self.session))


class ClientTest(unittest.TestCase):

    def test_the_newest_common_version_is_spoken(self):
        for offered, spoken in (('3.43', '3.43'), ('3.60', '3.60'),
                                ('3.99', '3.70')):
            cloud = fixtures_cloud.Cinder(offered)
            client = clients.cinder(cloud.session())
            self.assertEqual(spoken, client.api_version.get_string())
            self.assertEqual([], client.volumes.list())

    def test_a_cloud_without_cinder_is_refused(self):
        token = fixture.V3Token(project_id=fixtures_cloud.PROJECT)
        token.add_service('compute').add_standard_endpoints(
            public='http://nova.test')
        auth = access_plugin.AccessInfoPlugin(access.create(
            body=token, auth_token='token'))
        with self.assertRaisesRegex(errors.Unavailable, 'block-storage'):
            clients.cinder(session.Session(auth))

    def test_a_cinder_that_is_too_old_is_refused(self):
        old = fixtures_cloud.Cinder('3.42').session()
        with self.assertRaisesRegex(errors.Error, r'3\.42.*3\.43'):
            clients.cinder(old)


class ProtectableTest(VolumeCase):

    def setUp(self):
        super().setUp()
        self.volumes = volume.VolumeProtectable()

    def _list(self, **kwargs):
        return self.volumes.list(self.session,
                                 project_id=fixtures_cloud.PROJECT, **kwargs)

    def test_what_is_lost_is_not_listed_but_shown(self):
        good = self.new_resource()
        lost = [self.new_resource(status=status) for status in volume.LOST]
        self.assertEqual([good], self._list())
        self.assertEqual({'availability_zone': 'nova', 'size': 1},
                         self._list()[0].extra_info)
        for resource in lost:
            shown = self.volumes.show(self.session, resource.id)
            self.assertEqual(('data', resource), (shown.name, shown))
        self.assertIsNone(self.volumes.show(self.session, 'nowhere'))

    def test_pages_are_full_in_spite_of_what_is_lost(self):
        made = [self.new_resource(status=status) for status in
                ('available', 'error', 'error', 'in-use', 'available')]
        newest_first = [made[4], made[3], made[0]]
        self.assertEqual(newest_first[:2], self._list(limit=2))
        self.assertEqual(newest_first[2:],
                         self._list(limit=2, marker=made[3].id))
        self.assertEqual(newest_first, self._list(limit=3))
        self.assertEqual(newest_first, self._list(limit=9))
        self.assertEqual([], self._list(limit=0))

    def test_an_unknown_marker_is_named(self):
        with self.assertRaisesRegex(errors.Invalid, 'marker.*nowhere'):
            self._list(marker='nowhere')

    def test_filters(self):
        mine = self.new_resource(status='in-use')
        self.new_resource()
        self.assertEqual([mine], self._list(filters={'status': 'in-use'}))
        self.assertEqual([], self._list(filters={'name': 'other'}))

    def test_children_cost_one_listing(self):
        servers = [Resource('OS::Nova::Server', f's{n}') for n in range(9)]
        shared = self.new_resource(status='in-use', attachments=[
            {'server_id': 's1'}, {'server_id': 's2'}])
        broken = self.new_resource(status='error', attachments=[
            {'server_id': 's2'}])
        loose = self.new_resource()
        going = self.new_resource(status='deleting')
        self.new_resource(**{'os-vol-tenant-attr:tenant_id': 'another'})
        self.volumes.show(self.session, loose.id)
        self.cloud.requests.clear()
        found = self.volumes.children(self.session, [*servers, PROJECT])
        self.assertEqual({PROJECT: {loose, shared, broken, going},
                          servers[1]: {shared},
                          servers[2]: {shared, broken}},
                         {parent: set(children) for parent, children
                          in found.items() if children})
        self.assertEqual([('GET', 'volumes/detail')], self.cloud.requests)


class ProtectTest(VolumeCase):

    def test_a_first_backup_is_full(self):
        resource = self.new_resource(
            availability_zone='east', volume_type='fast', bootable='true',
            metadata={'owner': 'me', 'karbor_tag': 'old',
                      'karbor_restored_from': 'old'})
        protect = self.frame.protect(resource, {
            'backup_name': 'nightly', 'description': 'text',
            'container': 'box'})
        backup_id = protect.saved['backup_id']
        backup = self.record('backups', backup_id)
        self.assertEqual(('nightly', 'text', 'box', b'bytes'),
                         (backup['name'], backup['description'],
                          backup['container'], backup['_content']))
        saved = dict(protect.saved)
        self.assertRegex(saved.pop('snapshot_at'), r'^2026-.*\+00:00$')
        saved.pop('snapshot_id')
        self.assertEqual({
            'name': 'nightly', 'backup_id': backup_id,
            'parent_backup': None, 'chain_id': backup_id,
            'is_incremental': False, 'size': 1024 ** 3,
            'volume_id': resource.id, 'volume_name': 'data',
            'volume_size': 1, 'volume_type': 'fast',
            'availability_zone': 'east', 'bootable': True,
            'encrypted': False, 'multiattach': False,
            'volume_metadata': {'owner': 'me'}}, saved)
        self.assertEqual({}, self.cloud.things['snapshots'])
        self.assertEqual([100], self.frame.last_work.percents[-1:])

    def test_auto_makes_chains_of_limited_length(self):
        self.frame.plugin = new_plugin(max_chain=3)
        resource = self.new_resource()
        made = [self.frame.protect(resource).saved for _ in range(7)]
        ids = [saved['backup_id'] for saved in made]
        self.assertEqual([False, True, True, False, True, True, False],
                         [saved['is_incremental'] for saved in made])
        self.assertEqual([None, *ids[0:2], None, *ids[3:5], None],
                         [saved['parent_backup'] for saved in made])
        self.assertEqual([ids[0]] * 3 + [ids[3]] * 3 + [ids[6]],
                         [saved['chain_id'] for saved in made])
        for saved in made:
            self.assertEqual(
                self.record('backups', saved['backup_id'])['_parent'],
                saved['parent_backup'])

    def test_a_backup_that_is_not_available_is_no_parent(self):
        resource = self.new_resource()
        first = self.frame.protect(resource).saved['backup_id']
        second = self.frame.protect(resource).saved['backup_id']
        self.record('backups', second)['status'] = 'error'
        third = self.frame.protect(resource).saved
        self.assertEqual(first, third['parent_backup'])
        self.record('backups', first)['status'] = 'restoring'
        self.record('backups', third['backup_id'])['status'] = 'error'
        self.assertIsNone(self.frame.protect(resource).saved[
            'parent_backup'])

    def test_modes_are_obeyed(self):
        resource = self.new_resource()
        text = self.frame.refusal(self.frame.protect, resource,
                                  {'backup_mode': 'incremental'})
        self.assertIn(resource.id, text)
        self.assertEqual({}, self.cloud.things['backups'])
        self.frame.protect(resource, {'backup_mode': 'full'})
        again = self.frame.protect(resource, {'backup_mode': 'full'})
        self.assertFalse(again.saved['is_incremental'])
        third = self.frame.protect(resource, {'backup_mode': 'incremental'})
        self.assertEqual(again.saved['backup_id'],
                         third.saved['parent_backup'])

    def test_states_of_the_volume(self):
        for status in volume.READABLE + ('attaching', 'detaching'):
            with self.subTest(status=status):
                self.frame.protect(self.new_resource(status=status))
        for status in volume.LOST:
            with (self.subTest(status=status), self.assertRaisesRegex(
                    errors.Skipped, f'"{status}": no host')):
                resource = self.new_resource(status=status)
                self.cloud.messages[resource.id] = 'no host'
                self.frame.protect(resource)
        gone = Resource(volume.RESOURCE_TYPE, 'gone')
        with self.assertRaisesRegex(errors.Skipped,
                                    'volume gone does not exist'):
            self.frame.protect(gone)

    def test_what_is_left_out_is_said(self):
        plain = self.new_resource()
        self.assertNotIn('not_included', self.frame.protect(plain).saved)
        rich = self.new_resource(group_id='g1')
        self.cloud.add('snapshots', volume_id=rich.id)
        said = self.frame.protect(rich).saved['not_included']
        self.assertIn('Snapshots', said[0])
        self.assertIn('group g1', said[1])
        self.assertEqual(2, len(said))

    def test_a_failed_backup_quotes_cinder(self):
        resource = self.new_resource()

        def fail(method, path, body):
            for backup in self.cloud.things['backups'].values():
                backup.update(status='error', fail_reason='no space left')
        self.cloud.after = fail
        self.assertIn('no space left', self.frame.refusal(
            self.frame.protect, resource))

    def test_a_failed_snapshot_quotes_cinders_message(self):
        resource = self.new_resource()

        def fail(method, path, body):
            for snapshot in self.cloud.things['snapshots'].values():
                snapshot['status'] = 'error'
                self.cloud.messages[snapshot['id']] = 'quota of the pool'
        self.cloud.after = fail
        self.assertIn('quota of the pool', self.frame.refusal(
            self.frame.protect, resource))

    def test_creating_for_ever_ends(self):
        self.frame.plugin = new_plugin(timeout=1, poll_interval=1)
        self.frame.sleep = time.sleep
        self.cloud.looks = 10 ** 9
        text = self.frame.refusal(self.frame.protect, self.new_resource())
        self.assertIn('"creating" after 1 seconds', text)

    def test_a_backup_that_somebody_deletes_meanwhile(self):
        resource = self.new_resource()

        def drop(method, path, body):
            if method == 'POST' and path == 'backups':
                self.cloud.things['backups'].clear()
        self.cloud.after = drop
        self.assertIn('does not exist in Cinder', self.frame.refusal(
            self.frame.protect, resource))

    def test_a_snapshot_that_stays_is_noted_and_no_failure(self):
        resource = self.new_resource()

        def refuse(method, path, body):
            if method == 'DELETE':
                raise fixtures_cloud.Refused(400, 'still has a clone')
        self.cloud.intercept = refuse
        protect = self.frame.protect(resource)
        self.assertIn('still has a clone', protect.saved['notes'][0])


class DirectProtectTest(VolumeCase):
    options = {'backup_from_snapshot': False}

    def test_attached_volumes_need_force(self):
        resource = self.new_resource(status='in-use')
        with self.assertRaisesRegex(Exception, 'force flag'):
            self.frame.protect(resource)
        protect = self.frame.protect(resource, {'force': True})
        self.assertIsNone(self.record(
            'backups', protect.saved['backup_id'])['snapshot_id'])
        self.assertRegex(protect.saved['snapshot_at'], '^2026')

    def test_chains(self):
        resource = self.new_resource()
        first = self.frame.protect(resource).saved['backup_id']
        second = self.frame.protect(resource).saved
        self.assertEqual((first, first), (second['parent_backup'],
                                          second['chain_id']))


class ChainTest(unittest.TestCase):

    @staticmethod
    def _backup(name, moment, incremental=True, dependants=True):
        return types.SimpleNamespace(
            id=name, data_timestamp=moment, is_incremental=incremental,
            has_dependent_backups=dependants, status='available')

    def test_backups_without_dependants_are_no_parents(self):
        full = self._backup('full', '1', incremental=False)
        lone = self._backup('lone', '2', dependants=False)
        top = self._backup('top', '3', dependants=False)
        self.assertEqual([top, full], volume.chain([top, lone, full], top))

    def test_a_chain_without_its_full_backup_is_none(self):
        top = self._backup('top', '3')
        twin = self._backup('twin', '3')
        self.assertEqual([], volume.chain([top], top))
        self.assertEqual([], volume.chain([top, twin], top))


class RestoreTest(VolumeCase):

    def setUp(self):
        super().setUp()
        self.resource = self.new_resource(
            metadata={'owner': 'me'}, bootable='true', volume_type='fast',
            availability_zone='east', size=3)
        self.protected = self.frame.protect(self.resource)
        self.cloud.things['volumes'].clear()

    def _restore(self, parameters=None):
        restore = self.frame.restore(self.protected, self.resource,
                                     parameters)
        return restore, self.record('volumes',
                                    restore.restored[self.resource.id])

    def test_the_volume_is_as_it_was(self):
        restore, made = self._restore()
        self.assertEqual(
            (b'bytes', 3, 'fast', 'east', 'true', 'available'),
            (made['_content'], made['size'], made['volume_type'],
             made['availability_zone'], made['bootable'], made['status']))
        self.assertEqual('me', made['metadata']['owner'])
        self.assertEqual(f'{work.Work.checkpoint_id}@{self.resource.id}',
                         made['name'])
        self.assertNotIn('notes', restore.saved)

    def test_names(self):
        _, made = self._restore({'restore_name': 'mine',
                                 'restore_description': 'text'})
        self.assertEqual(('mine', 'text'),
                         (made['name'], made['description']))

    def test_a_gone_type_and_zone_are_replaced_and_noted(self):
        self.cloud.types.remove('fast')
        self.cloud.zones.remove('east')
        restore, made = self._restore()
        self.assertEqual(('__DEFAULT__', 'nova'), (
            made['volume_type'], made['availability_zone']))
        self.assertIn('"fast"', restore.saved['notes'][0])
        self.assertIn('"east"', restore.saved['notes'][1])

    def test_a_gone_type_of_a_volume_for_several_servers(self):
        self.resource = self.new_resource(volume_type='fast',
                                          multiattach=True)
        self.protected = self.frame.protect(self.resource)
        self.cloud.types.remove('fast')
        restore, _ = self._restore()
        self.assertIn('several servers', restore.saved['notes'][0])

    def _protect_encrypted(self):
        self.resource = self.new_resource(volume_type='safe', encrypted=True,
                                          multiattach=True)
        self.protected = self.frame.protect(self.resource)
        self.assertTrue(self.protected.saved['multiattach'])
        self.cloud.things['volumes'].clear()

    def test_encrypted_volumes_stay_encrypted(self):
        self._protect_encrypted()
        _, made = self._restore()
        self.assertEqual(('safe', True, b'bytes'), (
            made['volume_type'], made['encrypted'], made['_content']))

    def test_encrypted_volumes_never_get_the_default_type(self):
        self._protect_encrypted()
        self.cloud.types.remove('safe')
        text = self.frame.refusal(self.frame.restore, self.protected,
                                  self.resource)
        self.assertIn('was encrypted', text)
        self.assertEqual({}, self.cloud.things['volumes'])

    def test_a_type_that_does_not_encrypt_any_more_gets_no_data(self):
        self._protect_encrypted()
        self.cloud.encrypted_types.clear()
        self.assertIn('encrypted', self.frame.refusal(
            self.frame.restore, self.protected, self.resource))
        made, = self.cloud.things['volumes'].values()
        self.assertEqual(b'', made['_content'])

    def test_little_is_enough(self):
        self.protected.saved = {
            'backup_id': self.protected.saved['backup_id']}
        _, made = self._restore()
        self.assertEqual((b'bytes', 3), (made['_content'], made['size']))

    def test_a_gone_backup_is_said_so(self):
        self.cloud.things['backups'].clear()
        text = self.frame.refusal(self.frame.restore, self.protected,
                                  self.resource)
        self.assertIn(self.protected.saved['backup_id'], text)
        self.assertEqual({}, self.cloud.things['volumes'])

    def test_another_restore_of_the_backup_is_waited_for(self):
        backup = self.record('backups', self.protected.saved['backup_id'])
        tries = []

        def be_faster(method, path, body):
            if path.endswith('/restore') and not tries:
                tries.append(path)
                backup.update(status='restoring', _looks=3)
        self.cloud.intercept = be_faster
        self.assertEqual(b'bytes', self._restore()[1]['_content'])

    def test_a_refused_filling_is_quoted(self):
        def refuse(method, path, body):
            if path.endswith('/restore'):
                raise fixtures_cloud.Refused(400, 'volume is too small')
        self.cloud.intercept = refuse
        with self.assertRaisesRegex(Exception, 'volume is too small'):
            self._restore()

    def test_a_lost_answer_of_the_filling_is_no_failure(self):
        def lose(method, path, body):
            if path.endswith('/restore'):
                raise requests.exceptions.ConnectionError('reset by peer')
        self.cloud.after = lose
        self.assertEqual(b'bytes', self._restore()[1]['_content'])
        self.assertEqual(1, self._fillings())

    def test_a_take_over_goes_on_where_filling_was(self):
        for moment, fillings in (('before', 2), ('during', 1), ('after', 2),
                                 ('marked', 1)):
            with self.subTest(moment=moment):
                self.cloud.requests.clear()
                self._kill_and_take_over(moment)
                self.assertEqual(fillings, self._fillings())

    def _kill_and_take_over(self, moment):
        """Run, die at a moment, and run again with the same journal."""
        def die(method, path, body):
            filling = path.endswith('/restore')
            marking = method == 'POST' and path.endswith('/metadata')
            if (moment, True) in (('before', filling), ('after', marking)):
                raise work.Killed(moment)

        def die_after(method, path, body):
            filling = path.endswith('/restore')
            marking = method == 'POST' and path.endswith('/metadata')
            if (moment, True) in (('during', filling), ('marked', marking)):
                raise work.Killed(moment)
        restore = work.Operation('Restore', saved=self.protected.saved)
        self.cloud.intercept, self.cloud.after = die, die_after
        self.assertRaises(work.Killed, self.frame.run, restore,
                          self.resource)
        self.cloud.intercept = self.cloud.after = lambda *args: None
        self.frame.run(restore, self.resource)
        self.assertEqual(1, len(restore.journal))
        made = self.record('volumes', restore.restored[self.resource.id])
        self.assertEqual(b'bytes', made['_content'])

    def _fillings(self):
        return len([path for method, path in self.cloud.requests
                    if path.endswith('/restore')])

    def test_a_failed_filling_quotes_cinder(self):
        def fail(method, path, body):
            for made in self.cloud.things['volumes'].values():
                if made['status'] == 'restoring-backup':
                    made['_then'] = 'error_restoring'
                    self.cloud.messages[made['id']] = 'bad checksum'
        self.cloud.after = fail
        text = self.frame.refusal(self.frame.restore, self.protected,
                                  self.resource)
        self.assertIn('"error_restoring": bad checksum', text)


class VerifyTest(VolumeCase):

    def setUp(self):
        super().setUp()
        self.resource = self.new_resource()
        self.chain = [self.frame.protect(self.resource) for _ in range(3)]

    def backup(self, number):
        return self.record('backups', self.chain[number].saved['backup_id'])

    def check_refused(self, *texts, number=-1):
        refusal = self.frame.refusal(self.frame.verify, self.chain[number],
                                     self.resource)
        for text in texts:
            self.assertIn(text, refusal)

    def test_a_chain_without_its_volume(self):
        del self.cloud.things['volumes'][self.resource.id]
        for operation in self.chain:
            self.frame.verify(operation, self.resource)

    def test_a_backup_that_is_being_restored(self):
        self.backup(2)['status'] = self.backup(0)['status'] = 'restoring'
        self.frame.verify(self.chain[2], self.resource)

    def test_the_backup_failed(self):
        self.backup(2).update(status='error', fail_reason='disk full')
        self.check_refused('"error"', 'disk full', self.backup(2)['id'])

    def test_what_it_builds_on_failed(self):
        for number in (0, 1):
            self.backup(number)['status'] = 'error_deleting'
            self.check_refused('error_deleting', self.backup(number)['id'])
            self.backup(number)['status'] = 'available'

    def test_the_backup_is_gone(self):
        gone = self.backup(2)['id']
        del self.cloud.things['backups'][gone]
        self.check_refused(gone, 'not exist')

    def test_what_it_builds_on_is_gone(self):
        for number in (0, 1):
            gone = self.backup(number)
            del self.cloud.things['backups'][gone['id']]
            self.check_refused(gone['id'],
                               self.chain[2].saved['backup_id'],
                               'is not in Cinder any more')
            self.cloud.things['backups'][gone['id']] = gone
        self.frame.verify(self.chain[2], self.resource)

    def test_another_size(self):
        self.backup(2)['size'] = 2
        self.check_refused('has 2 GiB', 'had 1 GiB')

    def test_what_karbor_made(self):
        """Its plugin kept little."""
        self.chain[0].saved = {
            'backup_id': self.backup(0)['id'],
            'volume_id': self.resource.id}
        self.frame.verify(self.chain[0], self.resource)
        self.chain[2].saved = {
            'backup_id': self.backup(2)['id'],
            'volume_id': self.resource.id}
        self.frame.verify(self.chain[2], self.resource)
        del self.cloud.things['backups'][self.chain[0].saved['backup_id']]
        self.check_refused('a full backup')


class DeleteTest(VolumeCase):

    def test_incrementals_above_are_conflicts_and_refusals(self):
        resource = self.new_resource()
        first = self.frame.protect(resource)
        second = self.frame.protect(resource)
        conflicts = self.frame.plugin.conflicts(self.session, first.journal)
        self.assertEqual(1, len(conflicts))
        self.assertIn(first.saved['backup_id'], conflicts[0])
        self.assertIn('Incremental backups exist', self.frame.refusal(
            self.frame.delete, first, resource))
        self.assertEqual([], self.frame.plugin.conflicts(
            self.session, second.journal))
        self.frame.delete(second, resource)
        self.frame.delete(first, resource)
        self.assertEqual({}, self.cloud.things['backups'])
        self.assertEqual([], self.frame.plugin.conflicts(
            self.session, first.journal + [
                row for row in second.journal if row.external_id is None]))

    def test_what_is_busy_is_waited_for(self):
        resource = self.new_resource()
        protect = self.frame.protect(resource)
        self.record('backups', protect.saved['backup_id']).update(
            status='creating', _looks=3)
        self.frame.delete(protect, resource)
        self.assertEqual({}, self.cloud.things['backups'])

    def test_what_can_not_be_deleted_is_said_so(self):
        resource = self.new_resource()
        protect = self.frame.protect(resource)
        self.record('backups', protect.saved['backup_id'])[
            'status'] = 'error_deleting'
        text = self.frame.refusal(self.frame.delete, protect, resource)
        self.assertIn('"error_deleting"', text)

    def test_somebody_else_deletes_at_the_same_time(self):
        resource = self.new_resource()
        protect = self.frame.protect(resource)
        backup = self.record('backups', protect.saved['backup_id'])

        def be_faster(method, path, body):
            if method == 'DELETE':
                backup['status'] = 'deleting'
        self.cloud.intercept = be_faster
        self.frame.delete(protect, resource)
        self.assertEqual({}, self.cloud.things['backups'])

    def test_other_answers_are_passed_on(self):
        resource = self.new_resource()
        protect = self.frame.protect(resource)

        def refuse(method, path, body):
            if method == 'DELETE':
                raise fixtures_cloud.Refused(403, 'policy')
        self.cloud.intercept = refuse
        with self.assertRaisesRegex(Exception, 'policy'):
            self.frame.delete(protect, resource)


class PreviewTest(VolumeCase):

    def setUp(self):
        super().setUp()
        self.previews = volume.VolumeProtection

    def _protect(self, *resources, mode='auto'):
        self.cloud.requests.clear()
        found = self.previews.preview_protect(
            self.session, resources,
            {item: {'backup_mode': mode} for item in resources})
        self.assertEqual({'GET'}, {method for method, _path
                                   in self.cloud.requests})
        return [found[item] for item in resources]

    def _restore(self, *operations, name=None):
        """Preview restoring what operations protected."""
        kept = {Resource(volume.RESOURCE_TYPE, str(number)): operation.saved
                for number, operation in enumerate(operations)}
        self.cloud.requests.clear()
        found = self.previews.preview_restore(
            self.session, kept, {item: {'restore_name': name}
                                 for item in kept})
        self.assertEqual({'GET'}, {method for method, _path
                                   in self.cloud.requests})
        return list(found.values())

    def test_full_and_incremental(self):
        fresh, known = self.new_resource(size=2), self.new_resource()
        self.frame.protect(known)
        first, next_one = self._protect(fresh, known)
        self.assertEqual(
            ('Cinder makes a full backup of 2 GiB.', 2 * 1024 ** 3, ()),
            (first.action, first.size, first.problems))
        self.assertIn('incremental', next_one.action)
        self.assertIn('at most 1 GiB', next_one.action)
        full, = self._protect(known, mode='full')
        self.assertNotIn('incremental', full.action)
        refused, fine = self._protect(fresh, known, mode='incremental')
        self.assertIn('no available backup', refused.problems[0])
        self.assertEqual((), fine.problems)

    def test_states(self):
        lost, passing, gone = (
            self.new_resource(status='error'),
            self.new_resource(status='attaching'),
            Resource(volume.RESOURCE_TYPE, 'gone'))
        lost, passing, gone = self._protect(lost, passing, gone)
        self.assertIn('"error"', lost.skipped)
        self.assertIn('"attaching"', passing.notes[0])
        self.assertIn('does not exist', gone.problems[0])
        self.assertEqual([None] * 2, [passing.skipped, gone.skipped])

    def test_what_is_left_out(self):
        resource = self.new_resource(group_id='g1')
        self.cloud.add('snapshots', volume_id=resource.id)
        preview, = self._protect(resource)
        self.assertEqual(2, len(preview.not_included))

    def test_many_volumes_cost_as_many_calls_as_one(self):
        self._protect(self.new_resource())  # asks for versions as well
        costs = []
        for number in (1, 50):
            resources = [self.new_resource() for _ in range(number)]
            self._protect(*resources)
            costs.append(len(self.cloud.requests))
            made = [self.frame.protect(item) for item in resources]
            self._restore(*made)
            costs.append(len(self.cloud.requests))
        self.assertEqual(costs[:2], costs[2:])

    def test_restoring(self):
        here = self.frame.protect(self.new_resource(
            size=2, volume_type='fast', availability_zone='east'))
        preview, = self._restore(here, name='mine')
        self.assertEqual((2 * 1024 ** 3, (), ()), (
            preview.size, preview.problems, preview.notes))
        self.assertIn('"mine"', preview.action)
        self.cloud.types.remove('fast')
        self.cloud.zones.remove('east')
        preview, = self._restore(here)
        self.assertEqual(2, len(preview.notes))
        self.assertEqual((), preview.problems)

    def test_restoring_what_can_not_be_restored(self):
        broken, gone, safe = [self.frame.protect(self.new_resource(**values))
                              for values in ({}, {}, {
                                  'volume_type': 'safe', 'encrypted': True})]
        self.record('backups', broken.saved['backup_id'])[
            'status'] = 'error'
        del self.cloud.things['backups'][gone.saved['backup_id']]
        self.cloud.types.remove('safe')
        said = [preview.problems[0] for preview
                in self._restore(broken, gone, safe)]
        for word, text in zip(('"error"', 'any more', 'encrypted'), said,
                              strict=True):
            self.assertIn(word, text)
