# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Values come back from every database as they were put in."""

import datetime

from karbor_ng import errors
from karbor_ng.store import checkpoints
from karbor_ng.store import plans
from karbor_ng.tests import fixtures


class TypesTest(fixtures.DatabaseTest):

    def again(self, **values):
        """Return a plan after its way through the database."""
        plan = self.write(plans.create, fixtures.plan_values(**values))
        return self.read(plans.get, plan.id)

    def test_microseconds(self):
        for microsecond in (0, 1, 500000, 999999):
            moment = fixtures.MOMENT.replace(microsecond=microsecond)
            self.assertEqual(moment, self.again(created_at=moment).created_at)

    def test_times_are_utc(self):
        zone = datetime.timezone(datetime.timedelta(hours=5, minutes=30))
        found = self.again(
            created_at=fixtures.MOMENT.astimezone(zone)).created_at
        self.assertEqual(fixtures.MOMENT, found)
        self.assertEqual(datetime.timezone.utc, found.tzinfo)

    def test_json(self):
        for value in ({}, {'a': [1, 2.5, True, None, 'é 日 \U0001f4be']},
                      {'quotes': '"\\ \' %s %(x)s :name', 'line': '\n\0'}):
            self.assertEqual(value, self.again(parameters=value).parameters)

    def test_json_of_megabytes(self):
        resources = [{'id': fixtures.new_id(), 'type': fixtures.VOLUME,
                      'name': 'data' * 20} for _ in range(20000)]
        self.assertEqual(resources, self.again(resources=resources).resources)

    def test_large_graph(self):
        graph = '[{' + ', '.join(
            f'"0x{count:x}": ["{fixtures.new_id()}", "OS::Cinder::Volume"]'
            for count in range(3000)) + '}, []]'
        self.assertGreater(len(graph), 200000)
        checkpoint = self.write(checkpoints.create,
                                fixtures.checkpoint_values(graph=graph))
        self.assertEqual(
            graph, self.read(checkpoints.get, checkpoint.id).graph)

    def test_large_reason(self):
        checkpoint = self.write(checkpoints.create,
                                fixtures.checkpoint_values())
        self.write(checkpoints.put_resources, checkpoint.id,
                   [fixtures.resource_values(reason='é' * 70000)])
        row = self.read(checkpoints.resources, checkpoint.id)[0]
        self.assertEqual('é' * 70000, row.reason)

    def test_any_character_in_names(self):
        name = 'Ünïcode 日本 \U0001f4be \'"\\%_'
        self.assertEqual(name, self.again(name=name).name)
        self.assertEqual(name, self.again(description=name).description)

    def test_ids_differ_by_case(self):
        lower, upper = 'abcdef', 'ABCDEF'
        self.again(id=lower, name='lower')
        self.assertRaises(errors.NotFound, self.read, plans.get, upper)
        self.again(id=upper, name='upper')
        self.assertEqual('lower', self.read(plans.get, lower).name)
        self.assertEqual('upper', self.read(plans.get, upper).name)

    def test_resource_ids_differ_by_case(self):
        checkpoint = self.write(checkpoints.create,
                                fixtures.checkpoint_values())
        self.write(checkpoints.put_resources, checkpoint.id, [
            fixtures.resource_values(id=name) for name in ('b', 'B', 'a')])
        self.assertEqual(['B', 'a', 'b'], [
            row.id for row in self.read(checkpoints.resources,
                                        checkpoint.id)])

    def test_large_sizes(self):
        checkpoint = self.write(checkpoints.create,
                                fixtures.checkpoint_values(size=2 ** 62))
        self.assertEqual(2 ** 62,
                         self.read(checkpoints.get, checkpoint.id).size)
