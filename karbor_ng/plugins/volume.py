# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Volume: block storage, protected by Cinder's own backups.

A snapshot freezes the volume, Cinder copies it to wherever its backups go,
and the snapshot is removed. What restoring needs beside the data (type,
size, zone, bootable) is saved with the checkpoint, because Cinder's backup
does not tell it.
"""

import functools

from cinderclient import exceptions
from keystoneauth1 import exceptions as keystone_exceptions
from oslo_config import cfg

from karbor_ng import clients
from karbor_ng import errors
from karbor_ng.plugins import api

RESOURCE_TYPE = 'OS::Cinder::Volume'
SERVER = 'OS::Nova::Server'
PROJECT = 'OS::Keystone::Project'

#: Volumes in these states are not offered, and skipped where a container
#: holds them: their data is lost or going.
LOST = ('error', 'deleting', 'error_deleting')
#: Volumes in these states hold data that can be read.
READABLE = ('available', 'in-use', 'error_extending', 'error_restoring')
#: Backups in these states are whole.
USABLE = ('available', 'restoring')
#: Seconds in which a volume must leave a passing state, such as attaching;
#: everything else of the plan waits for it, so not as long as a backup.
READY_SECONDS = 3600

#: HTTP statuses with which Cinder says that it will not do something.
REFUSALS = (400, 409)

#: Metadata that says whose a thing is, and that a volume has been filled.
TAG = 'karbor_tag'
FILLED = 'karbor_restored_from'

_TENANT = 'os-vol-tenant-attr:tenant_id'
_GIB = 1024 ** 3


class VolumeProtectable(api.Protectable):
    """Volumes of the project, and those attached to a server."""

    resource_type = RESOURCE_TYPE
    parent_types = (SERVER, PROJECT)

    def list(self, session, *, project_id, marker=None, limit=None,
             filters=None):
        volumes = clients.cinder(session).volumes
        found = []
        while limit is None or len(found) < limit:
            wanted = None if limit is None else limit - len(found)
            page = _page(volumes, marker, wanted, filters)
            found += [_resource(item) for item in page
                      if item.status not in LOST]
            if wanted is None or len(page) < wanted:
                break
            marker = page[-1].id
        return found

    def show(self, session, resource_id, parameters=None):
        try:
            return _resource(clients.cinder(session).volumes.get(resource_id))
        except exceptions.NotFound:
            return None

    def children(self, session, parents):
        """Read one listing for all parents.

        A volume is a child in whatever state it is: leaving it out would
        make a smaller backup than the user believes to have. Protecting it
        says what is wrong.
        """
        volumes = clients.cinder(session).volumes.list()
        known = {(parent.type, parent.id): parent for parent in parents}
        found = {parent: [] for parent in parents}
        own_project = session.get_project_id()
        for item in volumes:
            owners = {(SERVER, attachment['server_id'])
                      for attachment in item.attachments}
            owners.add((PROJECT, getattr(item, _TENANT, own_project)))
            for owner in owners & known.keys():
                found[known[owner]].append(_resource(item))
        return found


def _page(volumes, marker, limit, filters):
    try:
        return volumes.list(search_opts=filters, marker=marker, limit=limit)
    except exceptions.NotFound:
        raise errors.Invalid(
            f'marker: there is no volume {marker}') from None


def _resource(item):
    return api.Resource(RESOURCE_TYPE, item.id, item.name or '', {
        'availability_zone': item.availability_zone, 'size': item.size})


class _CinderKind(api.Kind):
    """A thing in Cinder.

    :cvar collection: the client's attribute with its verbs
    :cvar removable: statuses in which Cinder may accept its deletion
    :cvar surveyed: whether all of them are ours, and none a user's
    """

    service = 'cinder'
    collection: str
    removable: tuple[str, ...]
    surveyed = True

    def find(self, session, tag, resource):
        found = self._all(session).list(
            search_opts={'metadata': {TAG: tag}})
        return _oldest_first(found)

    def remove(self, session, external_id):
        things = self._all(session)
        try:
            if things.get(external_id).status in self.removable:
                self._delete(things, external_id)
        except exceptions.NotFound:
            return True
        return False

    def survey(self, session):
        if not self.surveyed:
            return None
        found = self._all(session).list(search_opts={'all_tenants': 1})
        return {item.id: item.metadata[TAG] for item in found
                if TAG in (item.metadata or {})}

    def _delete(self, things, external_id):
        try:
            things.delete(external_id)
        except exceptions.ClientException as refusal:
            if refusal.code not in REFUSALS:
                raise
            status = things.get(external_id).status
            if status not in self.removable:
                return  # somebody was faster
            raise errors.ResourceError(
                f'Cinder refuses to delete {self.name} {external_id} with '
                f'status "{status}": {refusal}') from refusal

    def _all(self, session):
        return getattr(clients.cinder(session), self.collection)


class Snapshot(_CinderKind):
    """The frozen volume from which Cinder copies."""

    name = 'snapshot'
    temporary = True
    collection = 'volume_snapshots'
    removable = ('available', 'error', 'error_deleting')


class Backup(_CinderKind):
    """A backup of Cinder's."""

    name = 'backup'
    collection = 'backups'
    removable = ('available', 'error', 'error_deleting')

    def find(self, session, tag, resource):
        # Cinder can not search the metadata of backups.
        of_volume = self._all(session).list(
            search_opts={'volume_id': resource.id})
        return _oldest_first(item for item in of_volume
                             if (item.metadata or {}).get(TAG) == tag)


