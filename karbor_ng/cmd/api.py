# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""karbor-api: the REST API as a ready server.

Several processes share one listening socket. The same application runs in
any other WSGI server, see ``karbor_ng.api.wsgi``.
"""

import functools
import logging
import sys

import cotyledon
from oslo_config import cfg

from karbor_ng import conf as configuration
from karbor_ng import errors
from karbor_ng import logs
from karbor_ng import presence
from karbor_ng.api import server
from karbor_ng.api import stopping
from karbor_ng.api import wsgi
from karbor_ng.cmd import systemd
from karbor_ng.store import session

LOG = logging.getLogger(__name__)

#: What a worker may need beyond its own limit before it is killed.
_CLOSING_SECONDS = 10


class Worker(cotyledon.Service):
    """One process of the server."""

    name = 'karbor-api'

    def __init__(self, worker_id, conf, listener):
        super().__init__(worker_id)
        self._timeout = conf.osapi_karbor_graceful_shutdown_timeout
        application = wsgi.load_app(conf)
        self._server = server.Server(
            application, listener, conf.osapi_karbor_threads,
            server.largest_body(conf))
        self._presence = presence.Presence(
            conf, session.Database.from_conf(conf), self.name)

    def run(self):
        self._server.start()
        self._presence.start()
        systemd.tell('READY=1')
        LOG.info('Worker %d serves on port %d.', self.worker_id,
                 self._server.port)

    def terminate(self):
        LOG.info('Worker %d stops.', self.worker_id)
        self._server.stop(self._timeout)
        self._presence.stop()
        LOG.info('Worker %d has stopped.', self.worker_id)


def main():
    """Serve until SIGTERM; SIGHUP reads the configuration files again."""
    systemd.take_over()
    try:
        conf = configuration.load(sys.argv[1:])
        logs.setup(conf)
        wsgi.check(conf)
        listener = server.listen(conf.osapi_karbor_listen,
                                 conf.osapi_karbor_listen_port)
    except (errors.ConfigError, cfg.Error) as exc:
        sys.exit(f'karbor-api can not start: {exc}')
    manager = cotyledon.ServiceManager(
        graceful_shutdown_timeout=(
            conf.osapi_karbor_graceful_shutdown_timeout + _CLOSING_SECONDS))
    # The workers then end gently, and new ones find what was read here.
    manager.register_hooks(
        on_reload=conf.reload_config_files,
        on_terminate=functools.partial(stopping.refuse_new, listener))
    manager.add(Worker, workers=conf.osapi_karbor_workers,
                args=(conf, listener))
    LOG.info('karbor-api listens on %s port %d with %d workers.',
             conf.osapi_karbor_listen, conf.osapi_karbor_listen_port,
             conf.osapi_karbor_workers)
    manager.run()
