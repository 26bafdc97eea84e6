# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The manifest: what a checkpoint needs to be restored without our rows.

One immutable object for each checkpoint, put if absent and written last:
where it is, the checkpoint is committed. Its format is versioned and
described in the contributor documentation ("Bank format").
"""

import re

from karbor_ng import errors
from karbor_ng.store import models

FORMAT = 1
#: Where all checkpoints lie.
FOLDER = 'checkpoints/'
#: Where all streams lie.
STREAMS = 'streams/'
#: Of a key, as a regular expression: neither hidden, nor with control
#: characters.
_COMPONENT = r'[^/.\x00-\x1f\x7f][^/\x00-\x1f\x7f]*'


def prefix(project_id, checkpoint_id):
    """Return where all objects of a checkpoint lie."""
    return f'{FOLDER}{project_id}/{checkpoint_id}'


def key(project_id, checkpoint_id):
    """Return the manifest's own key."""
    return f'{prefix(project_id, checkpoint_id)}/manifest.json'


def build(checkpoint, operation, resources, externals, status, graph):
    """Return the manifest of a checkpoint whose work has ended.

    :param resources: the checkpoint's resource rows
    :param externals: rows of what the operation made in clouds
    """
    made = {}
    for row in externals:
        made.setdefault((row.resource_type, row.resource_id), []).append(row)
    return {
        **_origin(checkpoint), 'format': FORMAT,
        'id': checkpoint.id, 'project_id': checkpoint.project_id,
        'user_id': checkpoint.user_id, 'status': status,
        'provider_id': checkpoint.provider_id,
        'created_at': _time(checkpoint.created_at),
        'finished_at': _time(models.utcnow()),
        'extra_info': checkpoint.extra_info, 'plan': checkpoint.plan,
        'graph': graph,
        'operation': {'id': operation.id, 'attempt': operation.attempt},
        'resources': [_resource(row, made.get((row.type, row.id), ()))
                      for row in resources],
    }


def _origin(checkpoint):
    """Return what only the manifest of a copy has."""
    if checkpoint.copied_from is None:
        return {}
    return {'copied_from': checkpoint.copied_from,
            'data_time': _time(checkpoint.data_time)}


def write(bank, manifest):
    """Commit a manifest; return the one that holds.

    When there is one already, that one does: an earlier attempt of the same
    operation committed it and could not say so.
    """
    where = key(manifest['project_id'], manifest['id'])
    try:
        bank.put_json(where, manifest, if_absent=True)
        return manifest
    except errors.Exists:
        return bank.get_json(where)


def read(bank, project_id, checkpoint_id):
    """Return a checkpoint's manifest, or None when there is none.

    Others may be able to write to the bank. Whatever a manifest says, it
    leads to objects of its own checkpoint, and to streams of its project.

    :raises errors.BankError: it is of a format that we do not know, or does
        not belong where it lies, or names objects that are not its own
    """
    try:
        manifest = bank.get_json(key(project_id, checkpoint_id))
    except errors.NotFound:
        return None
    if not isinstance(manifest, dict):
        raise errors.BankError(f'The manifest of checkpoint {checkpoint_id} '
                               f'is damaged: it is no JSON object.')
    if manifest.get('format') != FORMAT:
        raise errors.BankError(
            f'The manifest of checkpoint {checkpoint_id} has format '
            f'{manifest.get("format")}; this release knows {FORMAT}.')
    _check_place(manifest, project_id, checkpoint_id)
    _check_keys(manifest, project_id, checkpoint_id)
    return manifest


def _check_place(manifest, project_id, checkpoint_id):
    found = manifest.get('project_id'), manifest.get('id')
    if found != (project_id, checkpoint_id):
        raise errors.BankError(
            f'The manifest of checkpoint {checkpoint_id} of project '
            f'{project_id} is that of checkpoint {found[1]} of project '
            f'{found[0]}: somebody moved it.')


def _check_keys(manifest, project_id, checkpoint_id):
    """Refuse keys that are no key, or that of somebody else's object."""
    is_own = re.compile(
        f'({re.escape(prefix(project_id, checkpoint_id))}/data'
        f'|{STREAMS}{re.escape(project_id)}/[0-9a-f-]{{36}}/{_COMPONENT}'
        f'(?=/[0-9]{{8}}$))(/{_COMPONENT})+').fullmatch
    for key in _keys(manifest, checkpoint_id):
        if not (isinstance(key, str) and is_own(key)):
            raise errors.BankError(
                f'The manifest of checkpoint {checkpoint_id} names {key!r}, '
                f'which is not where its objects belong: somebody changed '
                f'it.')


def _keys(manifest, checkpoint_id):
    try:
        return [item['key'] for resource in manifest['resources']
                for item in resource['objects']]
    except (LookupError, TypeError) as lack:
        raise errors.BankError(
            f'The manifest of checkpoint {checkpoint_id} is damaged, its '
            f'objects can not be read: {lack!r}.') from None


def _resource(row, externals):
    return {
        'type': row.type, 'id': row.id, 'name': row.name,
        'status': row.status, 'reason': row.reason, 'plugin': row.plugin,
        'plugin_version': row.plugin_version, 'parameters': row.parameters,
        'saved': row.saved, 'extra_info': row.extra_info, 'size': row.size,
        'externals': [{
            'service': external.service, 'kind': external.kind,
            'id': external.external_id, 'label': external.label,
            'tag': external.tag, 'state': external.state}
            for external in externals],
        'objects': row.objects,
    }


def _time(moment):
    return moment.isoformat()
