# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Scheduled checkpoints of which the old ones are deleted."""

from karbor_ng.operationengine import kinds
from karbor_ng.operationengine import retention


class RetentionProtect(kinds.Kind):
    """Makes a checkpoint of the plan at each due time, and keeps some.

    Which ones are kept is what the definition says; see
    :mod:`karbor_ng.operationengine.retention`.
    """

    properties = retention.SCHEMA_PROPERTIES

    def rules(self, definition, timezone):
        return retention.Rules.from_definition(definition, timezone)
