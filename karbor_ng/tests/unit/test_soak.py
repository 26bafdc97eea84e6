# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The yardsticks of the soak: they must see what is wrong.

Only those that need no cloud; the others have a soak to be tried in.
"""

import datetime
import pathlib
import random
import types

import fixtures as test_fixtures
from oslotest import base

from karbor_ng.store import checkpoints
from karbor_ng.store import models
from karbor_ng.store import operations
from karbor_ng.tests import fixtures
from karbor_ng.tests.soak import api
from karbor_ng.tests.soak import due_times
from karbor_ng.tests.soak import options
from karbor_ng.tests.soak import proof
from karbor_ng.tests.soak import providers
from karbor_ng.tests.soak import tally

BEGIN = datetime.datetime(2026, 1, 1, 10, 0, 3, 500000,
                          datetime.timezone.utc)


def at(seconds):
    return BEGIN.replace(second=0, microsecond=0) + datetime.timedelta(
        seconds=seconds)


class DueTimesTest(base.BaseTestCase):
    """Every 10 seconds from 10:00:03, every 15 from about a minute later,
    nothing any more from about two minutes later."""

    def setUp(self):
        super().setUp()
        self.history = due_times.History()
        for second, late, step in ((3, 4, 10), (62, 71, 15),
                                   (118, 125, None)):
            self.history.add(at(second), at(late), step)

    def test_required(self):
        self.assertEqual(
            {at(second) for second in (10, 20, 30, 40, 50, 60, 75, 90, 105)},
            self.history.required())

    def test_allowed(self):
        """Where nobody knows, either may be."""
        self.assertEqual(
            {at(second) for second in (70, 120)},
            self.history.allowed() - self.history.required())

    def test_what_holds(self):
        runs = sorted(self.history.required())
        self.assertEqual([], list(self.history.problems(runs)))
        self.assertEqual([], list(self.history.problems([*runs, at(70)])))

    def test_what_does_not(self):
        runs = sorted(self.history.required())
        missing, added, doubled = (
            list(self.history.problems(own)) for own in (
                runs[1:], [*runs, at(100)], [*runs, runs[0]]))
        self.assertEqual([f'no run of {at(10)}'], missing)
        self.assertEqual([f'a run of {at(100)}, which was not due'], added)
        self.assertEqual([f'2 runs of {at(10)}'], doubled)


class OptionsTest(base.BaseTestCase):

    def test_defaults(self):
        found = options.parse(['--seed', '7'])
        self.assertEqual((15, 7), (found.minutes, found.seed))

    def test_refusals(self):
        for words in (['--minutes', '0'], ['--minutes', 'x'], ['more']):
            self.assertRaises(SystemExit, options.parse, words)


class Answers:
    """The API of one tenant, with an answer for each path."""

    def __init__(self):
        self.of = {}

    def surely(self, method, path):
        return self.of[path]


class Cloud:
    """One tenant's cloud, with backups and whatever was added."""

    def __init__(self):
        self.backups = {}
        self.added_things = {}
        self.tenant = types.SimpleNamespace(
            project_id='project', cloud=types.SimpleNamespace(
                block_storage=types.SimpleNamespace(backups=lambda: [
                    types.SimpleNamespace(id=one, status=status)
                    for one, status in self.backups.items()])))

    def added(self):
        return self.added_things


