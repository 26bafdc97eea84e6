# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Who may do what: the defaults of all rules, one module for each noun."""

import itertools

from karbor_ng.policies import base
from karbor_ng.policies import checkpoints
from karbor_ng.policies import copies
from karbor_ng.policies import operation_logs
from karbor_ng.policies import plans
from karbor_ng.policies import protectables
from karbor_ng.policies import providers
from karbor_ng.policies import quotas
from karbor_ng.policies import restores
from karbor_ng.policies import scheduled_operations
from karbor_ng.policies import services
from karbor_ng.policies import triggers
from karbor_ng.policies import verifications


def list_rules():
    """Return the defaults of all rules."""
    return list(itertools.chain.from_iterable(
        module.RULES for module in (
            base, plans, protectables, providers, checkpoints, copies,
            restores, verifications, operation_logs, services, quotas,
            triggers, scheduled_operations)))
