# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""No-op: protection of everything and nothing, in a registry on disk.

It behaves like the protection of a cloud's resources, with all hooks and one
tagged object per resource, without a cloud. The registry can be told to
fail, to hang and to lose answers, so that what surrounds plugins can be
tried, tested and measured. Use it for nothing that you want to get back.
"""

import json
import os
import pathlib
import secrets
import threading

from oslo_config import cfg

from karbor_ng import errors
from karbor_ng.plugins import api

RESOURCE_TYPES = (
    'OS::Keystone::Project',
    'OS::Nova::Server',
    'OS::Cinder::Volume',
    'OS::Cinder::ConsistencyGroup',
    'OS::Glance::Image',
    'OS::Manila::Share',
    'OS::Neutron::Network',
    'OS::Trove::Instance',
    'OS::Kubernetes::Pod',
)

#: What the registry can be told to do; see :meth:`Registry.control`.
ACTIONS = ('fail', 'skip', 'leave_out', 'hang', 'lose_reply')


class Registry:
    """Tagged objects in a directory, for many processes and threads.

    ``objects/TAG/NAME`` holds one object as JSON; its id is ``TAG.NAME``.
    ``control.json`` says what goes wrong, ``graph.json`` which resources
    there are. Files appear whole or not at all; nothing is synchronised to
    disk, since a registry need not outlive its machine.
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self._lock = threading.Lock()
        self._read = {}

    def create(self, tag, content):
        """Store an object, a new one each time; return its id."""
        name = secrets.token_hex(4)
        target = self.path / 'objects' / tag / name
        while True:
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                _write(target, content)
                return f'{tag}.{name}'
            except FileNotFoundError:
                # Somebody removed the tag's last object in between.
                continue

    def find(self, tag):
        """Return the ids of all objects with a tag, oldest first."""
        folder = self.path / 'objects' / tag
        try:
            with os.scandir(folder) as entries:
                found = sorted((entry.stat().st_mtime_ns, entry.name)
                               for entry in entries
                               if not entry.name.startswith('.'))
        except FileNotFoundError:
            return []
        return [f'{tag}.{name}' for _, name in found]

    def get(self, object_id):
        """Return an object's content, or None when there is none."""
        try:
            return json.loads(self._file(object_id).read_bytes())
        except FileNotFoundError:
            return None

    def update(self, object_id, **changes):
        """Change parts of an object's content; KeyError without it."""
        content = self.get(object_id)
        if content is None:
            raise KeyError(object_id)
        _write(self._file(object_id), dict(content, **changes))

    def remove(self, object_id):
        """Remove an object; twice is harmless."""
        target = self._file(object_id)
        target.unlink(missing_ok=True)
        try:
            target.parent.rmdir()
        except OSError:
            pass  # others carry the same tag, or it is gone already

    def objects(self):
        """Return ``{id: content}`` of everything there is."""
        found = {}
        for folder in sorted(self.path.glob('objects/*')):
            for object_id in self.find(folder.name):
                content = self.get(object_id)
                if content is not None:
                    found[object_id] = content
        return found

    def control(self, rules):
        """Say what goes wrong from now on, in all processes; {} ends it.

        :param rules: ``{action: {resource id: [point, ...]}}`` with a
            ``*`` for all resources. Actions: ``fail`` raises, ``skip``
            says that the resource can not be protected, ``leave_out`` that
            something is not in its backup, ``hang`` waits until the rule is
            gone, ``lose_reply`` raises after the object was made. Points:
            names of hooks, or labels of objects, where ``fail`` comes
            before the making and ``hang`` after it; ``skip`` and
            ``leave_out`` know hooks only.
        """
        unknown = set(rules) - set(ACTIONS)
        if unknown:
            raise ValueError(f'unknown actions: {sorted(unknown)}')
        self._put('control.json', rules)

    def is_told(self, action, resource_id, point):
        """Return whether a rule asks for an action at this point."""
        rules = self._get('control.json', {}).get(action)
        return bool(rules) and (point in rules.get(resource_id, ())
                                or point in rules.get('*', ()))

    def put_graph(self, resources):
        """Say which resources there are.

        :param resources: dicts with ``type``, ``id`` and, as wanted,
            ``name``, ``status``, ``extra_info`` and ``children``, a list of
            ``[type, id]``
        """
        self._put('graph.json', resources)

    def graph(self):
        """Return what :meth:`put_graph` stored, by (type, id)."""
        return self._get('graph.json', {}, _by_identity)

    def _file(self, object_id):
        tag, _, name = object_id.rpartition('.')
        if not tag or '/' in object_id:
            raise KeyError(object_id)
        return self.path / 'objects' / tag / name

    def _put(self, name, content):
        self.path.mkdir(parents=True, exist_ok=True)
        _write(self.path / name, content)

    def _get(self, name, default, convert=lambda content: content):
        """Read a file, unless it is the one that was read last time."""
        path = self.path / name
        try:
            status = path.stat()
        except FileNotFoundError:
            return default
        version = (status.st_ino, status.st_mtime_ns, status.st_size)
        with self._lock:
            if self._read.get(name, (None,))[0] != version:
                content = convert(json.loads(path.read_bytes()))
                self._read[name] = (version, content)
            return self._read[name][1]


