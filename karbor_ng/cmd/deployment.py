# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What all programs of a deployment find in its configuration.

Apart from the programs because each begins with the same cloud, the same
keys and the same database, and refuses to start without them in the same
words.
"""

from oslo_db import exception as db_exception
import oslo_messaging

from karbor_ng import credentials
from karbor_ng import errors
from karbor_ng import keystone
from karbor_ng import rpc
from karbor_ng.store import schema
from karbor_ng.store import session


def load_cloud(conf):
    """Return the cloud, and what seals credentials: None without a cloud.

    :raises errors.ConfigError: the service user or the keys are missing
    """
    if conf.auth_strategy == 'noauth':
        return keystone.NoCloud(), None
    cloud = keystone.Cloud(conf)
    cloud.service_session()
    return cloud, credentials.Sealer.from_conf(conf)


def load_transport(conf):
    """Return what messages go through.

    :raises errors.ConfigError: ``transport_url`` is wrong
    """
    try:
        return rpc.transport(conf)
    except oslo_messaging.MessagingException as problem:
        raise errors.ConfigError(f'transport_url: {problem}') from problem


def check(conf):
    """Make sure that a service can start; leaves no connection behind.

    :raises errors.ConfigError: it can not; says what to do
    """
    cloud, _sealer = load_cloud(conf)
    _check_database(conf)
    load_transport(conf)
    cloud.check_service_user()


def _check_database(conf):
    db = session.Database.from_conf(conf)
    try:
        schema.check(db)
    except db_exception.DBError as problem:
        raise errors.ConfigError(
            f'The database can not be used: {problem}') from problem
    # Workers must not share a connection with this process.
    db.dispose()
