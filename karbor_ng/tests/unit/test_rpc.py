# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Our own look at the broker, as far as that needs none."""

import socket

from oslo_messaging import conffixture
from oslotest import base

from karbor_ng import errors
from karbor_ng import rpc
from karbor_ng.tests import fixtures as small


class BrokerTest(base.BaseTestCase):

    def check(self, url):
        conf = self.useFixture(small.ConfFixture()).conf
        self.useFixture(conffixture.ConfFixture(conf)).transport_url = url
        self.addCleanup(rpc.transport(conf).cleanup)
        rpc.Broker(conf).check()

    def test_inside_the_process(self):
        self.check('fake://')

    def test_nobody_listens(self):
        problem = self.assertRaises(
            errors.Unavailable, self.check,
            'rabbit://user:secret@127.0.0.1:1/')
        self.assertIn('127.0.0.1: ', str(problem))
        self.assertNotIn('secret', str(problem))

    def test_somebody_else_listens(self):
        with socket.create_server(('127.0.0.1', 0)) as listener:
            port = listener.getsockname()[1]
            self.assertRaises(errors.Unavailable, self.check,
                              f'rabbit://user:secret@127.0.0.1:{port}/')
