# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Neutron's collections, as the server's plugin reads them.

Apart from those who read, because Neutron cuts long answers in pages and
refuses long questions.
"""

from keystoneauth1 import exceptions

#: Ids in one question: more of them make a URL that servers refuse.
IDS_AT_ONCE = 50

#: What is raised when Neutron does not do something.
Refusal = exceptions.ClientException


def listed(neutron, collection, **filters):
    """Return all things of a collection that match.

    :param collection: as its URL has it, such as ``security-groups``
    :param neutron: see :func:`karbor_ng.clients.neutron`
    :param filters: exact values; a list means one of them
    """
    try:
        return _listed(neutron, collection, filters)
    except exceptions.NotFound:
        # Neutron without that extension: there are no such things.
        return []


def _listed(neutron, collection, filters):
    for name, value in filters.items():
        if isinstance(value, (list, tuple, set)):
            return _listed_by(neutron, collection, name, sorted(value),
                              filters)
    return _pages(neutron, collection, filters)


def _listed_by(neutron, collection, name, values, filters):
    found = []
    for start in range(0, len(values), IDS_AT_ONCE):
        found += _pages(neutron, collection, dict(
            filters, **{name: values[start:start + IDS_AT_ONCE]}))
    return found


def _pages(neutron, collection, filters):
    found = []
    name = collection.replace('-', '_')
    query = dict(filters)
    while True:
        answer = neutron.get(f'/{collection}', params=query).json()
        page = answer[name]
        found += page
        links = {link['rel'] for link
                 in answer.get(f'{name}_links', [])}
        if 'next' not in links or not page:
            return found
        query['marker'] = page[-1]['id']


def ports_of(neutron, server_ids):
    """Return ``{server id: its ports, oldest first}``."""
    found = {server_id: [] for server_id in server_ids}
    for port in listed(neutron, 'ports', device_id=list(server_ids)):
        found[port['device_id']].append(port)
    for ports in found.values():
        ports.sort(key=lambda port: (port.get('created_at') or '',
                                     port['id']))
    return found


def change(neutron, kind, thing, as_read=False, **values):
    """Change a thing; return it as it is then.

    :param kind: such as ``port``
    :param as_read: only if nobody else has changed it since it was read
    :raises Refusal: in Neutron's words
    """
    headers = {}
    if as_read and 'revision_number' in thing:
        headers['If-Match'] = f'revision_number={thing["revision_number"]}'
    return neutron.put(f'/{kind}s/{thing["id"]}', json={kind: values},
                       headers=headers).json()[kind]
