# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Protect, restore and delete through a worker, and what disturbs them."""

import json
import pathlib

import fixtures
from oslotest import base

from karbor_ng import errors
from karbor_ng.store import operations
from karbor_ng.store import providers
from karbor_ng.store import query
from karbor_ng.store import restores
from karbor_ng.store import services
from karbor_ng.tests.unit.protection import environment

SERVER = 'OS::Nova::Server'
VOLUME = 'OS::Cinder::Volume'
PROJECT = 'OS::Keystone::Project'

FAMILY = [
    {'type': SERVER, 'id': 's1', 'name': 'web',
     'children': [[VOLUME, 'v1'], [VOLUME, 'v2']]},
    {'type': VOLUME, 'id': 'v1', 'name': 'root'},
    {'type': VOLUME, 'id': 'v2', 'name': 'data'},
]


class ProtectionTestCase(base.BaseTestCase):

    options = {}

    def setUp(self):
        super().setUp()
        self.site = self.useFixture(
            environment.Deployment(**self.options))
        self.site.registry.put_graph(FAMILY)

    def bank_files(self):
        """Return the bank's objects but for its marker."""
        bank = pathlib.Path(self.site.path, 'bank')
        return sorted(str(path.relative_to(bank))
                      for path in bank.rglob('*') if path.is_file()
                      and path.name != 'bank.json')

    def manifest(self, checkpoint_id):
        path = [name for name in self.bank_files()
                if name.endswith(f'{checkpoint_id}/manifest.json')]
        self.assertEqual(1, len(path), self.bank_files())
        return json.loads(pathlib.Path(
            self.site.path, 'bank', path[0]).read_text())


class LifeTest(ProtectionTestCase):

    def test_whole_life(self):
        self.site.start_worker()
        checkpoint_id = self.site.protect([(SERVER, 's1')])
        checkpoint = self.site.ended(checkpoint_id)
        self.assertEqual('available', checkpoint.status)
        rows = self.site.resources(checkpoint_id)
        self.assertEqual({'s1', 'v1', 'v2'}, set(rows))
        self.assertEqual({'available'}, {r.status for r in rows.values()})
        self.assertEqual({100}, {r.progress for r in rows.values()})
        self.assertTrue(rows['s1'].in_plan)
        self.assertFalse(rows['v1'].in_plan)
        self.assertEqual(3, len(self.site.registry.objects()))
        self.check_manifest(checkpoint_id)

        restore = self.site.restored(self.site.restore(checkpoint_id))
        self.assertEqual('success', restore.status)
        self.check_restored(restore.id)

        self.site.delete(checkpoint_id)
        self.assertEqual('deleted',
                         self.site.ended(checkpoint_id, 'deleted').status)
        left = self.site.registry.objects().values()
        self.assertEqual({'restored'}, {item['label'] for item in left})
        self.assertEqual([], self.bank_files())
        self.assertEqual({'deleted'}, {
            r.status for r in self.site.resources(checkpoint_id).values()})

    def check_manifest(self, checkpoint_id):
        manifest = self.manifest(checkpoint_id)
        self.assertEqual(1, manifest['format'])
        self.assertEqual('available', manifest['status'])
        self.assertEqual('project', manifest['project_id'])
        by_id = {item['id']: item for item in manifest['resources']}
        self.assertEqual('karbor-noop-protection-plugin',
                         by_id['v1']['plugin'])
        self.assertEqual(by_id['v1']['saved']['backup_id'],
                         by_id['v1']['externals'][0]['id'])

    def check_restored(self, restore_id):
        rows = {row.id: row for row in self.site.db.read(
            restores.resources, restore_id)}
        made = self.site.registry.objects()
        server = made[rows['s1'].new_id]
        self.assertEqual({'v1': rows['v1'].new_id, 'v2': rows['v2'].new_id},
                         server['children'])

    def test_second_restore_makes_new_things(self):
        self.site.start_worker()
        checkpoint_id = self.site.protect([(VOLUME, 'v1')])
        self.site.ended(checkpoint_id)
        ids = set()
        for _ in range(2):
            restore = self.site.restored(self.site.restore(checkpoint_id))
            ids.update(row.new_id for row in self.site.db.read(
                restores.resources, restore.id))
        self.assertEqual(2, len(ids))

    def test_credentials_do_not_outlive_the_operation(self):
        self.site.caller = environment.context.Caller(
            'project', 'user', 'req', self.site.sealer.seal('secret'))
        self.site.start_worker()
        checkpoint_id = self.site.protect([(VOLUME, 'v1')])
        self.site.ended(checkpoint_id)
        operation = self.site.operation(checkpoint_id)
        self.assertEqual('done', operation.state)
        self.assertIsNone(operation.credentials)
        self.assertIsNotNone(operation.ended_at)

    def test_notes_of_plugins_are_shown(self):
        self.site.start_worker()
        checkpoint_id = self.site.protect([('OS::Test::Noted', 'x')])
        self.assertEqual('available', self.site.ended(checkpoint_id).status)
        self.assertEqual('The colour was left out. So was the sound.',
                         self.site.resources(checkpoint_id)['x'].reason)
        restore = self.site.restored(self.site.restore(checkpoint_id))
        self.assertEqual('success', restore.status)
        row = self.site.db.read(restores.resources, restore.id)[0]
        self.assertEqual('skipped', row.status)
        self.assertIn('can not restore', row.reason)

    def test_the_plugins_of_a_provider_are_published(self):
        self.site.start_worker()
        row = self.site.db.read(providers.get, environment.PROVIDER_ID)
        self.assertEqual('karbor-noop-protection-plugin', row.plugins[VOLUME])
        self.assertEqual('karbor-project-protection-plugin',
                         row.plugins[PROJECT])
        self.assertEqual(set(row.capabilities), set(row.plugins))

    def test_lost_hints_are_found_by_the_sweep(self):
        self.site.start_worker()
        self.site.hints.workers.clear()
        checkpoint_id = self.site.protect([(VOLUME, 'v1')])
        self.assertEqual('available', self.site.ended(checkpoint_id).status)


