# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Options of the protection service, apart so that reading them is cheap."""

from oslo_config import cfg
from oslo_config import types

GROUP = 'protection'
OPTS = [
    cfg.StrOpt('provider_config_dir', default='providers.d',
               help='Directory with one file for each provider, whose name '
                    'ends in .conf. A '
                    'relative name is looked for in /var/lib/karbor/etc/'
                    'karbor, /var/lib/karbor/etc, /var/lib/karbor and '
                    '/etc/karbor, in this order.',
               deprecated_group='DEFAULT'),
    cfg.IntOpt('max_concurrent_operations', default=10, min=1,
               deprecated_group='DEFAULT',
               help='Operations (checkpoints, restores, deletions) that one '
                    'protection service runs at once; others wait in the '
                    'database for whoever is free.'),
    cfg.IntOpt('max_concurrent_operations_per_project', default=8, min=1,
               help='Operations of one project that one protection service '
                    'runs at once. Fewer than max_concurrent_operations, so '
                    'that long operations of one project do not keep all '
                    'others waiting. Whatever the number, projects take '
                    'turns.'),
    cfg.IntOpt('max_parallel_resources', default=32, min=1,
               help='Resources that one protection service works on at once, '
                    'over all its operations. Each takes a thread, which '
                    'mostly waits for a cloud.'),
    cfg.Opt('max_parallel_by_plugin', default={},
            type=types.Dict(types.Integer(min=1)),
            sample_default='',
            help='Resources that one protection service works on at once '
                 'with a plugin, where the cloud bears fewer than '
                 'max_parallel_resources: NAME:NUMBER pairs between commas, '
                 'with names as in provider files, such as '
                 'karbor-volume-protection-plugin:8. It holds for all '
                 'providers together. Resources that wait for their turn '
                 'count for max_parallel_resources.'),
    cfg.IntOpt('max_parallel_streams', default=4, min=1,
               help='Streams of data, such as images, that one protection '
                    'service moves to or from a bank at once; others wait. '
                    'Each needs 64 MiB of memory for two parts of its data, '
                    'and up to two processor cores, most of it for hashes.'),
    cfg.FloatOpt('lease_seconds', default=60, min=1,
                 help='Seconds after which an operation whose worker gives '
                      'no sign of life is taken over by another worker. The '
                      'worker itself stops three quarters into it.'),
    cfg.FloatOpt('sweep_seconds', default=10, min=0.1,
                 help='Seconds between two looks for operations to run that '
                      'no message announced. Leases are renewed every '
                      'quarter of lease_seconds.'),
    cfg.IntOpt('max_take_overs', default=5, min=0,
               help='Take-overs after which an operation fails instead of '
                    'being tried once more: whatever kills its workers would '
                    'kill the next one too.'),
    cfg.IntOpt('consistency_window', default=300, min=1,
               help='Seconds that the snapshots of one checkpoint may lie '
                    'apart. After a take-over older ones are taken again.'),
    cfg.IntOpt('graceful_shutdown_timeout', default=60, min=0,
               help='Seconds that a stopping service gives running steps to '
                    'end before it hands its operations to other workers.'),
]

PROVIDER_OPTS = [
    cfg.StrOpt('id', default='',
               help='Identity of the provider: a UUID, the same on all hosts '
                    'that offer it.'),
    cfg.StrOpt('name', default='', help='Name that users see.'),
    cfg.StrOpt('description', default='',
               help='What users should know about this provider.'),
    cfg.BoolOpt('enabled', default=False,
                help='Whether the provider is offered.'),
    cfg.StrOpt('bank', default='',
               help='Entry point, in karbor.protections, of the bank that '
                    'keeps the checkpoints.'),
    cfg.MultiStrOpt('plugin', default=[],
                    help='Entry point, in karbor.protections, of a '
                         'protection plugin; repeat the line for each. A '
                         'later one replaces an earlier one for the same '
                         'type of resource.'),
]
