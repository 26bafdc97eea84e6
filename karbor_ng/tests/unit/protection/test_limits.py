# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Limits: what one project, or one plugin, may take of a service."""

import collections
import logging
import threading
import time

import fixtures
from oslotest import base

from karbor_ng import context
from karbor_ng import errors
from karbor_ng.plugins import api
from karbor_ng.protection import plugin_limits
from karbor_ng.tests.unit.protection import environment

VOLUME, SERVER = 'OS::Cinder::Volume', 'OS::Nova::Server'
NOOP = 'karbor-noop-protection-plugin'
#: Seconds in which something would have happened that shall not.
A_WHILE = 0.6


class ProjectTest(base.BaseTestCase):
    """One project leaves something to the others."""

    def setUp(self):
        super().setUp()
        self.site = self.useFixture(environment.Deployment(
            max_concurrent_operations=3,
            max_concurrent_operations_per_project=2))
        self.registry = self.site.registry
        self.registry.put_graph([])

    def protect_as(self, project_id, resource_id):
        self.site.caller = context.Caller(project_id, 'user', 'req-1')
        return self.site.protect([(VOLUME, resource_id)])

    def states(self, checkpoint_ids):
        return [self.site.operation(one).state for one in checkpoint_ids]

    def test_others_do_not_wait_for_a_project_that_hangs(self):
        self.registry.control({'hang': {'slow': ['on_main']}})
        self.addCleanup(self.registry.control, {})
        self.site.start_worker()
        slow = [self.protect_as('greedy', 'slow') for _ in range(4)]
        for _ in range(2):
            modest = self.protect_as('modest', 'quick')
            self.assertEqual('available', self.site.ended(modest).status)
        self.assertEqual(['running', 'running', 'queued', 'queued'],
                         self.states(slow))
        self.registry.control({})
        for checkpoint_id in slow:
            self.assertEqual('available',
                             self.site.ended(checkpoint_id).status)


class PluginTest(base.BaseTestCase):
    """A limited plugin's hooks wait for each other, nobody else does."""

    def protect(self, limits):
        """Protect four volumes that hang; return the worker's site."""
        self.site = self.useFixture(environment.Deployment(
            max_parallel_by_plugin=limits))
        self.site.registry.put_graph([])
        self.site.registry.control({'hang': {'*': ['backup']}})
        self.addCleanup(self.site.registry.control, {})
        self.worker = self.site.start_worker()
        return self.site.protect([(VOLUME, f'v{n}') for n in range(4)])

    def made(self):
        return len(self.site.registry.objects())

    def test_no_more_at_once_than_allowed(self):
        checkpoint_id = self.protect({NOOP: 2})
        self.site.wait(lambda: self.made() == 2)
        time.sleep(A_WHILE)
        self.assertEqual(2, self.made())
        self.site.registry.control({})
        self.assertEqual('available', self.site.ended(checkpoint_id).status)
        self.assertEqual(4, self.made())

    def test_other_plugins_are_not_held_up(self):
        self.protect({NOOP: 1})
        self.site.wait(lambda: self.made() == 1)
        other = self.site.protect([('OS::Test::Noted', 'x')])
        self.assertEqual('available', self.site.ended(other).status)

    def test_a_limit_of_another_plugin_does_not_matter(self):
        self.protect({'karbor-project-protection-plugin': 1})
        self.site.wait(lambda: self.made() == 4)

    def test_waiting_ends_with_an_abort(self):
        checkpoint_id = self.protect({NOOP: 1})
        self.site.wait(lambda: self.made() == 1)
        self.site.client.abort_checkpoint(self.site.caller, checkpoint_id)
        self.assertEqual('error', self.site.ended(checkpoint_id).status)
        self.assertEqual(0, self.made())

    def test_a_stopping_service_does_not_wait_for_turns(self):
        checkpoint_id = self.protect({NOOP: 1})
        self.site.wait(lambda: self.made() == 1)
        self.worker.stop()
        self.assertEqual('queued', self.site.operation(checkpoint_id).state)

    def test_a_name_that_no_provider_has_is_told(self):
        log = self.useFixture(fixtures.FakeLogger(level=logging.WARNING))
        self.useFixture(environment.Deployment(
            max_parallel_by_plugin={NOOP: 1, 'karbor-nop': 1})).worker()
        self.assertIn('"karbor-nop"', log.output)
        self.assertNotIn(NOOP, log.output)


