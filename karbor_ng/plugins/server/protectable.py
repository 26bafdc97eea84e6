# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Which servers there are; the names of types and kinds around them.

Apart from the protection, because the API asks this and needs no more.
"""

from novaclient import exceptions

from karbor_ng import clients
from karbor_ng import errors
from karbor_ng.plugins import api

RESOURCE_TYPE = 'OS::Nova::Server'
PROJECT = 'OS::Keystone::Project'

#: Servers in these states are gone, though Nova may still show them.
GONE = ('DELETED', 'SOFT_DELETED')
#: Servers in these states are not offered.
LOST = (*GONE, 'ERROR')


class ServerProtectable(api.Protectable):
    """Servers of the project."""

    resource_type = RESOURCE_TYPE
    parent_types = (PROJECT,)

    def list(self, session, *, project_id, marker=None, limit=None,
             filters=None):
        servers = clients.nova(session).servers
        found = []
        while limit is None or len(found) < limit:
            wanted = None if limit is None else limit - len(found)
            # Nova may give less than it is asked for.
            page = _page(servers, marker, wanted, filters or {})
            found += [as_resource(item) for item in page
                      if _is_offered(item, filters or {})]
            if wanted is None or not page:
                break
            marker = page[-1].id
        return found

    def show(self, session, resource_id, parameters=None):
        server = server_or_none(clients.nova(session), resource_id)
        return server and as_resource(server)

    def children(self, session, parents):
        """Read one listing for the project.

        A server in ERROR is in it: protecting says why it is left out.
        """
        own_project = session.get_project_id()
        found = {parent: [] for parent in parents}
        for parent in parents:
            if parent.id == own_project:
                found[parent] = [
                    as_resource(item) for item
                    in clients.nova(session).servers.list(limit=-1)
                    if item.status not in GONE]
        return found


def _page(servers, marker, limit, filters):
    # Nova takes a name for a pattern: names are compared here.
    wanted = {name: value for name, value in filters.items()
              if name == 'status'}
    try:
        return servers.list(search_opts=wanted, marker=marker,
                            limit=-1 if limit is None else limit)
    except exceptions.BadRequest as refusal:
        if marker is None:
            raise
        raise errors.Invalid(
            f'marker: there is no server {marker}') from refusal


def _is_offered(item, filters):
    return (item.status not in LOST
            and filters.get('status', item.status) == item.status
            and filters.get('name', name_of(item)) == name_of(item))


def server_or_none(nova, server_id):
    """Return a server as Nova's client has it; None without it."""
    try:
        return nova.servers.get(server_id)
    except exceptions.NotFound:
        return None


def name_of(server):
    """Return a server's name; a part of Nova that is down hides it."""
    return getattr(server, 'name', None) or ''


def as_resource(server):
    """Return what Nova's client tells of a server as a resource."""
    flavor = getattr(server, 'flavor', {})
    return api.Resource(RESOURCE_TYPE, server.id, name_of(server), {
        'availability_zone': getattr(
            server, 'OS-EXT-AZ:availability_zone', None),
        'flavor': flavor.get('original_name')})