def _write(path, content):
    """Let a file appear whole."""
    draft = path.with_name(f'.{path.name}.{secrets.token_hex(4)}')
    draft.write_text(json.dumps(content))
    draft.replace(path)


def _by_identity(resources):
    return {(item['type'], item['id']): item for item in resources}


class Object(api.Kind):
    """One object in a registry.

    :param label: what it is made under, and its kind's name
    """

    service = 'noop'

    def __init__(self, registry, name):
        self.registry = registry
        self.name = name

    def find(self, session, tag, resource):
        return self.registry.find(tag)

    def remove(self, session, external_id):
        self.registry.remove(external_id)
        return True

    def survey(self, session):
        if self.name == 'restored':
            return None
        return {object_id: object_id.rpartition('.')[0]
                for object_id, content in self.registry.objects().items()
                if content['label'] == self.name}


class _Obedient(api.Operation):
    """Does what the registry was told, at points that have a name."""

    def _obey(self, point):
        registry, resource_id = self.plugin.registry, self.resource.id
        if registry.is_told('leave_out', resource_id, point):
            self.leave_out(f'Told to leave something out at {point}.')
        if registry.is_told('skip', resource_id, point):
            raise errors.Skipped(f'told to be skipped at {point}')
        if registry.is_told('fail', resource_id, point):
            raise errors.ResourceError(f'told to fail at {point}')
        self._hang(point)

    def _hang(self, point):
        def hangs():
            return self.plugin.registry.is_told('hang', self.resource.id,
                                                point)
        if hangs():
            self.wait(hangs, until=(False,), status=lambda polled: polled)


class _Hooks(_Obedient):
    """All four hooks, and objects that are made once."""

    def on_prepare_begin(self):
        self._obey('on_prepare_begin')

    def on_prepare_finish(self):
        self._obey('on_prepare_finish')

    def on_main(self):
        self._obey('on_main')

    def on_complete(self):
        self._obey('on_complete')

    def _backup_id(self):
        """:raises errors.ResourceError: there is none any more"""
        backup_id = self.saved.get('backup_id')
        if not backup_id or self.plugin.registry.get(backup_id) is None:
            raise errors.ResourceError(
                f'the backup {backup_id} is not in the registry any more')
        return backup_id

    def _once(self, label, **content):
        registry, resource = self.plugin.registry, self.resource
        content.update(type=resource.type, resource=resource.id,
                       label=label, checkpoint=self.checkpoint_id)

        def create(tag):
            if registry.is_told('fail', resource.id, label):
                raise errors.ResourceError(f'told to fail at {label}')
            object_id = registry.create(tag, content)
            self._hang(label)
            if registry.is_told('lose_reply', resource.id, label):
                raise ConnectionError(f'told to lose the reply of {label}')
            return object_id
        return self.once(label, create, self.plugin.kind(label))


class Protect(_Hooks):
    """Makes the object ``backup``."""

    def on_main(self):
        super().on_main()
        self.saved['backup_id'] = self._once(
            'backup', name=self.parameters.get('name'))
        self.saved['size'] = 0
        self.progress(1, 1)


class Restore(_Hooks):
    """Makes the object ``restored``, and links it to its children's."""

    def on_main(self):
        super().on_main()
        backup_id = self._backup_id()
        new_id = self._once('restored', backup=backup_id,
                            name=self.parameters.get('restore_name'))
        self.saved['restored_id'] = new_id
        self.restored_as(new_id)

    def on_complete(self):
        super().on_complete()
        registry = self.plugin.registry
        node = registry.graph().get((self.resource.type, self.resource.id))
        children = [child_id for _, child_id in (node or {}).get(
            'children', ())]
        registry.update(self.saved['restored_id'], children={
            child_id: self.restored[child_id] for child_id in children
            if child_id in self.restored})


class Verify(_Hooks):
    """Looks for the object ``backup``."""

    def on_main(self):
        super().on_main()
        self._backup_id()


