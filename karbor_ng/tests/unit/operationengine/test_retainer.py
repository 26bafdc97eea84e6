# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What a scheduled operation does not keep is deleted, sooner or later."""

import datetime
from unittest import mock

import fixtures as library

from karbor_ng import errors
from karbor_ng.protection import client
from karbor_ng.store import checkpoints
from karbor_ng.store import restores
from karbor_ng.store import runs
from karbor_ng.store import scheduled_operations
from karbor_ng.store import session as store_session
from karbor_ng.store import triggers
from karbor_ng.tests import fixtures
from karbor_ng.tests.unit.operationengine import environment
from karbor_ng.tests.unit.operationengine.environment import HOUR
from karbor_ng.tests.unit.operationengine.environment import MINUTE
from karbor_ng.tests.unit.operationengine.environment import START


class RetainerCase(environment.EngineTest):
    """A scheduled operation that keeps two, and what becomes of its own."""

    def setUp(self):
        super().setUp()
        self.row = self.add()

    def add(self, **values):
        return self.schedules.add(
            operation_type='retention_protect', **{
                'definition': {'max_backups': '2'}, **values})

    def run_once(self, status='available'):
        """Let an hour pass; return the run that it brings, ended."""
        self.schedules.turn(HOUR)
        run, = (one for one in self.schedules.runs(self.row)
                if one.state == 'started')
        self.schedules.end(run.checkpoint_id, status,
                           moment=self.schedules.clock.now)
        self.schedules.turn()
        return self.read(runs.get, run.id)

    def statuses(self):
        """Return statuses of the row's checkpoints, by time."""
        return [self.schedules.checkpoint(run.checkpoint_id).status
                for run in self.schedules.runs(self.row)]

    def last(self):
        return self.schedules.runs(self.row)[-1]


