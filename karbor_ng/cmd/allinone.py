# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""karbor-all-in-one: all services in one process, for a single user.

Nothing to set up but the cloud: database, bank and provider file are made in
a directory of the user's own. It works with the user's own credentials, so
it keeps none and serves nobody else.
"""

import argparse
import fcntl
import logging
import os
import pathlib
import signal
import sys
import threading

from keystoneauth1 import adapter
from keystoneauth1 import exceptions
from openstack import config as sdk_config

from karbor_ng import conf as configuration
from karbor_ng import errors
from karbor_ng import keystone
from karbor_ng import logs
from karbor_ng import protectables
from karbor_ng.api import app
from karbor_ng.api import server
from karbor_ng.api import single_user
from karbor_ng.operationengine import service as engine_service
from karbor_ng.protection import client
from karbor_ng.protection import providers
from karbor_ng.protection import service
from karbor_ng.store import schema
from karbor_ng.store import session

LOG = logging.getLogger(__name__)

ADDRESS = '127.0.0.1'
_REQUEST_SECONDS = 30

_PROVIDER = """\
# Written by the first start of karbor-all-in-one, and yours since then: it is
# read at every start and never written again. Put further providers beside
# it, in files of their own.

[provider]
name = OpenStack
description = Volumes through Cinder's backups, the rest in files.
id = 992ce2c4-bd75-42fb-a2dd-b6d1c36841fa
enabled = True
bank = karbor-fs-bank-plugin
plugin = karbor-project-protection-plugin
plugin = karbor-server-protection-plugin
plugin = karbor-image-protection-plugin
plugin = karbor-volume-protection-plugin

[file_system_bank_plugin]
file_system_bank_path = {bank}

# Seconds between two looks at a cloud that works on something.
[cinder_backup_protection_plugin]
poll_interval = 2

[image_backup_plugin]
poll_interval = 2

