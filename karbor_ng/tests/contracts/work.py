# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The frame of plugins in memory, with faults where workers die.

Gives plugins what their contract promises, without database and lease, so
that tests can run them, interrupt them at any creation and go on with a
fresh attempt, as a worker does that takes an operation over.
"""

import copy
import dataclasses
import uuid

from karbor_ng import errors
from karbor_ng.plugins import api


class Killed(BaseException):
    """The worker is gone: nothing that stands after it runs."""


@dataclasses.dataclass
class Operation:
    """What outlives attempts: what a database would know.

    :ivar faults: ``{label: fault}``; ``refuse`` raises before the thing is
        made, ``lose_reply`` after it, ``kill_before`` and ``kill_after``
        end the attempt there. A fault happens once.
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
    """

    checkpoint_id = '2220f8b1-975d-4621-a872-fa9afb43cb6c'

    def __init__(self, operation, plugin, resource, session, parameters,
                 sleep, source=None):
        self.operation = operation
        self.plugin = plugin
        self.resource = resource
        self.parameters = parameters
        self.session = session
        self.bank = None
        self.saved = copy.deepcopy(operation.saved)
        self.restored = operation.restored
        self.operation_id = operation.id
        self.project_id = 'project'
        self.percents = []
        self.sleep = sleep
        self._source = source or operation

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


class Frame:
    """Runs operations of one plugin.

    :param sleep: called with seconds between two looks at a cloud
    """

    def __init__(self, plugin, session, sleep):
        self.plugin = plugin
        self.session = session
        self.sleep = sleep
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
                self.sleep, source)
            implemented(operation_class(work))
            operation.saved = work.saved
            operation.done.append(hook)

    def protect(self, resource, parameters=None, **faults):
        """Protect a resource; return the operation."""
        operation = Operation('Protect', faults=faults)
        self.run(operation, resource, parameters)
        return operation

    def restore(self, protect, resource, parameters=None, **faults):
        """Restore what an operation protected; return the operation."""
        operation = Operation('Restore', saved=copy.deepcopy(protect.saved),
                              faults=faults)
        self.run(operation, resource, parameters)
        return operation

    def delete(self, protect, resource):
        """Delete what an operation made; return the operation."""
        operation = Operation('Delete', saved=copy.deepcopy(protect.saved))
        self.run(operation, resource, source=protect)
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
