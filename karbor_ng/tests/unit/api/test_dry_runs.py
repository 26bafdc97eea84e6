# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Dry runs: what they tell, what they refuse, and that they do nothing.

The plugins are those of this file and the no-op one; projects, which are
containers, are protected by the real plugin.
"""

from oslotest import base

from karbor_ng import errors
from karbor_ng.plugins import api
from karbor_ng.plugins import project
from karbor_ng.store import checkpoints
from karbor_ng.store import plans
from karbor_ng.store import providers
from karbor_ng.tests import fixtures as small
from karbor_ng.tests.unit.api import environment
from karbor_ng.tests.unit.api.environment import APP_SERVER
from karbor_ng.tests.unit.api.environment import CHECKPOINT_ID
from karbor_ng.tests.unit.api.environment import DATA_VOLUME
from karbor_ng.tests.unit.api.environment import IMAGE
from karbor_ng.tests.unit.api.environment import OWNER
from karbor_ng.tests.unit.api.environment import PLAN_ID
from karbor_ng.tests.unit.api.environment import PROJECT
from karbor_ng.tests.unit.api.environment import PROVIDER_ID
from karbor_ng.tests.unit.api.environment import READER
from karbor_ng.tests.unit.api.environment import RUNNING_CHECKPOINT_ID
from karbor_ng.tests.unit.api.environment import SERVER
from karbor_ng.tests.unit.api.environment import STRANGER
from karbor_ng.tests.unit.api.environment import SYSTEM_VOLUME
from karbor_ng.tests.unit.api.environment import VOLUME

HERE = 'karbor_ng.tests.unit.api.test_dry_runs'
NOOP = 'karbor-noop-protection-plugin'
CONTAINER = 'OS::Keystone::Project'
CHECKPOINTS = f'/providers/{PROVIDER_ID}/checkpoints'
GIB = 1024 ** 3


class Told(api.Protection):
    """Answers what ``answers`` has under a resource's id."""

    answers = {}
    asked = []

    @classmethod
    def preview_protect(cls, session, resources, parameters):
        cls.asked.append({item.id: parameters[item] for item in resources})
        if 'cloud' in cls.answers:
            raise cls.answers['cloud']
        return {item: cls.answers.get(item.id, api.Preview('Copied.'))
                for item in resources}

    @classmethod
    def preview_restore(cls, session, kept, parameters):
        cls.asked.append({item.id: (saved, parameters[item])
                          for item, saved in kept.items()})
        return {item: cls.answers.get(item.id, api.Preview('Put back.'))
                for item in kept}


class DryRunTestCase(base.BaseTestCase):

    def setUp(self):
        super().setUp()
        self.api = self.useFixture(environment.Api())
        self.api.add_history()
        self._use({VOLUME: f'{HERE}.Told', SERVER: NOOP,
                   CONTAINER: 'karbor-project-protection-plugin'})
        Told.answers.clear()
        Told.asked.clear()

    def _use(self, plugins, verbs=('protect', 'restore', 'delete')):
        self.api.db.write(_change_provider, {
            'plugins': plugins,
            'capabilities': {name: list(verbs) for name in plugins}})

    def tell(self, resource_id, action='Told.', **values):
        Told.answers[resource_id] = api.Preview(action, **values)

    def plan(self, *resources, **parameters):
        """Insert a plan of the owner's; return its id."""
        plan_id = small.new_id()
        self.api.db.write(plans.create, {
            'id': plan_id, 'project_id': PROJECT, 'name': 'plan',
            'provider_id': PROVIDER_ID, 'status': 'suspended',
            'parameters': parameters,
            'resources': [{'type': kind, 'id': number, 'name': number}
                          for kind, number in resources]})
        return plan_id

    def protect(self, plan_id=PLAN_ID, status=200, query='?dry_run=true',
                token=OWNER):
        answer = self.api.call('POST', CHECKPOINTS + query, {
            'checkpoint': {'plan_id': plan_id}}, token=token)
        self.assertEqual(status, answer.status_int, answer.text)
        return answer.json.get('dry_run') or answer.json

    def restore(self, checkpoint_id=CHECKPOINT_ID, status=200,
                parameters=None, query='?dry_run=true', token=OWNER):
        answer = self.api.call('POST', f'/restores{query}', {'restore': {
            'provider_id': PROVIDER_ID, 'checkpoint_id': checkpoint_id,
            'parameters': parameters or {}}}, token=token)
        self.assertEqual(status, answer.status_int, answer.text)
        return answer.json.get('dry_run') or answer.json

    def by_id(self, found):
        return {item['id']: item for item in found['resources']}


def _change_provider(session, values):
    for name, value in values.items():
        setattr(providers.get(session, PROVIDER_ID), name, value)


