# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Configuration: the only module that names oslo.config's global object.

oslo.messaging looks some options up on ``cfg.CONF`` whatever it is handed,
so that is the object we fill; everybody else is handed it as ``conf``.
Options stand beside the code that reads them, as ``GROUP`` and ``OPTS``;
those of plugins and bank drivers belong to provider files and are found
through entry points.
"""

import importlib
import socket

from oslo_config import cfg
from oslo_log import log
from stevedore import extension

from karbor_ng import version

OPTS = [
    cfg.HostAddressOpt('host', default=socket.gethostname(),
                       sample_default='<host name>',
                       help='Name of this node. Services of one node share '
                            'it; no two nodes may.'),
    cfg.StrOpt('state_path', default='/var/lib/karbor',
               help='Directory in which services keep files of their own.'),
]
GROUP = None

#: oslo.log's own, and what a worker is doing: a request's ids are all that it
#: has, an operation's lines carry type and id of the operation, and of the
#: resource that a hook is about.
LOG_FORMAT = ('%(asctime)s.%(msecs)03d %(process)d %(levelname)s %(name)s '
              '[%(global_request_id)s %(request_id)s %(user_identity)s] '
              '%(resource)s%(message)s')

#: Modules with options for the configuration file of the services.
OWNERS = (
    'karbor_ng.conf',
    'karbor_ng.credentials',
    'karbor_ng.delegation',
    'karbor_ng.keystone',
    'karbor_ng.quota',
    'karbor_ng.restore_targets',
    'karbor_ng.store.session',
    'karbor_ng.triggers',
    'karbor_ng.operationengine.options',
    'karbor_ng.api.options',
    'karbor_ng.api.health',
    'karbor_ng.protection.options',
)


def load(argv, owners=OWNERS, config_files=None, cli=()):
    """Read the configuration; return the conf object.

    :param argv: the command line without the program's name
    :param owners: dotted names of the modules whose options are needed
    :param config_files: instead of those found where oslo.config looks
        (``/etc/karbor/karbor.conf`` and so on)
    :param cli: options that only the command line has
    """
    conf = prepare(owners)
    conf.register_cli_opts(cli)
    conf(argv, project='karbor', version=version.text(),
         default_config_files=config_files,
         default_config_dirs=None if config_files is None else [])
    return conf


def prepare(owners=OWNERS):
    """Return the conf object, ready to read files and a command line."""
    conf = cfg.CONF
    log.register_options(conf)
    log.set_defaults(default_log_levels=log.get_default_log_levels() + [
        'taskflow=WARNING', 'keystonemiddleware=WARNING', 'alembic=WARNING',
        'oslo.messaging=WARNING', 'stevedore=WARNING',
        'swiftclient=WARNING', 'waitress.queue=ERROR',
        # Whoever meets a database that is away says so, and less often.
        'oslo_db.api=CRITICAL'],
        logging_context_format_string=LOG_FORMAT)
    register(conf, owners)
    return conf


def register(conf, owners=OWNERS):
    """Register the owners' options; may be called twice."""
    for owner in owners:
        module = importlib.import_module(owner)
        conf.register_opts(module.OPTS, group=module.GROUP)


def list_opts():
    """Options of the services, for the sample file and the manual."""
    modules = [importlib.import_module(owner) for owner in OWNERS]
    return [(module.GROUP or 'DEFAULT', module.OPTS) for module in modules]


def list_provider_opts():
    """Options of provider files, those of all installed plugins included."""
    from karbor_ng.protection import options
    found = [('provider', options.PROVIDER_OPTS)]
    for plugin in extension.ExtensionManager('karbor.protections'):
        found.extend(_options_of(plugin.plugin))
    return found


def _options_of(plugin):
    """A protection has one group, a bank driver may have several."""
    if isinstance(plugin.OPTS, dict):
        return list(plugin.OPTS.items())
    if plugin.OPTS and isinstance(plugin.OPTS[0], tuple):
        return list(plugin.OPTS)
    return [(plugin.GROUP, plugin.OPTS)] if plugin.OPTS else []
