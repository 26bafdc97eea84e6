# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Verifications and their resources."""

from karbor_ng import errors
from karbor_ng.store import operations
from karbor_ng.store import query
from karbor_ng.store import verifications
from karbor_ng.tests import fixtures


def row(**values):
    """Return columns of a verification's resource."""
    return {'type': fixtures.VOLUME, 'id': fixtures.new_id(),
            'name': 'data', 'status': 'verifying', 'parameters': {},
            'saved': {}, **values}


class VerificationsTest(fixtures.DatabaseTest):

    def verification(self, **values):
        return self.write(verifications.create,
                          fixtures.verification_values(**values))

    def test_get(self):
        one = self.verification(parameters={'a': {'b': 1}})
        found = self.read(verifications.get, one.id, fixtures.PROJECT)
        self.assertEqual({'a': {'b': 1}}, found.parameters)
        self.assertRaises(errors.NotFound, self.read, verifications.get,
                          one.id, fixtures.OTHER_PROJECT)
        self.assertRaises(errors.NotFound, self.read, verifications.get, 'x')

    def test_list_filters(self):
        mine = self.verification()
        ended = self.verification(status='success')
        theirs = self.verification(project_id=fixtures.OTHER_PROJECT)
        for expected, filters in (
                ({mine, ended, theirs}, {}),
                ({mine, ended}, {'project_id': fixtures.PROJECT}),
                ({ended}, {'status': 'success'}),
                ({mine}, {'checkpoint_id': mine.checkpoint_id}),
                (set(), {'project_id': fixtures.OTHER_PROJECT,
                         'status': 'success'})):
            found = self.read(verifications.list, query.Page(), **filters)
            self.assertEqual({one.id for one in expected},
                             {one.id for one in found}, filters)

    def test_pages(self):
        made = [self.verification(created_at=fixtures.MOMENT).id
                for _ in range(3)]
        first = self.read(verifications.list, query.Page(limit=2),
                          project_id=fixtures.PROJECT)
        rest = self.read(
            verifications.list, query.Page(limit=2, marker=first[-1].id),
            project_id=fixtures.PROJECT)
        self.assertEqual(sorted(made, reverse=True),
                         [one.id for one in [*first, *rest]])

    def test_every_transition(self):
        for source, targets in verifications.TRANSITIONS.items():
            for target in verifications.TRANSITIONS:
                one = self.verification(status=source)
                if target in targets:
                    self.write(verifications.move, one.id, target,
                               finished_at=fixtures.MOMENT)
                    found = self.read(verifications.get, one.id)
                    self.assertEqual((target, fixtures.MOMENT),
                                     (found.status, found.finished_at))
                    continue
                self.assertRaises(errors.Conflict, self.write,
                                  verifications.move, one.id, target)
                self.assertEqual(
                    source, self.read(verifications.get, one.id).status)

    def test_running(self):
        one = self.verification()
        self.verification(checkpoint_id=one.checkpoint_id, status='success')
        self.verification()
        self.assertEqual([one.id], self.read(verifications.running_of,
                                             one.checkpoint_id))
        self.write(verifications.move, one.id, 'failed')
        self.assertEqual([], self.read(verifications.running_of,
                                       one.checkpoint_id))

    def test_resources(self):
        one, other = self.verification(), self.verification()
        first = row(id='a')
        self.write(verifications.put_resources, other.id, [first])
        self.write(verifications.put_resources, one.id, [first])
        self.write(verifications.change_resource, one.id, fixtures.VOLUME,
                   'a', {'status': 'error', 'reason': 'It is gone.'})
        self.write(verifications.put_resources, one.id,
                   [first, row(id='b')])
        self.assertEqual(
            [('a', 'error', 'It is gone.'), ('b', 'verifying', None)],
            [(each.id, each.status, each.reason)
             for each in self.read(verifications.resources, one.id)])
        self.assertEqual('verifying', self.read(
            verifications.resources, other.id)[0].status)

    def test_its_operation(self):
        one, other = self.verification(), self.verification()
        made = self.write(operations.create, fixtures.operation_values(
            type='verify', verification_id=one.id))
        self.assertEqual(made.id, self.read(operations.verify_of,
                                            one.id).id)
        self.assertIsNone(self.read(operations.verify_of, other.id))
        self.assertEqual('started', operations.log_status(made))
        self.assertTrue(self.write(operations.request_abort, made.id))