class ProtectTest(DryRunTestCase):

    def test_all_resources_are_told(self):
        self.tell(DATA_VOLUME, 'Copied slowly.', size=GIB,
                  notes=('It is in use.',), not_included=('The label.',))
        self.tell(SYSTEM_VOLUME, size=2 * GIB)
        found = self.protect()
        self.assertEqual(
            (PROVIDER_ID, PLAN_ID, None, True, 3 * GIB),
            tuple(found[name] for name in (
                'provider_id', 'plan_id', 'checkpoint_id', 'possible',
                'size')))
        self.assertEqual({
            'id': DATA_VOLUME, 'type': VOLUME, 'name': 'Data volume',
            'in_plan': False, 'action': 'Copied slowly.', 'size': GIB,
            'problems': [], 'notes': ['It is in use.'],
            'not_included': ['The label.']}, self.by_id(found)[DATA_VOLUME])
        self.assertTrue(self.by_id(found)[APP_SERVER]['in_plan'])
        self.assertIn(DATA_VOLUME, found['resource_graph'])

    def test_nothing_is_done(self):
        before = self.api.rows()
        self.protect()
        self.restore()
        self.assertEqual(before, self.api.rows())
        self.assertEqual([], self.api.hints.queued)

    def test_false_and_nothing_are_the_real_thing(self):
        for query in ('', '?dry_run=false'):
            found = self.protect(query=query)
            self.assertEqual('protecting', found['checkpoint']['status'])
            found = self.restore(query=query)
            self.assertEqual('started', found['restore']['status'])

    def test_plugins_are_asked_once_with_full_options(self):
        plan_id = self.plan(
            (VOLUME, DATA_VOLUME), (VOLUME, SYSTEM_VOLUME),
            **{f'{VOLUME}#{DATA_VOLUME}': {'backup_mode': 'full'}})
        self.protect(plan_id)
        self.assertEqual([{
            DATA_VOLUME: {'backup_mode': 'full', 'force': True},
            SYSTEM_VOLUME: {'backup_mode': 'auto', 'force': True}}],
            Told.asked)

    def test_problems_make_it_impossible(self):
        self.tell(DATA_VOLUME, problems=('No backup to build on.',))
        found = self.protect()
        self.assertFalse(found['possible'])
        self.assertIsNotNone(found['size'])
        self.assertEqual(['No backup to build on.'],
                         self.by_id(found)[DATA_VOLUME]['problems'])

    def test_wrong_options_are_a_problem(self):
        plan_id = self.plan((VOLUME, DATA_VOLUME),
                            **{VOLUME: {'backup_mode': 'never'}})
        problem, = self.by_id(self.protect(plan_id))[DATA_VOLUME]['problems']
        self.assertIn('never', problem)

    def test_what_is_missing_is_a_problem(self):
        gone = [small.new_id() for _ in range(5)]
        for ids in (gone[:1], gone):
            plan_id = self.plan((VOLUME, DATA_VOLUME),
                                *[(VOLUME, number) for number in ids])
            found = self.protect(plan_id)
            self.assertFalse(found['possible'])
            self.assertEqual(
                {number: [f'There is no {VOLUME} {number}.']
                 for number in ids},
                {number: item['problems'] for number, item
                 in self.by_id(found).items() if number != DATA_VOLUME})
        self.assertEqual([[DATA_VOLUME]] * 2,
                         [list(asked) for asked in Told.asked])

    def test_a_failing_cloud_is_not_our_fault(self):
        for problem, status in ((ConnectionError('away'), 503),
                                (ValueError('a mistake'), 503),
                                (errors.Forbidden('no'), 403)):
            Told.answers['cloud'] = problem
            self.protect(status=status)

    def test_a_plugin_that_is_not_installed_here(self):
        self._use({VOLUME: 'other.release:Plugin', SERVER: NOOP})
        item = self.by_id(self.protect())[DATA_VOLUME]
        self.assertEqual([], item['problems'])
        self.assertEqual(1, len(item['notes']))


class SkippedTest(DryRunTestCase):
    """The same rules as in the worker; see also its tests."""

    def setUp(self):
        super().setUp()
        self._use({VOLUME: f'{HERE}.Told', SERVER: f'{HERE}.Told',
                   CONTAINER: 'karbor-project-protection-plugin'})
        self.api.registry.put_graph([
            {'type': CONTAINER, 'id': 'p', 'children': [
                [SERVER, APP_SERVER], [VOLUME, DATA_VOLUME],
                [VOLUME, SYSTEM_VOLUME], [IMAGE, 'i']]},
            {'type': SERVER, 'id': APP_SERVER,
             'children': [[VOLUME, DATA_VOLUME]]},
            {'type': VOLUME, 'id': DATA_VOLUME},
            {'type': VOLUME, 'id': SYSTEM_VOLUME},
            {'type': IMAGE, 'id': 'i'}])
        self.whole = self.plan((CONTAINER, 'p'))

    def test_what_only_the_project_wants(self):
        self.tell(SYSTEM_VOLUME, skipped='it is broken')
        found = self.protect(self.whole)
        self.assertTrue(found['possible'])
        items = self.by_id(found)
        self.assertEqual('Skipped: it is broken',
                         items[SYSTEM_VOLUME]['action'])
        self.assertEqual(
            f'Skipped: provider OS Infra Provider has no plugin for '
            f'{IMAGE}.', items['i']['action'])
        self.assertEqual(list(project.ProjectProtection.leaves_out),
                         items['p']['not_included'])

    def test_what_a_server_needs(self):
        self.tell(DATA_VOLUME, skipped='it is broken')
        found = self.protect(self.whole)
        self.assertFalse(found['possible'])
        self.assertEqual(['it is broken'],
                         self.by_id(found)[DATA_VOLUME]['problems'])

    def test_what_only_a_skipped_server_needs(self):
        self.tell(APP_SERVER, skipped='it is in ERROR')
        self.tell(DATA_VOLUME, skipped='it is broken')
        found = self.protect(self.whole)
        self.assertTrue(found['possible'])
        self.assertEqual(
            {'Skipped: it is in ERROR', 'Skipped: it is broken'},
            {self.by_id(found)[number]['action']
             for number in (APP_SERVER, DATA_VOLUME)})

    def test_what_the_plan_names(self):
        self.tell(SYSTEM_VOLUME, skipped='it is broken')
        found = self.protect(
            self.plan((CONTAINER, 'p'), (VOLUME, SYSTEM_VOLUME)))
        self.assertFalse(found['possible'])