class SeenTest(ProtectionTestCase):
    """Operators see who works."""

    def listed(self):
        return self.site.db.read(services.list)

    def test_from_start_to_stop(self):
        worker = self.site.start_worker()
        found = self.site.wait(self.listed)
        self.assertEqual([worker.owner],
                         [one.service.id for one in found])
        self.site.registry.control({'hang': {'v1': ['on_main']}})
        self.site.protect([(VOLUME, 'v1')])
        self.site.wait(lambda: self.listed()[0].operations == 1)
        self.site.registry.control({})
        worker.stop()
        self.assertEqual([], self.listed())

    def test_a_living_service_can_not_be_cleaned_away(self):
        self.site.start_worker()
        self.site.wait(self.listed)
        self.site.db.write(services.clean, -1)
        self.site.wait(self.listed)

    def test_a_disabled_host_claims_nothing_and_ends_what_it_has(self):
        worker = self.site.start_worker()
        number = self.site.wait(lambda: self.site.db.read(
            services.hosts, query.Page(sort=(('id', 'asc'),))))[0].id
        self.site.registry.control({'hang': {'v1': ['on_main']}})
        running = self.site.protect([(VOLUME, 'v1')])
        self.site.wait(lambda: self.listed()[0].operations == 1)
        self.site.db.write(services.disable, number, 'Its disk is full.')
        waiting = self.site.protect([(VOLUME, 'v2')])
        self.site.wait(lambda: 'disabled' in worker.describe())
        self.site.registry.control({})
        self.assertEqual('available', self.site.ended(running).status)
        self.assertEqual('queued', self.site.operation(waiting).state)
        self.site.db.write(services.enable, number)
        self.assertEqual('available', self.site.ended(waiting).status)
        self.assertNotIn('disabled', worker.describe())


