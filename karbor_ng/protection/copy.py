# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Copy: from one bank to another, as a checkpoint of its own.

No cloud is asked and no plugin called: a manifest says which objects there
are and what their hashes must be. They get new keys, and the copy has a
manifest like any other, so that nobody who restores or deletes it needs to
know that it is one.
"""

from karbor_ng import errors
from karbor_ng.bank import bank
from karbor_ng.protection import making
from karbor_ng.protection import manifest
from karbor_ng.protection import streams
from karbor_ng.protection import work
from karbor_ng.resource import Resource
from karbor_ng.store import checkpoints
from karbor_ng.store import streams as stream_rows


class Copy(making.Making):
    """Copies a checkpoint into the operation's provider."""

    UNFINISHED = 'copying'
    NEEDS_CLOUD = False

    def make(self):
        source = self.journal.read(
            checkpoints.get, self.operation.source_checkpoint_id)
        self._source_bank = self.tools.providers[source.provider_id].bank
        found = self._source_manifest(source)
        self.journal.write(self._begin, found)
        self.checkpoint = self.journal.read(
            checkpoints.get, self.operation.checkpoint_id)
        unfinished = {(row.type, row.id): row
                      for row in self.journal.resources()
                      if row.status == self.UNFINISHED}
        for item in found['resources']:
            row = unfinished.get((item['type'], item['id']))
            if row is not None:
                self.journal.lease.check()
                self._copy_or_tell(row, item)
                self.journal.settle()

    def _source_manifest(self, source):
        found = manifest.read(self._source_bank, source.project_id,
                              source.id)
        if found is None:
            raise errors.Error(f'Checkpoint {source.id} has no manifest in '
                               f'its bank.')
        if found['status'] != 'available':
            raise errors.Error(f'The manifest of checkpoint {source.id} says '
                               f'{found["status"]}: only what is available '
                               f'can be copied.')
        return found

    def _begin(self, session, found):
        """Write what there will be; doing it again changes nothing."""
        checkpoint = checkpoints.get(session, self.checkpoint.id)
        if checkpoint.status == 'wait_copying':
            checkpoints.move(session, checkpoint.id, 'copying',
                             graph=found['graph'],
                             bank_uuid=self.provider.bank_uuid)
        planned = {(item['type'], item['id'])
                   for item in found['plan']['resources']}
        checkpoints.put_resources(
            session, checkpoint.id,
            [self._row(item, planned) for item in found['resources']])

    def _row(self, item, planned):
        row = {name: item[name] for name in (
            'type', 'id', 'name', 'status', 'reason', 'plugin',
            'plugin_version', 'parameters', 'extra_info', 'size')}
        row.update(in_plan=(item['type'], item['id']) in planned,
                   saved=_without_streams(item['saved']), objects=[],
                   progress=0)
        if item['status'] != 'skipped':
            row['status'] = self.UNFINISHED
        return row

    def _copy_or_tell(self, row, item):
        """Copy one resource; what fails it, fails all, and is its reason."""
        try:
            values = self._copied(Resource(row.type, row.id), item)
        except errors.BankError as problem:
            self.journal.set_resource(row, status='error',
                                      reason=str(problem))
            raise errors.Error(
                f'{row.type} {row.id}: {problem}') from problem
        self.journal.set_resource(row, status='available', progress=100,
                                  **values)

    def _copied(self, resource, item):
        """Copy a resource's data; return the columns that tell of it."""
        frame = work.Work(self.attempt, resource, None, item['parameters'],
                          None, _without_streams(item['saved']), None)
        objects = [self._copy_object(bank.ObjectInfo(**found))
                   for found in item['objects']
                   if not streams.is_key(found['key'])]
        for label, kept in item['saved'].get('streams', {}).items():
            frame.copy_stream(
                label, self._source_bank, streams.parts_of(
                    resource, kept, item['objects']), kept,
                self._identity(kept))
        return {'saved': frame.saved,
                'objects': [*objects, *frame.stream_objects()]}

    def _copy_object(self, info):
        self.journal.lease.check()
        key = self._new_key(info.key)
        data = next(self._source_bank.read_stream([info]))
        copied = self.bank.put(key, data)
        return {'key': copied.key, 'size': copied.size,
                'sha256': copied.sha256}

    def _new_key(self, key):
        """Return the key of an object in the copy.

        Both attempts are in it: of two objects that an earlier and a later
        attempt of the source wrote, none may replace the other.
        """
        source_id = self.operation.source_checkpoint_id
        where = manifest.prefix(self.operation.project_id, source_id)
        where = f'{where}/data/'
        if not key.startswith(where):
            raise errors.BankError(f'"{key}" is not where objects of '
                                   f'checkpoint {source_id} belong.')
        rest = key.removeprefix(where)
        return f'{self.prefix}/data/{self.operation.attempt}.{rest}'

    def _identity(self, kept):
        """Return what tells that a stream is there already.

        Where nobody knows it any more, its own bytes do.
        """
        return (self.journal.read(stream_rows.identity_of, kept['id'])
                or streams.hash_of(f'sha256:{kept["sha256"]}'))


def _without_streams(saved):
    """Return what a plugin saved; its streams get other ids."""
    return {name: value for name, value in saved.items()
            if name != 'streams'}
