# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The frame of plugins in memory, with faults where workers die.

Gives plugins what their contract promises, without database and lease, so
that tests can run them, interrupt them at any creation and go on with a
fresh attempt, as a worker does that takes an operation over.
"""

import copy
import dataclasses
import hashlib
import uuid

from karbor_ng import credentials
from karbor_ng import errors
from karbor_ng.bank import bank as bank_module
from karbor_ng.bank.drivers import memory
from karbor_ng.plugins import api
from karbor_ng.tests.contracts import bank as bank_contract


class Killed(BaseException):
    """The worker is gone: nothing that stands after it runs."""


@dataclasses.dataclass
class Operation:
    """What outlives attempts: what a database would know.

    :ivar faults: ``{label: fault}``; ``refuse`` raises before the thing is
        made, ``lose_reply`` after it, ``kill_before`` and ``kill_after``
        end the attempt there. Of a stream, ``kill_before`` ends it before
        its first part, ``kill_between`` after that, ``kill_after`` when all
        lies in the bank, and ``interrupt`` breaks its source off once. A
        fault happens once.
    """

    type: str
    saved: dict = dataclasses.field(default_factory=dict)
    restored: dict = dataclasses.field(default_factory=dict)
    faults: dict = dataclasses.field(default_factory=dict)
    done: list = dataclasses.field(default_factory=list)
    journal: list = dataclasses.field(default_factory=list)
    id: str = dataclasses.field(default_factory=lambda: str(uuid.uuid4()))

    def row(self, label):
        """Return the journal's row of a label, or None."""
        for row in self.journal:
            if row.label == label:
                return row
        return None

    def change(self, row, **values):
        """Put a changed row in the place of an old one."""
        changed = dataclasses.replace(row, **values)
        self.journal[self.journal.index(row)] = changed
        return changed


