# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What a verb takes and answers, told beside the verb itself.

Apart from the document that is made of it, because controllers only tell:
what they declare are the objects that they read requests with.
"""

import dataclasses
import typing


@dataclasses.dataclass(frozen=True)
class Declaration:
    """One verb.

    :ivar answer: JSON schema of what a success answers; None for an empty
        body
    :ivar query: has ``parameters``, ``{name: JSON schema}``: a
        :class:`karbor_ng.api.validation.Query` or a
        :class:`karbor_ng.api.listing.Query`
    :ivar body: has ``schema``: a :class:`karbor_ng.api.validation.Body`, or
        several of them, of which a request has one
    :ivar statuses: of answers in this form
    :ivar refusals: statuses of errors, beside those that every verb with
        such a path and such a body has
    """

    answer: dict | None = None
    query: typing.Any = None
    body: typing.Any = None
    statuses: tuple = (200,)
    refusals: tuple = ()

    @property
    def bodies(self):
        """What a body can be; empty where there is none."""
        if isinstance(self.body, tuple):
            return self.body
        return () if self.body is None else (self.body,)


def of(verb):
    """Return the :class:`Declaration` of a verb; None if it has none."""
    return getattr(verb, 'declaration', None)
