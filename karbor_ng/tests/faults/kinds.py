# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What can happen to a call, and how an operation that met it may end.

A table, apart from the wrappers that make it happen: what is promised can be
read here in one place.
"""

import dataclasses

#: Ends: as if nothing had been; or well, or failed with a reason that names
#: the cloud or the bank.
WELL = 'well'
TRULY = 'truly'
#: How many calls one after the other a lasting fault meets.
LASTING = 5
#: Seconds that a refusal with Retry-After asks for.
RETRY_AFTER = 3

#: Sorts of calls. To clouds: those that give tokens, read, change, send or
#: fetch bytes, remove. To banks: the verbs of drivers; ``file``, a write to
#: the disk below a driver. ``hint``: a message.
READING = ('read', 'download')
CHANGING = ('change', 'upload', 'remove')
CLOUD = ('token', *READING, *CHANGING)
BANK = ('put', 'get', 'list', 'delete')
ALL = (*CLOUD, *BANK, 'file', 'hint')


@dataclasses.dataclass(frozen=True)
class Kind:
    """A way to fail.

    :ivar sorts: of calls that can fail so
    :ivar end: how an operation may end that met it at one call
    :ivar lasts: whether it meets calls until it is over
    """

    name: str
    sorts: tuple
    end: str = WELL
    lasts: bool = False

    @property
    def times(self):
        """How many calls of one name it meets."""
        return LASTING if self.lasts else 1


KINDS = {kind.name: kind for kind in (
    # The cloud or what is between it and us
    Kind('refused connection', CLOUD),
    Kind('lost answer', CLOUD),
    Kind('hang', CLOUD),
    Kind('hang after', CLOUD),
    Kind('slow', CLOUD + BANK),
    Kind('token expired', READING + CHANGING),
    Kind('429', CLOUD),
    Kind('429, seconds', CLOUD),
    Kind('429, date', CLOUD),
    Kind('500', CLOUD),
    Kind('500 after', CLOUD),
    Kind('502', CLOUD),
    Kind('503', CLOUD),
    Kind('half an answer', ('download',)),
    Kind('503 for a while', CLOUD, TRULY, lasts=True),
    Kind('no connection for a while', CLOUD, TRULY, lasts=True),
    # The bank
    Kind('interrupted', BANK),
    Kind('interrupted after', BANK),
    Kind('stale', ('put', 'delete')),
    Kind('error', BANK, TRULY),
    Kind('error after', BANK, TRULY),
    Kind('interrupted for a while', BANK, TRULY, lasts=True),
    Kind('server away', ('file',)),
    Kind('torn write', ('file',), TRULY),
    Kind('disk full', ('file',), TRULY),
    # Messages
    Kind('lost', ('hint',)),
    Kind('doubled', ('hint',)),
    Kind('late', ('hint',)),
)}


def of(sort):
    """Return the names of all that can happen to a sort of calls."""
    return [kind.name for kind in KINDS.values() if sort in kind.sorts]
