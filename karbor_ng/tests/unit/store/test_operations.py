# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Operations: who works on what, and who may not any more."""

import contextlib
import datetime
import threading
import time

from oslo_db import exception as db_exception

from karbor_ng import errors
from karbor_ng.store import checkpoints
from karbor_ng.store import models
from karbor_ng.store import operations
from karbor_ng.store import providers
from karbor_ng.store import query
from karbor_ng.store import session as store_session
from karbor_ng.tests import fixtures

BANK = '0c6e1a52-3bcb-44a3-9d4e-1a5b4bb9a6f1'
BANKS = {fixtures.PROVIDER: BANK}
#: Seconds of a lease that outlives a test, and of one that does not.
LONG, SHORT = 60, 0.05
#: What becomes of a lease of a first attempt.
HELD = operations.Renewal(1, False, True)


class OperationTest(fixtures.DatabaseTest):

    def setUp(self):
        super().setUp()
        self.publish()

    def publish(self, **values):
        self.write(providers.publish,
                   fixtures.provider_values(**{'bank_uuid': BANK, **values}))

    def operation(self, in_bank=None, **values):
        """Make a checkpoint and an operation on it; return its id."""
        checkpoint = self.write(
            checkpoints.create, fixtures.checkpoint_values(
                bank_uuid=in_bank,
                provider_id=values.get('provider_id', fixtures.PROVIDER)))
        values = fixtures.operation_values(checkpoint_id=checkpoint.id,
                                           **values)
        return self.write(operations.create, values).id

    def get(self, operation_id):
        return self.read(operations.get, operation_id)

    def claim(self, operation_id, owner='worker', lease_seconds=LONG):
        return self.write(operations.claim, operation_id, owner,
                          lease_seconds)

    def claimable(self, banks=BANKS, limit=10, *turns):
        return self.read(operations.claimable, banks, limit, *turns)

    def lost(self, owner='lost'):
        """Return the id of an operation whose worker fell silent."""
        operation_id = self.operation()
        self.claim(operation_id, owner, SHORT)
        time.sleep(2 * SHORT)
        return operation_id


class CopyTest(OperationTest):
    """Copies need two banks, and come one after the other."""

    TARGET = '0b2f5f0e-3c1c-4d0e-9d1b-7c7a5d1c9a11'
    OTHER_BANK = '7d5a5f5e-52f2-4a4b-8a3c-b0f1f3a7a001'
    BOTH = {fixtures.PROVIDER: BANK, TARGET: OTHER_BANK}

    def setUp(self):
        super().setUp()
        self.publish(id=self.TARGET, bank_uuid=self.OTHER_BANK)
        self.plan_id = fixtures.new_id()

    def copy(self, **values):
        """Queue a copy of a checkpoint of its own; return its id."""
        source = self.write(
            checkpoints.create, fixtures.checkpoint_values(
                bank_uuid=BANK, status='available'))
        return self.operation(**{
            'type': 'copy', 'source_checkpoint_id': source.id,
            'provider_id': self.TARGET, 'plan_id': self.plan_id, **values})

    def test_by_whom_it_can_be_claimed(self):
        copy = self.copy()
        for banks in ({self.TARGET: self.OTHER_BANK},
                      {fixtures.PROVIDER: BANK},
                      {**self.BOTH, fixtures.PROVIDER: self.OTHER_BANK},
                      {**self.BOTH, self.TARGET: BANK}, {}):
            self.assertEqual([], self.claimable(banks), banks)
        self.assertEqual([copy], self.claimable(self.BOTH))

    def test_one_after_the_other(self):
        first, second = self.copy(), self.copy()
        of_another_plan = self.copy(plan_id=fixtures.new_id())
        protect = self.operation(plan_id=self.plan_id)
        found = [first, of_another_plan, protect]
        self.assertEqual(found, self.claimable(self.BOTH))
        self.claim(first)
        self.assertEqual(found[1:], self.claimable(self.BOTH))
        self.write(operations.finish, first, 1, 'failed')
        self.assertEqual([second, *found[1:]], self.claimable(self.BOTH))

    def test_at_the_same_moment(self):
        moment = models.utcnow()
        made = sorted(self.copy(created_at=moment) for _ in range(3))
        self.assertEqual(made[:1], self.claimable(self.BOTH))

    def test_a_lost_one_comes_before_the_next(self):
        first = self.copy()
        self.copy()
        self.claim(first, 'lost', SHORT)
        time.sleep(2 * SHORT)
        self.assertEqual([first], self.claimable(self.BOTH))


