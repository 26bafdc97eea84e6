# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What is left out of a checkpoint: when that may be, and what becomes of it.

Apart from the other tests of workers because all of it starts with a project
that holds a server and volumes.
"""

from karbor_ng.plugins import project
from karbor_ng.store import restores
from karbor_ng.tests.unit.protection import test_service

SERVER = test_service.SERVER
VOLUME = test_service.VOLUME
PROJECT = test_service.PROJECT

ALL = [
    {'type': PROJECT, 'id': 'p', 'name': 'demo',
     'children': [[SERVER, 's1'], [VOLUME, 'v1'], [VOLUME, 'v2'],
                  [VOLUME, 'v3']]},
    {'type': SERVER, 'id': 's1', 'name': 'web',
     'children': [[VOLUME, 'v1'], [VOLUME, 'v2']]},
    {'type': VOLUME, 'id': 'v1'}, {'type': VOLUME, 'id': 'v2'},
    {'type': VOLUME, 'id': 'v3'}]


class SkippingTestCase(test_service.ProtectionTestCase):

    def setUp(self):
        super().setUp()
        self.site.registry.put_graph(ALL)
        self.site.start_worker()

    def protect(self, *resources, **rules):
        """Protect while the registry is told something; return the id."""
        self.site.registry.control(rules)
        checkpoint_id = self.site.protect(resources or [(PROJECT, 'p')])
        self.site.ended(checkpoint_id)
        self.site.registry.control({})
        return checkpoint_id

    def statuses(self, checkpoint_id):
        return {name: row.status for name, row
                in self.site.resources(checkpoint_id).items()}

    def restore(self, checkpoint_id):
        """Restore; return the restore and its rows by original id."""
        restore = self.site.restored(self.site.restore(checkpoint_id))
        return restore, {row.id: row for row in self.site.db.read(
            restores.resources, restore.id)}


class SkippedTest(SkippingTestCase):

    def test_what_a_project_holds_may_be_skipped(self):
        checkpoint_id = self.protect(skip={'v3': ['on_prepare_finish']})
        self.assertEqual('available',
                         self.site.checkpoint(checkpoint_id).status)
        self.assertEqual(
            {'p': 'available', 's1': 'available', 'v1': 'available',
             'v2': 'available', 'v3': 'skipped'},
            self.statuses(checkpoint_id))
        row = self.site.resources(checkpoint_id)['v3']
        self.assertEqual('told to be skipped at on_prepare_finish',
                         row.reason)
        kept = {item['id']: item
                for item in self.manifest(checkpoint_id)['resources']}
        self.assertEqual(('skipped', row.reason),
                         (kept['v3']['status'], kept['v3']['reason']))

    def test_no_other_hook_runs_after_it(self):
        checkpoint_id = self.protect(
            skip={'v3': ['on_prepare_begin']},
            fail={'v3': ['on_prepare_finish', 'on_main', 'on_complete']})
        row = self.site.resources(checkpoint_id)['v3']
        self.assertEqual(('skipped', 'told to be skipped at '
                          'on_prepare_begin'), (row.status, row.reason))

    def test_what_it_made_goes_and_nothing_points_to_it(self):
        checkpoint_id = self.protect(skip={'v3': ['on_complete']})
        row = self.site.resources(checkpoint_id)['v3']
        self.assertEqual(('skipped', {}, None, None), (
            row.status, row.saved, row.backup_id, row.size))
        left = {item['resource'] for item
                in self.site.registry.objects().values()}
        self.assertEqual({'s1', 'v1', 'v2'}, left)

    def test_it_is_neither_restored_nor_in_the_way_of_deleting(self):
        checkpoint_id = self.protect(skip={'v3': ['on_main'],
                                           's1': ['on_prepare_begin']})
        restore, rows = self.restore(checkpoint_id)
        self.assertEqual('success', restore.status)
        self.assertEqual(
            {'p': 'available', 's1': 'skipped', 'v1': 'available',
             'v2': 'available', 'v3': 'skipped'},
            {name: row.status for name, row in rows.items()})
        self.assertIn('told to be skipped', rows['v3'].reason)
        self.site.delete(checkpoint_id)
        self.site.ended(checkpoint_id, 'deleted')
        self.assertEqual({'restored'}, {
            item['label'] for item
            in self.site.registry.objects().values()})
        self.assertEqual([], self.bank_files())

    def test_what_was_asked_for_fails(self):
        checkpoint_id = self.protect(
            (PROJECT, 'p'), (VOLUME, 'v3'), skip={'v3': ['on_main']})
        self.assertEqual('error', self.site.checkpoint(checkpoint_id).status)
        self.assertEqual(('error', 'error', 'available'), tuple(
            self.statuses(checkpoint_id)[name] for name in ('v3', 'p', 's1')))

    def test_what_a_server_needs_fails_with_it(self):
        checkpoint_id = self.protect(skip={'v1': ['on_prepare_finish']})
        self.assertEqual(
            {'p': 'error', 's1': 'error', 'v1': 'error', 'v2': 'available',
             'v3': 'available'}, self.statuses(checkpoint_id))

    def test_what_a_skipped_server_needed_may_be_skipped(self):
        checkpoint_id = self.protect(skip={'s1': ['on_prepare_begin'],
                                           'v1': ['on_prepare_finish']})
        self.assertEqual(
            {'p': 'available', 's1': 'skipped', 'v1': 'skipped',
             'v2': 'available', 'v3': 'available'},
            self.statuses(checkpoint_id))

    def test_a_skipped_parent_stays_so_when_its_child_fails(self):
        checkpoint_id = self.protect(skip={'s1': ['on_prepare_begin']},
                                     fail={'v1': ['on_main']})
        self.assertEqual(
            {'p': 'error', 's1': 'skipped', 'v1': 'error',
             'v2': 'available', 'v3': 'available'},
            self.statuses(checkpoint_id))


class RestoreTest(SkippingTestCase):

    def restore_with(self, checkpoint_id, **rules):
        self.site.registry.control(rules)
        self.addCleanup(self.site.registry.control, {})
        return self.restore(checkpoint_id)

    def restored_objects(self):
        return {item['resource']: item for item
                in self.site.registry.objects().values()
                if item['label'] == 'restored'}

    def test_a_parent_may_do_without(self):
        restore, rows = self.restore_with(
            self.protect(), skip={'v1': ['on_complete']})
        self.assertEqual('success', restore.status)
        self.assertEqual(('skipped', None, {}), (
            rows['v1'].status, rows['v1'].new_id, rows['v1'].saved))
        self.assertIn('told to be skipped', rows['v1'].reason)
        made = self.restored_objects()
        self.assertEqual({'s1', 'v2', 'v3'}, set(made))
        self.assertEqual({'v2': rows['v2'].new_id}, made['s1']['children'])

    def test_what_the_plan_names_fails(self):
        checkpoint_id = self.protect((SERVER, 's1'), (VOLUME, 'v1'))
        restore, rows = self.restore_with(
            checkpoint_id, skip={'v1': ['on_main']})
        self.assertEqual('failed', restore.status)
        self.assertEqual(
            {'s1': 'error', 'v1': 'error', 'v2': 'available'},
            {name: row.status for name, row in rows.items()})


class TakeOverTest(SkippingTestCase):

    def test_what_was_skipped_stays_skipped(self):
        """Another worker goes on, which would not skip it itself."""
        self.site.registry.control({
            'skip': {'s1': ['on_prepare_begin']},
            'hang': {'v1': ['on_main']}})
        checkpoint_id = self.site.protect([(PROJECT, 'p')])
        self.site.wait(lambda: self.site.resources(checkpoint_id)
                       and self.statuses(checkpoint_id)['s1'] == 'skipped')
        for worker in self.site.hints.workers:
            worker.stop()
        self.site.hints.workers.clear()
        # Only who knows that s1 was skipped may skip v1.
        self.site.registry.control({'skip': {'v1': ['on_complete']}})
        self.site.start_worker()
        self.assertEqual('available', self.site.ended(checkpoint_id).status)
        self.assertEqual(
            {'p': 'available', 's1': 'skipped', 'v1': 'skipped',
             'v2': 'available', 'v3': 'available'},
            self.statuses(checkpoint_id))
        self.assertEqual(2, self.site.operation(checkpoint_id).attempt)


class NotIncludedTest(SkippingTestCase):

    def test_a_container_says_what_it_leaves_out(self):
        rows = self.site.resources(self.protect())
        said = rows['p'].saved['not_included']
        self.assertTrue(said)
        self.assertEqual(
            list(project.ProjectProtection.leaves_out), said)

    def test_it_is_said_again_when_restoring(self):
        checkpoint_id = self.protect(leave_out={'v3': ['on_main']})
        text = 'Told to leave something out at on_main.'
        row = self.site.resources(checkpoint_id)['v3']
        self.assertEqual(('available', [text]),
                         (row.status, row.saved['not_included']))
        _restore, rows = self.restore(checkpoint_id)
        self.assertEqual([text], rows['v3'].saved['not_included'])
        self.assertTrue(rows['p'].saved['not_included'])

    def test_notes_of_protecting_are_not_repeated(self):
        checkpoint_id = self.protect(('OS::Test::Noted', 'x'))
        self.assertIn('colour', self.site.resources(
            checkpoint_id)['x'].reason)
        _restore, rows = self.restore(checkpoint_id)
        self.assertNotIn('notes', rows['x'].saved)
