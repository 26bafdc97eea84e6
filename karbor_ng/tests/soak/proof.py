# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Holds what is left after a soak against what was asked for.

Separate because it begins when nothing goes wrong any more: rows, banks and
clouds stand still, and everything in them must be somebody's.
"""

import collections
import concurrent.futures

import sqlalchemy as sa

from karbor_ng.plugins import noop
from karbor_ng.store import models
from karbor_ng.store import operations
from karbor_ng.tests.functional import base
from karbor_ng.tests.soak import api as apis
from karbor_ng.tests.soak import goods
from karbor_ng.tests.soak import lanes
from karbor_ng.tests.soak import providers
from karbor_ng.tests.soak import restored

Checkpoint = models.Checkpoint
External = models.External
Operation = models.Operation
Run = models.ScheduledOperationRun
#: Where states of nouns stand, and which of them are ends.
_ENDS = (
    (Operation, Operation.state, ('done', 'failed')),
    (Checkpoint, Checkpoint.status, lanes.FINAL),
    (models.Restore, models.Restore.status, restored.ENDED),
    (models.Verification, models.Verification.status, restored.ENDED),
    (Run, Run.state, ('succeeded', 'failed', 'missed', 'skipped')))
_NAMES = {goods.SERVER: 'servers', goods.VOLUME: 'volumes',
          goods.IMAGE: 'images'}
#: Questions at the same time.
_AT_ONCE = 4
#: Later incremental backups have to go before those they build on.
_ROUNDS = 8
#: Seconds for the deletions of one round.
_PATIENCE = 1200
#: What a tenant's lists call what rows call by a kind.
_KINDS = {'backup': 'backups', 'snapshot': 'snapshots', 'volume': 'volumes',
          'image': 'images', 'root-disk-snapshot': 'images',
          'server': 'servers', 'port': 'ports'}


class Proof:
    """What must hold.

    :param tenants: ``[(Api, Goods)]``
    :param timetables: lanes that have come to rest
    :param chance: a :class:`random.Random`
    :ivar checked: ``{what: how many}``
    """

    def __init__(self, site, tenants, books, timetables, tally, chance):
        self._site = site
        self._db = site.db
        self._tenants = tenants
        self._books = books
        self._timetables = timetables
        self._tally = tally
        self._random = chance
        self.checked = collections.Counter()

    def run(self, restores):
        """Look at everything, restore some of it, then delete all."""
        self.ends()
        self.acknowledged()
        self.due_times()
        self.banks('before all is deleted')
        self.backups()
        self.owners()
        self.nothings()
        self.restore(restores)
        self.delete_all()
        self.nothing_left()

    def _wrong(self, text):
        self._tally.violation(text)

    # Rows

    def ends(self):
        """Everything has ended, and keeps no secret."""
        for model, column, ends in _ENDS:
            rows = self._db.read(_all, model)
            self.checked[model.__tablename__] += len(rows)
            for row in rows:
                if getattr(row, column.key) not in ends:
                    self._wrong(f'{model.__tablename__} {row.id} is '
                                f'{getattr(row, column.key)} for ever')
        for row in self._db.read(_all, Operation):
            if row.credentials or row.owner or row.lease_until:
                self._wrong(f'operation {row.id} has ended and still has an '
                            'owner or credentials')

    def acknowledged(self):
        """What was acknowledged is there, what was deleted is not."""
        made, everything = self._db.read(_operations_of), self._books.of()
        with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
            answers = list(pool.map(
                lambda kept: kept.api.surely('GET', kept.path), everything))
        for kept, (status, said) in zip(everything, answers, strict=True):
            self.checked['acknowledged'] += 1
            if kept.noun == 'checkpoints':
                self._checkpoint(kept, status, said, made[kept.id])
            elif kept.state == apis.THERE and status != 200:
                self._wrong(f'{kept.path} was acknowledged: {status}')
            elif kept.state == apis.GONE and status != 404:
                self._wrong(f'{kept.path} was deleted: {status}')

    def _checkpoint(self, kept, status, said, made):
        if status != 200:
            self._wrong(f'{kept.path} was acknowledged: {status}')
            return
        found = said['checkpoint']['status']
        if made != 1:
            self._wrong(f'{kept.path} was made by {made} operations')
        if kept.state == apis.THERE and found in ('deleted', 'deleting'):
            self._wrong(f'{kept.path} is {found}, and nobody deleted it')
        if kept.state == apis.GONE and found not in ('deleted',
                                                     'error-deleting',
                                                     'error'):
            self._wrong(f'{kept.path} was deleted and is {found}')

    def due_times(self):
        """Each due time of each schedule has one run."""
        found = self._db.read(_moments)
        for lane in self._timetables:
            for one in lane.scheduled:
                self.checked['due times'] += len(one.history.required())
                for problem in one.history.problems(found[one.kept.id]):
                    self._wrong(f'schedule {one.kept.id}: {problem}')
        for number, row in self._db.read(_strays).items():
            self._wrong(f'checkpoint {number} of run {row} has not one '
                        'operation')

    # Banks and clouds

    def banks(self, when):
        """Rows, banks and clouds tell the same."""
        for provider_id in providers.ALL:
            findings = self._site.findings(provider_id)
            self.checked['banks'] += 1
            for row in findings:
                # Of clouds all is seen, whoever has made it.
                if not row['what'].endswith('of somebody'):
                    self._wrong(f'{when}, {row["what"]} {row["thing"]}: '
                                f'{row["detail"]}')

    def backups(self):
        """A volume in an available checkpoint has one backup in Cinder."""
        wanted = self._db.read(_volumes_available)
        externals = self._db.read(_backups)
        there = {backup.id: backup.status for _api, own in self._tenants
                 for backup in own.tenant.cloud.block_storage.backups()}
        for key in wanted:
            self.checked['backups'] += 1
            found = externals[key]
            if len(found) != 1 or there.get(found[0]) != 'available':
                statuses = [(one, there.get(one)) for one in found]
                self._wrong(f'volume {key[1]} in checkpoint {key[0]} has '
                            f'backups {statuses}')

    def owners(self):
        """Whatever is in the tenants' projects is known by a row."""
        known = self._db.read(_known)
        for _api, own in self._tenants:
            for kind, ids in own.added().items():
                self.checked['things in clouds'] += len(ids)
                for thing_id in ids:
                    if kind != 'ports' and thing_id not in known[kind]:
                        self._wrong(f'{kind} {thing_id} in project '
                                    f'{own.tenant.project_id} belongs to '
                                    'nobody')

    def nothings(self):
        """What the no-op plugin has made is there once."""
        wanted = collections.Counter(self._db.read(_nothings))
        found = collections.Counter(
            (content['checkpoint'], content['resource'])
            for content in noop.Registry(
                providers.HOME / 'noop').objects().values()
            if content['label'] == 'backup')
        self.checked['nothings'] += len(wanted)
        for key, number in wanted.items():
            if found[key] != number:
                self._wrong(f'{key[1]} in checkpoint {key[0]} has '
                            f'{found[key]} backups in the registry')

    # Restoring

    def restore(self, number):
        """Restore some of what is available, each plan's at least once.

        Of what was protected nothing is there any more.
        """
        for _api, own in self._tenants:
            own.destroy()
        candidates = self._candidates()
        self._random.shuffle(candidates)
        seen, first, rest = set(), [], []
        for own, api, shown in candidates:
            plan = shown['protection_plan']['id']
            (rest if plan in seen else first).append((own, api, shown))
            seen.add(plan)
        with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
            compared = list(pool.map(lambda one: self._restore(*one),
                                     (first + rest)[:number]))
        self.checked['restored checkpoints'] = len(compared)
        self.checked['restored things'] = sum(compared)

    def _candidates(self):
        return [(own, api, shown) for api, own in self._tenants
                for provider_id in (providers.SWIFT, providers.FILES)
                for shown in api.pages(
                    f'/providers/{provider_id}/checkpoints?status=available',
                    'checkpoints')]

    def _restore(self, own, api, shown):
        """Return how many things were compared."""
        status, said = api.surely('POST', '/restores', {'restore': {
            'provider_id': _provider_of(self._db, shown['id']),
            'checkpoint_id': shown['id'], 'parameters': {}}})
        if status != 200:
            self._wrong(f'checkpoint {shown["id"]} is available and can not '
                        f'be restored: {said}')
            return 0
        made = said['restore']['id']
        ended = restored.ended(api, f'/restores/{made}', 'restore',
                               restored.ENDED)
        if ended['status'] != 'success':
            row = self._db.read(operations.restore_of, made)
            self._wrong(f'restore {made} of checkpoint {shown["id"]}: '
                        f'{row.error_info}')
            return 0
        return restored.check(own, shown, ended, self._tally)

    # Deleting

    def delete_all(self):
        """Delete all that karbor keeps for the tenants."""
        for api, _own in self._tenants:
            for noun, key in (('scheduled_operations', 'operations'),
                              ('triggers', 'triggers')):
                self._delete(api, noun, api.pages(f'/{noun}', key))
        for _round in range(_ROUNDS):
            refused = self._delete_checkpoints()
            base.wait(self._is_idle, _PATIENCE, 1, 'the end of deletions')
            left = self._db.read(_not_deleted)
            if not left:
                break
        for checkpoint_id, status in left:
            self._wrong(f'checkpoint {checkpoint_id} can not be deleted: '
                        f'{refused.get(checkpoint_id, status)}')
        for api, _own in self._tenants:
            self._delete(api, 'plans', api.pages('/plans', 'plans'))

    def _delete(self, api, noun, items):
        for item in items:
            status, said = api.surely('DELETE', f'/{noun}/{item["id"]}')
            if status not in (200, 404):
                self._wrong(f'/{noun}/{item["id"]} can not be deleted: '
                            f'{said}')

    def _is_idle(self):
        return not self._db.read(_unended)

    def _delete_checkpoints(self):
        """Try once, the newest first; return ``{id: what was said}``."""
        with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
            asked = {one: pool.submit(api.surely, 'DELETE', path)
                     for api, one, path in self._deletable()}
        answers = {one: future.result() for one, future in asked.items()}
        self.checked['deletions'] += len(answers)
        return {one: said for one, (status, said) in answers.items()
                if status != 200}

    def _deletable(self):
        for api, _own in self._tenants:
            for provider_id in providers.ALL:
                folder = f'/providers/{provider_id}/checkpoints'
                for shown in sorted(
                        api.pages(folder, 'checkpoints'), reverse=True,
                        key=lambda shown: shown['created_at_time']):
                    if shown['status'] != 'deleted':
                        yield api, shown['id'], f'{folder}/{shown["id"]}'

    def nothing_left(self):
        """Neither banks nor clouds nor rows have anything of anybody."""
        self.banks('after all is deleted')
        for api, own in self._tenants:
            for kind, ids in own.remove_all_but_originals().items():
                self._wrong(f'{kind} {ids} in project {api.project_id} are '
                            'left')
            trusts = own.tenant.cloud.identity.get(
                '/OS-TRUST/trusts', params={
                    'trustor_user_id': own.tenant.cloud.current_user_id})
            if trusts.json()['trusts']:
                self._wrong(f'trusts of project {api.project_id} are left')
            for key in self._keys(own.tenant):
                self._wrong(f'{key} is left in a bank')
        for model in (models.Stream, models.StreamPart, models.StreamUse,
                      models.Trust):
            if rows := self._db.read(_all, model):
                self._wrong(f'{len(rows)} rows of {model.__tablename__} are '
                            'left')
        left = [content for content in noop.Registry(
            providers.HOME / 'noop').objects().values()
            if content['label'] == 'backup']
        if left:
            self._wrong(f'{len(left)} backups are left in the registry')

    def _keys(self, tenant):
        """Return the project's keys in all banks, read past karbor."""
        found = [str(path) for name in ('bank', 'bank-noop')
                 for path in (providers.HOME / name).rglob('*')
                 if path.is_file() and tenant.project_id in str(path)]
        return found + [key for key in self._site.keys_in_swift()
                        if tenant.project_id in key]


