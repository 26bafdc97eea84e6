# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The manifest: what a checkpoint needs to be restored without our rows.

One immutable object for each checkpoint, put if absent and written last:
where it is, the checkpoint is committed. Its format is versioned and
described in the contributor documentation ("Bank format").
"""

from karbor_ng import errors
from karbor_ng.store import models

FORMAT = 1
#: Where all checkpoints lie.
FOLDER = 'checkpoints/'


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

    :raises errors.BankError: it is of a format that we do not know
    """
    try:
        manifest = bank.get_json(key(project_id, checkpoint_id))
    except errors.NotFound:
        return None
    if manifest.get('format') != FORMAT:
        raise errors.BankError(
            f'The manifest of checkpoint {checkpoint_id} has format '
            f'{manifest.get("format")}; this release knows {FORMAT}.')
    return manifest


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
