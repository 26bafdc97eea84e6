# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Schemas of what stands in paths, by the names that verbs give it.

Apart from the nouns because one name means the same below all of them.
"""

from karbor_ng.api.schemas import base

_NAME = {'type': 'string', 'minLength': 1, 'maxLength': 255}

_SEGMENTS = {
    'project_id': _NAME,
    'target_project_id': _NAME,
    'resource_type': _NAME,
    'resource_id': _NAME,
    'class_name': _NAME,
    'service_id': {'type': 'integer', 'minimum': 1, 'maximum': 2 ** 31 - 1},
}


def of(name):
    """Return the schema of one segment; most of them are UUIDs."""
    return _SEGMENTS.get(name, base.UUID)
