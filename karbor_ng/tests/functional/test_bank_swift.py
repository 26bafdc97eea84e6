# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The bank's contract over the real Swift of ``tools/stack``."""

import pathlib
import uuid

from openstack import config
from oslotest import base
import swiftclient

from karbor_ng.bank.drivers import swift
from karbor_ng.tests.contracts import bank as contracts

CLOUDS = pathlib.Path(__file__).parents[3] / '.stack' / 'clouds.yaml'


class SwiftBankTest(contracts.DriverContract, contracts.BankContract,
                    base.BaseTestCase):
    """Each test in a container of its own."""

    def setUp(self):
        # No skip: without the stack nothing is known about Swift.
        self.assertTrue(CLOUDS.exists(),
                        f'{CLOUDS} is missing: run "tools/stack up" first')
        self.cloud = config.OpenStackConfig(
            config_files=[str(CLOUDS)], load_envvars=False).get_one('demo')
        self.container = f'karbor-test-{uuid.uuid4().hex}'
        self.addCleanup(self.remove_container)
        super().setUp()

    def make_driver(self):
        auth = self.cloud.config['auth']
        return swift.SwiftBank(contracts.conf_with(
            swift_client={
                'swift_auth_url': auth['auth_url'],
                'swift_user': auth['username'],
                'swift_key': auth['password'],
                'swift_tenant_name': auth['project_name']},
            swift_bank_plugin={
                'bank_swift_object_container': self.container}))

    def swift(self):
        return swiftclient.Connection(session=self.cloud.get_session())

    def names(self):
        try:
            _headers, found = self.swift().get_container(
                self.container, full_listing=True)
        except swiftclient.ClientException as problem:
            self.assertEqual(404, problem.http_status)
            return None
        return [item['name'] for item in found]

    def remove_container(self):
        names = self.names()
        if names is not None:
            for name in names:
                self.swift().delete_object(self.container, name)
            self.swift().delete_container(self.container)

    def test_an_object_carries_its_name_without_a_slash(self):
        self.assertIsNone(self.names())
        self.driver.put('a/b', b'x')
        self.assertEqual(['a/b'], self.names())
