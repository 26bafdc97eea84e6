# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""A small Neutron in memory, behind a real session.

It behaves as the real one was seen to: only the owner of a network may
choose addresses, an address is given once, a floating IP moves to whoever
asks for it, and changes can be bound to a revision.
"""

import copy
import ipaddress
import itertools
import urllib.parse
import uuid

from karbor_ng.tests import fixtures_service
from karbor_ng.tests.fixtures_service import PROJECT
from karbor_ng.tests.fixtures_service import Refused

URL = 'http://neutron.test/'

_NEW = {
    'networks': {'shared': False, 'router:external': False,
                 'port_security_enabled': True},
    'subnets': {},
    'ports': {'device_id': '', 'device_owner': '', 'security_groups': [],
              'binding:vnic_type': 'normal', 'port_security_enabled': True,
              'allowed_address_pairs': [], 'extra_dhcp_opts': [],
              'qos_policy_id': None},
    'security-groups': {},
    'floatingips': {'port_id': None, 'fixed_ip_address': None},
}


class Neutron(fixtures_service.Service):
    """The service, as one project sees it.

    :ivar things: ``{collection: {id: record}}``, as the API shows them
    :ivar page: most things in one answer
    """

    type = 'network'
    url = URL

    def __init__(self):
        super().__init__()
        self.things = {collection: {} for collection in _NEW}
        self.page = 1000
        self._numbers = itertools.count(1)
        self._condition = None

    def add(self, collection, **values):
        """Put a thing there that nobody asked for; return its record."""
        number = next(self._numbers)
        record = {'id': str(uuid.uuid4()), 'name': '', 'project_id': PROJECT,
                  'revision_number': 1, **copy.deepcopy(_NEW[collection]),
                  'created_at': f'2026-01-01T00:{number // 60 % 60:02}:'
                                f'{number % 60:02}Z', **values}
        self.things[collection][record['id']] = record
        return record

    def add_network(self, cidr='10.0.0.0/24', **values):
        """Put a network with one subnet there; return its record."""
        network = self.add('networks', **values)
        self.add('subnets', network_id=network['id'], cidr=cidr)
        return network

    def remove(self, collection, thing_id):
        del self.things[collection][thing_id]

    def add_port(self, network_id, address=None, **values):
        """Make a port as a user asks for one; return its record."""
        network = self.get('networks', network_id)
        if address and network['project_id'] != PROJECT:
            raise Refused(403, '(rule:create_port and rule:create_port:'
                               'fixed_ips) is disallowed by policy')
        subnet = next(item for item in self.things['subnets'].values()
                      if item['network_id'] == network_id)
        address = self._free(network_id, subnet, address)
        number = next(self._numbers)
        return self.add(
            'ports', network_id=network_id, fixed_ips=[{
                'subnet_id': subnet['id'], 'ip_address': address}],
            mac_address=f'fa:16:3e:00:{number // 256:02x}:'
                        f'{number % 256:02x}', **values)

    def _free(self, network_id, subnet, address):
        used = {item['ip_address'] for port in self.things['ports'].values()
                if port['network_id'] == network_id
                for item in port['fixed_ips']}
        hosts = map(str, ipaddress.ip_network(subnet['cidr']).hosts())
        if address is None:
            return next(host for host in hosts if host not in used)
        if address in used:
            raise Refused(409, f'IP address {address} already allocated in '
                               f'subnet {subnet["id"]}')
        if address not in hosts:
            raise Refused(400, f'IP address {address} is not a valid IP for '
                               'the specified subnet.')
        return address

    def ports_of(self, device_id):
        return [port for port in self.things['ports'].values()
                if port['device_id'] == device_id]

    def get(self, collection, thing_id):
        """Return a record; a refusal with 404 without it."""
        try:
            return self.things[collection][thing_id]
        except KeyError:
            raise Refused(404, f'{thing_id} could not be found.') from None

    def versions(self):
        return {'versions': [{'id': 'v2.0', 'status': 'CURRENT', 'links': [
            {'rel': 'self', 'href': URL + 'v2.0/'}]}]}

    def words(self, refusal):
        return {'NeutronError': {'message': str(refusal)}}

    def filters(self, query):
        return urllib.parse.parse_qs(query)

    def check(self, request):
        self._condition = request.headers.get('If-Match')

    # Handlers

    def _list(self, collection, body, filters):
        marker, = filters.pop('marker', [None])
        found = [item for item in self.things[collection].values()
                 if self._is_visible(item) and all(
                     str(item.get(name)) in values
                     for name, values in filters.items())]
        if marker:
            ids = [item['id'] for item in found]
            found = found[ids.index(marker) + 1:]
        name = collection.replace('-', '_')
        answer = {name: copy.deepcopy(found[:self.page])}
        if len(found) > self.page:
            answer[f'{name}_links'] = [{'rel': 'next', 'href': URL}]
        return answer

    def _is_visible(self, item):
        network = self.things['networks'].get(item.get('network_id'), item)
        return (PROJECT in (item['project_id'], network['project_id'])
                or item.get('shared') or item.get('router:external'))

    def _update(self, collection, thing_id, body, filters):
        record = self.get(collection, thing_id)
        revision = f'revision_number={record["revision_number"]}'
        if self._condition not in (None, revision):
            raise Refused(412, 'Constrained to revision')
        (kind, values), = body.items()
        self._check_addresses(record, values.get('fixed_ips', []))
        record.update(values,
                      revision_number=record['revision_number'] + 1)
        return {kind: copy.deepcopy(record)}

    def _check_addresses(self, port, wanted):
        own = {item['ip_address'] for item in port.get('fixed_ips', [])}
        for item in wanted:
            if item['ip_address'] not in own:
                self._free(port['network_id'], self.get(
                    'subnets', item['subnet_id']), item['ip_address'])


_ANY = '(networks|subnets|ports|security-groups|floatingips)'
Neutron.routes = (
    ('GET', f'v2.0/{_ANY}', Neutron._list),
    ('PUT', f'v2.0/{_ANY}/([^/]+)', Neutron._update),
)