class RestoredVolume(_CinderKind):
    """A volume that a restore has made."""

    name = 'volume'
    collection = 'volumes'
    surveyed = False
    removable = ('available', 'error', 'error_deleting', 'error_restoring',
                 'error_extending', 'in-use')


def _oldest_first(things):
    return [item.id for item in sorted(
        things, key=lambda item: (item.created_at, item.id))]


class Gone(errors.ResourceError):
    """What was waited for does not exist any more."""


class _CinderOperation(api.Operation):
    """An operation that asks Cinder, and explains its failures."""

    @functools.cached_property
    def cinder(self):
        return clients.cinder(self.session)

    @property
    def default_name(self):
        return f'{self.checkpoint_id}@{self.resource.id}'

    def await_status(self, kind_name, thing_id, until, failed, timeout=None):
        """Wait for a thing's status; see :meth:`api.Operation.wait`."""
        things = getattr(self.cinder, self.plugin.collections[kind_name])

        def poll():
            try:
                return things.get(thing_id)
            except exceptions.NotFound:
                raise Gone(f'{kind_name} {thing_id} does not exist in Cinder '
                           'any more') from None
        try:
            return self.wait(poll, until, failed, timeout,
                             reason=self._explanation)
        except errors.Timeout as problem:
            raise errors.Timeout(
                f'{kind_name} {thing_id}: {problem}') from None

    def _backups(self):
        return self.cinder.backups.list(
            search_opts={'volume_id': self.resource.id})

    def _explanation(self, thing):
        """Return Cinder's own words, of which it has two kinds."""
        said = getattr(thing, 'fail_reason', None)
        if not said:
            messages = self.cinder.messages.list(
                search_opts={'resource_uuid': thing.id})
            said = ' '.join(item.user_message for item in messages[:1])
        return f'{said} ({thing.id})' if said else thing.id