class RetainerTest(RetainerCase):

    def test_the_oldest_goes(self):
        for _number in range(3):
            run = self.run_once()
        self.assertEqual(['deleting', 'available', 'available'],
                         self.statuses())
        self.assertEqual('retaining', run.state)
        self.assertIsNotNone(run.ended_at)
        first = self.schedules.runs(self.row)[0]
        self.assertEqual(
            [(first.checkpoint_id, self.row.id)],
            [(one.checkpoint_id, one.scheduled_operation_id)
             for one in self.schedules.operations() if one.type == 'delete'])
        self.schedules.end(first.checkpoint_id, 'deleted')
        self.schedules.turn(MINUTE)
        self.assertEqual(('succeeded', None),
                         (self.last().state, self.last().reason))

    def test_nothing_goes_after_a_failure(self):
        for _number in range(2):
            self.run_once()
        self.write(scheduled_operations.update, self.row.id, None, {
            'definition': {**self.row.definition, 'max_backups': 1}})
        self.assertEqual('failed', self.run_once('error').state)
        self.assertEqual(['available', 'available', 'error'],
                         self.statuses())
        self.run_once()
        self.assertEqual(['deleting'] * 2, self.statuses()[:2])

    def test_others_are_not_counted(self):
        other = self.add()
        for _number in range(2):
            run = self.run_once()
        self.assertEqual(['available'] * 2, self.statuses())
        self.assertEqual('succeeded', run.state)
        self.assertEqual(2, len(self.schedules.runs(other)))

    def test_what_keeps_all_has_nothing_to_do(self):
        self.row = self.schedules.add()
        for _number in range(3):
            self.assertEqual('succeeded', self.run_once().state)
        self.assertEqual(['available'] * 3, self.statuses())

    def test_a_failed_deletion_is_seen_and_repeated(self):
        for _number in range(3):
            self.run_once()
        first = self.schedules.runs(self.row)[0].checkpoint_id
        self.schedules.end(first, 'error-deleting')
        # Operations end by the real clock.
        self.schedules.clock.now = self.read(store_session.now)
        self.schedules.engine()._retainer.retain()
        self.assertIn('Cinder has failed.', self.last().reason)
        self.assertEqual('error-deleting', self.statuses()[0])
        self.schedules.clock.now += 2 * MINUTE
        self.schedules.engine()._retainer.retain()
        self.assertEqual('deleting', self.statuses()[0])

    def test_pauses_grow(self):
        for _number in range(3):
            self.run_once()
        first = self.schedules.runs(self.row)[0].checkpoint_id
        retainer = self.schedules.engine()._retainer
        for minutes in (1, 2, 4):
            self.schedules.end(first, 'error-deleting')
            self.schedules.clock.now = (
                self.read(store_session.now) + minutes * MINUTE - MINUTE / 6)
            retainer.retain()
            self.assertEqual('error-deleting', self.statuses()[0])
            self.schedules.clock.now += MINUTE / 3
            retainer.retain()
            self.assertEqual('deleting', self.statuses()[0])

    def test_what_is_being_restored_waits(self):
        for _number in range(2):
            self.run_once()
        first = self.schedules.runs(self.row)[0].checkpoint_id
        restore = self.write(restores.create, fixtures.restore_values(
            checkpoint_id=first))
        run = self.run_once()
        self.assertEqual(['available'] * 3, self.statuses())
        self.assertEqual('succeeded', run.state)
        self.write(restores.move, restore.id, 'success')
        self.run_once()
        self.assertEqual(['deleting'] * 2, self.statuses()[:2])

    def test_a_refusal_is_seen(self):
        with mock.patch.object(client.ProtectionClient, 'delete',
                               side_effect=errors.InUse('It is needed.')):
            for _number in range(3):
                run = self.run_once()
        self.assertEqual(('retaining', 'It is needed.'),
                         (run.state, run.reason))
        self.schedules.turn(MINUTE)
        self.assertEqual('deleting', self.statuses()[0])
        self.assertIsNone(self.last().reason)

    def test_chains_go_from_their_ends(self):
        for _number in range(2):
            self.run_once()
        first, second = self.schedules.runs(self.row)
        for run, backup, parent in ((first, 'full', None),
                                    (second, 'increment', 'full')):
            self.write(checkpoints.put_resources, run.checkpoint_id, [
                fixtures.resource_values(status='available',
                                         backup_id=backup,
                                         parent_backup=parent)])
        self.run_once()
        # The newer one of the two is kept, and needs the older.
        self.assertEqual(['available'] * 3, self.statuses())
        self.run_once()
        self.assertEqual(['available', 'deleting'], self.statuses()[:2])
        # What was going to go is gone with its last hook.
        self.write(checkpoints.change_resources, second.checkpoint_id,
                   {'status': 'deleted'})
        self.schedules.end(second.checkpoint_id, 'deleted')
        self.schedules.turn(MINUTE)
        self.assertEqual(['deleting', 'deleted'], self.statuses()[:2])

    def test_a_later_run_takes_over(self):
        for _number in range(4):
            self.run_once()
        self.assertEqual(['succeeded', 'retaining'], [
            run.state for run in self.schedules.runs(self.row)[-2:]])

    def test_without_the_schedule_nothing_is_deleted(self):
        for _number in range(2):
            self.run_once()
        self.schedules.turn(HOUR)
        self.schedules.end(self.last().checkpoint_id)
        ids = [run.checkpoint_id for run in self.schedules.runs(self.row)]
        self.write(scheduled_operations.delete, self.row.id)
        self.schedules.turn(MINUTE)
        self.assertEqual({'available'}, {
            self.schedules.checkpoint(one).status for one in ids})

    def test_a_trust_that_is_gone_deletes_nothing(self):
        for _number in range(2):
            self.run_once()
        self.schedules.turn(HOUR)
        self.schedules.end(self.last().checkpoint_id)
        self.write(scheduled_operations.update, self.row.id, None, {
            'is_enabled': False, 'disabled_reason': 'Its trust is gone.'})
        self.schedules.turn(MINUTE)
        self.assertEqual(('retaining', 'Its trust is gone.'),
                         (self.last().state, self.last().reason))
        self.assertEqual(['available'] * 3, self.statuses())

    def test_engines_at_once_delete_once(self):
        for _number in range(2):
            self.run_once()
        self.schedules.turn(HOUR)
        self.schedules.end(self.last().checkpoint_id)
        fixtures.together(*[self.schedules.another().turn
                            for _ in range(3)])
        self.assertEqual(1, len([
            one for one in self.schedules.operations()
            if one.type == 'delete']))