class Work:
    """One attempt at an operation with one resource.

    :param source: the operation whose things the plugin sees
    :param streams: the :class:`Streams` of its bank
    :param sealer: seals secrets; None where there are no keys
    """

    checkpoint_id = '2220f8b1-975d-4621-a872-fa9afb43cb6c'

    def __init__(self, operation, plugin, resource, session, parameters,
                 sleep, source=None, streams=None, sealer=None):
        self.operation = operation
        self.plugin = plugin
        self.resource = resource
        self.parameters = parameters
        self.session = session
        self.streams = streams or Streams()
        self.bank = self.streams.bank.section(
            f'checkpoints/{self.checkpoint_id}/{uuid.uuid4()}')
        self.saved = copy.deepcopy(operation.saved)
        self.restored = operation.restored
        self.operation_id = operation.id
        self.project_id = session and session.get_project_id()
        self.percents = []
        self.sleep = sleep
        self._source = source or operation
        self._sealer = sealer

    def check(self):
        pass

    def poll(self, poll):
        return poll()

    def progress(self, done, total):
        self.percents.append(int(100 * done / total) if total else 0)

    def restored_as(self, new_id):
        self.restored[self.resource.id] = new_id

    def externals(self):
        return [row for row in self._source.journal
                if row.state != 'gone']

    def once(self, label, create, kind):
        row = self.operation.row(label)
        if row is not None and row.state == 'gone':
            row = self.operation.change(row, external_id=None,
                                        state='intended')
        if row is None:
            row = self._intend(label, kind)
        elif row.external_id is None:
            found = kind.find(self.session, row.tag, self.resource)
            if found:
                self._exists(row, found[0])
                return found[0]
        if row.external_id is None:
            row = self._exists(row, self._create(row, create, kind))
        return row.external_id

    def discard(self, external):
        if isinstance(external, str):
            external = self.operation.row(external)
        if external is None or external.state == 'gone':
            return
        kind = self.plugin.kind(external.kind)
        ids = ([external.external_id] if external.external_id else
               kind.find(self.session, external.tag, self.resource))
        for external_id in ids:
            while not kind.remove(self.session, external_id):
                self.sleep(1)
        self._source.change(external, state='gone')

    # Secrets and data

    def seal(self, text):
        return self._needed_sealer().seal(text)

    def unseal(self, text):
        try:
            return self._needed_sealer().open(text)
        except errors.CredentialsError as problem:
            raise errors.ResourceError(str(problem)) from problem

    def _needed_sealer(self):
        if self._sealer is None:
            raise errors.ResourceError('there are no keys')
        return self._sealer

    def put_stream(self, label, source, size=None, identity=None):
        stored = self.streams.of_use(self.operation, self.resource, label)
        if stored is None:
            stored = self.streams.share_or_make(
                self.operation, self.resource, label, identity)
        if stored.stream is None:
            self._write(stored, label, source, size)
        self.saved.setdefault('streams', {})[label] = dataclasses.asdict(
            stored.stream)
        return stored.stream

    def _write(self, stored, label, source, size):
        fault = self.operation.faults.pop(label, None)
        if fault == 'kill_before':
            raise Killed(label)
        journal = _StreamJournal(stored.parts, fault)
        try:
            written = self._pass(stored, source, size, journal,
                                 fault == 'interrupt')
        except ConnectionError:
            written = self._pass(stored, source, size, journal, False)
        if fault == 'kill_after':
            raise Killed(label)
        stored.stream = api.Stream(stored.id, written.size, written.sha256)

    def _pass(self, stored, source, size, journal, is_broken):
        chunks = self._watched(source(), size, is_broken)
        return self.streams.bank.section('streams').write_stream(
            stored.id, chunks, journal)

    def _watched(self, chunks, size, is_broken):
        done = 0
        for chunk in chunks:
            done += len(chunk)
            if size is not None:
                self.progress(done, size)
            yield chunk
            if is_broken:
                raise ConnectionError('the connection broke')

    def get_stream(self, label):
        kept = self.saved['streams'][label]
        whole = hashlib.sha256()
        for data in self.streams.bank.read_stream(
                self.streams.parts(kept['id'])):
            whole.update(data)
            yield data
        if whole.hexdigest() != kept['sha256']:
            raise errors.BankError(f'stream {kept["id"]} is damaged')

    def _intend(self, label, kind):
        name = f'{self.resource.type}/{self.resource.id}/{label}'
        row = api.External(
            id=str(uuid.uuid4()), resource_type=self.resource.type,
            resource_id=self.resource.id, label=label,
            tag=str(uuid.uuid5(uuid.UUID(self.operation.id), name)),
            service=kind.service, kind=kind.name, external_id=None,
            state='intended')
        self.operation.journal.append(row)
        return row

    def _exists(self, row, external_id):
        return self.operation.change(row, external_id=external_id,
                                     state='exists')

    def _create(self, row, create, kind):
        fault = self.operation.faults.pop(row.label, None)
        try:
            if fault == 'kill_before':
                raise Killed(row.label)
            if fault == 'refuse':
                raise ConnectionError('could not connect')
            external_id = create(row.tag)
            if fault == 'kill_after':
                raise Killed(row.label)
            if fault == 'lose_reply':
                raise ConnectionError('the reply was lost')
            return external_id
        except Exception:
            found = kind.find(self.session, row.tag, self.resource)
            if not found:
                raise
            return found[0]


@dataclasses.dataclass
class Stored:
    """A stream in the bank and who uses it.

    :ivar stream: None while it is not complete
    :ivar uses: ``{(operation id, resource, label)}``
    """

    id: str
    resource: api.Resource
    identity: str | None
    parts: dict = dataclasses.field(default_factory=dict)
    stream: api.Stream | None = None
    uses: set = dataclasses.field(default_factory=set)


class Streams:
    """A bank in memory, the streams in it, and whose they are."""

    def __init__(self):
        conf = bank_contract.conf_with(
            memory_bank_plugin={'name': str(uuid.uuid4())})
        self.bank = bank_module.Bank(memory.MemoryBank(conf))
        self.stored = []

    def of_use(self, operation, resource, label):
        """Return what the operation has begun under a label, or None."""
        use = operation.id, resource, label
        for stored in self.stored:
            if use in stored.uses:
                return stored
        return None

    def share_or_make(self, operation, resource, label, identity):
        """Return an equal stream that is complete, or a new one."""
        stored = self._equal(resource, identity)
        if stored is None:
            stored = Stored(str(uuid.uuid4()), resource, identity)
            self.stored.append(stored)
        stored.uses.add((operation.id, resource, label))
        return stored

    def parts(self, stream_id):
        """Return a stream's parts in order."""
        for stored in self.stored:
            if stored.id == stream_id:
                return [part for _, part in sorted(stored.parts.items())]
        raise errors.BankError(f'the bank has no stream {stream_id}')

    def release(self, operation):
        """Remove what nobody but this operation uses."""
        for stored in list(self.stored):
            before = len(stored.uses)
            stored.uses = {use for use in stored.uses
                           if use[0] != operation.id}
            if before and not stored.uses:
                self.bank.delete_prefix(f'streams/{stored.id}')
                self.stored.remove(stored)

    def _equal(self, resource, identity):
        for stored in self.stored:
            if (identity is not None and stored.stream is not None
                    and (stored.resource, stored.identity)
                    == (resource, identity)):
                return stored
        return None