class LogTest(OperationTest):

    def test_get_of_another_project(self):
        operation_id = self.operation()
        self.assertRaises(errors.NotFound, self.read, operations.get,
                          operation_id, fixtures.OTHER_PROJECT)
        self.assertRaises(errors.NotFound, self.read, operations.get, 'x')
        self.assertEqual(operation_id, self.read(
            operations.get, operation_id, fixtures.PROJECT).id)

    def test_list_filters(self):
        mine = self.operation()
        restore = self.operation(type='restore', restore_id='r')
        theirs = self.operation(project_id=fixtures.OTHER_PROJECT)
        for expected, filters in (
                ({mine, restore, theirs}, {}),
                ({mine, restore}, {'project_id': fixtures.PROJECT}),
                ({restore}, {'restore_id': 'r'}),
                ({mine, theirs}, {'type': 'protect', 'restore_id': None}),
                ({mine, theirs}, {'status': 'protecting'}),
                ({restore}, {'status': 'started'}),
                (set(), {'status': 'available'}),
                (set(), {'status': 'nonsense'})):
            found = self.read(operations.list, query.Page(), **filters)
            self.assertEqual(expected, {one.id for one in found}, filters)

    def test_status_in_the_log_is_what_the_list_filters_by(self):
        for kind, statuses in operations.LOG_STATUSES.items():
            for state, status in statuses.items():
                operation_id = self.operation(type=kind)
                self.write(query.change, models.Operation, {'state': state},
                           models.Operation.id == operation_id)
                self.assertEqual(
                    status, operations.log_status(self.get(operation_id)))
                found = self.read(operations.list, query.Page(),
                                  status=status)
                self.assertIn(operation_id, [one.id for one in found])
                for one in found:
                    self.assertEqual(status, operations.log_status(one))

    def test_one_operation_for_a_scheduled_run(self):
        run = fixtures.new_id()
        self.operation(scheduled_run_id=run)
        self.assertRaises(db_exception.DBDuplicateEntry, self.operation,
                          scheduled_run_id=run)
        self.operation()
        self.operation()

    def test_making_of(self):
        protect = self.operation()
        checkpoint_id = self.get(protect).checkpoint_id
        self.write(operations.create, fixtures.operation_values(
            type='delete', checkpoint_id=checkpoint_id))
        self.assertEqual(protect, self.read(operations.making_of,
                                            checkpoint_id).id)
        self.assertIsNone(self.read(operations.making_of, 'x'))


class ClaimableTest(OperationTest):

    def test_oldest_first(self):
        ids = [self.operation(created_at=fixtures.MOMENT
                              - datetime.timedelta(seconds=age))
               for age in (1, 3, 2)]
        expected = [ids[1], ids[2], ids[0]]
        self.assertEqual(expected, self.claimable())
        self.assertEqual(expected[:2], self.claimable(limit=2))

    def test_only_with_the_worker_s_providers(self):
        elsewhere = fixtures.new_id()
        self.publish(id=elsewhere)
        mine, far = self.operation(), self.operation(provider_id=elsewhere)
        self.assertEqual([mine], self.claimable())
        self.assertEqual([far], self.claimable({elsewhere: BANK}))
        self.assertEqual({mine, far},
                         set(self.claimable({**BANKS, elsewhere: BANK})))
        self.assertEqual([], self.claimable({}))

    def test_only_in_the_worker_s_bank(self):
        self.operation(in_bank=fixtures.new_id())
        mine, fresh = self.operation(in_bank=BANK), self.operation()
        self.assertEqual({mine, fresh}, set(self.claimable()))

    def test_only_while_the_worker_s_bank_is_the_provider_s(self):
        self.operation()
        self.assertEqual([], self.claimable(
            {fixtures.PROVIDER: fixtures.new_id()}))

    def test_not_while_a_worker_has_it(self):
        self.claim(self.operation())
        self.assertEqual([], self.claimable())

    def test_after_the_lease(self):
        lost = self.lost()
        self.assertEqual([lost], self.claimable())

    def test_not_after_the_end(self):
        for state in ('done', 'failed'):
            operation_id = self.operation()
            self.claim(operation_id, lease_seconds=SHORT)
            self.write(operations.finish, operation_id, 1, state)
        time.sleep(2 * SHORT)
        self.assertEqual([], self.claimable())


