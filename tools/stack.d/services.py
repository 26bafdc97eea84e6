# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The services of the stack: how each is started and when it is well.

Separate as the one table that a reader of the stack wants to see.
"""

import dataclasses
import os
import socket
import time
import typing
import urllib.error
import urllib.request

import databases
import paths
import ports
import processes

BASE = ('epmd', 'mariadb', 'memcached', 'rabbitmq')
RABBITMQ = '/usr/lib/rabbitmq/bin/rabbitmq-server'


@dataclasses.dataclass(frozen=True)
class Service:
    command: list
    well: typing.Callable[[], bool]
    env: dict = dataclasses.field(default_factory=dict)


def table(cloud, product=None):
    """All services in their order of start; karbor's only with `product`."""
    found = {**_base(), **_swift(cloud), **_cloud(cloud)}
    if product:
        found.update(_karbor(product))
    return found


def _base():
    return {
        'epmd': Service(['epmd', '-address', ports.IP, '-port',
                         str(ports.port('epmd'))], _listens('epmd')),
        'mariadb': Service(databases.command(
            extra=['--innodb-buffer-pool-size=128M',
                   '--innodb-log-file-size=32M']), databases.answers),
        'memcached': Service(
            ['memcached', '-l', ports.IP, '-p', str(ports.port('memcached')),
             '-m', '64', '-t', '1',
             *(['-u', 'root'] if os.getuid() == 0 else [])],
            _listens('memcached')),
        'rabbitmq': Service([RABBITMQ], _amqp, rabbit_env(
            paths.STATE / 'rabbitmq', 'stack', ports.port('rabbitmq'),
            ports.port('rabbitmq_distribution'))),
    }


def rabbit_env(home, node, number, distribution):
    """Environment of a RabbitMQ with a node of this name.

    :param number: its port; `distribution` is the one for other nodes
    """
    home.mkdir(parents=True, exist_ok=True)
    calm = '+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none'
    return {
        'HOME': str(home),
        'RABBITMQ_BASE': str(home),
        'RABBITMQ_MNESIA_BASE': str(home / 'mnesia'),
        'RABBITMQ_LOGS': '-',
        'RABBITMQ_LOG_BASE': str(home / 'log'),
        'RABBITMQ_CONF_ENV_FILE': str(home / 'rabbitmq-env.conf'),
        'RABBITMQ_NODENAME': f'{node}@localhost',
        'RABBITMQ_NODE_IP_ADDRESS': ports.IP,
        'RABBITMQ_NODE_PORT': str(number),
        'RABBITMQ_DIST_PORT': str(distribution),
        'ERL_EPMD_PORT': str(ports.port('epmd')),
        'ERL_EPMD_ADDRESS': ports.IP,
        'RABBITMQ_ENABLED_PLUGINS_FILE': str(home / 'enabled_plugins'),
        'RABBITMQ_CONFIG_FILE': str(home / 'rabbitmq'),
        'RABBITMQ_PID_FILE': str(home / 'pid'),
        'RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS': calm,
    }


def _swift(cloud):
    found = {}
    for kind in ('account', 'container', 'object'):
        found[f'swift-{kind}'] = Service(
            [cloud / 'bin' / f'swift-{kind}-server',
             paths.ETC / 'swift' / f'{kind}-server.conf', '-v'],
            _listens(f'swift_{kind}'))
    return found


def _cloud(cloud):
    api = _Api(cloud)
    cinder = ['--config-file', paths.ETC / 'cinder' / 'cinder.conf']
    nova = ['--config-file', paths.ETC / 'nova' / 'nova.conf']
    found = {
        'keystone': api('keystone', 'keystone.wsgi.api', '/v3'),
        'swift-proxy': Service(
            [cloud / 'bin' / 'swift-proxy-server',
             paths.ETC / 'swift' / 'proxy-server.conf', '-v'],
            _answers('swift', '/healthcheck')),
        'glance-api': api('glance', 'glance.wsgi.api', '/versions',
                          # Servers' snapshots come in larger chunks than
                          # the default of 1 MiB.
                          '--chunked-input-limit', '67108864'),
        'cinder-api': api('cinder', 'cinder.wsgi.api', '/', '--pyargv',
                          ' '.join(map(str, cinder))),
        'placement': api('placement', 'placement.wsgi.api', '/'),
        'neutron-api': api('neutron', 'neutron.wsgi.api', '/'),
        'nova-api': api('nova', 'nova.wsgi.osapi_compute', '/'),
    }
    for name in ('cinder-scheduler', 'cinder-volume'):
        found[name] = Service([cloud / 'bin' / name, *cinder],
                              _reports('cinder', name))
    # With green threads several backups at once now and then end in "Cannot
    # switch to a different thread", and all later ones stay "creating".
    found['cinder-backup'] = Service(
        ['env', 'OS_CINDER_DISABLE_EVENTLET_PATCHING=1',
         cloud / 'bin' / 'cinder-backup', *cinder],
        _reports('cinder', 'cinder-backup'))
    for name in ('nova-conductor', 'nova-scheduler'):
        found[name] = Service([cloud / 'bin' / name, *nova],
                              _reports('nova', name))
    found['nova-compute'] = Service(
        [cloud / 'bin' / 'python', paths.PLUGINS / 'nova_compute.py', *nova],
        _reports('nova', 'nova-compute'))
    return found