class Protect(_CinderOperation):
    """Makes a backup; incremental where that is wanted and possible."""

    def on_prepare_finish(self):
        volume = self._await_readable()
        self.saved.update(_description(volume))
        self._leave_out_rest(volume)
        if self.plugin.conf.backup_from_snapshot:
            self._take_snapshot()

    def on_main(self):
        self.progress(0, 100)
        backup_id = self.once('backup', self._create_backup,
                              self.plugin.kind('backup'))
        backup = self.await_status('backup', backup_id, ('available',),
                                   ('error', 'error_deleting', 'deleting'))
        self.saved.update(self._facts(backup))
        self._drop_snapshot()
        self.progress(100, 100)

    def _await_readable(self):
        """Return the volume once its data can be read.

        :raises errors.Skipped: it is lost, or not there any more
        """
        try:
            volume = self.await_status(
                'volume', self.resource.id, (*READABLE, *LOST), (),
                min(READY_SECONDS, self.plugin.timeout))
        except Gone as problem:
            raise errors.Skipped(str(problem)) from None
        if volume.status in LOST:
            raise errors.Skipped(
                f'{_state(volume)}: {self._explanation(volume)}')
        return volume

    def _leave_out_rest(self, volume):
        snapshots = self.cinder.volume_snapshots.list(
            search_opts={'volume_id': volume.id})
        for text in left_out(volume, snapshots):
            self.leave_out(text)

    def _take_snapshot(self):
        snapshot_id = self.once('snapshot', self._create_snapshot,
                                self.plugin.kind('snapshot'))
        snapshot = self.await_status(
            'snapshot', snapshot_id, ('available',),
            ('error', 'error_deleting', 'deleting'))
        self.saved.update(snapshot_id=snapshot_id,
                          snapshot_at=_as_utc(snapshot.created_at))

    def _create_snapshot(self, tag):
        # Forced: attached volumes are the rule, not the exception.
        return self.cinder.volume_snapshots.create(
            self.resource.id, force=True, name=self.default_name,
            metadata={TAG: tag}).id

    def _drop_snapshot(self):
        try:
            self.discard('snapshot')
        except errors.ResourceError as problem:
            # The backup is good; the frame looks after leftovers.
            self.note(f'The temporary snapshot is left over: {problem}')

    def _create_backup(self, tag):
        given = self.parameters
        return self.cinder.backups.create(
            self.resource.id, container=given.get('container'),
            name=given.get('backup_name') or self.default_name,
            description=given.get('description'),
            incremental=self._is_incremental(), force=given['force'],
            snapshot_id=self.saved.get('snapshot_id'),
            metadata={TAG: tag}).id

    def _is_incremental(self):
        mode = self.parameters['backup_mode']
        if mode == 'full':
            return False
        backups = self._backups()
        parent = next_parent(backups, self.saved.get('snapshot_at'))
        if mode == 'auto':
            length = len(chain(backups, parent)) if parent else 0
            return 0 < length < self.plugin.conf.max_chain
        if parent is None:
            raise errors.ResourceError(
                _nothing_to_build_on(self.resource.id))
        return True

    def _facts(self, backup):
        line = chain(self._backups(), backup) or [backup]
        return {
            'name': backup.name,
            'backup_id': backup.id,
            'parent_backup': line[1].id if len(line) > 1 else None,
            'chain_id': line[-1].id,
            'is_incremental': backup.is_incremental,
            'size': backup.size * _GIB,
            'snapshot_at': _as_utc(backup.data_timestamp),
        }


def next_parent(backups, before=None):
    """Return on which backup Cinder would build an incremental one now.

    :param backups: those of one volume, as Cinder lists them
    :param before: when the snapshot was taken that is to be copied, if one
    """
    usable = [item for item in backups if item.status == 'available'
              and (before is None or _as_utc(item.data_timestamp) < before)]
    return max(usable, key=_data_time, default=None)


def chain(backups, backup):
    """Return a backup and what it builds on, down to the full one.

    Cinder does not tell a backup's parent. It is the backup with the newest
    older data, of those that have dependants: Cinder chose it so, and what
    has dependants can not have been deleted since. Empty when the full one
    is not found.
    """
    line = [backup]
    while line[-1].is_incremental:
        older = [item for item in backups
                 if item.has_dependent_backups
                 and item.id not in {known.id for known in line}
                 and _data_time(item) <= _data_time(line[-1])]
        if not older:
            return []
        line.append(max(older, key=_data_time))
    return line


def _data_time(backup):
    return backup.data_timestamp


def _as_utc(time_text):
    """Cinder writes UTC, but does not say so."""
    return f'{time_text}+00:00'


def _description(volume):
    """Return what restoring needs to know of a volume beside its data."""
    metadata = {name: value for name, value in volume.metadata.items()
                if name not in (TAG, FILLED)}
    return {
        'volume_id': volume.id,
        'volume_name': volume.name or '',
        'volume_size': volume.size,
        'volume_type': volume.volume_type,
        'availability_zone': volume.availability_zone,
        'bootable': volume.bootable == 'true',
        'encrypted': volume.encrypted,
        'multiattach': volume.multiattach,
        'volume_metadata': metadata,
    }