DAY = datetime.timedelta(days=1)


def at(text):
    return datetime.datetime.fromisoformat(f'2026-03-{text}:00+00:00')


class ClocksTest(RetainerCase):
    """Days of other zones, and clocks that are changed, or are wrong."""

    def setUp(self):
        super().setUp()
        # By which retention goes as well.
        self.useFixture(library.MockPatchObject(
            store_session, 'now', self.schedules.clock))

    def kept(self):
        """Return when those were made that are not on their way out."""
        found = [self.schedules.checkpoint(run.checkpoint_id)
                 for run in self.schedules.runs(self.row)
                 if run.checkpoint_id]
        return [one.created_at for one in found if one.status == 'available']

    def test_days_end_where_the_trigger_is_also_when_clocks_change(self):
        # In Berlin 02:30 does not exist on the 29th: it is 03:00 at once.
        times = [at(text) for text in (
            '28 22:30', '28 23:30', '29 01:00', '29 21:30', '29 22:30')]
        trigger = self.schedules.add_trigger(
            next_run_at=times[0], properties={
                'format': 'crontab', 'pattern': '30 0,2,23 * * *',
                'timezone': 'Europe/Berlin', 'window': 900,
                'start_time': '2026-03-28 23:00:00'})
        self.row = self.add(trigger_id=trigger.id, definition={
            'keep_daily': 2})
        expected = (times[:1], times[:2], [times[0], times[2]],
                    [times[0], times[3]], times[3:])
        for moment, left in zip(times, expected, strict=True):
            self.schedules.clock.now = moment - HOUR
            self.run_once()
            self.assertEqual(left, self.kept())
        self.assertEqual(times, [
            run.planned_at for run in self.schedules.runs(self.row)])

    def test_a_clock_that_goes_back_deletes_nothing_of_its_future(self):
        self.schedules.clock.now += 6 * HOUR
        for _number in range(2):
            self.run_once()
        begin = self.schedules.clock.now
        self._set(begin - 5 * HOUR)
        self.assertEqual('succeeded', self.run_once().state)
        self.assertEqual([begin - 4 * HOUR, begin - HOUR, begin],
                         sorted(self.kept()))
        # It is right again, and all of them count.
        self._set(begin)
        self.run_once()
        self.assertEqual([begin, begin + HOUR], sorted(self.kept()))

    def _set(self, moment):
        """Set the clock; let the trigger be due before an hour is over.

        The full hour may have had its run.
        """
        self.schedules.clock.now = moment
        self.write(triggers.update, self.schedules.trigger.id, None,
                   {'next_run_at': moment + HOUR - 10 * MINUTE}, moment)

    def test_the_last_good_one_outlives_a_jump_ahead(self):
        trigger = self.schedules.add_trigger(properties={
            'format': 'crontab', 'pattern': '0 13 * * *', 'window': 900,
            'start_time': '2026-03-01 00:00:00'})
        self.row = self.add(trigger_id=trigger.id,
                            definition={'retention_duration': 7})
        self.run_once()
        self.schedules.clock.now += 30 * DAY - HOUR
        failed = self.run_once('error')
        self.assertEqual([START + HOUR], self.kept()[:1])
        self.schedules.clock.now += DAY - HOUR
        good = self.run_once()
        self.assertEqual(('failed', 'retaining'), (failed.state, good.state))
        self.assertEqual([START + HOUR + 31 * DAY], self.kept())
