# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Clients of the services that plugins work with, made from a session.

Apart from the plugins, because how a service is found in the catalog and
which microversion is spoken with it is the same for all of them.
"""

from cinderclient import client as cinder_client
from keystoneauth1 import adapter
from keystoneauth1 import discover
from keystoneauth1 import exceptions

from karbor_ng import errors

#: The newest microversion of Cinder that we know, and the oldest that does:
#: metadata of backups came with it.
CINDER_NEWEST = (3, 70)
CINDER_OLDEST = (3, 43)


def cinder(session, region_name=None):
    """Return a client of Cinder, at the newest version both sides know.

    :param session: a keystoneauth session; its own ``interface`` and
        ``region_name``, if it has any, say which endpoint is used
    :param region_name: another region than the session's
    :raises errors.Error: this Cinder is too old
    :raises errors.Unavailable: the catalog has no Cinder, or the deployment
        has no cloud
    """
    need_cloud(session)
    place = {
        'service_type': 'block-storage',
        'interface': getattr(session, 'interface', None) or 'public',
        'region_name': region_name or getattr(session, 'region_name', None),
    }
    version = _microversion(session, place, CINDER_OLDEST, CINDER_NEWEST)
    return cinder_client.Client(
        version, session=session, service_type=place['service_type'],
        endpoint_type=place['interface'], region_name=place['region_name'])


def need_cloud(session):
    """Refuse what can not be done where there is no cloud.

    :raises errors.Unavailable: ``session`` is None
    """
    if session is None:
        raise errors.Unavailable(
            'This deployment has no access to a cloud (auth_strategy = '
            'noauth), which is needed here.')


def _microversion(session, place, oldest, newest):
    """Agree on a microversion; the session remembers what it was told."""
    try:
        data = adapter.Adapter(session, **place).get_endpoint_data()
    except exceptions.CatalogException as problem:
        raise errors.Unavailable(
            f'This cloud has no endpoint for us: {problem}.') from problem
    offered = data.max_microversion or (0, 0)
    if offered < oldest:
        raise errors.Error(
            f'{data.url} speaks microversions up to '
            f'{discover.version_to_string(offered)}, but at least '
            f'{discover.version_to_string(oldest)} is needed.')
    return discover.version_to_string(min(offered, newest))
