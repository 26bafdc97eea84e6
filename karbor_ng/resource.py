# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""A resource: one thing in a cloud that can be protected."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Resource:
    """One thing of a cloud.

    Its identity is (type, id): two resources are equal when those are, be
    their names what they may, since a name can change between two looks.

    :ivar type: a Heat-like type name, such as ``OS::Cinder::Volume``
    :ivar id: what the cloud calls it; at most 255 characters
    :ivar name: for people only
    :ivar extra_info: what discovery found to be useful for people, or None
    """

    type: str
    id: str
    name: str = dataclasses.field(default='', compare=False)
    extra_info: dict | None = dataclasses.field(
        default=None, compare=False, hash=False)

    @property
    def key(self):
        """``type#id``, as parameters and result maps spell a resource."""
        return f'{self.type}#{self.id}'

    def __str__(self):
        return f'{self.type} {self.id}'