class Meter:
    """Counts what goes on at once.

    :ivar most: how many hooks there were, operations of all projects, and of
        the project that had most
    """

    def __init__(self):
        self.most = {'hooks': 0, 'operations': 0, 'of one project': 0}
        self._lock = threading.Lock()
        self._running = []

    def operation_class(meter):
        """Return what a plugin does with a resource: be counted."""
        class Metered(api.Operation):
            def on_prepare_begin(self):
                meter.count(self)

            on_main = on_complete = on_prepare_begin
        return Metered

    def count(self, operation):
        who = operation.project_id, operation.operation_id
        with self._lock:
            self._running.append(who)
            self._look()
        time.sleep(0.05)
        with self._lock:
            self._running.remove(who)

    def _look(self):
        running = set(self._running)
        projects = collections.Counter(project for project, _id in running)
        for name, number in (('hooks', len(self._running)),
                             ('operations', len(running)),
                             ('of one project', max(projects.values()))):
            self.most[name] = max(self.most[name], number)


class TogetherTest(base.BaseTestCase):
    """Many operations of many projects, and all limits at once."""

    PLUGIN = 'karbor_ng.tests.unit.protection.environment.NotedProtection'
    NAME = 'OS::Test::Noted'

    def setUp(self):
        super().setUp()
        self.meter = Meter()
        for verb in ('Protect', 'Delete'):
            self.useFixture(fixtures.MonkeyPatch(
                f'{self.PLUGIN}.{verb}', self.meter.operation_class()))

    def most(self, **options):
        """Protect and delete for three projects; return what was counted."""
        site = self.useFixture(environment.Deployment(
            lease_seconds=60, max_parallel_resources=16, **options))
        site.registry.put_graph([])
        site.start_worker()
        made = []
        for number in range(6):
            site.caller = context.Caller(f'project-{number % 3}', 'user',
                                         'req-1')
            made.append((site.caller, site.protect(
                [(self.NAME, f'{number}-{part}') for part in range(4)])))
        for caller, checkpoint_id in made:
            self.assertEqual('available', site.ended(checkpoint_id).status)
            site.caller = caller
            site.delete(checkpoint_id)
        for _caller, checkpoint_id in made:
            self.assertEqual('deleted', site.ended(
                checkpoint_id, 'deleted', 'error-deleting').status)
        return self.meter.most

    def test_all_of_them_hold(self):
        most = self.most(max_parallel_by_plugin={self.PLUGIN: 3},
                         max_concurrent_operations=5,
                         max_concurrent_operations_per_project=2)
        self.assertEqual(3, most['hooks'])
        self.assertLessEqual(most['of one project'], 2)

    def test_operations_wait_where_plugins_do_not(self):
        most = self.most(max_concurrent_operations=2,
                         max_concurrent_operations_per_project=1)
        self.assertGreater(most['hooks'], 3)
        self.assertEqual(2, most['operations'])
        self.assertEqual(1, most['of one project'])


class TurnTest(base.BaseTestCase):

    def test_a_hook_that_fails_gives_its_turn_back(self):
        limits = plugin_limits.PluginLimits({'a': 1})

        def fail():
            with limits.turn('a', lambda: None):
                raise ValueError
        self.assertRaises(ValueError, fail)
        with limits.turn('a', lambda: None):
            pass

    def test_what_check_raises_ends_the_waiting(self):
        limits = plugin_limits.PluginLimits({'a': 1})
        stop = threading.Event()

        def check():
            if stop.is_set():
                raise errors.Stopping('now')

        def wait():
            with limits.turn('a', check):
                self.fail('there was no turn')
        with limits.turn('a', check):
            threading.Timer(A_WHILE / 2, stop.set).start()
            self.assertRaises(errors.Stopping, wait)
        stop.clear()
        with limits.turn('a', check):
            pass

    def test_without_a_limit_check_is_called_as_well(self):
        limits = plugin_limits.PluginLimits({})

        def check():
            raise errors.Aborted('now')

        def run():
            with limits.turn(None, check):
                self.fail('it ran')
        self.assertRaises(errors.Aborted, run)
