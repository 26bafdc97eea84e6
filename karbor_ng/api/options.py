# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Options of the API, apart so that reading them is cheap."""

from oslo_concurrency import processutils
from oslo_config import cfg

GROUP = None
OPTS = [
    cfg.HostAddressOpt('osapi_karbor_listen', default='0.0.0.0',  # nosec B104
                       help='Address on which karbor-api listens.'),
    cfg.PortOpt('osapi_karbor_listen_port', default=8799,
                help='TCP port on which karbor-api listens.'),
    cfg.IntOpt('osapi_karbor_workers', min=1,
               default=processutils.get_worker_count(),
               sample_default='<number of processors>',
               help='Processes of karbor-api. Each has its own connections '
                    'to the database.'),
    cfg.IntOpt('osapi_karbor_threads', default=8, min=1,
               help='Requests that each process of karbor-api works on at '
                    'once; others wait. No process should have more than '
                    '[database] max_pool_size and max_overflow together.'),
    cfg.IntOpt('osapi_max_limit', default=1000, min=1,
               help='Items that one page of a list has at most.'),
    cfg.URIOpt('osapi_karbor_base_URL', schemes=['http', 'https'],
               help='URL that users know the API by, without the version, '
                    'such as https://cloud.example/data-protect. Links in '
                    'answers begin with it. By default they begin with what '
                    'the request was sent to.'),
    cfg.StrOpt('auth_strategy', default='keystone',
               choices=[
                   ('keystone', 'tokens of Keystone, which '
                                '[keystone_authtoken] describes'),
                   ('noauth', 'whoever calls is believed: X-Auth-Token is '
                              'USER:PROJECT or USER:PROJECT:ROLE,ROLE; '
                              'there is no access to a cloud; for tests '
                              'only')],
               help='How callers are authenticated.'),
    cfg.IntOpt('osapi_karbor_graceful_shutdown_timeout', default=30, min=1,
               help='Seconds that a stopping karbor-api gives requests to '
                    'end before it cuts them off.'),
]
