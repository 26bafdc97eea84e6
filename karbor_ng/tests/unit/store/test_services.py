# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Services: who is heard of, and who is forgotten."""

import time

from karbor_ng import errors
from karbor_ng.store import models
from karbor_ng.store import operations
from karbor_ng.store import query
from karbor_ng.store import services
from karbor_ng.tests import fixtures


class ServicesTest(fixtures.DatabaseTest):

    def seen(self, service_id, **values):
        self.write(services.seen, {
            'id': service_id, 'binary': 'karbor-protection',
            'host': service_id.partition(':')[0], 'version': '1.0',
            'started_at': fixtures.MOMENT, **values})

    def listed(self):
        return {found.service.id: found for found
                in self.read(services.list)}

    def test_seen_again_and_again(self):
        self.seen('node-1:a')
        first = self.listed()['node-1:a']
        self.assertEqual(fixtures.MOMENT, first.service.started_at)
        time.sleep(0.01)
        self.seen('node-1:a', version='1.1')
        again = self.listed()['node-1:a']
        self.assertEqual('1.1', again.service.version)
        self.assertLess(first.service.seen_at, again.service.seen_at)
        self.assertGreaterEqual(again.silent_seconds, 0)

    def test_in_order_of_hosts(self):
        for one in ('node-2:a', 'node-1:b'):
            self.seen(one)
        self.assertEqual(['node-1:b', 'node-2:a'], list(self.listed()))

    def test_counts_what_they_work_on(self):
        for one in ('node-1:a', 'node-1:b'):
            self.seen(one)
        for _ in range(2):
            operation = self.write(operations.create,
                                   fixtures.operation_values())
            self.write(operations.claim, operation.id, 'node-1:a', 60)
        self.write(operations.finish, operation.id, 1, 'done')
        found = self.listed()
        self.assertEqual((1, 0), (found['node-1:a'].operations,
                                  found['node-1:b'].operations))

    def test_gone(self):
        self.seen('node-1:a')
        self.seen('node-1:b')
        self.write(services.gone, 'node-1:a')
        self.write(services.gone, 'node-1:a')
        self.assertEqual(['node-1:b'], list(self.listed()))

    def test_clean(self):
        self.seen('node-1:a')
        time.sleep(0.3)
        self.seen('node-1:b')
        self.assertEqual([], self.write(services.clean, 60))
        self.assertEqual(['node-1:a'], self.write(services.clean, 0.2))
        self.assertEqual(['node-1:b'], list(self.listed()))


class HostsTest(fixtures.DatabaseTest):
    """Programs on hosts, whatever their processes do."""

    PAGE = query.Page(sort=(('id', 'asc'),))

    def seen(self, service_id, binary='karbor-protection'):
        self.write(services.seen, {
            'id': service_id, 'binary': binary,
            'host': service_id.partition(':')[0], 'version': '1.0',
            'started_at': fixtures.MOMENT})

    def hosts(self, **filters):
        return self.read(services.hosts, self.PAGE, **filters)

    def is_disabled(self, host, binary='karbor-protection'):
        return self.read(services.is_disabled, binary, host)

    def test_one_for_each_program_and_host(self):
        for one in ('node-1:a', 'node-1:b', 'node-2:a'):
            self.seen(one)
        self.seen('node-1:c', 'karbor-api')
        self.assertEqual(
            [('karbor-protection', 'node-1'), ('karbor-protection', 'node-2'),
             ('karbor-api', 'node-1')],
            [(one.row.binary, one.row.host) for one in self.hosts()])
        for filters, number in (
                ({'host': 'node-1'}, 2), ({'binary': 'karbor-api'}, 1),
                ({'host': 'node', 'binary': 'karbor-api'}, 0)):
            self.assertEqual(number, len(self.hosts(**filters)), filters)

    def test_the_last_process_that_spoke_counts(self):
        self.seen('node-1:a')
        self.write(lambda session: query.change(
            session, models.Service, {'seen_at': fixtures.MOMENT}))
        host, = self.hosts()
        self.assertEqual(fixtures.MOMENT, host.seen_at)
        self.assertGreater(host.silent_seconds, 3600)
        self.seen('node-1:b')
        host, = self.hosts()
        self.assertGreater(host.seen_at, fixtures.MOMENT)
        self.assertLess(host.silent_seconds, 3600)

    def test_a_host_outlives_its_processes(self):
        self.seen('node-1:a')
        self.write(services.gone, 'node-1:a')
        host, = self.hosts()
        self.assertIsNone(host.seen_at)
        self.assertIsNotNone(host.row.updated_at)
        self.seen('node-1:b')
        self.assertEqual([host.id], [one.id for one in self.hosts()])

    def test_disable_and_enable(self):
        for one in ('node-1:a', 'node-2:a'):
            self.seen(one)
        self.seen('node-1:b', 'karbor-api')
        number = self.hosts()[0].id
        self.assertFalse(self.is_disabled('node-1'))
        self.write(services.disable, number, 'Its disk makes noises.')
        self.assertTrue(self.is_disabled('node-1'))
        self.assertFalse(self.is_disabled('node-2'))
        self.assertFalse(self.is_disabled('node-1', 'karbor-api'))
        host = self.read(services.get_host, number)
        self.assertEqual('Its disk makes noises.', host.row.disabled_reason)
        self.assertEqual([True, False, False], [
            one.is_disabled for one in sorted(
                self.read(services.list),
                key=lambda one: (one.service.binary == 'karbor-api',
                                 one.service.id))])
        self.seen('node-1:a')
        self.assertTrue(self.is_disabled('node-1'))
        self.write(services.enable, number)
        self.assertFalse(self.is_disabled('node-1'))
        self.assertIsNone(
            self.read(services.get_host, number).row.disabled_reason)

    def test_unknown(self):
        self.assertRaises(errors.NotFound, self.read,
                          services.get_host, 77)
        self.assertFalse(self.is_disabled('node-1'))

    def test_processes_of_one_host_start_together(self):
        ended = fixtures.together(*[
            lambda number=number: self.seen(f'node-1:{number}')
            for number in range(12)])
        self.assertEqual([None] * 12, ended)
        self.assertEqual(1, len(self.hosts()))

    def test_clean_keeps_what_is_disabled(self):
        for host in ('node-1', 'node-2', 'node-3'):
            self.seen(f'{host}:a')
        self.write(services.disable, self.hosts()[1].id)
        for host in ('node-1', 'node-2'):
            self.write(services.gone, f'{host}:a')
        self.write(services.clean, 60)
        self.assertEqual(3, len(self.hosts()))
        time.sleep(0.3)
        self.seen('node-3:a')
        self.write(services.clean, 0.2)
        self.assertEqual(['node-2', 'node-3'],
                         [one.row.host for one in self.hosts()])
