# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The operations that are killed, and what must hold afterwards.

Each verb knows how to begin, when it has ended, and how to leave a site as
it was. What must hold is the same for all of them: an end, a good one; rows,
manifests, banks and clouds that tell the same; and nothing of anything that
no checkpoint owns.
"""

import sqlalchemy as sa

from karbor_ng.protection import bank_check
from karbor_ng.protection import manifest
from karbor_ng.protection import verb
from karbor_ng.store import models
from karbor_ng.store import restores
from karbor_ng.tests.crashes import site as sites
from karbor_ng.tests.unit.operationengine import environment as engines

SERVER = 'OS::Nova::Server'
IMAGE = 'OS::Glance::Image'
VOLUME = 'OS::Cinder::Volume'
SHARE = 'OS::Manila::Share'
COLLECTIONS = {SERVER: 'servers', VOLUME: 'volumes', IMAGE: 'images'}
#: A server with a disk, a volume, a port and its image; and a thing of which
#: nobody knows anything but that it is there.
ALL = ((SERVER, 'web'), (SHARE, 'share'))
#: What lies in the bank as a whole.
IN_BANK = ((SERVER, 'bare'),)


class Verb:
    """One operation, again and again at one site.

    :cvar RESOURCES: of the plan
    :cvar BACKUPS: what a checkpoint of them has in the cloud
    :cvar IS_ENGINES: whether an operation engine is killed, beside a worker
    """

    RESOURCES = ALL
    BACKUPS = {'backups': 1}
    IS_ENGINES = False

    def __init__(self, site):
        self.site = site
        #: what there is without us, and what there was when protecting
        self.first = site.client_of_cloud.call('contents')
        self.originals = site.client_of_cloud.call('contents')

    def work(self):
        """Return what the process does that is killed."""
        return sites.serve

    def prepare(self):
        """Make what the operation is about; a worker is there."""

    def begin(self):
        """Ask for the operation; no worker is there."""
        raise NotImplementedError

    def give_up(self):
        """Do what users do who have waited too long; a worker is lost."""

    def has_ended(self):
        """Return whether the operation has ended, however it did."""
        return not self.site.db.read(self._unended)

    def problems(self):
        """Yield what does not hold, as texts; a worker is there."""
        raise NotImplementedError

    def clean(self):
        """Leave no trace of this round; a worker is there."""

    def _unended(self, session):
        return session.execute(sa.select(models.Operation.id).where(
            models.Operation.state.in_(('queued', 'running')))).first()

    # What verbs do beside the one that is killed

    def protected(self):
        """Protect; return the id of a checkpoint that is available."""
        checkpoint_id = self.site.protect(self.RESOURCES)
        self.site.wait(self.has_ended)
        found = self.site.checkpoint(checkpoint_id)
        if found.status != 'available':
            raise RuntimeError(f'prepared: {found.status}')
        return checkpoint_id

    def deleted(self, checkpoint_id):
        """Delete a checkpoint; yield what is left of anything."""
        self.site.delete(checkpoint_id)
        self.site.wait(self.has_ended)
        status = self.site.checkpoint(checkpoint_id).status
        if status != 'deleted':
            yield f'checkpoint {status} after its deletion'
        yield from self.nothing()

    # What must hold

    def nothing(self, keys=frozenset()):
        """Yield what is in banks, rows or clouds, while nothing should.

        :param keys: what may be in banks all the same
        """
        yield from self.added({})
        for name in sites.BANKS.values():
            for key in set(self.site.keys(name)) - keys:
                yield f'{key} in the {name}'
        for table in (models.Stream, models.StreamPart, models.StreamUse):
            if self.site.db.read(lambda session, table=table: session.execute(
                    sa.select(table)).first()):
                yield f'a row of {table.__tablename__}'
        if self.site.registry.objects():
            yield f'{self.site.registry.objects()} in the registry'

    def added(self, numbers):
        """Yield how the cloud differs from what it was and so many more.

        :param numbers: ``{collection: how many}``
        """
        now = self.site.client_of_cloud.call('contents')
        for collection, before in self.first.items():
            for number in before:
                if now[collection].get(number) != before[number]:
                    yield (f'{collection} {number}: '
                           f'{now[collection].get(number)}')
            more = {number: facts for number, facts
                    in now[collection].items() if number not in before}
            if len(more) != numbers.get(collection, 0):
                yield (f'{len(more)} {collection} instead of '
                       f'{numbers.get(collection, 0)}: {more}')

    def is_sound(self, checkpoint_id):
        """Yield what is wrong with an available checkpoint."""
        site = self.site
        found = site.checkpoint(checkpoint_id)
        if found.status != 'available':
            yield f'checkpoint {found.status}: ' + str([
                (row.type, row.id, row.reason)
                for row in site.resources(checkpoint_id).values()])
            return
        yield from self.agrees(found)
        for provider_id in sites.BANKS:
            provider = site.provider(provider_id)
            for finding in bank_check.BankCheck(
                    site.db, provider, 0, is_reading=True).run():
                yield f'{finding.what} {finding.thing}: {finding.detail}'
            for finding in bank_check.CloudCheck(
                    site.db, provider, site.client_of_cloud.session(),
                    0).run():
                yield f'{finding.what} {finding.thing}: {finding.detail}'

    def agrees(self, found):
        """Yield what rows and manifest tell differently."""
        provider = self.site.provider(found.provider_id)
        kept = manifest.read(provider.bank, found.project_id, found.id)
        if kept is None:
            yield 'no manifest'
            return
        rows = self.site.resources(found.id)
        items = {item['id']: item for item in kept['resources']}
        if set(rows) != set(items) or kept['status'] != found.status:
            yield f'manifest {kept["status"]} of {sorted(items)}'
        for number, item in items.items():
            for name in ('status', 'saved', 'objects', 'size', 'reason'):
                if item[name] != getattr(rows[number], name):
                    yield f'{name} of {number} differs from the manifest'

    def is_ended_well(self, kind, checkpoint_id):
        """Yield what is wrong with how the last operation ended."""
        row = self.site.operation(checkpoint_id, kind)
        if row.state != 'done' or row.error_info:
            yield f'{kind} {row.state}: {row.error_info}'
        if row.credentials or row.owner or row.lease_until:
            yield f'{kind} has an owner or credentials still'

    def is_aborted(self, kind, checkpoint_id):
        """Yield what is wrong with how the last operation was aborted."""
        row = self.site.operation(checkpoint_id, kind)
        if row.state != 'failed' or verb.ABORTED not in row.error_info:
            yield f'{kind} {row.state}: {row.error_info}'

    def restored(self, checkpoint_id):
        """Restore; yield what is not as it was."""
        restore_id = self.site.restore(checkpoint_id)
        self.site.wait(self.has_ended)
        yield from self.is_restored(checkpoint_id, restore_id)

    def is_restored(self, checkpoint_id, restore_id):
        """Yield what is not as it was; remove what was restored."""
        yield from self.is_ended_well('restore', checkpoint_id)
        rows = self.site.db.read(restores.resources, restore_id)
        new = {(row.type, row.id): row.new_id for row in rows}
        now = self.site.client_of_cloud.call('contents')
        for row in rows:
            if row.status != 'available':
                yield f'restored {row.type} {row.id} {row.status}: ' \
                      f'{row.reason}'
        for kind, collection in COLLECTIONS.items():
            for number in [number for own, number in new if own == kind]:
                yield from self._equals(
                    collection, self.originals[collection][number],
                    now[collection], new[kind, number])
        yield from self._as_often(new, now)
        self.remove_restored()

    def _equals(self, collection, wanted, now, new_id):
        if now.get(new_id) != wanted:
            yield (f'restored {collection} {new_id}: {now.get(new_id)} '
                   f'instead of {wanted}')

    def _as_often(self, new, now):
        """Yield what was made twice, or not at all."""
        cloud = self.site.client_of_cloud
        server_id = new.get((SERVER, 'web'))
        if server_id in now['servers']:
            attached = cloud.call('volumes_of', server_id)
            if attached != [new[VOLUME, 'data']]:
                yield f'the restored server has volumes {attached}'
        yield from self.added({**self.BACKUPS, **self.restored_numbers(new)})
        restored = [item for item in self.site.registry.objects().values()
                    if item['label'] == 'restored']
        if len(restored) != ((SHARE, 'share') in new):
            yield f'{len(restored)} restored shares'

    def restored_numbers(self, new):
        """Return how many things of each kind a restore makes."""
        kinds = [kind for kind, _number in new]
        # A server's root disk travels as an image; an image that is there
        # needs no other one.
        images = kinds.count(SERVER) + (
            (IMAGE, 'base') in new and 'base' not in self.first['images'])
        return {'servers': kinds.count(SERVER), 'images': images,
                'volumes': kinds.count(VOLUME),
                'ports': int((SERVER, 'web') in new)}

    def remove_restored(self):
        """Remove what a restore has made, as its user would."""
        site = self.site
        now = site.client_of_cloud.call('contents')
        site.client_of_cloud.call('remove', {
            collection: [number for number in things
                         if number not in self.first[collection]
                         and collection != 'backups']
            for collection, things in now.items()})
        for thing_id, content in site.registry.objects().items():
            if content['label'] == 'restored':
                site.registry.remove(thing_id)


class Protect(Verb):

    def begin(self):
        self.checkpoint_id = self.site.protect(self.RESOURCES)

    def problems(self):
        yield from self.is_ended_well('protect', self.checkpoint_id)
        yield from self.is_sound(self.checkpoint_id)
        yield from self.added(self.BACKUPS)
        if len(self.site.registry.objects()) != 1:
            yield f'{len(self.site.registry.objects())} backups of the share'
        yield from self.restored(self.checkpoint_id)
        yield from self.deleted(self.checkpoint_id)


class WithCheckpoint(Verb):
    """About one checkpoint, which stays as it is."""

    checkpoint_id = None

    def prepare(self):
        if self.checkpoint_id is None:
            self.checkpoint_id = self.protected()


class Restore(WithCheckpoint):
    """Of something of which nothing is there any more."""

    def prepare(self):
        if self.checkpoint_id is None:
            super().prepare()
            del self.first['images']['base']
            self.site.client_of_cloud.call('lose_image', 'base')

    def begin(self):
        self.restore_id = self.site.restore(self.checkpoint_id)

    def problems(self):
        yield from self.is_restored(self.checkpoint_id, self.restore_id)
        yield from self.added(self.BACKUPS)
        yield from self.is_sound(self.checkpoint_id)


class Abort(Verb):
    """Of a checkpoint of which all is made, and nothing committed."""

    BACKUPS: dict = {}
    KILLED_AT = 'before object checkpoints/*/*/manifest.json #1'

    def begin(self):
        self.checkpoint_id = self.site.protect(self.RESOURCES)
        self.site.die_at(self.KILLED_AT)
        self.site.client.abort_checkpoint(self.site.caller,
                                          self.checkpoint_id)

    def problems(self):
        yield from self.is_aborted('protect', self.checkpoint_id)
        found = self.site.checkpoint(self.checkpoint_id)
        if found.status != 'error':
            yield f'checkpoint {found.status}'
        yield from self.agrees(found)
        yield from self.nothing({manifest.key(found.project_id, found.id)})
        yield from self.deleted(self.checkpoint_id)


class AbortRestore(Restore):
    """Of a restore that has made everything."""

    KILLED_AT = 'before row _write_end done #1'

    def begin(self):
        super().begin()
        self.site.die_at(self.KILLED_AT)
        self.site.client.abort_restore(self.site.caller, self.restore_id)

    def problems(self):
        yield from self.is_aborted('restore', self.checkpoint_id)
        row = self.site.db.read(restores.get, self.restore_id)
        if row.status != 'failed':
            yield f'restore {row.status}'
        yield from self.added(self.BACKUPS)
        if len(self.site.registry.objects()) != 1:
            yield f'{self.site.registry.objects()} in the registry'
        yield from self.is_sound(self.checkpoint_id)


class Verify(WithCheckpoint):

    def begin(self):
        self.site.verify(self.checkpoint_id)

    def problems(self):
        yield from self.is_ended_well('verify', self.checkpoint_id)
        yield from self.added(self.BACKUPS)
        yield from self.is_sound(self.checkpoint_id)


class Delete(Verb):

    def prepare(self):
        self.checkpoint_id = self.protected()

    def begin(self):
        self.site.delete(self.checkpoint_id)

    def problems(self):
        yield from self.is_ended_well('delete', self.checkpoint_id)
        status = self.site.checkpoint(self.checkpoint_id).status
        if status != 'deleted':
            yield f'checkpoint {status}'
        yield from self.nothing()


class Copy(Verb):

    RESOURCES = IN_BANK
    BACKUPS: dict = {}
    source_id = None

    def prepare(self):
        if self.source_id is None:
            self.source_id = self.protected()
            self.plan_id = self.site.checkpoint(self.source_id).plan_id
            self.source_keys = self.site.keys('bank')

    def begin(self):
        self.checkpoint_id = self.site.copy(self.plan_id)

    def problems(self):
        yield from self.is_ended_well('copy', self.checkpoint_id)
        yield from self.is_sound(self.checkpoint_id)
        yield from self.added({})
        yield from self.restored(self.checkpoint_id)
        yield from self.without_copy()

    def without_copy(self):
        """Delete the copy; yield what is left of it, or lost beside it."""
        self.site.delete(self.checkpoint_id)
        self.site.wait(self.has_ended)
        for key in self.site.keys('target'):
            yield f'{key} in the target'
        if self.site.keys('bank') != self.source_keys:
            yield 'the source has changed'


class Retention(Verb):
    """The engine's part: a new checkpoint is made, the old one goes."""

    RESOURCES = ((SHARE, 'share'),)
    IS_ENGINES = True

    def work(self):
        return sites.run_engine(self.moment)

    def prepare(self):
        """Let the first checkpoint be made."""
        self.row = self.site.schedule(self.RESOURCES, max_backups=1)
        self.moment = engines.START + engines.HOUR
        process = self.site.fork(self.work())
        self.site.wait(self.has_ended)
        self.site.kill(process)
        self.old_id = self._runs()[0].checkpoint_id
        self.moment += engines.HOUR

    def begin(self):
        """It is later, and that is all."""

    def has_ended(self):
        found = self._runs()
        return (len(found) == (self.moment - engines.START) / engines.HOUR
                and all(run.state not in ('due', 'started', 'retaining')
                        for run in found) and super().has_ended())

    def _runs(self):
        return self.site.db.read(lambda session: session.execute(
            sa.select(models.ScheduledOperationRun)
            .where(models.ScheduledOperationRun.scheduled_operation_id
                   == self.row.id)
            .order_by(models.ScheduledOperationRun.planned_at)
        ).scalars().all())

    def problems(self):
        found = self._runs()
        states = [(run.state, run.reason) for run in found]
        if states != [('succeeded', None)] * 2:
            yield f'runs {states}'
        new_id = found[-1].checkpoint_id
        if self.site.checkpoint(self.old_id).status != 'deleted':
            yield 'the old checkpoint is there'
        if self._made() != {self.old_id, new_id}:
            yield f'checkpoints {self._made()}'
        yield from self.is_ended_well('delete', self.old_id)
        yield from self.is_sound(new_id)
        if len(self.site.registry.objects()) != 1:
            yield f'{len(self.site.registry.objects())} backups of the share'
        self.site.disable(self.row)
        yield from self.deleted(new_id)

    def _made(self):
        return set(self.site.db.read(lambda session: session.execute(
            sa.select(models.Operation.checkpoint_id).where(
                models.Operation.scheduled_operation_id == self.row.id,
                models.Operation.type == 'protect')).scalars().all()))


VERBS = {one.__name__.lower(): one for one in (
    Protect, Restore, Verify, Delete, Copy, Retention, Abort, AbortRestore)}
