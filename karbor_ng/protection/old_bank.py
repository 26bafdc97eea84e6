# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of Karbor: read in their old layout, written in ours.

The old service kept an index for each checkpoint, and for each resource a
status, what its plugin wanted to remember, and sometimes data in chunks. Such
a checkpoint gets a manifest of ours, which is all that restoring and
importing need. What is old is only read, never changed.

Apart from ``bank_import``, which then makes rows of the manifest, so that
this can be removed on the day when nobody has such banks any more.
"""

import datetime
import hashlib
import json
import uuid

from karbor_ng import errors
from karbor_ng import graph as graph_module
from karbor_ng.bank import bank as bank_module
from karbor_ng.protection import journal
from karbor_ng.protection import manifest
from karbor_ng.protection import streams
from karbor_ng.resource import Resource

#: The only version of the index that there ever was.
VERSION = '0.9'
#: How a checkpoint that had ended is called now.
_STATUSES = {'available': 'available', 'error': 'error',
             'error-deleting': 'error'}
_FOLDER = 'checkpoints/'
#: What the parts of a stream are written under, instead of an attempt.
_ATTEMPT = 'karbor'


class OldBank:
    """Reads what Karbor stored in the place where a bank of ours is now.

    :param bank: our :class:`bank.Bank` in that place
    """

    def __init__(self, bank):
        self._driver = bank.driver
        # Its keys began with a slash, which paths of files do not show.
        self._root = '' if bank.kind == 'filesystem' else '/'

    def checkpoint_ids(self):
        """Yield the ids of all checkpoints that have an index."""
        folder, after = f'{self._root}{_FOLDER}', None
        while page := self._driver.list(folder, after, 1):
            checkpoint_id = page[0][len(folder):].split('/')[0]
            after = f'{folder}{checkpoint_id}/{bank_module.LAST}'
            if self._get(checkpoint_id, 'index.json') is not None:
                yield checkpoint_id

    def index(self, checkpoint_id):
        """Return the index. :raises errors.BankError: it is damaged"""
        found = self.json(checkpoint_id, 'index.json')
        if not isinstance(found, dict) or found.get('version') != VERSION:
            raise errors.BankError(
                f'Its index is damaged, or not of version {VERSION}.')
        return found

    def text(self, checkpoint_id, *names):
        """Return a word such as a status, None without one."""
        data = self._get(checkpoint_id, *names)
        return None if data is None else data.decode(
            errors='replace').strip('" \n')

    def json(self, checkpoint_id, *names):
        """Return a value that was stored as JSON, None without one."""
        data = self._get(checkpoint_id, *names)
        try:
            return None if data is None else json.loads(data)
        except ValueError:
            raise errors.BankError(
                f'"{"/".join(names)}" holds no JSON.') from None

    def chunks(self, checkpoint_id, resource_id, count, is_json):
        """Yield the chunks of a resource's data.

        :param is_json: whether they were stored as texts of JSON, as on
            Python 3, or as they are
        """
        for number in range(1, count + 1):
            data = self._get(checkpoint_id, 'resource-data', resource_id,
                             f'data_{number}')
            if data is None:
                raise errors.BankError(f'"data_{number}" is missing.')
            yield json.loads(data).encode() if is_json else data

    def _get(self, *names):
        try:
            return self._driver.get(
                f'{self._root}{_FOLDER}{"/".join(names)}')
        except errors.NotFound:
            return None


class Conversion:
    """Makes manifests for a provider out of old checkpoints.

    :param provider: a :class:`providers.Provider` that is open
    """

    def __init__(self, provider):
        self._provider = provider
        self._bank = provider.bank
        self._old = OldBank(provider.bank)

    def checkpoint_ids(self):
        """Yield the ids of the old checkpoints, whosever they are."""
        return self._old.checkpoint_ids()

    def index(self, checkpoint_id):
        """Return the index of an old checkpoint that can be converted.

        None for one that is deleted.

        :raises errors.BankError: it is damaged
        :raises errors.Conflict: it is not this provider's, or had not ended
        """
        index = self._old.index(checkpoint_id)
        if index.get('status') == 'deleted':
            return None
        if index.get('id') != checkpoint_id:
            raise errors.BankError(
                f'Its index is that of {index.get("id")}: somebody moved '
                f'it.')
        if index.get('provider_id') != self._provider.id:
            raise errors.Conflict(
                f'It was made by provider {index.get("provider_id")}, not '
                f'by {self._provider.id}.')
        if index.get('status') not in _STATUSES:
            raise errors.Conflict(
                f'It is {index.get("status")}: Karbor had not finished.')
        return index

    def convert(self, index):
        """Write the manifest of an old checkpoint; twice is harmless.

        Data that Karbor stored is copied first.

        :raises errors.BankError: the index is damaged, or the bank fails
        """
        try:
            converted = self._manifest(index)
        except (LookupError, TypeError, ValueError, AttributeError) as lack:
            raise errors.BankError(
                f'Its index is damaged: {lack!r}.') from lack
        manifest.write(self._bank, converted)

    def _manifest(self, index):
        checkpoint_id = str(uuid.UUID(index['id']))
        moment = datetime.datetime.fromtimestamp(
            index['timestamp'], datetime.timezone.utc).isoformat()
        plan = self._plan(index)
        graph = _graph(index, plan)
        return {
            'format': manifest.FORMAT, 'id': checkpoint_id,
            'project_id': index['project_id'], 'user_id': None,
            'status': _STATUSES[index['status']],
            'provider_id': index['provider_id'], 'created_at': moment,
            'finished_at': moment,
            'extra_info': _decoded(index.get('extra_info')) or {},
            'plan': plan, 'graph': graph_module.pack(graph),
            'operation': {'id': _operation_id(checkpoint_id), 'attempt': 1},
            'resources': [self._resource(index, node)
                          for node in graph.nodes],
        }

    def _plan(self, index):
        plan = index['protection_plan']
        return {'id': plan['id'], 'name': plan['name'],
                'description': None, 'provider_id': plan['provider_id'],
                'parameters': {}, 'resources': [
                    dict(item, extra_info=_decoded(item.get('extra_info')))
                    for item in plan['resources']]}

    def _resource(self, index, node):
        item = {'type': node.type, 'id': node.id, 'name': node.name,
                'status': 'available', 'reason': None, 'plugin': None,
                'plugin_version': None, 'parameters': {}, 'saved': {},
                'extra_info': node.extra_info, 'size': None,
                'externals': [], 'objects': []}
        plugin = self._provider.protections.get(node.type)
        if plugin is None:
            return dict(item, status='skipped', reason=(
                f'Provider {self._provider.name} has no plugin for '
                f'{node.type}.'))
        item.update(plugin=self._provider.plugin_names[node.type],
                    plugin_version=plugin.version)
        if plugin.container:
            return item
        try:
            return dict(item, **self._adopted(index, node, plugin))
        except errors.BankError as problem:
            return dict(item, status='skipped', reason=(
                f'It can not be taken over from Karbor: {problem}'))

    def _adopted(self, index, node, plugin):
        where = index['id'], 'resource-data', node.id
        status = self._old.text(*where, 'status')
        if status != 'available':
            raise errors.BankError(f'its status was {status or "unknown"}.')
        kept = plugin.adopt(node, self._old.json(*where, 'metadata') or {})
        if kept is None:
            raise errors.BankError(
                f'plugin {self._provider.plugin_names[node.type]} does not '
                f'know what Karbor kept of it.')
        values = {'saved': dict(kept.saved), 'externals': [
            _external(index, node, plugin, *thing) for thing in kept.things]}
        if kept.chunks:
            self._copy(index, node, kept, values)
        values['size'] = values['saved'].get('size')
        return values

    def _copy(self, index, node, kept, values):
        """Copy data into a stream; its checksum tells how it was stored."""
        is_json = next((form for form in (False, True)
                        if self._md5(index, node, kept, form) == kept.md5),
                       None)
        if is_json is None:
            raise errors.BankError('its data has not the checksum that '
                                   'Karbor noted.')
        stream_id = str(uuid.uuid5(uuid.UUID(index['id']),
                                   f'{node.type}/{node.id}/{kept.stream}'))
        written = self._bank.section(
            streams.prefix(index['project_id'], stream_id)).write_stream(
                _ATTEMPT, self._chunks(index, node, kept, is_json))
        values['objects'] = [{'key': part.key, 'size': part.size,
                              'sha256': part.sha256}
                             for part in written.objects]
        values['saved'].update(size=written.size, streams={kept.stream: {
            'id': stream_id, 'size': written.size,
            'sha256': written.sha256}})

    def _md5(self, index, node, kept, is_json):
        digest = hashlib.md5(usedforsecurity=False)
        try:
            for chunk in self._chunks(index, node, kept, is_json):
                digest.update(chunk)
        except (ValueError, AttributeError):
            return None
        return digest.hexdigest()

    def _chunks(self, index, node, kept, is_json):
        return self._old.chunks(index['id'], node.id, kept.chunks, is_json)


def _external(index, node, plugin, label, kind_name, external_id):
    operation_id = _operation_id(index['id'])
    kind = plugin.kind(kind_name)
    return {'service': kind.service, 'kind': kind.name, 'id': external_id,
            'label': label, 'state': 'exists',
            'tag': journal.tag_of(operation_id, node, label)}


def _graph(index, plan):
    """Return the old graph; extra_info was a text there, or an object."""
    text = index.get('resource_graph')
    if not text:
        return graph_module.build(
            [Resource(item['type'], item['id'], item.get('name') or '',
                      item['extra_info']) for item in plan['resources']],
            lambda parents: {})
    old = graph_module.unpack(text)
    now = {node: Resource(node.type, node.id, node.name or '',
                          _decoded(node.extra_info)) for node in old.nodes}
    return graph_module.Graph(now.values(), {
        now[node]: [now[child] for child in old.children(node)]
        for node in old.nodes})


def _decoded(value):
    """Return what a text of JSON says; other values are what they are."""
    return json.loads(value) if isinstance(value, str) and value else value


def _operation_id(checkpoint_id):
    return str(uuid.uuid5(uuid.UUID(checkpoint_id), 'protect by Karbor'))