class _StreamJournal:
    """A journal of parts that outlives an attempt."""

    def __init__(self, parts, fault):
        self._parts = parts
        self._fault = fault

    def done(self):
        return list(self._parts.values())

    def record(self, part):
        self._parts[int(part.key.rpartition('/')[2])] = part
        if self._fault == 'kill_between':
            raise Killed(part.key)


class Frame:
    """Runs operations of one plugin.

    :param sleep: called with seconds between two looks at a cloud
    :ivar streams: the bank, as :class:`Streams`
    :ivar sealer: set it to None to have no keys
    """

    def __init__(self, plugin, session, sleep):
        self.plugin = plugin
        self.session = session
        self.sleep = sleep
        self.streams = Streams()
        self.sealer = credentials.Sealer([credentials.new_key()])
        self.last_work = None

    def run(self, operation, resource, parameters=None, source=None):
        """Run the hooks that are not done; what they save is kept.

        :raises Killed: a fault asked for it: run it once more
        """
        operation_class = getattr(self.plugin, operation.type)
        for hook in api.HOOKS:
            implemented = getattr(operation_class, hook)
            if (hook in operation.done
                    or implemented is getattr(api.Operation, hook)):
                continue
            work = self.last_work = Work(
                operation, self.plugin, resource, self.session,
                dict(self._defaults(operation), **(parameters or {})),
                self.sleep, source, self.streams, self.sealer)
            implemented(operation_class(work))
            operation.saved = work.saved
            operation.done.append(hook)

    def protect(self, resource, parameters=None, **faults):
        """Protect a resource; return the operation."""
        operation = Operation('Protect', faults=faults)
        self.run(operation, resource, parameters)
        return operation

    def restore(self, protect, resource, parameters=None, restored=None,
                **faults):
        """Restore what an operation protected; return the operation.

        :param restored: ``{original id: new id}`` of the children
        """
        operation = Operation('Restore', saved=copy.deepcopy(protect.saved),
                              restored=dict(restored or {}), faults=faults)
        self.run(operation, resource, parameters)
        return operation

    def verify(self, protect, resource):
        """Verify what an operation protected; return the operation."""
        operation = Operation('Verify', saved=copy.deepcopy(protect.saved))
        self.run(operation, resource, source=protect)
        return operation

    def delete(self, protect, resource):
        """Delete what an operation made; return the operation."""
        operation = Operation('Delete', saved=copy.deepcopy(protect.saved))
        self.run(operation, resource, source=protect)
        self.streams.release(protect)
        return operation

    def refusal(self, function, *args, **kwargs):
        """Return the text with which a plugin refuses; it must."""
        try:
            function(*args, **kwargs)
        except errors.ResourceError as problem:
            return str(problem)
        raise AssertionError('it was not refused')

    def _defaults(self, operation):
        schema = {'Protect': self.plugin.options_schema,
                  'Restore': self.plugin.restore_schema}.get(
                      operation.type, {})
        return {name: option['default'] for name, option
                in schema.get('properties', {}).items()
                if 'default' in option}


class LosingFrame(Frame):
    """A frame whose originals are gone when they are restored.

    :param lose: called with a resource before each attempt to restore it
    """

    def __init__(self, lose, plugin, session, sleep):
        super().__init__(plugin, session, sleep)
        self._lose = lose

    def run(self, operation, resource, *args, **kwargs):
        if operation.type == 'Restore':
            self._lose(resource)
        super().run(operation, resource, *args, **kwargs)
