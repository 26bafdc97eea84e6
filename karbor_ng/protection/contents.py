# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The contents of a bank: which checkpoints and streams lie in it.

Operators' tools ask this; whatever runs every day knows it from rows. A bank
may hold millions of parts, so listings jump from one thing to the next.
"""

import uuid

from karbor_ng.bank import bank as bank_module
from karbor_ng.protection import manifest
from karbor_ng.protection import streams


def checkpoints(bank):
    """Yield (project id, checkpoint id) of all that has objects.

    Of those without a manifest as well: there is only a rest of them.
    """
    return _things(bank, manifest.FOLDER)


def all_streams(bank):
    """Yield (project id, stream id) of all streams that have objects."""
    return _things(bank, streams.FOLDER)


def stream_of(key):
    """Return stream id and number of a key's part, None for other keys."""
    if not streams.is_key(key):
        return None
    stream_id, _attempt, number = key.split('/')[-3:]
    return stream_id, int(number)


def _things(bank, folder):
    """Yield pairs of the two components below a folder.

    Others may write to the same place: the second must be a UUID.
    """
    after = None
    while page := bank.list(folder, after, 1):
        _folder, project_id, *rest = page[0].split('/')
        after = page[0]
        if len(rest) > 1 and _is_uuid(rest[0]):
            after = f'{folder}{project_id}/{rest[0]}/{bank_module.LAST}'
            yield project_id, rest[0]


def _is_uuid(text):
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
