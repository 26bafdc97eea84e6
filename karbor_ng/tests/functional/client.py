# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What tests of Karbor's command lines share.

What the programs print is held against what the API itself answers. Separate
because such tests are in several modules: classes run side by side, and each
has a project of its own, where lists hold nothing else.
"""

import uuid

import testscenarios

from karbor_ng.tests.functional import base
from karbor_ng.tests.functional import shells
from karbor_ng.tests.functional import tenant

#: The stack's own services are here; tests may have started others.
HOST = 'stack'
#: Fields that the programs print in words of their own.
IN_OTHER_WORDS = frozenset(
    ['protection_plan', 'metadata', 'dependent_types'])


class ClientTestCase(testscenarios.WithScenarios, base.StackTestCase):

    scenarios = [('karbor', {'program': shells.Karbor}),
                 ('openstack', {'program': shells.OpenStack})]

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.owner = tenant.Tenant()
        cls.addClassCleanup(cls.owner.remove)

    def setUp(self):
        super().setUp()
        self.demo = self.owner
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

    def check_list(self, noun, answered, *words):
        """Sort these things, which the API sorts by id, and turn pages."""
        self.assertLess(1, len(answered))
        up = (*words, '--sort', 'id:asc')
        down = (*words, *self.shell.descending('id'))
        first = answered[0]['id']
        for shown, options in (
                (answered, up), (answered[::-1], down),
                (answered[:1], (*up, '--limit', '1')),
                (answered[1:], (*up, '--marker', first))):
            self.same(self.shell.rows(noun, *options), shown)

    def check_everyones(self, noun, answered, *words, tenant=None):
        """The administrator sees what is our project's, others do not."""
        admin, other = (self.program(base.User(name))
                        for name in ('admin', 'demo2'))
        own = (tenant or self.shell.tenant, self.demo.project_id)
        self.same(admin.rows(noun, *words, '--sort', 'id:asc', *own),
                  answered)
        newest = (*words, self.shell.everyone, '--limit', '100',
                  '--sort', 'created_at:desc')
        ids = {item['id'] for item in answered}
        self.same(sorted((row for row in admin.rows(noun, *newest)
                          if row['id'] in ids), key=lambda row: row['id']),
                  answered)
        self.assertFalse(ids.intersection(
            row['id'] for row in other.rows(noun, *newest)))

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
        cls.volume = cls.make_volume()

    @classmethod
    def make_volume(cls):
        made = cls.owner.cloud.block_storage.create_volume(
            name='client', size=1)
        return cls.owner.volume_in(made.id, 'available')