def left_out(volume, snapshots):
    """Return what of a volume is not in its backup, as texts.

    :param snapshots: of the volume, our own temporary ones among them
    """
    texts = []
    if any(TAG not in item.metadata for item in snapshots):
        texts.append('Snapshots of the volume: only what it holds now is '
                     'backed up.')
    if getattr(volume, 'group_id', None):
        texts.append(f'That the volume belongs to group {volume.group_id}.')
    return texts


def _state(volume):
    return f'Volume {volume.id} has status "{volume.status}"'


def _nothing_to_build_on(volume_id):
    return (f'backup_mode is "incremental", but volume {volume_id} has no '
            'available backup to build on: use "full" or "auto"')


class Restore(_CinderOperation):
    """Makes a volume and has Cinder fill it.

    Not both in one request to Cinder: filling replaces the metadata of the
    volume by the original's, and with it our tag. By then the journal must
    know the volume, else a take-over would make a second one.
    """

    def on_main(self):
        backup = self._await_backup()
        volume_id = self.once('volume', functools.partial(
            self._create_volume, backup), self.plugin.kind('volume'))
        self.progress(0, 100)
        self._fill(volume_id, backup.id)
        self.restored_as(volume_id)
        self.progress(100, 100)

    def _await_backup(self):
        return self.await_status('backup', self.saved['backup_id'],
                                 ('available',),
                                 ('error', 'error_deleting', 'deleting'))

    def _create_volume(self, backup, tag):
        given = self.parameters
        volume = self.cinder.volumes.create(
            self.saved.get('volume_size') or backup.size,
            name=given.get('restore_name') or self.default_name,
            description=given.get('restore_description'),
            volume_type=self._type(), availability_zone=self._zone(),
            metadata=dict(self.saved.get('volume_metadata') or {},
                          **{TAG: tag}))
        return volume.id

    def _type(self):
        return self._noted(*fitting_type(self.saved, _types(self.cinder)))

    def _zone(self):
        return self._noted(*fitting_zone(self.saved, _zones(self.cinder)))

    def _noted(self, value, text):
        if text:
            self.note(text)
        return value

    def _fill(self, volume_id, backup_id):
        """Restore into the volume; where that was begun, go on."""
        volume = self._await_volume(volume_id,
                                    ('available', 'restoring-backup'))
        self._refuse_unencrypted(volume)
        if volume.metadata.get(FILLED) == backup_id:
            return
        if volume.status == 'available':
            self._request_filling(volume_id)
        volume = self._await_volume(volume_id, ('available',))
        self._make_alike(volume)
        tag = next(item.tag for item in self.externals
                   if item.external_id == volume_id)
        self._set(self.cinder.volumes.set_metadata, volume,
                  {TAG: tag, FILLED: backup_id})

    def _set(self, change, *values):
        """Make a change that is none when it is made twice."""
        self.wait(functools.partial(change, *values), ('made',),
                  status=lambda _answer: 'made')

    def _refuse_unencrypted(self, volume):
        if self.saved.get('encrypted') and not volume.encrypted:
            raise errors.ResourceError(
                f'The original was encrypted, but volumes of type '
                f'"{volume.volume_type}" are not any more: nothing was '
                'restored into one.')

    def _await_volume(self, volume_id, until):
        return self.await_status('volume', volume_id, until,
                                 ('error', 'error_restoring',
                                  'error_deleting', 'deleting'))

    def _request_filling(self, volume_id):
        """Ask Cinder to restore, once no other restore uses the backup."""
        self.wait(functools.partial(self._ask_to_fill, volume_id),
                  ('begun',), status=str)

    def _ask_to_fill(self, volume_id):
        """Return ``begun`` when Cinder restores, ``busy`` if it can not."""
        backup = self._await_backup()
        try:
            self.cinder.restores.restore(backup.id, volume_id)
        except (exceptions.ClientException,
                keystone_exceptions.ClientException):
            # Refused, or only the answer was lost?
            if self.cinder.volumes.get(volume_id).status != 'available':
                return 'begun'
            if self.cinder.backups.get(backup.id).status == 'restoring':
                return 'busy'
            raise
        return 'begun'

    def _make_alike(self, volume):
        """Set what a backup of Cinder's does not always bring back."""
        bootable = self.saved.get('bootable')
        if (bootable is not None
                and bootable != (volume.bootable == 'true')):
            self._set(self.cinder.volumes.set_bootable, volume, bootable)