class FailureTest(ProtectionTestCase):

    def setUp(self):
        super().setUp()
        self.site.start_worker()

    def test_failing_child_stops_its_parents_only(self):
        self.site.registry.control({'fail': {'v1': ['on_main']}})
        checkpoint_id = self.site.protect([(SERVER, 's1'), (VOLUME, 'v9')])
        checkpoint = self.site.ended(checkpoint_id)
        self.assertEqual('error', checkpoint.status)
        rows = self.site.resources(checkpoint_id)
        self.assertEqual(
            {'s1': 'error', 'v1': 'error', 'v2': 'available',
             'v9': 'available'}, {k: r.status for k, r in rows.items()})
        self.assertIn('told to fail', rows['v1'].reason)
        self.assertIn('v1', rows['s1'].reason)
        operation = self.site.operation(checkpoint_id)
        self.assertEqual('failed', operation.state)
        self.assertIn('v1', operation.error_info)
        self.assertEqual('error', self.manifest(checkpoint_id)['status'])

    def test_parent_that_had_ended_fails_with_its_child(self):
        """Its only hook does not wait for children."""
        parent = 'OS::Test::Noted'
        self.site.registry.put_graph([
            *FAMILY,
            {'type': parent, 'id': 'x', 'children': [[VOLUME, 'v1']]}])
        self.site.registry.control({'fail': {'v1': ['on_complete']}})
        checkpoint_id = self.site.protect([(parent, 'x')])
        self.assertEqual('error', self.site.ended(checkpoint_id).status)
        row = self.site.resources(checkpoint_id)['x']
        self.assertEqual('error', row.status)
        self.assertIn('v1', row.reason)

    def test_failed_checkpoint_is_deleted_completely(self):
        self.site.registry.control({'fail': {'v1': ['on_complete']}})
        checkpoint_id = self.site.protect([(SERVER, 's1')])
        self.assertEqual('error', self.site.ended(checkpoint_id).status)
        self.site.registry.control({})
        self.assertNotEqual({}, self.site.registry.objects())
        self.site.delete(checkpoint_id)
        self.site.ended(checkpoint_id, 'deleted')
        self.assertEqual({}, self.site.registry.objects())
        self.assertEqual([], self.bank_files())

    def test_lost_reply_is_adopted(self):
        self.site.registry.control({'lose_reply': {'v1': ['backup']}})
        checkpoint_id = self.site.protect([(VOLUME, 'v1')])
        self.assertEqual('available', self.site.ended(checkpoint_id).status)
        self.assertEqual(1, len(self.site.registry.objects()))

    def test_failed_restore_leaves_nothing(self):
        checkpoint_id = self.site.protect([(SERVER, 's1')])
        self.site.ended(checkpoint_id)
        self.site.registry.control({'fail': {'v1': ['on_complete']}})
        restore = self.site.restored(self.site.restore(checkpoint_id))
        self.assertEqual('failed', restore.status)
        rows = {row.id: row for row in self.site.db.read(
            restores.resources, restore.id)}
        self.assertEqual('available', rows['v2'].status)
        self.assertEqual('error', rows['v1'].status)
        self.assertEqual('error', rows['s1'].status)
        left = [item['resource'] for item
                in self.site.registry.objects().values()
                if item['label'] == 'restored']
        self.assertEqual(['v2'], left)

    def test_failed_delete_can_be_repeated(self):
        checkpoint_id = self.site.protect([(SERVER, 's1')])
        self.site.ended(checkpoint_id)
        self.site.registry.control({'fail': {'v1': ['on_main']}})
        self.site.delete(checkpoint_id)
        self.site.ended(checkpoint_id, 'error-deleting')
        operation = self.site.operation(checkpoint_id, 'delete')
        self.assertIn('v1', operation.error_info)
        self.site.registry.control({})
        self.site.delete(checkpoint_id)
        self.site.ended(checkpoint_id, 'deleted')
        self.assertEqual({}, self.site.registry.objects())

    def test_missing_backup_is_said(self):
        checkpoint_id = self.site.protect([(VOLUME, 'v1')])
        self.site.ended(checkpoint_id)
        for object_id in self.site.registry.objects():
            self.site.registry.remove(object_id)
        restore = self.site.restored(self.site.restore(checkpoint_id))
        self.assertEqual('failed', restore.status)
        operation = self.site.operation(checkpoint_id, 'restore')
        self.assertIn('not in the registry', operation.error_info)