class TurnsTest(OperationTest):
    """Projects take turns, however many operations one of them has."""

    def of(self, project_id, count, age):
        """Queue operations of a project; return their ids, oldest first.

        :param age: of the first one, in seconds
        """
        return [self.operation(
            project_id=project_id, created_at=fixtures.MOMENT
            - datetime.timedelta(seconds=age - number))
            for number in range(count)]

    def test_who_comes_later_does_not_wait_for_all_of_another(self):
        many = self.of('many', 5, age=100)
        few = self.of('few', 2, age=50)
        one, = self.of('one', 1, age=10)
        self.assertEqual(
            [many[0], few[0], one, many[1], few[1], *many[2:]],
            self.claimable())

    def test_what_the_worker_has_counts(self):
        many = self.of('many', 4, age=100)
        few = self.of('few', 3, age=50)
        self.claim(many[0], 'mine')
        self.claim(many[1], 'mine')
        self.claim(many[2], 'other')
        self.assertEqual([*few[:2], many[3], few[2]],
                         self.claimable(BANKS, 10, 'mine'))
        self.assertEqual([few[0], many[3], *few[1:]],
                         self.claimable(BANKS, 10, 'other'))

    def test_no_more_of_one_project_than_allowed(self):
        many = self.of('many', 4, age=100)
        one, = self.of('one', 1, age=10)
        self.assertEqual([many[0], one, many[1]],
                         self.claimable(BANKS, 10, 'mine', 2))
        self.claim(many[0], 'mine')
        self.assertEqual([one, many[1]],
                         self.claimable(BANKS, 10, 'mine', 2))
        self.claim(many[1], 'mine')
        self.assertEqual([one], self.claimable(BANKS, 10, 'mine', 2))
        self.assertEqual([many[2], one, many[3]],
                         self.claimable(BANKS, 10, 'other', 2))
        self.write(operations.finish, many[0], 1, 'done')
        self.assertEqual([one, many[2]],
                         self.claimable(BANKS, 10, 'mine', 2))

    def test_what_the_worker_lost_is_no_limit_to_itself(self):
        """It may be the only worker that there is."""
        lost = self.lost('mine')
        self.assertEqual([lost], self.claimable(BANKS, 10, 'mine', 1))


class ClaimTest(OperationTest):

    def test_claim(self):
        operation_id = self.operation()
        before = self.read(store_session.now)
        claimed = self.claim(operation_id, 'host:worker', LONG)
        for row in (claimed, self.get(operation_id)):
            self.assertEqual(('running', 'host:worker', 1, 0), (
                row.state, row.owner, row.attempt, row.resume_count))
            self.assertIsNotNone(row.started_at)
            lease = (row.lease_until - before).total_seconds()
            self.assertTrue(LONG <= lease < LONG + 10, lease)

    def test_claim_of_what_is_taken(self):
        operation_id = self.operation()
        self.claim(operation_id, 'first')
        self.assertIsNone(self.claim(operation_id, 'second'))
        self.assertEqual(('first', 1), (self.get(operation_id).owner,
                                        self.get(operation_id).attempt))

    def test_claim_by_the_same_worker_again(self):
        """Not even the owner gets it twice: two of its threads would run."""
        operation_id = self.operation()
        self.claim(operation_id)
        self.assertIsNone(self.claim(operation_id))

    def test_claim_of_nothing(self):
        self.assertIsNone(self.claim(fixtures.new_id()))

    def test_claim_after_the_end(self):
        for state in ('done', 'failed'):
            operation_id = self.operation()
            self.claim(operation_id, lease_seconds=SHORT)
            self.write(operations.finish, operation_id, 1, state)
            time.sleep(2 * SHORT)
            self.assertIsNone(self.claim(operation_id))

    def test_take_over(self):
        operation_id = self.lost()
        started_at = self.get(operation_id).started_at
        taken = self.claim(operation_id, 'second')
        self.assertEqual(('second', 2, 1), (taken.owner, taken.attempt,
                                            taken.resume_count))
        self.assertEqual(started_at, taken.started_at)

    def test_one_of_eight_workers_wins(self):
        self.race(self.operation())

    def test_one_of_eight_workers_takes_over(self):
        self.race(self.lost())

    def race(self, operation_id):
        attempt = self.get(operation_id).attempt
        databases = [self.database.another() for _ in range(8)]
        done = fixtures.together(*[
            lambda db=db, owner=f'worker-{number}': db.write(
                operations.claim, operation_id, owner, LONG)
            for number, db in enumerate(databases)])
        won = [one for one in done if one is not None]
        self.assertEqual(1, len(won), done)
        row = self.get(operation_id)
        self.assertEqual((won[0].owner, attempt + 1),
                         (row.owner, row.attempt))

    def test_many_workers_share_many_operations(self):
        """Each operation is run once, whoever finds it first."""
        ids = {self.operation() for _ in range(12)}

        def work(owner):
            mine = []
            while found := self.claimable(limit=4):
                for operation_id in found:
                    if self.claim(operation_id, owner):
                        mine.append(operation_id)
            return mine

        shares = fixtures.together(*[
            lambda owner=f'worker-{number}': work(owner)
            for number in range(4)])
        self.assertEqual(sorted(ids),
                         sorted(one for share in shares for one in share))
        self.assertEqual({1}, {self.get(one).attempt for one in ids})