[nova_backup_protection_plugin]
poll_interval = 2
"""


class State:
    """The directory in which everything is kept; one process at a time.

    :raises errors.ConfigError: it can not be had, or is in use
    """

    def __init__(self, path):
        self.path = pathlib.Path(path).expanduser().absolute()
        self.log = self.path / 'karbor.log'
        self.providers = self.path / 'providers.d'
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = open(self.path / 'lock', 'a+')
        except OSError as problem:
            raise errors.ConfigError(
                f'The state directory {self.path} can not be used: '
                f'{problem.strerror}. Name another with --state.') from None
        self._take_lock()
        self._lay_out()

    @property
    def connection(self):
        """Where the database is, as SQLAlchemy wants it."""
        return f'sqlite:///{self.path / "karbor.sqlite"}'

    def _take_lock(self):
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.seek(0)
            raise errors.ConfigError(
                f'Process {self._lock.read().strip()} already works with '
                f'{self.path}: stop it, or name another directory with '
                '--state.') from None
        self._lock.truncate(0)
        self._lock.write(f'{os.getpid()}\n')
        self._lock.flush()

    def _lay_out(self):
        bank = self.path / 'bank'
        bank.mkdir(mode=0o700, exist_ok=True)
        self.providers.mkdir(exist_ok=True)
        file = self.providers / 'openstack.conf'
        if not any(self.providers.glob('*.conf')):
            # A dollar sign would begin the name of another option.
            text = _PROVIDER.format(bank=str(bank).replace('$', '$$'))
            file.write_text(text)


class AllInOne:
    """Everything in one process.

    :raises errors.ConfigError: it can not be built; says what to do
    """

    def __init__(self, conf, cloud, listener):
        self._db = session.Database.from_conf(conf)
        schema.upgrade(self._db)
        known = protectables.Protectables()
        self._service = service.ProtectionService(
            conf, self._db, cloud, None, _load_providers(conf), known)
        # The service hears of operations directly, by the same methods.
        front_door = client.ProtectionClient(conf, self._db, self._service)
        self._engine = engine_service.OperationEngine(
            conf, self._db, cloud, None, front_door)
        application = app.make_app(
            conf, self._db, front_door, cloud, known,
            auth=lambda inner: single_user.SingleUserAuth(inner, cloud))
        self._server = server.Server(
            application, listener, conf.osapi_karbor_threads,
            server.largest_body(conf))
        self.url = f'http://{ADDRESS}:{self._server.port}/v1/{cloud.project_id}'

    def start(self):
        self._service.start()
        self._engine.start()
        self._server.start()

    def stop(self):
        """Answer requests, end or put down what is being worked on."""
        self._server.stop(_REQUEST_SECONDS)
        self._engine.stop()
        self._service.stop()
        self._db.dispose()


def _load_providers(conf):
    try:
        return providers.load_all(conf.protection.provider_config_dir)
    except errors.ConfigError as problem:
        raise errors.ConfigError(
            f'{problem} The log is {conf.log_file}.') from None


def configure(state, debug):
    """Return the conf object; no file of services is read."""
    conf = configuration.load([], config_files=[])
    for name, group, value in (
            ('host', None, 'all-in-one'),
            ('state_path', None, str(state.path)),
            ('debug', None, debug),
            ('log_file', None, str(state.log)),
            ('log_rotation_type', None, 'size'),
            ('max_logfile_size_mb', None, 20),
            ('max_logfile_count', None, 3),
            ('connection', 'database', state.connection),
            ('provider_config_dir', 'protection', str(state.providers)),
            # The lock of the directory tells that whoever had an operation
            # is dead; nobody but this process takes it over.
            ('lease_seconds', 'protection', 20),
            # There is nobody else whom this one's could keep waiting.
            ('max_concurrent_operations_per_project', 'protection',
             conf.protection.max_concurrent_operations)):
        conf.set_override(name, value, group)
    logs.setup(conf)
    sys.excepthook = _also_shown(sys.excepthook, state.log)
    return conf


def _also_shown(hook, log_file):
    """Return a hook that shows what would be in the log alone."""
    def show(kind, problem, trace):
        hook(kind, problem, trace)
        print(f'karbor-all-in-one ends, and should not: {problem!r}; '
              f'{log_file} has more.', file=sys.stderr)
    return show


def find_cloud(name):
    """Return the user's cloud, after signing in and a look at its services.

    :raises errors.ConfigError: it is not usable; says what to do
    """
    if not name and not {'OS_CLOUD', 'OS_AUTH_URL'} & set(os.environ):
        _refuse_unnamed()
    cloud = keystone.SingleUserCloud(name)
    LOG.info('Works for user %s in project %s', cloud.user_id,
             cloud.project_id)
    _check_backups(adapter.Adapter(
        cloud.service_session(), service_type='block-storage',
        raise_exc=False))
    return cloud


def _refuse_unnamed():
    names = sdk_config.OpenStackConfig().get_cloud_names()
    known = sorted(set(names) - {'defaults', 'envvars'})
    if len(known) != 1:
        raise errors.ConfigError(
            'No cloud is named: use --os-cloud NAME (your clouds.yaml has: '
            f'{", ".join(known) or "none"}), or set the variables of your '
            "cloud's openrc file (OS_AUTH_URL and so on).")


def _check_backups(cinder):
    try:
        answer = cinder.get('/backups?limit=1')
    except (exceptions.EndpointNotFound, exceptions.DiscoveryFailure,
            ValueError):
        # The last is keystoneauth's for a region without any of the names
        # that the service goes by.
        raise errors.ConfigError(
            'The cloud offers no volume service (Cinder) to this user, in '
            'this region: there is nothing to protect. Check region_name, or '
            'name another cloud.') from None
    except exceptions.ClientException as problem:
        raise errors.ConfigError(
            f'Cinder does not answer: {problem}') from None
    if answer.status_code >= 400:
        raise errors.ConfigError(
            'Cinder offers no backups to this user (HTTP '
            f'{answer.status_code}): ask the operator of the cloud for them.')
    # Only administrators are told this much.
    answer = cinder.get('/os-services?binary=cinder-backup')
    if answer.status_code == 200 and not any(
            one['state'] == 'up' and one['status'] == 'enabled'
            for one in answer.json()['services']):
        raise errors.ConfigError(
            'No cinder-backup of the cloud is up and enabled: start or '
            'enable one.')


def listen(port):
    """Return a listening socket. :raises errors.ConfigError: port in use"""
    try:
        return server.listen(ADDRESS, port)
    except errors.ConfigError as problem:
        raise errors.ConfigError(
            f'Can not listen on {ADDRESS} port {port}: '
            f'{problem.__cause__.strerror}. Choose another with '
            '--port.') from None


def run(options):
    """Serve until a signal asks to stop."""
    stop = threading.Event()
    _on_signals(stop)
    state = State(options.state)
    conf = configure(state, options.debug)
    everything = AllInOne(conf, find_cloud(options.os_cloud),
                          listen(options.port))
    everything.start()
    print(f'karbor serves {everything.url} with its state in {state.path}; '
          'press Ctrl-C to stop.', flush=True)
    stop.wait()
    print('Stopping: the next start goes on with what is not done.',
          flush=True)
    everything.stop()


def _on_signals(stop):
    def handle(number, _frame):
        if stop.is_set():
            os._exit(128 + number)
        stop.set()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handle)


def main(argv=None):
    """Run; return the exit code."""
    options = _parse(argv)
    try:
        run(options)
    except errors.Error as problem:
        print(f'karbor-all-in-one: {problem}', file=sys.stderr)
        return 1
    return 0


def _parse(argv):
    parser = argparse.ArgumentParser(
        prog='karbor-all-in-one', description=(
            'Protects what one user has in one cloud. Serves the API on '
            f'{ADDRESS} only, and that user only.'))
    parser.add_argument(
        '--os-cloud', metavar='NAME',
        help='a cloud of clouds.yaml; without it the OS_* variables are used')
    parser.add_argument(
        '--state', metavar='DIRECTORY', default=_default_state(),
        help='where database, bank, providers and log are kept, made if '
             'missing (default: %(default)s)')
    parser.add_argument(
        '--port', type=_port, default=8799,
        help='TCP port of the API, 0 for any free one (default: %(default)s)')
    parser.add_argument('--debug', action='store_true',
                        help='write more into the log')
    return parser.parse_args(argv)


def _port(text):
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f'{port} is no TCP port')
    return port


def _default_state():
    base = os.environ.get('XDG_STATE_HOME') or '~/.local/state'
    return pathlib.Path(base).expanduser() / 'karbor'
