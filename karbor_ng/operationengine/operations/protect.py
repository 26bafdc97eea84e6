# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Scheduled checkpoints of which all are kept."""

from karbor_ng.operationengine import kinds


class Protect(kinds.Kind):
    """Makes a checkpoint of the plan at each due time."""
