# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Options of the operation engine, apart so that reading them is cheap."""

from oslo_config import cfg

GROUP = 'operationengine'
OPTS = [
    cfg.FloatOpt('poll_interval', default=15, min=0.1,
                 deprecated_name='trigger_poll_interval',
                 deprecated_group='DEFAULT',
                 help='Seconds between two looks for triggers that are due. '
                      'Each pause is up to a tenth longer, so that engines '
                      'do not look all at the same moment. When an engine '
                      'dies, others are late by this at most.'),
    cfg.FloatOpt('retention_retry_seconds', default=60, min=1,
                 help='Seconds after which deleting an old checkpoint, that '
                      'a scheduled operation does not keep, is tried again. '
                      'The pause doubles with each failure, up to six '
                      'hours.'),
]