class TidyTest(ProtectionTestCase):
    """What is temporary goes at the end, however that comes."""

    def setUp(self):
        super().setUp()
        self.draft = environment.DraftProtection.draft
        self.addCleanup(self.draft.there.clear)
        self.addCleanup(setattr, self.draft, 'is_stubborn', False)
        self.site.start_worker()

    def protect(self, resource_id):
        checkpoint_id = self.site.protect([('OS::Test::Draft', resource_id)])
        return self.site.ended(checkpoint_id)

    def test_after_success(self):
        self.assertEqual('available', self.protect('good').status)
        self.assertEqual([], self.draft.there)

    def test_after_failure(self):
        checkpoint = self.protect('bad')
        self.assertEqual('error', checkpoint.status)
        self.assertIn('this one is bad', self.site.resources(
            checkpoint.id)['bad'].reason)
        self.assertEqual([], self.draft.there)

    def test_what_will_not_go_holds_nobody_up_for_long(self):
        self.useFixture(fixtures.MonkeyPatch(
            'karbor_ng.protection.work.TEMPORARY_SECONDS', 0.5))
        self.draft.is_stubborn = True
        checkpoint = self.protect('good')
        self.assertEqual('available', checkpoint.status)
        self.assertEqual(1, len(self.draft.there))
        self.draft.is_stubborn = False
        self.site.delete(checkpoint.id)
        self.site.ended(checkpoint.id, 'deleted')
        self.assertEqual([], self.draft.there)


class AcceptTest(ProtectionTestCase):

    def setUp(self):
        super().setUp()
        self.worker = self.site.start_worker()

    def test_restoring_what_is_not_available(self):
        self.site.registry.control({'hang': {'v1': ['on_main']}})
        checkpoint_id = self.site.protect([(VOLUME, 'v1')])
        problem = self.assertRaises(errors.Conflict, self.site.restore,
                                    checkpoint_id)
        self.assertIn('protecting', str(problem))
        self.site.wait(lambda: self.site.operation(
            checkpoint_id).state == 'running')
        problem = self.assertRaises(errors.Conflict, self.site.delete,
                                    checkpoint_id)
        self.assertIn('protecting', str(problem))
        self.site.registry.control({})
        self.site.ended(checkpoint_id)

    def test_deleting_what_is_being_restored(self):
        checkpoint_id = self.site.protect([(VOLUME, 'v1')])
        self.site.ended(checkpoint_id)
        self.site.registry.control({'hang': {'v1': ['on_main']}})
        restore_id = self.site.restore(checkpoint_id)
        problem = self.assertRaises(errors.InUse, self.site.delete,
                                    checkpoint_id)
        self.assertIn(restore_id, str(problem))
        self.site.registry.control({})
        self.site.restored(restore_id)

    def test_deleting_twice_is_harmless(self):
        checkpoint_id = self.site.protect([(VOLUME, 'v1')])
        self.site.ended(checkpoint_id)
        self.site.delete(checkpoint_id)
        self.site.delete(checkpoint_id)
        self.site.ended(checkpoint_id, 'deleted')
        self.site.delete(checkpoint_id)

    def test_other_projects_see_nothing(self):
        checkpoint_id = self.site.protect([(VOLUME, 'v1')])
        self.site.ended(checkpoint_id)
        self.site.caller = environment.context.Caller('other', 'u', 'r')
        self.assertRaises(errors.NotFound, self.site.restore, checkpoint_id)
        self.assertRaises(errors.NotFound, self.site.delete, checkpoint_id)

    def test_type_without_plugin(self):
        problem = self.assertRaises(
            errors.Invalid, self.site.protect, [('OS::Other::Thing', 'x')])
        self.assertIn('resources[0].type', str(problem))

    def test_wrong_parameters_fail_the_resource_only(self):
        checkpoint_id = self.site.protect(
            [(VOLUME, 'v1'), (VOLUME, 'v2')],
            {f'{VOLUME}#v1': {'name': 7}})
        self.site.ended(checkpoint_id, 'error')
        rows = self.site.resources(checkpoint_id)
        self.assertEqual('error', rows['v1'].status)
        self.assertIn('parameters', rows['v1'].reason)
        self.assertEqual('available', rows['v2'].status)