class RenewTest(OperationTest):

    def test_renew(self):
        first, second = self.operation(), self.operation()
        self.claim(first, 'mine', 1)
        self.claim(second, 'mine', 1)
        foreign = self.operation()
        self.claim(foreign, 'other', 1)
        until = self.get(foreign).lease_until
        self.assertEqual({first: HELD, second: HELD},
                         self.write(operations.renew, 'mine',
                                    [first, second, foreign], LONG))
        for operation_id in (first, second):
            self.assertGreater(
                self.get(operation_id).lease_until - until,
                datetime.timedelta(seconds=LONG / 2))
        self.assertEqual(until, self.get(foreign).lease_until)

    def test_renew_tells_of_aborts(self):
        operation_id = self.operation()
        self.claim(operation_id)
        self.write(query.change, models.Operation, {'abort_requested': True},
                   models.Operation.id == operation_id)
        self.assertEqual({operation_id: operations.Renewal(1, True, True)},
                         self.write(operations.renew, 'worker',
                                    [operation_id], LONG))

    def test_renew_of_a_lapsed_lease_that_nobody_took(self):
        operation_id = self.lost('worker')
        self.write(operations.renew, 'worker', [operation_id], LONG)
        self.assertIsNone(self.claim(operation_id, 'second'))

    def test_renew_after_a_take_over(self):
        operation_id = self.lost('first')
        self.claim(operation_id, 'second', LONG)
        until = self.get(operation_id).lease_until
        self.assertEqual({}, self.write(operations.renew, 'first',
                                        [operation_id], LONG * 9))
        self.assertEqual(until, self.get(operation_id).lease_until)

    def test_renew_keeps_a_short_lease_alive(self):
        operation_id = self.operation()
        self.claim(operation_id, 'mine', 1)
        for _ in range(3):
            time.sleep(0.4)
            self.write(operations.renew, 'mine', [operation_id], 1)
        self.assertIsNone(self.claim(operation_id, 'second'))

    def test_renew_goes_past_what_is_locked(self):
        locked, free = self.operation(), self.operation()
        self.claim(locked, 'mine', LONG)
        self.claim(free, 'mine', LONG)
        with self.locked(locked) as is_locked:
            found = self.write(operations.renew, 'mine', [locked, free],
                               9 * LONG)
        self.assertEqual({locked: operations.Renewal(1, False,
                                                     not is_locked),
                          free: HELD}, found)
        self.assertEqual(is_locked, self.get(locked).lease_until
                         < self.get(free).lease_until)

    def test_claim_goes_past_what_is_locked(self):
        lost = self.lost()
        with self.locked(lost) as is_locked:
            claimed = self.claim(lost, 'second', SHORT)
        self.assertEqual(is_locked, claimed is None)
        time.sleep(2 * SHORT)
        self.assertIsNotNone(self.claim(lost, 'third'))

    @contextlib.contextmanager
    def locked(self, operation_id):
        """Hold an operation's row meanwhile, where rows can be held."""
        if self.db.engine.dialect.name == 'sqlite':
            yield False
            return
        has, over = threading.Event(), threading.Event()

        def hold(session):
            operations.guard(session, operation_id, 1)
            has.set()
            over.wait(30)

        holder = threading.Thread(target=self.write, args=[hold])
        holder.start()
        self.assertTrue(has.wait(30))
        try:
            yield True
        finally:
            over.set()
            holder.join()

    def test_renew_without_any(self):
        self.assertEqual({}, self.write(operations.renew, 'mine', [], LONG))

    def test_renew_lets_what_was_dropped_run_out(self):
        kept, dropped = self.operation(), self.operation()
        self.claim(kept, 'mine', 1)
        self.claim(dropped, 'mine', 1)
        until = self.get(dropped).lease_until
        self.assertEqual({kept: HELD},
                         self.write(operations.renew, 'mine', [kept], LONG))
        self.assertEqual(until, self.get(dropped).lease_until)


