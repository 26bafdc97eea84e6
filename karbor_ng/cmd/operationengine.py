# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""karbor-operationengine: the service that does what is scheduled."""

import sys

import cotyledon
from oslo_config import cfg

from karbor_ng import conf as configuration
from karbor_ng import errors
from karbor_ng import logs
from karbor_ng import rpc
from karbor_ng import triggers
from karbor_ng.cmd import deployment
from karbor_ng.cmd import systemd
from karbor_ng.operationengine import service
from karbor_ng.protection import client
from karbor_ng.store import session

#: Seconds in which a turn of the engine ends before it is killed, which does
#: no harm.
_CLOSING_SECONDS = 45


class Worker(cotyledon.Service):
    """The process that works; its parent only watches over it."""

    name = 'karbor-operationengine'

    def __init__(self, worker_id, conf):
        super().__init__(worker_id)
        self._engine = load_engine(conf)
        self._heartbeat = systemd.Heartbeat(self._engine)

    def run(self):
        self._engine.start()
        self._heartbeat.start()

    def terminate(self):
        self._engine.stop()
        self._heartbeat.stop()


def load_engine(conf):
    """Return the engine that the configuration describes.

    Connects to nothing yet.

    :raises errors.ConfigError: the configuration is incomplete or wrong
    """
    db = session.Database.from_conf(conf)
    cloud, sealer = deployment.load_cloud(conf)
    front_door = client.ProtectionClient(
        conf, db, rpc.ProtectionHints(deployment.load_transport(conf)))
    return service.OperationEngine(conf, db, cloud, sealer, front_door)


def main():
    """Work until SIGTERM; SIGHUP reads the configuration files again."""
    systemd.take_over()
    try:
        conf = configuration.load(sys.argv[1:])
        logs.setup(conf)
        deployment.check(conf)
        triggers.load(conf)
    except (errors.ConfigError, cfg.Error) as problem:
        sys.exit(f'karbor-operationengine can not start: {problem}')
    manager = cotyledon.ServiceManager(
        graceful_shutdown_timeout=_CLOSING_SECONDS)
    # The worker then ends gently, and a new one finds what was read here.
    manager.register_hooks(on_reload=conf.reload_config_files)
    manager.add(Worker, args=(conf,))
    manager.run()