class Verify(_CinderOperation):
    """Looks at the backup, and at those on which it builds."""

    def on_main(self):
        backup = self._await_settled(self.saved.get('backup_id'))
        size = self.saved.get('size')
        if size not in (None, backup.size * _GIB):
            raise errors.ResourceError(
                f'Backup {backup.id} has {backup.size} GiB in Cinder; it '
                f'had {size // _GIB} GiB when it was made')
        if backup.is_incremental:
            self._check_chain(backup)

    def _await_settled(self, backup_id):
        return self.await_status(
            'backup', backup_id, USABLE,
            ('error', 'error_deleting', 'deleting', 'deleted'),
            min(READY_SECONDS, self.plugin.timeout))

    def _check_chain(self, backup):
        line = chain(self._backups(), backup)
        needed = [self.saved.get('parent_backup'),
                  self.saved.get('chain_id')]
        lost = sorted(set(needed) - {None, *(item.id for item in line)})
        if lost or not line:
            raise errors.ResourceError(
                f'Backup {backup.id} is incremental, and what it builds on '
                f'is not in Cinder any more: '
                f'{", ".join(lost) or "a full backup"}')
        for item in line[1:]:
            self._await_settled(item.id)


def _types(cinder):
    return {item.name for item in cinder.volume_types.list()}


def _zones(cinder):
    return {item.zoneName for item in cinder.availability_zones.list()
            if item.zoneState['available']}


def fitting_type(saved, names):
    """Return the type to restore into, and what is to be noted or None.

    :param names: of the types that there are
    :raises errors.ResourceError: another type would give secrets away
    """
    wanted = saved.get('volume_type')
    if wanted is None or wanted in names:
        return wanted, None
    if saved.get('encrypted'):
        raise errors.ResourceError(
            f'The volume was encrypted, and its volume type "{wanted}" is '
            'gone: the default type might leave it unencrypted. Restore it '
            'when there is an encrypted type of that name again.')
    several = (' Whether several servers can have it at once is up to that.'
               if saved.get('multiattach') else '')
    return None, (f'The volume type "{wanted}" is gone: the restored volume '
                  f'has the default type.{several}')


def fitting_zone(saved, names):
    """Return the zone to restore into, and what is to be noted or None."""
    wanted = saved.get('availability_zone')
    if wanted is None or wanted in names:
        return wanted, None
    return None, (f'The availability zone "{wanted}" is gone: the restored '
                  'volume is in the default one.')


