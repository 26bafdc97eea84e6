# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Steps: what of an operation has ended."""

from karbor_ng.store import operations
from karbor_ng.store import steps
from karbor_ng.tests import fixtures


class StepsTest(fixtures.DatabaseTest):

    def setUp(self):
        super().setUp()
        self.operation, self.other = (self.write(
            operations.create, fixtures.operation_values()).id
            for _ in range(2))

    def put(self, resource_id='a', hook='on_main', **values):
        self.write(steps.put, {
            'operation_id': self.operation, 'resource_type': fixtures.VOLUME,
            'resource_id': resource_id, 'hook': hook, 'state': 'done',
            'attempt': 1, 'result': None, 'started_at': fixtures.MOMENT,
            'ended_at': fixtures.MOMENT, **values})

    def ended(self, operation_id=None):
        return {(resource_id, hook): step.state
                for (_type, resource_id, hook), step in self.read(
                    steps.ended, operation_id or self.operation).items()}

    def test_ended(self):
        self.put()
        self.put('b', 'on_complete', state='failed', result='é' * 70000)
        self.put(operation_id=self.other)
        self.assertEqual({('a', 'on_main'): 'done',
                          ('b', 'on_complete'): 'failed'}, self.ended())
        self.assertEqual({('a', 'on_main'): 'done'}, self.ended(self.other))
        step = self.read(steps.ended, self.operation)[
            fixtures.VOLUME, 'b', 'on_complete']
        self.assertEqual(('é' * 70000, fixtures.MOMENT),
                         (step.result, step.ended_at))

    def test_put_again_replaces(self):
        self.put()
        self.put(state='failed', attempt=2)
        step = self.read(steps.ended, self.operation)[
            fixtures.VOLUME, 'a', 'on_main']
        self.assertEqual(('failed', 2), (step.state, step.attempt))

    def test_remove(self):
        for hook in ('on_prepare_begin', 'on_prepare_finish', 'on_main'):
            for resource_id in ('a', 'b', 'c'):
                self.put(resource_id, hook)
        self.put(operation_id=self.other)
        self.write(steps.remove, self.operation,
                   [(fixtures.VOLUME, 'a'), (fixtures.VOLUME, 'b'),
                    ('OS::Nova::Server', 'c')],
                   ('on_prepare_finish', 'on_main'))
        self.assertEqual(
            {('a', 'on_prepare_begin'), ('b', 'on_prepare_begin'),
             ('c', 'on_prepare_begin'), ('c', 'on_prepare_finish'),
             ('c', 'on_main')}, set(self.ended()))
        self.assertEqual({('a', 'on_main'): 'done'}, self.ended(self.other))
