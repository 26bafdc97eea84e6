# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""A whole project, found and previewed: how much of the cloud that asks.

Apart from the tests of single plugins because what counts here is what all
installed ones together ask, when a project has many of everything.
"""

import collections
import unittest

from karbor_ng import graph
from karbor_ng import previews
from karbor_ng import protectables
from karbor_ng.resource import Resource
from karbor_ng.tests import fixtures_nova
from karbor_ng.tests import fixtures_service

PROJECT = Resource('OS::Keystone::Project', fixtures_service.PROJECT)
SERVER = 'OS::Nova::Server'
VOLUME = 'OS::Cinder::Volume'
IMAGE = 'OS::Glance::Image'
NAMES = {PROJECT.type: 'karbor-project-protection-plugin',
         SERVER: 'karbor-server-protection-plugin',
         VOLUME: 'karbor-volume-protection-plugin',
         IMAGE: 'karbor-image-protection-plugin'}
OPTIONS = {VOLUME: {'backup_mode': 'auto'}}


class ProjectTest(unittest.TestCase):

    def setUp(self):
        super().setUp()
        self.nova = fixtures_nova.Nova()
        self.session = self.nova.session()
        self.protectables = protectables.Protectables()
        self.services = (self.nova, self.nova.cinder, self.nova.glance,
                         self.nova.neutron)

    def fill(self, number):
        """Add servers, each with an image and two volumes, and a third."""
        for _ in range(number):
            boot = self.nova.glance.add(data=b'boot')
            server = self.nova.add(boot)
            for _ in range(2):
                self.nova.attach(server, self.nova.cinder.add('volumes'))
            self.nova.cinder.add('volumes')

    def discover(self):
        return graph.build([PROJECT], lambda parents: (
            self.protectables.children_of(self.session, parents)))

    def preview(self, nodes):
        return previews.Previews(NAMES).protect(
            self.session, nodes,
            {node: OPTIONS.get(node.type, {}) for node in nodes})

    def asked(self, question, *args):
        """Ask; return the answer and how many requests each path got."""
        for service in self.services:
            service.requests.clear()
        answer = question(*args)
        return answer, collections.Counter(
            request for service in self.services
            for request in service.requests)

    def test_everything_is_found(self):
        self.fill(3)
        lost = self.nova.add(status='ERROR')
        broken = self.nova.cinder.add('volumes', status='error')
        found = self.discover()
        self.assertEqual({SERVER: 4, VOLUME: 10, IMAGE: 3, PROJECT.type: 1},
                         collections.Counter(
                             node.type for node in found.nodes))
        children = set(found.children(PROJECT))
        self.assertIn(Resource(SERVER, lost['id']), children)
        self.assertIn(Resource(VOLUME, broken['id']), children)

    def test_many_cost_as_few_requests_as_some(self):
        self.fill(6)
        self.discover()  # the first one asks for versions as well
        _, few = self.asked(self.discover)
        self.fill(120)
        found, many = self.asked(self.discover)
        self.assertEqual(126 * 5 + 1, len(found.nodes))
        self.assertLessEqual(sum(many.values()), sum(few.values()) + 8,
                             many - few)

    def test_previews_of_many_cost_as_few_requests_as_of_some(self):
        costs = []
        for number in (6, 120):
            self.fill(number)
            nodes = [node for node in self.discover().nodes
                     if node != PROJECT]
            found, requests = self.asked(self.preview, nodes)
            self.assertEqual(set(nodes), set(found))
            self.assertEqual([], [item.problems for item in found.values()
                                  if item.problems])
            costs.append(sum(requests.values()))
        self.assertLessEqual(costs[1], costs[0] + 12)