class VolumeProtection(api.Protection):
    """Protects volumes by backups of Cinder.

    Needs Cinder's backup service. Users see the backups in Cinder; deleting
    one there breaks the checkpoint. All volumes of a plan are frozen as
    snapshots first, close to one instant. Backups are incremental while the
    chain is short, unless the plan says otherwise.
    """

    resource_types = (RESOURCE_TYPE,)
    GROUP = 'cinder_backup_protection_plugin'
    OPTS = [
        cfg.IntOpt('poll_interval', default=15, min=1,
                   help='Longest pause in seconds between two looks at the '
                        'status of something in Cinder. Waiting begins with '
                        'pauses of one second, which grow up to this.'),
        cfg.BoolOpt('backup_from_snapshot', default=True,
                    help='Whether a snapshot is taken first and copied '
                         'instead of the volume. All snapshots of a '
                         'checkpoint are taken together, and attached '
                         'volumes need no "force". Without it volumes are '
                         'copied one after the other, each as it is at that '
                         'time.'),
        cfg.IntOpt('max_chain', default=7, min=1,
                   help='How many backups a full one and the incremental '
                        'ones on top of it may be, for the backup mode '
                        '"auto": the next one is full again. Longer chains '
                        'take longer to restore, and none of their backups '
                        'can be deleted before those on top of it.'),
        cfg.IntOpt('timeout', default=86400, min=1,
                   help='Seconds after which a snapshot, a backup or a '
                        'restore that has not finished in Cinder counts as '
                        'failed; the default is a day.'),
    ]

    kinds = (Snapshot(), Backup(), RestoredVolume())
    collections = {kind.name: kind.collection for kind in kinds}

    options_schema = {
        'title': 'Cinder Protection Options',
        'type': 'object',
        'properties': {
            'backup_name': {
                'type': ['string', 'null'], 'default': None,
                'maxLength': 255, 'title': 'Backup Name',
                'description': 'The name of the backup in Cinder. Without '
                               'one it is named after the checkpoint and '
                               'the volume.'},
            'backup_mode': {
                'type': 'string', 'enum': ['full', 'incremental', 'auto'],
                'default': 'auto', 'title': 'Backup Mode',
                'description': 'Whether everything is copied, or what has '
                               'changed since the last backup of the '
                               'volume. With "auto" the backup is '
                               'incremental where that is possible and the '
                               'chain of backups is not too long yet.'},
            'container': {
                'type': ['string', 'null'], 'default': None,
                'maxLength': 255, 'title': 'Container',
                'description': 'The container in which Cinder stores the '
                               'backup, if not in its default one.'},
            'description': {
                'type': ['string', 'null'], 'default': None,
                'maxLength': 255, 'title': 'Description',
                'description': 'The description of the backup in Cinder.'},
            'force': {
                'type': 'boolean', 'default': False, 'title': 'Force',
                'description': 'Whether the volume is copied although it is '
                               'attached. Needed only where the provider '
                               'takes no snapshots first.'},
        },
        'required': ['backup_mode'],
    }
    saved_info_schema = {
        'title': 'Cinder Protection Saved Info',
        'type': 'object',
        'properties': {
            'name': {
                'type': 'string', 'title': 'Name',
                'description': 'The name of the backup in Cinder.'},
            'backup_id': {
                'type': 'string', 'title': 'Backup',
                'description': 'The id of the backup in Cinder.'},
            'is_incremental': {
                'type': 'boolean', 'title': 'Is Incremental',
                'description': 'Whether the backup builds on another one.'},
            'parent_backup': {
                'type': ['string', 'null'], 'title': 'Parent Backup',
                'description': 'The id of the backup on which this one '
                               'builds.'},
            'chain_id': {
                'type': 'string', 'title': 'Chain',
                'description': 'The id of the full backup at the bottom of '
                               'the chain.'},
            'size': {
                'type': 'integer', 'title': 'Size',
                'description': 'The size of the volume in bytes.'},
            'volume_id': {
                'type': 'string', 'title': 'Volume',
                'description': 'The id of the volume that was backed up.'},
            'snapshot_at': {
                'type': 'string', 'title': 'Time of Data',
                'description': 'The time, in UTC, at which the volume held '
                               'the data of the backup.'},
        },
        'required': ['name'],
    }
    restore_schema = {
        'title': 'Cinder Protection Restore',
        'type': 'object',
        'properties': {
            'restore_name': {
                'type': ['string', 'null'], 'default': None,
                'maxLength': 255, 'title': 'Restore Name',
                'description': 'The name of the restored volume. Without '
                               'one it is named after the checkpoint and '
                               'the original volume.'},
            'restore_description': {
                'type': ['string', 'null'], 'default': None,
                'maxLength': 255, 'title': 'Restore Description',
                'description': 'The description of the restored volume.'},
            'volume_id': {
                'type': 'null', 'default': None, 'title': 'Volume',
                'description': 'Always null: a restore makes a new volume. '
                               'Kept for clients that send it.'},
        },
    }
    verify_schema = {
        'title': 'Cinder Volume Verify',
        'type': 'object',
        'properties': {},
    }

    Protect = Protect
    Restore = Restore
    Verify = Verify

    @classmethod
    def preview_protect(cls, session, resources, parameters):
        """Read each listing of Cinder once for all volumes."""
        cinder = clients.cinder(session)
        volumes = _living(cinder.volumes, [item.id for item in resources])
        backups = _by_volume(cinder.backups.list())
        snapshots = _by_volume(cinder.volume_snapshots.list())
        return {item: _protect_preview(
            item, volumes.get(item.id), backups.get(item.id, ()),
            snapshots.get(item.id, ()), parameters[item]['backup_mode'])
            for item in resources}

    @classmethod
    def preview_restore(cls, session, kept, parameters):
        """Read each listing of Cinder once for all volumes."""
        cinder = clients.cinder(session)
        backups = _living(cinder.backups, [
            saved.get('backup_id') for saved in kept.values()])
        types, zones = _types(cinder), _zones(cinder)
        return {item: _restore_preview(
            saved, backups.get(saved.get('backup_id')), types, zones,
            parameters[item].get('restore_name')) for item, saved
            in kept.items()}

    def adopt(self, resource, metadata):
        """Take over a backup that Karbor's plugin of this name made."""
        if not {'backup_id', 'volume_id'} <= metadata.keys():
            return None
        backup_id = metadata['backup_id']
        return api.Adopted(
            {'backup_id': backup_id, 'volume_id': metadata['volume_id'],
             'volume_name': resource.name},
            (('backup', 'backup', backup_id),))

    def conflicts(self, session, externals):
        """Return which backups Cinder would refuse to delete."""
        backups = clients.cinder(session).backups
        found = []
        for external in externals:
            if external.kind != 'backup' or external.external_id is None:
                continue
            try:
                backup = backups.get(external.external_id)
            except exceptions.NotFound:
                continue
            if backup.has_dependent_backups:
                found.append(
                    f'incremental backups build on backup {backup.id} '
                    f'("{backup.name}") of volume {backup.volume_id}')
        return found


