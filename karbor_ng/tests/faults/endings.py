# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What must hold of an operation that has failed.

It says so, and of whom it is the fault; rows, manifests and clouds agree; and
whoever deletes then, or tries again, is rid of all of it.
"""

import re

from karbor_ng.protection import manifest
from karbor_ng.store import restores
from karbor_ng.tests.crashes import verbs

#: What a reason must name: the service, its address, or the bank.
NAMES = re.compile(r'cinder|nova|glance|neutron|keystone|https?://'
                   r'|\bbank\b|file system|manifest', re.IGNORECASE)


def has_failed(verb):
    """Return whether the operation of a verb has failed."""
    return _row(verb).state == 'failed'


def problems(verb):
    """Yield what does not hold of a verb whose operation has failed."""
    row = _row(verb)
    if not NAMES.search(row.error_info or ''):
        yield f'{row.type} failed, and names nobody: {row.error_info}'
    if row.credentials or row.owner or row.lease_until:
        yield f'{row.type} has an owner or credentials still'
    yield from _CHECKS[type(verb)](verb)


def _row(verb):
    return verb.site.operation(verb.checkpoint_id,
                               type(verb).__name__.lower())


def _of_making(verb):
    """Of one that makes a checkpoint: it is there, and can be deleted."""
    found = verb.site.checkpoint(verb.checkpoint_id)
    if found.status != 'error':
        yield f'checkpoint {found.status}'
    provider = verb.site.provider(found.provider_id)
    if manifest.read(provider.bank, found.project_id, found.id):
        yield from verb.agrees(found)


def _of_protect(verb):
    yield from _of_making(verb)
    yield from verb.deleted(verb.checkpoint_id)


def _of_copy(verb):
    yield from _of_making(verb)
    yield from verb.without_copy()


def _of_restore(verb):
    """Of a restore: what it says to have made is there, and no more."""
    restore = verb.site.db.read(restores.get, verb.restore_id)
    if restore.status != 'failed':
        yield f'restore {restore.status}'
    rows = [row for row in verb.site.db.read(restores.resources,
                                             verb.restore_id)
            if row.status == 'available']
    yield from verb.added({**verb.BACKUPS, **verb.restored_numbers(
        {(row.type, row.id): row.new_id for row in rows})})
    verb.remove_restored()
    yield from _of_reading(verb)


def _of_reading(verb):
    """Of one that changes nothing: all is as it was."""
    yield from verb.added(verb.BACKUPS)
    if len(verb.site.registry.objects()) != 1:
        yield f'{verb.site.registry.objects()} in the registry'
    yield from verb.is_sound(verb.checkpoint_id)


def _of_delete(verb):
    status = verb.site.checkpoint(verb.checkpoint_id).status
    if status not in ('error-deleting', 'available', 'error'):
        yield f'checkpoint {status}'
    yield from verb.deleted(verb.checkpoint_id)


_CHECKS = {verbs.Protect: _of_protect, verbs.Copy: _of_copy,
           verbs.Restore: _of_restore, verbs.Verify: _of_reading,
           verbs.Delete: _of_delete}