def _unended(session):
    return session.execute(sa.select(Operation.id).where(
        Operation.state.in_(('queued', 'running')))).scalars().all()


def _not_deleted(session):
    return session.execute(
        sa.select(Checkpoint.id, Checkpoint.status)
        .where(Checkpoint.status != 'deleted')).tuples().all()


def _provider_of(db, checkpoint_id):
    """A copy's plan is of another provider than the copy itself."""
    return db.read(lambda session: session.get(
        Checkpoint, checkpoint_id).provider_id)


def _all(session, model):
    return session.execute(sa.select(model)).scalars().all()


def _operations_of(session):
    """Return how many operations have made each checkpoint."""
    return collections.Counter(dict(session.execute(
        sa.select(Operation.checkpoint_id, sa.func.count())
        .where(Operation.type.in_(('protect', 'copy')))
        .group_by(Operation.checkpoint_id)).tuples().all()))


def _moments(session):
    """Return the planned times of all runs, by scheduled operation."""
    found = collections.defaultdict(list)
    for row in session.execute(sa.select(Run.scheduled_operation_id,
                                         Run.planned_at)):
        found[row.scheduled_operation_id].append(row.planned_at)
    return found


def _strays(session):
    """Return runs whose checkpoint has not exactly one operation."""
    rows = session.execute(
        sa.select(Run.checkpoint_id, Run.id,
                  sa.func.count(Operation.id).label('made'))
        .outerjoin(Operation, sa.and_(
            Operation.scheduled_run_id == Run.id,
            Operation.checkpoint_id == Run.checkpoint_id,
            Operation.type == 'protect'))
        .where(Run.checkpoint_id.is_not(None))
        .group_by(Run.checkpoint_id, Run.id))
    return {row.checkpoint_id: row.id for row in rows if row.made != 1}