class Delete(_Obedient, api.DeleteExternals):
    """Removes whatever exists."""

    def on_main(self):
        self._obey('on_main')
        super().on_main()


class NoopProtection(api.Protection):
    """Protects resources of all types in name only.

    For trying karbor out, for tests and for measuring: what it makes are
    files in ``registry_path``, with nothing of the resource in them.
    """

    resource_types = RESOURCE_TYPES
    GROUP = 'noop_protection_plugin'
    OPTS = [
        cfg.StrOpt('registry_path', default='/var/lib/karbor/noop',
                   help='Directory that holds the objects which stand for '
                        'backups and for restored resources. All workers of '
                        'the provider must see the same one.'),
        cfg.FloatOpt('poll_interval', default=1, min=0.01,
                     help='Longest pause in seconds between two looks into '
                          'the registry while it was told to hang.'),
        cfg.IntOpt('timeout', default=86400, min=1,
                   help='Seconds after which a hook that hangs has failed; '
                        'the default is a day.'),
    ]

    options_schema = {
        'title': 'No-op Protection Options',
        'type': 'object',
        'properties': {
            'name': {
                'type': ['string', 'null'], 'default': None,
                'maxLength': 255, 'title': 'Name',
                'description': 'The name that the object in the registry '
                               'gets.'},
        },
    }
    saved_info_schema = {
        'title': 'No-op Protection Saved Info',
        'type': 'object',
        'properties': {
            'backup_id': {
                'type': 'string', 'title': 'Backup',
                'description': 'The id of the object in the registry.'},
        },
        'required': ['backup_id'],
    }
    restore_schema = {
        'title': 'No-op Protection Restore',
        'type': 'object',
        'properties': {
            'restore_name': {
                'type': ['string', 'null'], 'default': None,
                'maxLength': 255, 'title': 'Restore Name',
                'description': 'The name that the restored object gets.'},
        },
    }
    verify_schema = {
        'title': 'No-op Protection Verify',
        'type': 'object',
        'properties': {},
    }

    Protect = Protect
    Restore = Restore
    Verify = Verify
    Delete = Delete

    def __init__(self, conf):
        super().__init__(conf)
        self.registry = Registry(self.conf.registry_path)
        self.kinds = (Object(self.registry, 'backup'),
                      Object(self.registry, 'restored'))

    @classmethod
    def preview_protect(cls, session, resources, parameters):
        return {resource: api.Preview('Protected in name only.', size=0)
                for resource in resources}

    @classmethod
    def preview_restore(cls, session, kept, parameters):
        return {resource: _preview_restore(saved)
                for resource, saved in kept.items()}


def _preview_restore(saved):
    problems = () if saved.get('backup_id') else ('It has no backup.',)
    return api.Preview('Restored in name only.', size=0, problems=problems)


class NoopProtectable(api.Protectable):
    """Serves the resources of one type out of a registry's graph.

    It needs no cloud and asks for no rights: whoever may ask at all sees
    everything. Meant for deployments without a cloud, and so not installed;
    see :func:`protectables`.
    """

    def __init__(self, registry, resource_type):
        self.resource_type = resource_type
        self._registry = registry

    @property
    def parent_types(self):
        return tuple(sorted({
            item['type'] for item in self._registry.graph().values()
            for child_type, _ in item.get('children', ())
            if child_type == self.resource_type}))

    def list(self, session, *, project_id, marker=None, limit=None,
             filters=None):
        found = [item for (resource_type, _), item
                 in self._registry.graph().items()
                 if resource_type == self.resource_type]
        for name, value in (filters or {}).items():
            found = [item for item in found if item.get(name) == value]
        if marker is not None:
            ids = [item['id'] for item in found]
            if marker not in ids:
                raise errors.Invalid(f'marker: there is no {marker}')
            found = found[ids.index(marker) + 1:]
        return [_as_resource(item) for item in found[:limit]]

    def show(self, session, resource_id, parameters=None):
        item = self._registry.graph().get((self.resource_type, resource_id))
        return _as_resource(item) if item else None

    def children(self, session, parents):
        graph = self._registry.graph()
        return {parent: [
            _as_resource(graph[child_type, child_id])
            for child_type, child_id in graph.get(
                (parent.type, parent.id), {}).get('children', ())
            if child_type == self.resource_type] for parent in parents}


def protectables(registry_path):
    """Return a protectable for each type, out of the graph in a registry."""
    registry = Registry(registry_path)
    return [NoopProtectable(registry, resource_type)
            for resource_type in RESOURCE_TYPES]


def _as_resource(item):
    return api.Resource(item['type'], item['id'], item.get('name', ''),
                        item.get('extra_info'))
