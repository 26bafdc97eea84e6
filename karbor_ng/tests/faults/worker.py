# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""A worker whose banks, clouds and messages fail: the wrappers, put on.

It signs in as real ones do, with a token of its own beside the user's.
"""

import time

from karbor_ng import keystone
from karbor_ng.bank import bank
from karbor_ng.bank import wrap
from karbor_ng.bank.drivers import filesystem
from karbor_ng.protection import lease
from karbor_ng.tests.crashes import clouds
from karbor_ng.tests.faults import banks
from karbor_ng.tests.faults import identity
from karbor_ng.tests.faults import injection as injections
from karbor_ng.tests.faults import messages
from karbor_ng.tests.faults import services

#: Seconds after which a worker finds what nobody told it of.
SWEEP_SECONDS = 1


def serving(injection, hints_path, has_users=True):
    """Return the work of a protection service that has faults.

    :param hints_path: where messages for it are sent; see :mod:`messages`
    :param has_users: whether it works for users, with their tokens
    """
    def work(site):
        _hurry(injection)
        _spoil_banks(injection)
        _spoil_clouds(injection, site.client_of_cloud)
        if has_users:
            site.cloud = identity.cloud(site.conf)
        # Long enough to be seen where a message is lost.
        site.conf.set_override('sweep_seconds', SWEEP_SECONDS, 'protection')
        service = site.worker()
        messages.deliver(hints_path, site.conf, service, injection)
        service.start()
    return work


def _hurry(injection):
    """Let nobody sleep for long; what they would have slept is noted."""
    time.sleep = injection.sleep
    real = lease.Lease.sleep

    def sleep(own, seconds):
        injection.slept(seconds)
        real(own, min(seconds, injections.LONGEST_SLEEP))
    lease.Lease.sleep = sleep
    wrap.LONGEST_PAUSE = injections.LONGEST_SLEEP


def _spoil_banks(injection):
    real = bank.Bank.__init__
    bank.Bank.__init__ = lambda own, driver: real(
        own, banks.FaultyBank(driver, injection))
    filesystem.open = banks.FaultyDisk(injection)


def _spoil_clouds(injection, client):
    """Let all sessions of this process end in a cloud that fails."""
    expired = set()
    transports = [
        services.FaultyService(service, injection, expired)
        for service in (identity.Keystone(), *(
            clouds.Remote(client, made) for made in clouds.SERVICES))]
    real = keystone.Session.__init__

    def make(own, **options):
        real(own, **options)
        for transport in transports:
            own.session.mount(transport.url, transport)
    keystone.Session.__init__ = make