def _volumes_available(session):
    resource = models.CheckpointResource
    return [tuple(row) for row in session.execute(
        sa.select(Checkpoint.id, resource.id)
        .join(resource, resource.checkpoint_id == Checkpoint.id)
        .where(Checkpoint.status == 'available',
               Checkpoint.provider_id.in_((providers.SWIFT, providers.FILES)),
               resource.type == goods.VOLUME,
               resource.status == 'available'))]


def _backups(session):
    found = collections.defaultdict(list)
    for row in session.execute(sa.select(External).where(
            External.kind == 'backup', External.state == 'exists')).scalars():
        found[row.checkpoint_id, row.resource_id].append(row.external_id)
    return found


def _known(session):
    """Return ids of what rows say is there, by what tenants call it.

    Of a restore that succeeded, servers and volumes are what it told to have
    made: a second one of a thing, even if it is in the journal, is too many.
    """
    restore, row = models.Restore, models.RestoreResource
    found = collections.defaultdict(set)
    for kind, thing_id, status in session.execute(
            sa.select(External.kind, External.external_id, restore.status)
            .join(Operation, Operation.id == External.operation_id)
            .outerjoin(restore, restore.id == Operation.restore_id)
            .where(External.state != 'gone')):
        if status != 'success' or kind not in ('server', 'volume'):
            found[_KINDS.get(kind, kind)].add(thing_id)
    for kind, thing_id in session.execute(sa.select(row.type, row.new_id)):
        found[_NAMES.get(kind, kind)].add(thing_id)
    return found


def _nothings(session):
    """Return (checkpoint, resource) of all that is there once."""
    resource = models.CheckpointResource
    return [tuple(row) for row in session.execute(
        sa.select(Checkpoint.id, resource.id)
        .join(resource, resource.checkpoint_id == Checkpoint.id)
        .where(Checkpoint.status == 'available',
               Checkpoint.provider_id == providers.NOOP,
               resource.status == 'available'))]