class ProofTest(fixtures.DatabaseTest):
    """One available checkpoint of one volume, made by one operation."""

    def setUp(self):
        super().setUp()
        folder = pathlib.Path(self.useFixture(test_fixtures.TempDir()).path)
        self.tally = tally.Tally(folder / 'events.log')
        self.addCleanup(self.tally.close)
        self.books, self.api, self.cloud = api.Books(), Answers(), Cloud()
        self.proof = proof.Proof(
            types.SimpleNamespace(db=self.db), [(self.api, self.cloud)],
            self.books, [], self.tally, random.Random(1))
        self.checkpoint_id = fixtures.new_id()
        self.external_id = self.write(self._make)
        self.cloud.backups = {'backup-1': 'available'}
        self.cloud.added_things = {'backups': ['backup-1']}
        self.kept = self.books.add(api.Kept(
            'checkpoints', self.checkpoint_id, '/checkpoint', self.api))
        self.answer('available')

    def _make(self, session):
        checkpoints.create(session, fixtures.checkpoint_values(
            id=self.checkpoint_id, status='available',
            provider_id=providers.SWIFT))
        session.add(models.CheckpointResource(
            checkpoint_id=self.checkpoint_id, **fixtures.resource_values(
                id='volume', status='available')))
        self.operation = operations.create(
            session, fixtures.operation_values(
                checkpoint_id=self.checkpoint_id, state='done'))
        return self._add_external(session, 'backup-1')

    def _add_external(self, session, external_id, **values):
        external = models.External(**fixtures.external_values(
            self.operation.id, checkpoint_id=self.checkpoint_id,
            resource_id='volume', external_id=external_id,
            **{'state': 'exists', **values}))
        session.add(external)
        session.flush()
        return external.id

    def answer(self, status):
        self.api.of['/checkpoint'] = (
            200, {'checkpoint': {'status': status}})

    def found(self):
        """Return what is found wrong, and forget it."""
        for look in (self.proof.ends, self.proof.acknowledged,
                     self.proof.backups, self.proof.owners):
            look()
        found = [one.partition(' ')[2] for one in self.tally.violations]
        self.tally.violations.clear()
        return found

    def change(self, model, thing_id, **values):
        def write(session):
            for name, value in values.items():
                setattr(session.get(model, thing_id), name, value)
        self.write(write)

    def test_all_is_well(self):
        self.assertEqual([], self.found())

    def test_what_never_ends(self):
        self.change(models.Operation, self.operation.id, state='running',
                    owner='host:1')
        self.assertEqual(
            [f'operations {self.operation.id} is running for ever',
             f'operation {self.operation.id} has ended and still has an '
             'owner or credentials'], self.found())

    def test_what_was_acknowledged_and_is_not_there(self):
        self.api.of['/checkpoint'] = 404, {}
        self.assertEqual(['/checkpoint was acknowledged: 404'], self.found())

    def test_what_goes_or_stays_by_itself(self):
        self.answer('deleted')
        self.assertEqual(['/checkpoint is deleted, and nobody deleted it'],
                         self.found())
        self.kept.state = api.GONE
        self.assertEqual([], self.found())
        self.answer('available')
        self.assertEqual(['/checkpoint was deleted and is available'],
                         self.found())
        self.kept.state = api.PERHAPS
        self.assertEqual([], self.found())

    def test_two_operations_for_one_checkpoint(self):
        self.write(operations.create, fixtures.operation_values(
            checkpoint_id=self.checkpoint_id, state='done'))
        self.assertEqual(['/checkpoint was made by 2 operations'],
                         self.found())

    def test_a_backup_that_is_gone_or_broken(self):
        for backups, status in (({}, None), ({'backup-1': 'error'},
                                             'error')):
            self.cloud.backups = backups
            self.assertEqual(
                [f'volume volume in checkpoint {self.checkpoint_id} has '
                 f"backups [('backup-1', {status!r})]"], self.found())

    def test_two_backups(self):
        self.write(self._add_external, 'backup-2')
        self.cloud.backups['backup-2'] = 'available'
        self.assertEqual(1, len(self.found()))

    def test_what_belongs_to_nobody(self):
        self.cloud.added_things['backups'].append('backup-2')
        self.assertEqual(['backups backup-2 in project project belongs to '
                          'nobody'], self.found())

    def test_what_was_restored_twice(self):
        restore_id = fixtures.new_id()

        def restore(session):
            session.add(models.Restore(**fixtures.restore_values(
                id=restore_id, status='success')))
            session.add(models.RestoreResource(
                restore_id=restore_id, type=fixtures.VOLUME, id='volume',
                new_id='volume-2', status='available', parameters={},
                saved={}))
            self.operation = operations.create(
                session, fixtures.operation_values(
                    type='restore', restore_id=restore_id, state='done'))
            for name in ('volume-2', 'volume-3'):
                self._add_external(session, name, kind='volume')
        self.write(restore)
        self.cloud.added_things['volumes'] = ['volume-2']
        self.assertEqual([], self.found())
        self.cloud.added_things['volumes'].append('volume-3')
        self.assertEqual(['volumes volume-3 in project project belongs to '
                          'nobody'], self.found())
