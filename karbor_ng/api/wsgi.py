# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The API for any WSGI server: ``karbor_ng.api.wsgi:application``.

Reads the configuration where oslo.config looks for it, or in the files that
``OS_KARBOR_CONFIG_FILES`` names (separated by semicolons; relative names are
looked for in ``OS_KARBOR_CONFIG_DIR``). Apart from the application itself,
which is handed its tools and reads nothing.

Servers that load the application after they have forked, uWSGI with
``lazy-apps`` for one, should call ``karbor_ng.api.wsgi:create()`` instead: it
refuses to start with what is wrong, rather than the first request.
"""

# Before everything else, since it blocks eventlet.
import karbor_ng.cmd  # noqa: F401

# isort: split

import gc
import os
import pathlib
import sys
import threading

from oslo_config import cfg

from karbor_ng import conf as configuration
from karbor_ng import errors
from karbor_ng import logs
from karbor_ng import protectables
from karbor_ng import rpc
from karbor_ng.api import app
from karbor_ng.cmd import deployment
from karbor_ng.protection import client
from karbor_ng.store import schema
from karbor_ng.store import session


def load_app(conf):
    """Return the application that the configuration describes.

    Opens connections, so processes that fork do it afterwards.

    :raises karbor_ng.errors.ConfigError: the configuration is incomplete,
        or the database is not usable
    """
    db = session.Database.from_conf(conf)
    schema.check(db)
    made = _make_app(conf, db)
    # What has been loaded stays for good: looking through it for garbage,
    # again and again, takes a third of the time of a long list.
    gc.collect()
    gc.freeze()
    return made


def check(conf):
    """Make sure, once for all processes, that they can work.

    Leaves no connection behind.

    :raises karbor_ng.errors.ConfigError: what :func:`load_app` would raise,
        or the service user is not usable
    """
    db = session.Database.from_conf(conf)
    try:
        schema.check(db)
        _make_app(conf, db)
        deployment.load_cloud(conf)[0].check_service_user()
    finally:
        db.dispose()


def _make_app(conf, db):
    cloud, sealer = deployment.load_cloud(conf)
    transport = deployment.load_transport(conf)
    front_door = client.ProtectionClient(
        conf, db, rpc.ProtectionHints(transport))
    return app.make_app(conf, db, front_door, cloud,
                        protectables.Protectables(), sealer=sealer,
                        broker=rpc.Broker(conf))


def _config_files(environ):
    names = environ.get('OS_KARBOR_CONFIG_FILES', '')
    directory = pathlib.Path(environ.get('OS_KARBOR_CONFIG_DIR', ''))
    found = [str(directory / name) for name in names.split(';') if name]
    if not found and 'OS_KARBOR_CONFIG_DIR' in environ:
        found = [str(directory / 'karbor.conf')]
    return found or None


class _Application:
    """Builds the application with the first request.

    Servers import this module and fork afterwards; connections to the
    database and the broker must not be shared by the children.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._app = None

    def __call__(self, environ, start_response):
        with self._lock:
            if self._app is None:
                self._app = self._build()
        return self._app(environ, start_response)

    @staticmethod
    def _build():
        return load_app(_load_conf())


def _load_conf():
    conf = configuration.load([], config_files=_config_files(os.environ))
    logs.setup(conf)
    return conf


def create():
    """Return the application, ready to answer, in the process that serves.

    Writes one line about what is missing, and lets the server end the way
    it ends for applications that can not be loaded.

    :raises karbor_ng.errors.ConfigError: as :func:`check`
    """
    try:
        conf = _load_conf()
        check(conf)
        return load_app(conf)
    except (errors.ConfigError, cfg.Error) as problem:
        print(f'karbor-api can not start: {problem}', file=sys.stderr,
              flush=True)
        raise


application = _Application()