class _Api:
    """Makes the services that run inside uWSGI."""

    def __init__(self, cloud):
        self.program = cloud / 'bin' / 'uwsgi'

    def __call__(self, name, module, path, *more):
        return Service([
            self.program, '--http-socket', f'{ports.IP}:{ports.port(name)}',
            '--module', f'{module}:application', '--processes', '1',
            '--threads', '8', '--enable-threads', '--need-app',
            '--die-on-term', '--lazy-apps', '--buffer-size', '65535',
            '--add-header', 'Connection: close', '--procname-prefix',
            f'{name}-', '--log-x-forwarded-for', *more],
            _answers(name, path))


def _karbor(product):
    conf = ['--config-file', paths.ETC / 'karbor' / 'karbor.conf']
    return {
        'karbor-api': Service([product / 'bin' / 'karbor-api', *conf],
                              _answers('karbor', '/')),
        'karbor-protection': Service(
            [product / 'bin' / 'karbor-protection', *conf], _publishes),
        'karbor-operationengine': Service(
            [product / 'bin' / 'karbor-operationengine', *conf],
            _is_seen('karbor-operationengine')),
    }


# When is a service well?

def _connect(number):
    return socket.create_connection((ports.IP, number), 3)


def _listens(name):
    def well():
        try:
            _connect(ports.port(name)).close()
            return True
        except OSError:
            return False
    return well


def _amqp():
    return speaks_amqp(ports.port('rabbitmq'))


def speaks_amqp(number):
    """RabbitMQ listens on its port long before it speaks."""
    try:
        with _connect(number) as connection:
            connection.sendall(b'AMQP\x00\x00\x09\x01')
            return bool(connection.recv(8))
    except OSError:
        return False


def _answers(name, path):
    """Any answer but a server's error will do: some list versions as 300."""
    def well():
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            opener.open(ports.url(name) + path, timeout=5).close()
            return True
        except urllib.error.HTTPError as error:
            return error.code < 500
        except OSError:
            return False
    return well


def _reports(schema, binary):
    """The service's heartbeat in its database is younger than its start."""
    # What is put into queries here, and below, are our own words.
    def well():
        if not processes.leader(binary):
            return False
        since = _utc(max(processes.began(binary), time.time() - 60))
        try:
            return databases.query(
                f'SELECT count(*) > 0 FROM {schema}.services '  # nosec B608
                f"WHERE `binary` = '{binary}' AND deleted = 0 "
                f"AND updated_at >= '{since}'") == ['1']
        except RuntimeError:
            return False
    return well


def _publishes():
    """Since its start karbor-protection has offered all our providers."""
    name = 'karbor-protection'
    if not processes.leader(name):
        return False
    files = paths.TEMPLATES / 'karbor' / 'providers.d'
    try:
        offered, = databases.query(
            'SELECT count(*) FROM karbor.providers '  # nosec B608
            f"WHERE published_at >= '{_utc(processes.began(name))}'")
    except RuntimeError:
        return False
    return int(offered) >= len(list(files.iterdir()))


def _is_seen(binary):
    """Since its start the service has written that it lives."""
    def well():
        if not processes.leader(binary):
            return False
        try:
            return databases.query(
                'SELECT count(*) > 0 FROM karbor.services '  # nosec B608
                f"WHERE `binary` = '{binary}' "
                f"AND started_at >= '{_utc(processes.began(binary))}'"
            ) == ['1']
        except RuntimeError:
            return False
    return well


def _utc(seconds):
    return time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(seconds))
