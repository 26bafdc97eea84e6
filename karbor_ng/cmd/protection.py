# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""karbor-protection: the service that claims operations and runs them."""

import logging
import sys
import threading

import cotyledon
from oslo_config import cfg

from karbor_ng import conf as configuration
from karbor_ng import errors
from karbor_ng import logs
from karbor_ng import protectables
from karbor_ng import rpc
from karbor_ng.cmd import deployment
from karbor_ng.cmd import systemd
from karbor_ng.protection import providers
from karbor_ng.protection import service
from karbor_ng.store import session

LOG = logging.getLogger(__name__)

#: Seconds beyond those that steps get to end: for handing back the rest.
_HAND_BACK_SECONDS = 15
#: Seconds that the broker gets to let us go.
_GOODBYE_SECONDS = 5


class Worker(cotyledon.Service):
    """The process that works; its parent only watches over it."""

    name = 'karbor-protection'

    def __init__(self, worker_id, conf):
        super().__init__(worker_id)
        self._service = load_service(conf)
        self._hints = rpc.protection_server(
            rpc.transport(conf), conf.host, self._service)
        self._hears = False
        self._heartbeat = systemd.Heartbeat(self._service)

    def run(self):
        self._service.start()
        self._heartbeat.start()
        # Does not return before there is a broker; what is announced until
        # then is found by sweeps.
        self._hints.start()
        self._hears = True

    def terminate(self):
        self._service.stop()
        self._heartbeat.stop()
        if self._hears:
            # A broker that hangs may never let us go.
            goodbye = threading.Thread(target=self._hints.stop, daemon=True)
            goodbye.start()
            goodbye.join(_GOODBYE_SECONDS)


def load_service(conf):
    """Return the service that the configuration describes.

    Connects to nothing yet.

    :raises errors.ConfigError: the configuration is incomplete or wrong
    """
    db = session.Database.from_conf(conf)
    cloud, sealer = deployment.load_cloud(conf)
    found = providers.load_all(conf.protection.provider_config_dir)
    known = None if sealer is None else protectables.Protectables()
    return service.ProtectionService(conf, db, cloud, sealer, found, known)


def check(conf):
    """Make sure that a worker can start, and find what to work on.

    :raises errors.ConfigError: it can not; says what to do
    """
    deployment.check(conf)
    _check_banks(providers.load_all(conf.protection.provider_config_dir))


def _check_banks(found):
    """One bank is enough to start with; the others are met when they come.

    :param found: ``{id: Provider}``
    """
    problems = []
    for provider in found.values():
        try:
            provider.open()
            return
        except errors.Error as problem:
            problems.append(f'provider "{provider.name}": {problem}')
    raise errors.ConfigError(
        f'No bank of any provider can be used: {"; ".join(problems)}')


def main():
    """Work until SIGTERM; SIGHUP reads the configuration files again."""
    systemd.take_over()
    try:
        conf = configuration.load(sys.argv[1:])
        logs.setup(conf)
        check(conf)
    except (errors.ConfigError, cfg.Error) as problem:
        sys.exit(f'karbor-protection can not start: {problem}')
    manager = cotyledon.ServiceManager(
        graceful_shutdown_timeout=(
            conf.protection.graceful_shutdown_timeout + _HAND_BACK_SECONDS))
    # The worker then ends gently, and a new one finds what was read here.
    manager.register_hooks(on_reload=conf.reload_config_files)
    manager.add(Worker, args=(conf,))
    manager.run()
