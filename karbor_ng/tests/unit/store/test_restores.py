# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Restores and their resources."""

from karbor_ng import errors
from karbor_ng.store import query
from karbor_ng.store import restores
from karbor_ng.tests import fixtures


def row(**values):
    """Return columns of a restore's resource."""
    return {'type': fixtures.VOLUME, 'id': fixtures.new_id(),
            'name': 'data', 'status': 'restoring', 'parameters': {},
            'saved': {}, **values}


class RestoresTest(fixtures.DatabaseTest):

    def restore(self, **values):
        return self.write(restores.create, fixtures.restore_values(**values))

    def test_get(self):
        one = self.restore(parameters={'a': {'b': 1}})
        found = self.read(restores.get, one.id, fixtures.PROJECT)
        self.assertEqual({'a': {'b': 1}}, found.parameters)
        self.assertRaises(errors.NotFound, self.read, restores.get, one.id,
                          fixtures.OTHER_PROJECT)
        self.assertRaises(errors.NotFound, self.read, restores.get, 'x')

    def test_list_filters(self):
        mine, ended = self.restore(), self.restore(status='success')
        theirs = self.restore(project_id=fixtures.OTHER_PROJECT)
        for expected, filters in (
                ({mine, ended, theirs}, {}),
                ({mine, ended}, {'project_id': fixtures.PROJECT}),
                ({ended}, {'status': 'success'}),
                ({mine}, {'checkpoint_id': mine.checkpoint_id}),
                (set(), {'project_id': fixtures.OTHER_PROJECT,
                         'status': 'success'})):
            found = self.read(restores.list, query.Page(), **filters)
            self.assertEqual({one.id for one in expected},
                             {one.id for one in found}, filters)

    def test_every_transition(self):
        for source, targets in restores.TRANSITIONS.items():
            for target in restores.TRANSITIONS:
                one = self.restore(status=source)
                if target in targets:
                    self.write(restores.move, one.id, target,
                               finished_at=fixtures.MOMENT)
                    found = self.read(restores.get, one.id)
                    self.assertEqual((target, fixtures.MOMENT),
                                     (found.status, found.finished_at))
                    continue
                self.assertRaises(errors.Conflict, self.write, restores.move,
                                  one.id, target)
                self.assertEqual(source,
                                 self.read(restores.get, one.id).status)

    def test_running(self):
        one = self.restore()
        self.restore(checkpoint_id=one.checkpoint_id, status='success')
        self.restore()
        self.assertEqual([one.id], self.read(restores.running_of,
                                             one.checkpoint_id))
        self.write(restores.move, one.id, 'failed')
        self.assertEqual([], self.read(restores.running_of,
                                       one.checkpoint_id))

    def test_resources(self):
        one, other = self.restore(), self.restore()
        first = row(id='a')
        self.write(restores.put_resources, other.id, [first])
        self.write(restores.put_resources, one.id, [first])
        self.write(restores.change_resource, one.id, fixtures.VOLUME, 'a',
                   {'status': 'available', 'new_id': 'z'})
        self.write(restores.put_resources, one.id, [first, row(id='b')])
        self.assertEqual(
            [('a', 'available', 'z'), ('b', 'restoring', None)],
            [(each.id, each.status, each.new_id)
             for each in self.read(restores.resources, one.id)])
        self.assertEqual({'a': 'z'}, self.read(restores.restored, one.id))
        self.assertEqual({}, self.read(restores.restored, other.id))
