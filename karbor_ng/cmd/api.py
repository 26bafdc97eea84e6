# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""karbor-api: the REST API as a ready server.

Several processes share one listening socket. The same application runs in
any other WSGI server, see ``karbor_ng.api.wsgi``.
"""

import logging
import sys

import cotyledon
from oslo_log import log

from karbor_ng import conf as configuration
from karbor_ng import errors
from karbor_ng.api import server
from karbor_ng.api import wsgi

LOG = logging.getLogger(__name__)


class Worker(cotyledon.Service):
    """One process of the server."""

    name = 'karbor-api'

    def __init__(self, worker_id, conf, listener):
        super().__init__(worker_id)
        self._timeout = conf.osapi_karbor_graceful_shutdown_timeout
        self._server = server.Server(
            wsgi.load_app(conf), listener, conf.osapi_karbor_threads)

    def run(self):
        self._server.start()
        LOG.info('Worker %d serves on port %d.', self.worker_id,
                 self._server.port)

    def terminate(self):
        LOG.info('Worker %d stops.', self.worker_id)
        self._server.stop(self._timeout)
        LOG.info('Worker %d has stopped.', self.worker_id)


def main():
    """Serve until SIGTERM."""
    conf = configuration.load(sys.argv[1:])
    log.setup(conf, 'karbor')
    try:
        # Each worker builds its own. This one tells what is wrong with the
        # configuration before there are any; it has connected to nothing.
        wsgi.load_app(conf)
        listener = server.listen(conf.osapi_karbor_listen,
                                 conf.osapi_karbor_listen_port)
    except errors.ConfigError as exc:
        sys.exit(f'karbor-api can not start: {exc}')
    # The manager kills what is not ready; so it waits a little longer.
    manager = cotyledon.ServiceManager(
        graceful_shutdown_timeout=(
            conf.osapi_karbor_graceful_shutdown_timeout + 5))
    manager.add(Worker, workers=conf.osapi_karbor_workers,
                args=(conf, listener))
    manager.run()
