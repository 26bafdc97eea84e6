# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""karbor-protection: the service that claims operations and runs them."""

import logging
import sys

import cotyledon
from oslo_config import cfg
from oslo_db import exception as db_exception
from oslo_log import log
import oslo_messaging

from karbor_ng import conf as configuration
from karbor_ng import credentials
from karbor_ng import errors
from karbor_ng import keystone
from karbor_ng import protectables
from karbor_ng import rpc
from karbor_ng.protection import providers
from karbor_ng.protection import service
from karbor_ng.store import schema
from karbor_ng.store import session

LOG = logging.getLogger(__name__)

#: Seconds beyond those that steps get to end: for handing back the rest.
_HAND_BACK_SECONDS = 15


class Worker(cotyledon.Service):
    """The process that works; its parent only watches over it."""

    name = 'karbor-protection'

    def __init__(self, worker_id, conf):
        super().__init__(worker_id)
        self._service = load_service(conf)
        self._hints = rpc.protection_server(
            rpc.transport(conf), conf.host, self._service)
        self._hears = False

    def run(self):
        self._service.start()
        # Does not return before there is a broker; what is announced until
        # then is found by sweeps.
        self._hints.start()
        self._hears = True

    def terminate(self):
        self._service.stop()
        if self._hears:
            self._hints.stop()


def load_service(conf):
    """Return the service that the configuration describes.

    Connects to nothing yet.

    :raises errors.ConfigError: the configuration is incomplete or wrong
    """
    db = session.Database.from_conf(conf)
    found = providers.load_all(conf.protection.provider_config_dir)
    if conf.auth_strategy == 'noauth':
        return service.ProtectionService(
            conf, db, keystone.NoCloud(), None, found, None)
    cloud = keystone.Cloud(conf)
    cloud.service_session()
    return service.ProtectionService(
        conf, db, cloud, credentials.Sealer(conf.credentials['keys']), found,
        protectables.Protectables())


def check(conf):
    """Make sure that a worker can start.

    :raises errors.ConfigError: it can not; says what to do
    """
    db = session.Database.from_conf(conf)
    try:
        schema.check(db)
    except db_exception.DBError as problem:
        raise errors.ConfigError(
            f'The database can not be used: {problem}') from problem
    # The worker must not share a connection with this process.
    db.dispose()
    try:
        rpc.transport(conf)
    except oslo_messaging.exceptions.MessagingException as problem:
        raise errors.ConfigError(f'transport_url: {problem}') from problem
    load_service(conf)


def main():
    """Work until SIGTERM; SIGHUP reads the configuration files again."""
    try:
        conf = configuration.load(sys.argv[1:])
        log.setup(conf, 'karbor')
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
