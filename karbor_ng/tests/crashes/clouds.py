# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""A cloud that survives those who work with it.

The clouds in memory of the tests, in a process of their own. Workers have
sessions whose requests go there over a socket; whoever is killed leaves
behind what a real cloud would have by then.
"""

import contextlib
import copy
import hashlib
from multiprocessing import connection
import os
import threading
import time
import types

import requests

from karbor_ng.tests import fixtures_cloud
from karbor_ng.tests import fixtures_glance
from karbor_ng.tests import fixtures_neutron
from karbor_ng.tests import fixtures_nova
from karbor_ng.tests import fixtures_service

SERVICES = (fixtures_nova.Nova, fixtures_cloud.Cinder,
            fixtures_glance.Glance, fixtures_neutron.Neutron)
START_SECONDS = 60
#: What the resources hold that are protected.
DISK = b'what it boots from' * 3000
DATA = b'bytes of a volume' * 500


class Cloud:
    """Nova, Cinder, Glance and Neutron with one server that has a volume.

    All methods but ``answer`` are what tests may know and do.
    """

    def __init__(self):
        self._requests = []
        self._nova = nova = fixtures_nova.Nova()
        self._services = {service.type: service for service in (
            nova, nova.cinder, nova.glance, nova.neutron)}
        image = nova.glance.add(DISK, id='base', name='base')
        nova.add(image, id='bare', name='bare')
        server = nova.add(image, id='web', name='web')
        nova.attach(server, nova.cinder.add(
            'volumes', id='data', name='data', _content=DATA))
        nova.connect(server, nova.neutron.add_network(id='network'))

    def answer(self, sender, service_type, method, path_url, url, headers,
               body):
        """Serve a request; return status, headers and bytes.

        :param sender: id of the process whose request it is
        """
        self._requests.append((sender, method, url))
        service = self._services[service_type]
        answer = service.send(types.SimpleNamespace(
            method=method, path_url=path_url, url=url, headers=headers,
            body=body if 'json' in headers.get('Content-Type', '')
            else body and [body]))
        return answer.status_code, dict(answer.headers), answer.content

    def requests_of(self, sender):
        """Return method and URL of all that a process has sent."""
        return [tuple(sent) for process, *sent in self._requests
                if process == sender]

    def contents(self):
        """Return ``{collection: {id: (status, hash of its bytes)}}``."""
        nova = self._nova
        found = {**nova.cinder.things, 'images': nova.glance.images,
                 'servers': nova.servers,
                 'ports': nova.neutron.things['ports']}
        return {collection: {number: _facts(record)
                             for number, record in records.items()}
                for collection, records in found.items()}

    def volumes_of(self, server_id):
        """Return ids of a server's volumes."""
        return [item['volumeId'] for item
                in self._nova.servers[server_id]['_volumes']]

    def lose_image(self, image_id):
        """Delete an image as its owner would."""
        self._nova.glance.lose(image_id)

    def remove(self, contents):
        """Remove things; take those that ``contents`` returned."""
        nova = self._nova
        for server_id in contents['servers']:
            del nova.servers[server_id]
        for name in ('volumes', 'snapshots', 'backups'):
            for number in contents[name]:
                del nova.cinder.things[name][number]
        for number in contents['images']:
            nova.glance.lose(number)
        for number in contents['ports']:
            nova.neutron.remove('ports', number)


def _facts(record):
    for name in ('_disk', '_content', '_data'):
        if record.get(name) is not None:
            return (record.get('status'),
                    hashlib.sha256(record[name]).hexdigest())
    return record.get('status'), None


def start(path):
    """Start a cloud's process at a socket; it ends when ours does."""
    parent = os.getpid()
    process = os.fork()
    if not process:
        try:
            _serve(path, parent)
        finally:
            os._exit(0)
    return process


def _serve(path, parent):
    cloud, lock = Cloud(), threading.Lock()
    listener = connection.Listener(path, 'AF_UNIX', backlog=64)

    def serve(client):
        with contextlib.suppress(EOFError, OSError):
            while True:
                name, args = client.recv()
                with lock:
                    result = copy.deepcopy(getattr(cloud, name)(*args))
                client.send(result)

    def accept():
        while True:
            threading.Thread(target=serve, args=(listener.accept(),),
                             daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    while os.getppid() == parent:
        time.sleep(0.5)


class Client:
    """Calls a cloud's methods; one connection for each thread."""

    def __init__(self, path):
        self._path = path
        self._own = threading.local()

    def call(self, name, *args):
        """Return what the method of this name returns."""
        if getattr(self._own, 'process', None) != os.getpid():
            self._own.connection = self._connected()
            self._own.process = os.getpid()
        self._own.connection.send((name, args))
        return self._own.connection.recv()

    def _connected(self):
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                return connection.Client(self._path, 'AF_UNIX')
            except (FileNotFoundError, ConnectionRefusedError):
                if time.monotonic() > until:
                    raise
            time.sleep(0.05)

    def session(self):
        """Return a session of the user whose things are there."""
        return fixtures_service.session_of(
            *(Remote(self, service) for service in SERVICES))


class Remote(requests.adapters.BaseAdapter):
    """A service of a cloud in another process."""

    def __init__(self, client, service):
        super().__init__()
        self.type, self.url = service.type, service.url
        self._client = client

    def send(self, request, **kwargs):
        body = request.body
        if body is not None and not isinstance(body, (bytes, str)):
            body = b''.join(body)
        status, headers, content = self._client.call(
            'answer', os.getpid(), self.type, request.method, request.path_url,
            request.url, dict(request.headers), body)
        answer = fixtures_service.response(request, status, content)
        answer.headers.update(headers)
        return answer

    def close(self):
        pass
