# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Providers: what operators' provider files offer, loaded.

The files are those of old Karbor: one INI file each, with the plugins'
option groups beside ``[provider]``; names of plugins are entry points in
``karbor.protections``, or dotted names of classes.
"""

import glob
import logging
import os
import uuid

from oslo_config import cfg

from karbor_ng import errors
from karbor_ng import installed
from karbor_ng.bank import bank
from karbor_ng.plugins import api
from karbor_ng.protection import options

LOG = logging.getLogger(__name__)

SEARCH = ('/var/lib/karbor/etc/karbor', '/var/lib/karbor/etc',
          '/var/lib/karbor', '/etc/karbor')

#: Published schema sets, and the attribute of a protection that has each.
SCHEMAS = ('options_schema', 'saved_info_schema', 'restore_schema',
           'verify_schema', 'copy_schema')
CAPABILITIES = {'protect': 'Protect', 'restore': 'Restore',
                'delete': 'Delete', 'verify': 'Verify'}


class Provider:
    """One provider: a bank, and a plugin for each type of resource.

    :ivar protections: ``{type: Protection}``
    :ivar plugin_names: ``{type: entry point}``
    :ivar bank_uuid: of the bank's marker; None before :meth:`open`
    """

    def __init__(self, conf):
        """:param conf: the provider file's own ConfigOpts, already read

        :raises errors.ConfigError: naming what is wrong in the file
        """
        conf.register_opts(options.PROVIDER_OPTS, group='provider')
        section = conf.provider
        self.id = _provider_id(section.id)
        self.name = section.name
        self.description = section.description
        if not section.bank or not any(section.plugin):
            raise errors.ConfigError(
                'A provider needs a bank and at least one plugin.')
        driver = installed.protection(section.bank)(conf)
        self.bank = bank.Bank(driver)
        self.bank_kind = driver.KIND
        self.bank_uuid = None
        self.protections, self.plugin_names = {}, {}
        for name in section.plugin:
            plugin = installed.protection(name)(conf)
            for resource_type in plugin.resource_types:
                self.protections[resource_type] = plugin
                self.plugin_names[resource_type] = name

    def open(self):
        """Meet the bank. :raises errors.BankError: it can not be reached"""
        self.bank_uuid = self.bank.marker()

    def check_bank(self):
        """Ask the bank that was met whether it still is there.

        :raises errors.BankError: it does not answer, or is another one
        """
        try:
            found = self.bank.get_json(bank.MARKER)['uuid']
        except errors.NotFound:
            found = None
        if found != self.bank_uuid:
            raise errors.BankError(
                f'The bank carries the mark {found} instead of '
                f'{self.bank_uuid}: is its directory not mounted, or its '
                f'container another one?')

    def values(self, host):
        """Return the columns of the provider's row."""
        return {
            'id': self.id, 'name': self.name,
            'description': self.description, 'host': host,
            'bank_kind': self.bank_kind, 'bank_uuid': self.bank_uuid,
            'schemas': {
                name: {resource_type: getattr(plugin, name)
                       for resource_type, plugin in self.protections.items()}
                for name in SCHEMAS},
            'capabilities': {
                resource_type: _capabilities(plugin)
                for resource_type, plugin in self.protections.items()},
            'plugins': self.plugin_names,
        }


def load_all(directory):
    """Return ``{id: Provider}`` of all enabled provider files.

    A file that can not be loaded is logged and left out.

    :raises errors.ConfigError: no such directory, no usable provider
    """
    where = _find(directory)
    found = {}
    for path in sorted(glob.glob(os.path.join(where, '*.conf'))):
        try:
            provider = _load_file(path)
        except errors.ConfigError as problem:
            LOG.error('Provider file %s can not be used: %s', path, problem)
            continue
        except Exception:
            # A plugin's own constructor, or a file that is no INI file.
            LOG.exception('Provider file %s can not be used', path)
            continue
        if provider is not None:
            found[provider.id] = provider
    if not found:
        raise errors.ConfigError(
            f'No provider file in {where} could be used: put one there with '
            f'"enabled = True"; the log tells what is wrong with others.')
    return found


def _load_file(path):
    conf = cfg.ConfigOpts()
    conf.register_opts(options.PROVIDER_OPTS, group='provider')
    conf(args=[], project='karbor-provider', default_config_files=[path],
         default_config_dirs=[])
    if not conf.provider.enabled:
        LOG.info('Provider file %s is not enabled', path)
        return None
    return Provider(conf)


def _find(directory):
    for candidate in (directory, *(os.path.join(base, directory)
                                   for base in SEARCH)):
        if os.path.isdir(candidate):
            return candidate
    raise errors.ConfigError(
        f'[protection] provider_config_dir: there is no directory '
        f'"{directory}", neither as given nor in {", ".join(SEARCH)}.')


def _provider_id(text):
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise errors.ConfigError(
            f'[provider] id: "{text}" is not a UUID.') from None


def _capabilities(plugin):
    """A container can be named in a plan although nothing is done to it."""
    if plugin.container:
        return ['protect', 'restore', 'delete', 'verify']
    return [name for name, attribute in CAPABILITIES.items()
            if _overridden(plugin, attribute)]


def _overridden(plugin, attribute):
    operation = getattr(plugin, attribute)
    return operation is not None and issubclass(operation, api.Operation)
