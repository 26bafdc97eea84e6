# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Karbor's command lines, unmodified, against this API.

What they print is held against what the API itself answers. Where a program
can not do something by its own fault, a test says so by name.
"""

import datetime
import os
import uuid

import testscenarios

from karbor_ng.tests.functional import base
from karbor_ng.tests.functional import shells

#: Fields that the programs print in words of their own.
IN_OTHER_WORDS = frozenset(
    ['protection_plan', 'metadata', 'dependent_types'])
#: Providers of the stack; tests have others for a while.
STANDING = frozenset([base.SWIFT_PROVIDER, base.FILESYSTEM_PROVIDER,
                      base.NOOP_PROVIDER])


class ClientTestCase(testscenarios.WithScenarios, base.StackTestCase):

    scenarios = [('karbor', {'program': shells.Karbor}),
                 ('openstack', {'program': shells.OpenStack})]

    def setUp(self):
        super().setUp()
        self.shell = self.program(self.demo)
        self.name = f'client-{uuid.uuid4().hex[:8]}'

    def same(self, printed, answered, key='id'):
        """What is printed must be what the API answers, field by field."""
        if isinstance(printed, dict):
            printed, answered = [printed], [answered]
        self.assertEqual([item[key] for item in answered],
                         [row[key] for row in printed])
        for row, item in zip(printed, answered, strict=True):
            for field in set(row) - IN_OTHER_WORDS:
                self.assertEqual(shells.meaning(item[field]),
                                 shells.meaning(row[field]), field)

    def same_whole(self, printed, answered):
        """As above, and no field of the answer may be missing."""
        self.same(printed, answered)
        self.assertEqual(set(answered) - {'links'}, set(printed))

    def listed(self, noun, ids, *words):
        """Return the rows of these things; others' tests make more."""
        return [row for row in self.shell.rows(noun, *words)
                if row['id'] in ids]

    def one(self, path, key):
        return self.request('GET', path)[key]

    def make_plan(self, volume, provider=base.NOOP_PROVIDER, *words):
        """Make a plan of one volume with the shell; return its fields."""
        plan = self.shell.fields(
            'plan', 'create', self.name, provider,
            f'{volume.id}={base.VOLUME}=data', *words)
        self.addCleanup(self.demo.karbor.delete, f'/plans/{plan["id"]}')
        return plan

    def make_checkpoint(self, plan, *words):
        """Protect with the shell; return path and fields of the answer."""
        provider = plan['provider_id']
        made = self.shell.fields('checkpoint', 'create', provider,
                                 plan['id'], *words)
        path = f'/providers/{provider}/checkpoints/{made["id"]}'
        self.addCleanup(self._remove_checkpoint, path)
        return path, made

    def _remove_checkpoint(self, path):
        if self.ended_somehow(path)['status'] != 'deleted':
            self.delete(path)

    def ended_somehow(self, path):
        return base.wait(lambda: self._if_ended(path), what=f'end of {path}')

    def _if_ended(self, path):
        found = self.one(path, 'checkpoint')
        return found['status'] not in ('protecting', 'deleting') and found

    def make_restore(self, path, *words):
        """Restore with the shell; return the answer's fields."""
        _, _, provider, _, checkpoint_id = path.split('/')
        return self.shell.fields('restore', 'create', provider,
                                 checkpoint_id, *words)

    def restored(self, restore_id):
        """Wait for a restore's good end as a user would; return its row."""
        def look():
            row, = self.listed('restore', {restore_id})
            return row['status'] != 'started' and row
        row = base.wait(look, what=f'end of restore {restore_id}')
        self.assertEqual('success', row['status'])
        return row


