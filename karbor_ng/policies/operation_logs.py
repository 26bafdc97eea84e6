# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Rules for operation logs."""

from karbor_ng.policies.base import READER
from karbor_ng.policies.base import rule

RULES = (
    rule('operation_log:get', READER, 'Show an operation log.',
         'GET /operation_logs/{operation_log_id}'),
    rule('operation_log:list', READER, 'List operation logs.',
         'GET /operation_logs'),
)