class RestoreTest(DryRunTestCase):

    def test_all_resources_are_told(self):
        self.tell(DATA_VOLUME, size=GIB, notes=('The type is gone.',))
        found = self.restore(parameters={
            f'{VOLUME}#{DATA_VOLUME}': {'restore_name': 'again'}})
        self.assertEqual(
            (PROVIDER_ID, PLAN_ID, CHECKPOINT_ID, True, GIB),
            tuple(found[name] for name in (
                'provider_id', 'plan_id', 'checkpoint_id', 'possible',
                'size')))
        items = self.by_id(found)
        self.assertEqual({
            'id': DATA_VOLUME, 'type': VOLUME, 'name': 'Data volume',
            'in_plan': False, 'action': 'Told.', 'size': GIB,
            'problems': [], 'notes': ['The type is gone.'],
            'not_included': []}, items[DATA_VOLUME])
        self.assertEqual([environment.NOT_INCLUDED],
                         items[SYSTEM_VOLUME]['not_included'])
        asked, = Told.asked
        saved, options = asked[DATA_VOLUME]
        self.assertEqual('backup of Data volume', saved['backup_id'])
        self.assertEqual({'restore_name': 'again'}, options)

    def test_what_was_skipped_is_skipped(self):
        self.api.db.write(checkpoints.change_each, CHECKPOINT_ID, {
            (VOLUME, DATA_VOLUME): {
                'status': 'skipped', 'reason': 'it was broken', 'saved': {}}})
        found = self.restore()
        self.assertTrue(found['possible'])
        self.assertEqual('Skipped: it was broken',
                         self.by_id(found)[DATA_VOLUME]['action'])

    def test_what_can_not_be_restored_is_skipped(self):
        self._use({VOLUME: f'{HERE}.Told', SERVER: NOOP}, ['protect'])
        for item in self.restore()['resources']:
            self.assertIn('can not restore', item['action'])

    def test_what_the_plan_does_not_name_may_be_skipped(self):
        self.tell(DATA_VOLUME, skipped='it is gone')
        found = self.restore()
        self.assertTrue(found['possible'])
        self.assertEqual('Skipped: it is gone',
                         self.by_id(found)[DATA_VOLUME]['action'])
        self.tell(SYSTEM_VOLUME, skipped='it is gone')
        found = self.restore()
        self.assertEqual(['it is gone'],
                         self.by_id(found)[SYSTEM_VOLUME]['problems'])

    def test_problems_make_it_impossible(self):
        self.tell(SYSTEM_VOLUME, problems=('The backup is gone.',))
        self.assertFalse(self.restore()['possible'])


class RefusalTest(DryRunTestCase):
    """What the real thing refuses, its dry run refuses as well."""

    def test_the_query_string(self):
        for query in ('?dry_run=yes', '?dry_run=', '?dryrun=true',
                      '?dry_run=true&dry_run=true', '?dry_run=True'):
            self.protect(query=query, status=400)
            self.restore(query=query, status=400)

    def test_the_policy(self):
        self.protect(token=READER, status=403)
        self.restore(token=READER, status=403)

    def test_what_is_not_the_callers(self):
        self.protect(token=STRANGER, status=404)
        self.restore(token=STRANGER, status=404)
        self.protect(small.new_id(), status=404)
        self.restore(small.new_id(), status=404)

    def test_the_state(self):
        found = self.restore(RUNNING_CHECKPOINT_ID, status=409)
        self.assertIn('protecting', str(found))

    def test_the_parameters(self):
        self.restore(parameters={VOLUME: {'colour': 'red'}}, status=400)
        self.protect(self.plan((IMAGE, 'i')), status=400)

    def test_the_quota(self):
        self.api.set('quota_checkpoints', 1)
        self.protect(status=413)

    def test_the_body(self):
        answer = self.api.call('POST', f'{CHECKPOINTS}?dry_run=true', {
            'checkpoint': {'plan_id': PLAN_ID, 'extra_info': {'a': 'b'},
                           'extra-info': {'a': 'c'}}})
        self.assertEqual(400, answer.status_int)