# Previews

def _living(collection, ids):
    """Return ``{id: thing}`` of those that are there.

    A listing has only the own project's; others are asked for one by one.
    """
    ids = set(ids)
    found = {item.id: item for item in collection.list() if item.id in ids}
    for thing_id in ids - {None, *found}:
        try:
            found[thing_id] = collection.get(thing_id)
        except exceptions.NotFound:
            pass
    return found


def _by_volume(things):
    found = {}
    for item in things:
        found.setdefault(item.volume_id, []).append(item)
    return found


def _protect_preview(resource, volume, backups, snapshots, mode):
    if volume is None:
        return api.Preview('Fails.', problems=(
            f'Volume {resource.id} does not exist in Cinder.',))
    if volume.status in LOST:
        return api.Preview('Not backed up.', skipped=f'{_state(volume)}.')
    parent = None if mode == 'full' else next_parent(backups)
    problems, notes = (), ()
    if mode == 'incremental' and parent is None:
        problems = (_nothing_to_build_on(volume.id),)
    if volume.status not in READABLE:
        notes = (f'{_state(volume)} now: protecting waits until that has '
                 'passed.',)
    return api.Preview(_backup_action(volume, parent, mode),
                       volume.size * _GIB, problems, notes,
                       tuple(left_out(volume, snapshots)))


def _backup_action(volume, parent, mode):
    if mode == 'full' or parent is None:
        return f'Cinder makes a full backup of {volume.size} GiB.'
    chance = ('' if mode == 'incremental'
              else ', or a full one if the chain is long enough')
    return (f'Cinder makes an incremental backup{chance}: at most '
            f'{volume.size} GiB.')


def _restore_preview(saved, backup, types, zones, name):
    problems = _backup_problems(saved, backup)
    notes = [fitting_zone(saved, zones)[1]]
    try:
        notes.append(fitting_type(saved, types)[1])
    except errors.ResourceError as problem:
        problems.append(str(problem))
    size = saved.get('volume_size') or (backup.size if backup else None)
    named = f' "{name}"' if name else ''
    return api.Preview(
        f'Cinder makes a new volume{named} and restores the backup into it.',
        size and size * _GIB, tuple(problems), tuple(filter(None, notes)))


def _backup_problems(saved, backup):
    if backup is None:
        return [f'Backup {saved.get("backup_id")} does not exist in Cinder '
                'any more.']
    if backup.status not in USABLE:
        return [f'Backup {backup.id} has status "{backup.status}".']
    return []
