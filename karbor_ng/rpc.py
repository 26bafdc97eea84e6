# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Messages between the services: hints and control, never work.

Losing every message loses nothing: whatever a message speaks of is a row by
then, and a sweep finds rows that were not announced. So a message is sent
once, without waiting for a broker that is down.
"""

import logging

import oslo_messaging

LOG = logging.getLogger(__name__)

PROTECTION_TOPIC = 'karbor-protection'
VERSION = '1.0'


def transport(conf):
    """Return the transport that ``transport_url`` names."""
    return oslo_messaging.get_rpc_transport(conf)


class ProtectionHints:
    """Tells all protection services what has become worth a look."""

    def __init__(self, rpc_transport):
        self._client = oslo_messaging.get_rpc_client(
            rpc_transport,
            oslo_messaging.Target(topic=PROTECTION_TOPIC, version=VERSION),
            retry=0)

    def operation_queued(self, operation_id):
        """Say that an operation waits for a worker."""
        self._cast('operation_queued', operation_id=operation_id)

    def _cast(self, method, **arguments):
        try:
            self._client.prepare(fanout=True).cast({}, method, **arguments)
        except Exception:  # noqa: BLE001  (whatever the driver raises)
            LOG.warning('The broker did not take the hint %s %s; the next '
                        'sweep will find it.', method, arguments)


def protection_server(rpc_transport, host, endpoint):
    """Return a server, not yet started, that hands hints to ``endpoint``.

    :param endpoint: has the methods of :class:`ProtectionHints`, each with
        the RPC context first
    """
    return oslo_messaging.get_rpc_server(
        rpc_transport,
        oslo_messaging.Target(topic=PROTECTION_TOPIC, server=host),
        [endpoint], executor='threading',
        access_policy=oslo_messaging.DefaultRPCAccessPolicy)
