# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The contract over the memory bank, and its sharing by name."""

import uuid

from oslotest import base

from karbor_ng.bank.drivers import memory
from karbor_ng.tests.contracts import bank as contracts


class MemoryBankTest(contracts.DriverContract, contracts.BankContract,
                     base.BaseTestCase):

    def setUp(self):
        self.name = uuid.uuid4().hex
        super().setUp()

    def make_driver(self, name=None):
        return memory.MemoryBank(contracts.conf_with(
            memory_bank_plugin={'name': name or self.name}))

    def test_banks_of_other_names_are_others(self):
        self.driver.put('a', b'1')
        other = self.make_driver(uuid.uuid4().hex)
        self.assertEqual([], other.list(''))
