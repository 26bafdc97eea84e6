# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""karbor-status: whether services of this release can start here.

``karbor-status upgrade check`` is run after the new code is installed and
before its services are started, as for other OpenStack services.
"""

import sys

from oslo_config import cfg
from oslo_upgradecheck import upgradecheck

from karbor_ng import conf as configuration
from karbor_ng import credentials
from karbor_ng import errors
from karbor_ng import keystone
from karbor_ng.protection import providers
from karbor_ng.store import schema
from karbor_ng.store import session

OWNERS = ('karbor_ng.conf', 'karbor_ng.credentials',
          'karbor_ng.store.session', 'karbor_ng.protection.options',
          'karbor_ng.keystone', 'karbor_ng.api.options')


class Checks(upgradecheck.UpgradeCommands):
    """What is looked at; nothing is changed."""

    def __init__(self, conf):
        super().__init__()
        self._conf = conf

    def _database(self):
        return _tried(lambda: schema.check(
            session.Database.from_conf(self._conf)))

    def _credentials(self):
        return _tried(credentials.Sealer, self._conf.credentials['keys'])

    def _providers(self):
        return _tried(providers.load_all,
                      self._conf.protection.provider_config_dir)

    def _service_user(self):
        if self._conf.auth_strategy == 'noauth':
            return upgradecheck.Result(upgradecheck.Code.SUCCESS)
        return _tried(keystone.Cloud(self._conf).check_service_user)

    _upgrade_checks = (
        ('Database schema', _database),
        ('Keys for credentials', _credentials),
        ('Provider files', _providers),
        ('Service user', _service_user),
    )


def _tried(function, *args):
    try:
        function(*args)
    except errors.ConfigError as problem:
        return upgradecheck.Result(upgradecheck.Code.FAILURE, str(problem))
    return upgradecheck.Result(upgradecheck.Code.SUCCESS)


def main(argv=None):
    """Check; return 0 if all is well, 1 for warnings, 2 for failures."""
    argv = sys.argv[1:] if argv is None else argv
    conf = configuration.prepare(OWNERS)
    try:
        return upgradecheck.main(conf, 'karbor', Checks(conf), argv)
    except cfg.Error as problem:
        print(f'karbor-status: {problem}', file=sys.stderr)
        return 255
