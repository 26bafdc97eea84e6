# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Clients of the services that plugins work with, made from a session.

Apart from the plugins, because how a service is found in the catalog, which
microversion is spoken with it, and that its refusals can be quoted with the
id of the refused request, is the same for all of them.
"""

import functools

from cinderclient import client as cinder_client
from glanceclient import exc as glance_exceptions
from glanceclient.v2 import client as glance_client
from keystoneauth1 import adapter
from keystoneauth1 import discover
from keystoneauth1 import exceptions
from novaclient import client as nova_client

from karbor_ng import errors

#: The newest microversion of Cinder that we know, and the oldest that does:
#: metadata of backups came with it.
CINDER_NEWEST = (3, 70)
CINDER_OLDEST = (3, 43)
#: The newest microversion of Nova that its client knows, and the oldest that
#: does: it tells which attached volumes go with their server.
NOVA_NEWEST = (2, 96)
NOVA_OLDEST = (2, 79)


def cinder(session, region_name=None):
    """Return a client of Cinder, at the newest version both sides know.

    :param session: a keystoneauth session; its own ``interface`` and
        ``region_name``, if it has any, say which endpoint is used
    :param region_name: another region than the session's
    :raises errors.Error: this Cinder is too old
    :raises errors.Unavailable: the catalog has no Cinder, the deployment
        has no cloud, or Cinder does not answer
    """
    need_cloud(session)
    place = _place(session, 'block-storage', region_name)
    version = _microversion(session, place, CINDER_OLDEST, CINDER_NEWEST)
    return cinder_client.Client(
        version, session=session, service_type=place['service_type'],
        endpoint_type=place['interface'], region_name=place['region_name'])


def nova(session, region_name=None):
    """Return a client of Nova, as :func:`cinder` does of Cinder."""
    need_cloud(session)
    place = _place(session, 'compute', region_name)
    version = _microversion(session, place, NOVA_OLDEST, NOVA_NEWEST)
    return nova_client.Client(
        version, session=session, service_type=place['service_type'],
        endpoint_type=place['interface'], region_name=place['region_name'])


def glance(session, region_name=None):
    """Return a client of Glance's API version 2.

    Raises keystoneauth's exceptions when a connection fails, as the clients
    of the other services do.

    :raises errors.Unavailable: the catalog has no Glance, or the deployment
        has no cloud
    """
    need_cloud(session)
    place = _place(session, 'image', region_name)
    _endpoint_data(adapter.Adapter(session, **place))
    made = glance_client.Client(session=session, **place)
    http = made.http_client
    http.request = functools.partial(_untranslated, http.request)
    http._handle_response = functools.partial(
        _identified, http._handle_response)
    return made


def neutron(session, region_name=None):
    """Return a keystoneauth adapter of Neutron's API version 2.

    Not openstacksdk's: its connections close the session's sockets when they
    are collected, also under other threads that still read from them.

    :raises errors.Unavailable: the catalog has no Neutron, or the deployment
        has no cloud
    """
    need_cloud(session)
    made = _Neutron(session, min_version='2', max_version='2.latest',
                    **_place(session, 'network', region_name))
    _endpoint_data(made)
    return made


class _Neutron(adapter.Adapter):
    """Raises refusals in Neutron's own words, which keystoneauth skips."""

    def request(self, url, method, **kwargs):
        try:
            return super().request(url, method, **kwargs)
        except exceptions.HttpError as refusal:
            _quote_neutron(refusal)
            raise


def _quote_neutron(refusal):
    try:
        told = refusal.response.json()['NeutronError']['message']
    except (AttributeError, KeyError, TypeError, ValueError):
        return
    refusal.message = f'{told} (HTTP {refusal.http_status})'
    if refusal.request_id:
        refusal.message += f' (Request-ID: {refusal.request_id})'
    refusal.args = (refusal.message,)


def need_cloud(session):
    """Refuse what can not be done where there is no cloud.

    :raises errors.Unavailable: ``session`` is None
    """
    if session is None:
        raise errors.Unavailable(
            'This deployment has no access to a cloud (auth_strategy = '
            'noauth), which is needed here.')


def _untranslated(request, url, method, **kwargs):
    """Send a request; raise what Glance's client would hide in its own."""
    try:
        return request(url, method, **kwargs)
    except (glance_exceptions.CommunicationError,
            glance_exceptions.InvalidEndpoint) as problem:
        raise problem.__context__ from None


def _identified(handle, response):
    """Take an answer; let its refusal tell what those of others do.

    Its code, of which not every one is a class; when to come back; and which
    request was refused.
    """
    try:
        return handle(response)
    except glance_exceptions.HTTPException as refusal:
        refusal.code, refusal.response = response.status_code, response
        request_id = response.headers.get('X-OpenStack-Request-ID')
        if request_id:
            refusal.details += f' (Request-ID: {request_id})'
        raise


def _place(session, service_type, region_name):
    """Say where in the catalog a service is looked for."""
    return {
        'service_type': service_type,
        'interface': getattr(session, 'interface', None) or 'public',
        'region_name': region_name or getattr(session, 'region_name', None),
    }


def _endpoint_data(service):
    try:
        return service.get_endpoint_data()
    except exceptions.CatalogException as problem:
        raise errors.Unavailable(
            f'This cloud has no endpoint for us: {problem}.') from problem


def _microversion(session, place, oldest, newest):
    """Agree on a microversion; the session remembers what it was told."""
    data = _endpoint_data(adapter.Adapter(session, **place))
    offered = data.max_microversion
    if offered is None:
        # keystoneauth goes on without an answer; it would be a wrong one.
        raise errors.Unavailable(
            f'{data.url} does not say which versions it speaks.')
    if offered < oldest:
        raise errors.Error(
            f'{data.url} speaks microversions up to '
            f'{discover.version_to_string(offered)}, but at least '
            f'{discover.version_to_string(oldest)} is needed.')
    return discover.version_to_string(min(offered, newest))