class FencingTest(OperationTest):

    def refuses(self, function, *args):
        problem = self.assertRaises(errors.Fenced, self.write, function,
                                    *args)
        self.assertIn(args[0], str(problem))

    def test_guard_of_the_owner(self):
        operation_id = self.operation()
        self.claim(operation_id)
        self.write(operations.guard, operation_id, 1)

    def test_guard_in_all_other_states(self):
        operation_id = self.operation()
        self.refuses(operations.guard, operation_id, 0)
        self.claim(operation_id)
        for attempt in (0, 2):
            self.refuses(operations.guard, operation_id, attempt)
        self.write(operations.finish, operation_id, 1, 'done')
        self.refuses(operations.guard, operation_id, 1)
        self.refuses(operations.guard, fixtures.new_id(), 1)

    def test_second_attempt_wins(self):
        operation_id = self.lost()
        # Nobody has taken it yet: the first may still write.
        self.write(operations.guard, operation_id, 1)
        self.claim(operation_id, 'second')
        self.refuses(operations.guard, operation_id, 1)
        self.refuses(operations.finish, operation_id, 1, 'done')
        self.write(operations.guard, operation_id, 2)
        self.write(operations.finish, operation_id, 2, 'done')

    def test_guarded_writes_of_the_old_attempt_are_undone(self):
        operation_id = self.lost()
        self.claim(operation_id, 'second')
        checkpoint_id = self.get(operation_id).checkpoint_id

        def write(session, attempt, size):
            query.change(session, models.Checkpoint, {'size': size},
                         models.Checkpoint.id == checkpoint_id)
            operations.guard(session, operation_id, attempt)

        self.write(write, 2, 22)
        self.assertRaises(errors.Fenced, self.write, write, 1, 11)
        self.assertEqual(22, self.read(checkpoints.get, checkpoint_id).size)

    def test_guard_holds_until_the_transaction_ends(self):
        """Nobody takes over from a writer that was let through."""
        operation_id = self.lost()
        order = []

        def write(session):
            operations.guard(session, operation_id, 1)
            order.append('guarded')
            time.sleep(0.5)
            order.append('wrote')

        def take_over():
            while not order:
                time.sleep(0.01)
            other, taken = self.database.another(), None
            while taken is None:
                # What is locked counts as taken; so it is asked again.
                taken = other.write(operations.claim, operation_id, 'second',
                                    LONG)
            order.append('taken')
            return taken.attempt

        self.assertEqual([None, 2], fixtures.together(
            lambda: self.write(write), take_over))
        self.assertEqual(['guarded', 'wrote', 'taken'], order)


class EndTest(OperationTest):

    def test_finish(self):
        operation_id = self.operation(credentials='sealed',
                                      target_credentials='sealed too')
        self.claim(operation_id)
        row = self.get(operation_id)
        self.assertEqual(('sealed', 'sealed too'),
                         (row.credentials, row.target_credentials))
        self.write(operations.finish, operation_id, 1, 'failed', 'no space')
        row = self.get(operation_id)
        self.assertEqual(('failed', 'no space', None, None, None, None), (
            row.state, row.error_info, row.owner, row.lease_until,
            row.credentials, row.target_credentials))
        self.assertGreaterEqual(row.ended_at, row.started_at)

    def test_finish_twice(self):
        operation_id = self.operation()
        self.claim(operation_id)
        self.write(operations.finish, operation_id, 1, 'done')
        self.assertRaises(errors.Fenced, self.write, operations.finish,
                          operation_id, 1, 'failed')
        self.assertEqual('done', self.get(operation_id).state)

    def test_hand_back(self):
        operation_id = self.operation(credentials='sealed')
        self.claim(operation_id)
        self.write(operations.hand_back, operation_id, 1)
        row = self.get(operation_id)
        self.assertEqual(('queued', None, None, 'sealed'), (
            row.state, row.owner, row.lease_until, row.credentials))
        self.assertEqual([operation_id], self.claimable())
        taken = self.claim(operation_id, 'second')
        # Handing back is no failure: it is not counted as a take-over.
        self.assertEqual((2, 0), (taken.attempt, taken.resume_count))
        self.assertRaises(errors.Fenced, self.write, operations.guard,
                          operation_id, 1)

    def test_hand_back_of_what_another_has(self):
        operation_id = self.lost()
        self.claim(operation_id, 'second')
        self.write(operations.hand_back, operation_id, 1)
        row = self.get(operation_id)
        self.assertEqual(('running', 'second'), (row.state, row.owner))

    def test_hand_back_after_the_end(self):
        operation_id = self.operation()
        self.claim(operation_id)
        self.write(operations.finish, operation_id, 1, 'done')
        self.write(operations.hand_back, operation_id, 1)
        self.assertEqual('done', self.get(operation_id).state)
