# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Rules for what can be protected."""

from karbor_ng.policies.base import READER
from karbor_ng.policies.base import rule

_TYPE = '/protectables/{protectable_type}'

RULES = (
    rule('protectable:get_all', READER, 'List the types of resources.',
         'GET /protectables'),
    rule('protectable:get', READER, 'Show a type of resources.',
         f'GET {_TYPE}'),
    rule('protectable:instance_get_all', READER,
         'List the resources of a type.', f'GET {_TYPE}/instances'),
    rule('protectable:instance_get', READER, 'Show a resource.',
         f'GET {_TYPE}/instances/{{resource_id}}'),
)