class VolumeTestCase(ClientTestCase):
    """All tests of a class use one empty volume: bytes do not count."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.owner = base.User('demo')
        made = cls.owner.cloud.block_storage.create_volume(
            name='client', size=1)
        cls.volume = cls.owner.volume_in(made.id, 'available')

    @classmethod
    def tearDownClass(cls):
        cls.owner.delete_volume(cls.volume.id)
        super().tearDownClass()


class ProviderTest(ClientTestCase):

    def test_list(self):
        every = [item for item in self.one('/providers?sort=name:asc',
                                           'providers')
                 if item['id'] in STANDING]
        up, down = ('--sort', 'name:asc'), ('--sort', 'name:desc')
        self.same(self.listed('provider', STANDING, *up), every)
        self.same(self.listed('provider', STANDING, *down), every[::-1])
        self.same(self.listed('provider', STANDING, *up, '--marker',
                              every[0]['id']), every[1:])
        self.assertEqual(2, len(self.shell.rows('provider', '--limit', '2')))
        self.same(self.shell.rows('provider', '--name', 'No-op Provider'),
                  [item for item in every
                   if item['id'] == base.NOOP_PROVIDER])

    def test_show(self):
        path = f'/providers/{base.NOOP_PROVIDER}'
        self.same_whole(
            self.shell.fields('provider', 'show', base.NOOP_PROVIDER),
            self.one(path, 'provider'))

    def test_unknown(self):
        said = self.shell.say('provider', 'show', str(uuid.uuid4()), code=1)
        self.assertRegex(said, 'HTTP 404|No provider with a name or ID')


class ProtectableTest(VolumeTestCase):

    def test_types(self):
        types = self.one('/protectables', 'protectable_type')
        self.assertIn(base.VOLUME, types)
        self.assertEqual(sorted(types), sorted(
            row['protectable_type']
            for row in self.shell.rows('protectable')))
        shown = self.shell.fields('protectable', 'show', base.PROJECT)
        self.same(shown, self.one(f'/protectables/{base.PROJECT}',
                                  'protectable_type'), key='name')
        self.assertIn(base.VOLUME, shown['dependent_types'])

    def test_instances(self):
        volume = self.volume
        noun, words = 'protectable instance', (base.VOLUME,)
        path = f'/protectables/{base.VOLUME}/instances/{volume.id}'
        answered = self.one(path, 'instance')
        self.same(self.listed(noun, {volume.id}, *words), [answered])
        self.same_whole(self.shell.fields(noun, 'show', *words, volume.id),
                        answered)
        self.assertEqual(1, len(self.shell.rows(noun, *words,
                                                '--limit', '1')))
        project, = self.shell.rows(noun, base.PROJECT)
        self.assertEqual(self.demo.project_id, project['id'])
        self.assertIn(volume.id, {
            child['id'] for child
            in shells.meaning(project['dependent_resources'])})

    def test_unknown(self):
        said = self.shell.say('protectable instance', 'show', base.VOLUME,
                              str(uuid.uuid4()), code=1)
        self.assertIn('(HTTP 404)', said)


class PlanTest(VolumeTestCase):

    def test_create_and_show(self):
        plan = self.make_plan(
            self.volume, base.NOOP_PROVIDER, '--description', 'in words',
            '--parameters', f'resource_type={base.VOLUME},name=all',
            '--parameters', f'resource_type={base.VOLUME},'
            f'resource_id={self.volume.id},name=one')
        answered = self.one(f'/plans/{plan["id"]}', 'plan')
        self.assertEqual('in words', answered['description'])
        self.assertEqual(
            {base.VOLUME: {'name': 'all'},
             f'{base.VOLUME}#{self.volume.id}': {'name': 'one'}},
            answered['parameters'])
        self.same_whole(plan, answered)
        self.same_whole(self.shell.fields('plan', 'show', plan['id']),
                        answered)

    def test_create_with_json(self):
        plan = self.make_plan(
            self.volume, base.FILESYSTEM_PROVIDER, '--parameters-json',
            '{"OS::Cinder::Volume": {"backup_mode": "full"}}')
        answered = self.one(f'/plans/{plan["id"]}', 'plan')
        self.assertEqual({base.VOLUME: {'backup_mode': 'full'}},
                         answered['parameters'])
        self.same_whole(plan, answered)

    def test_create_of_nothing(self):
        said = self.shell.say(
            'plan', 'create', 'no', base.NOOP_PROVIDER,
            f'{uuid.uuid4()}={base.VOLUME}=gone', code=1)
        self.assertIn('can not be found', said)

    def test_list(self):
        plans = [self.make_plan(self.volume) for _ in range(2)]
        ids = {plan['id'] for plan in plans}
        answered = self.one(
            f'/plans?name={self.name}&sort=id:asc', 'plans')
        named = ('--name', self.name, '--sort', 'id:asc')
        self.same(self.shell.rows('plan', *named), answered)
        self.same(self.shell.rows('plan', *named, '--limit', '1'),
                  answered[:1])
        self.same(self.shell.rows('plan', *named, '--marker',
                                  answered[0]['id']), answered[1:])
        self.assertEqual([], self.listed('plan', ids, '--status', 'started'))

    def test_update(self):
        plan = self.make_plan(self.volume)
        printed = self.shell.fields(
            'plan', 'update', plan['id'], '--name', 'new', '--description',
            'other words', '--status', 'started', '--resources',
            f'{self.volume.id}={base.VOLUME}=renamed')
        answered = self.one(f'/plans/{plan["id"]}', 'plan')
        self.assertEqual(
            ('new', 'other words', 'started', 'renamed'),
            (answered['name'], answered['description'], answered['status'],
             answered['resources'][0]['name']))
        self.same_whole(printed, answered)

    def test_delete_by_id_and_name(self):
        name = f'other-{self.name}'
        first = self.make_plan(self.volume)
        second = self.make_plan(self.volume)
        self.shell.say('plan', 'update', second['id'], '--name', name)
        self.shell.say('plan', 'delete', first['id'], name)
        for plan in (first, second):
            self.request('GET', f'/plans/{plan["id"]}', expect=404)
        said = self.shell.say('plan', 'delete', first['id'], code=1)
        self.assertIn('No plan with a name or ID', said)

    def test_administrators_see_others(self):
        plan = self.make_plan(self.volume)
        words = ('--tenant', '--all-tenants')
        if self.program is shells.OpenStack:
            words = ('--project', '--all-projects')
        everyone = words[1:]
        self.shell = self.program(base.User('admin'))
        for narrow in (words[:1] + (self.demo.project_id,), everyone):
            self.same(self.listed('plan', {plan['id']}, *narrow),
                      [self.one(f'/plans/{plan["id"]}', 'plan')])
        self.shell = self.program(base.User('demo2'))
        self.assertEqual([], self.listed('plan', {plan['id']}, *everyone))


class CheckpointTest(VolumeTestCase):

    def setUp(self):
        super().setUp()
        self.plan = self.make_plan(self.volume)

    def test_life(self):
        """Create, list, show, delete, and the log of it all."""
        path, made = self.make_checkpoint(
            self.plan, '--extra_info', 'reason=upgrade', 'by=hand')
        self.assertEqual('protecting', made['status'])
        # A program that decodes the graph at once must find one.
        self.assertEqual([{}, []], shells.meaning(made['resource_graph']))
        answered = self.ended(path)
        self.assertEqual({'reason': 'upgrade', 'by': 'hand'},
                         shells.meaning(answered['extra_info']))
        printed = self.shell.fields('checkpoint', 'show',
                                    base.NOOP_PROVIDER, made['id'])
        self.same_whole(printed, answered)
        self.assertIn(self.plan['id'], printed['protection_plan'])
        self.check_log(made['id'], 'protect')
        self.shell.say('checkpoint', 'delete', base.NOOP_PROVIDER,
                       made['id'])
        self.ended(path, 'deleted')
        self.check_log(made['id'], 'delete')

    def check_log(self, checkpoint_id, kind):
        newest = self.shell.rows('operationlog', '--limit', '100',
                                 '--sort', 'created_at:desc')
        row = next(row for row in newest
                   if row['checkpoint_id'] == checkpoint_id
                   and row['operation_type'] == kind)
        answered = self.one(f'/operation_logs/{row["id"]}', 'operation_log')
        self.same(row, answered)
        self.same_whole(
            self.shell.fields('operationlog', 'show', row['id']), answered)

    def test_list(self):
        paths = [self.make_checkpoint(self.plan)[0] for _ in range(2)]
        newest = [self.ended(path) for path in reversed(paths)]
        words = (base.NOOP_PROVIDER, '--plan_id', self.plan['id'],
                 '--sort', 'created_at:desc')
        rows = self.shell.rows('checkpoint', *words)
        self.same(rows, newest)
        self.assertEqual(
            f'Name: {self.plan["name"]}\nId: {self.plan["id"]}',
            rows[0]['protection_plan'])
        self.same(self.shell.rows('checkpoint', *words, '--limit', '1'),
                  newest[:1])
        self.same(self.shell.rows('checkpoint', *words, '--marker',
                                  newest[0]['id']), newest[1:])
        self.check_dates(words, newest)

    def check_dates(self, words, newest):
        today = datetime.datetime.now(datetime.UTC).date()
        before = str(today - datetime.timedelta(2))
        after = str(today + datetime.timedelta(2))
        self.same(self.shell.rows('checkpoint', *words, '--start_date',
                                  before, '--end_date', after), newest)
        self.assertEqual([], self.shell.rows('checkpoint', *words,
                                             '--start_date', after))

    def test_unknown(self):
        self.shell.say('checkpoint', 'delete', base.NOOP_PROVIDER,
                       str(uuid.uuid4()), code=1)
        said = self.shell.say('checkpoint', 'show', base.NOOP_PROVIDER,
                              str(uuid.uuid4()), code=1)
        self.assertIn('(HTTP 404)', said)

    def test_reset_state_is_not_there(self):
        """The one command of these nouns that this API does not know."""
        path, made = self.make_checkpoint(self.plan)
        self.ended(path)
        said = self.shell.say('checkpoint', 'reset-state',
                              base.NOOP_PROVIDER, made['id'], code=1)
        self.assertIn('(HTTP 405)', said)
        self.ended(path)

    def test_restore(self):
        path, made = self.make_checkpoint(self.plan)
        self.ended(path)
        restore = self.make_restore(
            path, '--parameters',
            f'resource_type={base.VOLUME},restore_name=again')
        row = self.restored(restore['id'])
        answered = self.one(f'/restores/{restore["id"]}', 'restore')
        self.assertEqual({base.VOLUME: {'restore_name': 'again'}},
                         answered['parameters'])
        self.same(row, answered)
        self.same_whole(
            self.shell.fields('restore', 'show', restore['id']), answered)
        self.assertIn(restore['id'], {
            row['id'] for row in self.shell.rows(
                'restore', '--status', 'success', '--sort', 'id:asc')})
        self.check_log(made['id'], 'restore')

    def test_other_clouds_are_refused(self):
        """Restoring elsewhere is a command that the API turns down."""
        path, _ = self.make_checkpoint(self.plan)
        self.ended(path)
        _, _, provider, _, checkpoint_id = path.split('/')
        said = self.shell.say(
            'restore', 'create', provider, checkpoint_id,
            '--restore_target', 'http://elsewhere/v3', '--restore_username',
            'somebody', '--restore_password', 'secret', code=1)
        self.assertIn('restore_target', said)
        self.assertIn('(HTTP 400)', said)
        self.assertNotIn('secret', said)


class FaultTest(VolumeTestCase):
    """What the programs can not do by their own fault.

    A test that fails here is good news: documents then say too much.
    """

    def test_names_with_a_comma_can_not_be_put_in_a_plan(self):
        said = self.shell.say(
            'plan', 'create', 'no', base.NOOP_PROVIDER,
            f'{uuid.uuid4()}={base.VOLUME}=one, two', code=1)
        self.assertIn('Unable to parse parameter resources', said)

    def test_lists_sort_by_four_keys_only(self):
        self.shell.say('operationlog', 'list', '--sort', 'operation_type',
                       code=1)
        self.request('GET', '/operation_logs?sort=operation_type:asc')

    def test_plans_are_shown_by_name_by_one_program_only(self):
        plan = self.make_plan(self.volume)
        if self.program is shells.OpenStack:
            shown = self.shell.fields('plan', 'show', plan['name'])
            self.assertEqual(plan['id'], shown['id'])
        else:
            said = self.shell.say('plan', 'show', plan['name'], code=1)
            self.assertIn('must be a UUID', said)


class BytesTest(ClientTestCase):
    """A volume's way into a backup by one program, and out by the other."""

    scenarios = [('both', {'program': shells.Karbor})]

    def test_bytes_come_back(self):
        volume = self.demo.create_volume(os.urandom(base.MIB))
        self.addCleanup(self.demo.delete_volume, volume.id)
        digest = self.demo.hash_volume(volume.id)
        plan = self.make_plan(
            volume, base.FILESYSTEM_PROVIDER, '--parameters',
            f'resource_type={base.VOLUME},backup_mode=full')
        path, made = self.make_checkpoint(plan)
        self.ended(path)
        printed = self.shell.fields('checkpoint', 'show',
                                    base.FILESYSTEM_PROVIDER, made['id'])
        self.same_whole(printed, self.one(path, 'checkpoint'))
        self.shell = shells.OpenStack(self.demo)
        restore = self.make_restore(
            path, '--parameters-json',
            '{"OS::Cinder::Volume": {"restore_name": "back"}}')
        self.restored(restore['id'])
        self.check_volume(restore['id'], digest)

    def check_volume(self, restore_id, digest):
        shown = self.shell.fields('restore', 'show', restore_id)
        key, = shells.meaning(shown['resources_status'])
        volume_id = key.partition('#')[2]
        self.addCleanup(self.demo.delete_volume, volume_id)
        found = self.demo.cloud.block_storage.get_volume(volume_id)
        self.assertEqual('back', found.name)
        self.assertEqual(digest, self.demo.hash_volume(volume_id))