class HandBackTest(ProtectionTestCase):

    def test_stopping_worker_hands_back_at_once(self):
        first = self.site.start_worker()
        self.site.registry.control({'hang': {'v1': ['on_main']}})
        checkpoint_id = self.site.protect([(SERVER, 's1')])
        self.site.wait(lambda: self.site.resources(checkpoint_id).get('v2')
                       and self.site.resources(checkpoint_id)['v2'].status
                       == 'available')
        self.site.hints.workers.clear()
        first.stop()
        operation = self.site.operation(checkpoint_id)
        self.assertEqual('queued', operation.state)
        self.site.registry.control({})
        self.site.start_worker()
        self.assertEqual('available', self.site.ended(checkpoint_id).status)
        self.assertEqual(3, len(self.site.registry.objects()))
        operation = self.site.operation(checkpoint_id)
        self.assertEqual((2, 0), (operation.attempt, operation.resume_count))

    def _caller(self):
        return environment.context.Caller(
            'project', 'user', 'req', self.site.sealer.seal('secret'))

    def test_access_lost_amid_an_operation(self):
        self.site.caller = self._caller()
        first = self.site.start_worker()
        self.site.registry.control({'hang': {'v1': ['on_main']}})
        checkpoint_id = self.site.protect([(VOLUME, 'v1'), (VOLUME, 'v2')])
        self.site.wait(self.site.registry.objects)
        self.site.hints.workers.clear()
        first.stop()
        self.site.registry.control({})
        log = self.useFixture(fixtures.FakeLogger())
        self.site.sealer = environment.credentials.Sealer(
            [environment.credentials.new_key()])
        self.site.start_worker()
        self.site.ended(checkpoint_id, 'error')
        operation = self.site.operation(checkpoint_id)
        self.assertIn('[credentials] keys', operation.error_info)
        self.assertNotIn('Traceback', log.output)
        # Nobody may touch what was made so far; the next caller may.
        self.assertNotEqual({}, self.site.registry.objects())
        self.site.caller = self._caller()
        self.site.delete(checkpoint_id)
        self.site.ended(checkpoint_id, 'deleted')
        self.assertEqual({}, self.site.registry.objects())

    def test_what_was_restored_outlives_a_later_failure(self):
        """The bank is away when a second worker goes on with a restore."""
        first = self.site.start_worker()
        checkpoint_id = self.site.protect([(VOLUME, 'v1'), (VOLUME, 'v2')])
        self.site.ended(checkpoint_id)
        self.site.registry.control({'hang': {'v2': ['restored']}})
        restore_id = self.site.restore(checkpoint_id)

        def rows():
            return {row.id: row for row in self.site.db.read(
                restores.resources, restore_id)}
        self.site.wait(lambda: rows() and rows()['v1'].status == 'available')
        self.site.wait(lambda: len(self.site.registry.objects()) == 4)
        self.site.hints.workers.clear()
        first.stop()
        self.site.registry.control({})

        def read(*args):
            raise errors.BankError('the bank is away')
        self.useFixture(fixtures.MonkeyPatch(
            'karbor_ng.protection.manifest.read', read))
        self.site.start_worker()
        self.assertEqual('failed', self.site.restored(restore_id).status)
        self.assertEqual({'v1': 'available', 'v2': 'error'}, {
            name: row.status for name, row in rows().items()})
        left = [item['resource'] for item
                in self.site.registry.objects().values()
                if item['label'] == 'restored']
        self.assertEqual(['v1'], left)

    def test_what_a_worker_dropped_is_taken_up_again(self):
        """Its end could not be written once; nobody may hold it for ever."""
        real = operations.finish
        failures = iter([ValueError('the end is lost')])

        def finish(*args):
            for failure in failures:
                raise failure
            return real(*args)
        self.useFixture(fixtures.MonkeyPatch(
            'karbor_ng.store.operations.finish', finish))
        self.site.start_worker()
        # Something else keeps the worker renewing.
        self.site.registry.control({'hang': {'v9': ['on_main']}})
        self.site.protect([(VOLUME, 'v9')])
        checkpoint_id = self.site.protect([(VOLUME, 'v1')])
        self.assertEqual('available', self.site.ended(checkpoint_id).status)
        self.site.registry.control({})
        operation = self.site.operation(checkpoint_id)
        self.assertEqual((2, 1), (operation.attempt, operation.resume_count))

    def test_given_up_after_too_many_take_overs(self):
        self.site.start_worker().stop()
        checkpoint_id = self.site.protect([(VOLUME, 'v1')])
        operation = self.site.operation(checkpoint_id)
        for _ in range(7):
            claimed = self.site.db.write(
                operations.claim, operation.id, 'dead:worker', -1)
            self.assertIsNotNone(claimed)
        self.site.start_worker()
        self.site.ended(checkpoint_id, 'error')
        operation = self.site.operation(checkpoint_id)
        self.assertIn('take-overs', operation.error_info)
