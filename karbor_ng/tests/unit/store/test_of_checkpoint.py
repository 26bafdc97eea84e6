# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Restores and verifications, and their resources."""

import testscenarios

from karbor_ng import errors
from karbor_ng.store import of_checkpoint
from karbor_ng.store import operations
from karbor_ng.store import query
from karbor_ng.store import restores
from karbor_ng.store import verifications
from karbor_ng.tests import fixtures

TRANSITIONS = of_checkpoint.TRANSITIONS


def row(**values):
    """Return columns of a resource's row."""
    return {'type': fixtures.VOLUME, 'id': fixtures.new_id(),
            'name': 'data', 'status': 'busy', 'parameters': {},
            'saved': {}, **values}


class OfCheckpointTest(fixtures.DatabaseTest):
    """What holds for both nouns."""

    scenarios = testscenarios.multiply_scenarios(
        fixtures.database_scenarios(), [
            ('restores', {'noun': restores,
                          'values': fixtures.restore_values}),
            ('verifications', {'noun': verifications,
                               'values': fixtures.verification_values})])

    def make(self, **values):
        return self.write(self.noun.create, self.values(**values))

    def test_get(self):
        one = self.make(parameters={'a': {'b': 1}})
        found = self.read(self.noun.get, one.id, fixtures.PROJECT)
        self.assertEqual({'a': {'b': 1}}, found.parameters)
        self.assertRaises(errors.NotFound, self.read, self.noun.get,
                          one.id, fixtures.OTHER_PROJECT)
        self.assertRaises(errors.NotFound, self.read, self.noun.get, 'x')

    def test_list_filters(self):
        mine, ended = self.make(), self.make(status='success')
        theirs = self.make(project_id=fixtures.OTHER_PROJECT)
        for expected, filters in (
                ({mine, ended, theirs}, {}),
                ({mine, ended}, {'project_id': fixtures.PROJECT}),
                ({ended}, {'status': 'success'}),
                ({mine}, {'checkpoint_id': mine.checkpoint_id}),
                (set(), {'project_id': fixtures.OTHER_PROJECT,
                         'status': 'success'})):
            found = self.read(self.noun.list, query.Page(), **filters)
            self.assertEqual({one.id for one in expected},
                             {one.id for one in found}, filters)

    def test_pages(self):
        made = [self.make(created_at=fixtures.MOMENT).id for _ in range(3)]
        first = self.read(self.noun.list, query.Page(limit=2),
                          project_id=fixtures.PROJECT)
        rest = self.read(
            self.noun.list, query.Page(limit=2, marker=first[-1].id),
            project_id=fixtures.PROJECT)
        self.assertEqual(sorted(made, reverse=True),
                         [one.id for one in [*first, *rest]])

    def test_every_transition(self):
        for source, targets in TRANSITIONS.items():
            for target in TRANSITIONS:
                self._check_move(source, target, target in targets)

    def _check_move(self, source, target, may):
        one = self.make(status=source)
        if may:
            self.write(self.noun.move, one.id, target,
                       finished_at=fixtures.MOMENT)
        else:
            self.assertRaises(errors.Conflict, self.write, self.noun.move,
                              one.id, target)
        found = self.read(self.noun.get, one.id)
        self.assertEqual((target, fixtures.MOMENT) if may else (source, None),
                         (found.status, found.finished_at))

    def test_running(self):
        one = self.make()
        self.make(checkpoint_id=one.checkpoint_id, status='success')
        self.make()
        self.assertEqual([one.id], self.read(self.noun.running_of,
                                             one.checkpoint_id))
        self.write(self.noun.move, one.id, 'failed')
        self.assertEqual([], self.read(self.noun.running_of,
                                       one.checkpoint_id))

    def test_resources(self):
        one, other = self.make(), self.make()
        first = row(id='a')
        self.write(self.noun.put_resources, other.id, [first])
        self.write(self.noun.put_resources, one.id, [first])
        self.write(self.noun.change_each, one.id, {
            (fixtures.VOLUME, 'a'): {
                'status': 'error', 'reason': 'It is gone.'}})
        self.write(self.noun.put_resources, one.id, [first, row(id='b')])
        self.assertEqual(
            [('a', 'error', 'It is gone.'), ('b', 'busy', None)],
            [(each.id, each.status, each.reason)
             for each in self.read(self.noun.resources, one.id)])
        self.assertEqual('busy', self.read(
            self.noun.resources, other.id)[0].status)


class RestoresTest(fixtures.DatabaseTest):

    def test_what_is_restored_as_what(self):
        one, other = (self.write(restores.create, fixtures.restore_values())
                      for _ in range(2))
        for restore in (one, other):
            self.write(restores.put_resources, restore.id,
                       [row(id='a'), row(id='b')])
        self.write(restores.change_each, one.id, {
            (fixtures.VOLUME, 'a'): {'new_id': 'z'}})
        self.assertEqual({'a': 'z'}, self.read(restores.restored, one.id))
        self.assertEqual({}, self.read(restores.restored, other.id))


class VerificationsTest(fixtures.DatabaseTest):

    def test_its_operation(self):
        one, other = (self.write(verifications.create,
                                 fixtures.verification_values())
                      for _ in range(2))
        made = self.write(operations.create, fixtures.operation_values(
            type='verify', verification_id=one.id))
        self.assertEqual(made.id, self.read(operations.verify_of,
                                            one.id).id)
        self.assertIsNone(self.read(operations.verify_of, other.id))
        self.assertEqual('started', operations.log_status(made))
        self.assertTrue(self.write(operations.request_abort, made.id))
