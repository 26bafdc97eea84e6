# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""A cloud as the demonstration uses it: waiting for things, removing them.

Separate because it knows neither what the demonstration makes nor karbor:
what it says of things is what the cloud itself says.
"""

import collections
import concurrent.futures
import dataclasses
import threading
import time

from keystoneauth1 import exceptions as keystone_exceptions
import openstack
from openstack import exceptions

#: Seconds that one wait for the cloud may take.
PATIENCE = 1800
#: Seconds that something gets to become deletable.
_LEAVING_SECONDS = 300
#: Statuses in which things stay until somebody does something about them.
_BAD = ('error', 'error_deleting', 'error_restoring', 'error_extending',
        'killed', 'deactivated')


class Problem(Exception):
    """Something that ends the demonstration; the text is for its user."""


class Stopped(Problem):
    """Somebody wants the demonstration to end."""


#: Why something can not be deleted now, but perhaps a little later.
_NOT_NOW = (Problem, exceptions.SDKException,
            keystone_exceptions.ClientException)


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of things, and the part of the SDK that has its verbs."""

    name: str
    proxy: object

    def list(self, **wanted):
        return getattr(self.proxy, f'{self.name}s')(**wanted)

    def get(self, thing_id):
        return getattr(self.proxy, f'get_{self.name}')(thing_id)

    def delete(self, thing_id):
        getattr(self.proxy, f'delete_{self.name}')(thing_id,
                                                   ignore_missing=True)


class Cloud:
    """A cloud, and the things that one run has there.

    :param name: in ``clouds.yaml``, None for the ``OS_*`` variables
    :param prefix: begins the name of everything that the run makes
    """

    def __init__(self, name, prefix):
        self.prefix = prefix
        self.stopping = threading.Event()
        #: Ids of all servers, images and volumes that this run has had: what
        #: the cloud made of them is known by it.
        self.ids = set()
        try:
            connection = openstack.connect(cloud=name)
            connection.authorize()
        except Exception as error:  # whatever keystoneauth and the SDK raise
            raise Problem(f'The cloud can not be used: {error}') from error
        self.session = connection.session
        self.project_id = connection.current_project_id
        self.servers = connection.compute
        self.images = connection.image
        self.volumes = connection.block_storage
        self.networks = connection.network
        #: In the order in which they can go.
        self._kinds = {kind.name: kind for kind in (
            Kind('server', self.servers), Kind('image', self.images),
            Kind('backup', self.volumes), Kind('snapshot', self.volumes),
            Kind('volume', self.volumes), Kind('network', self.networks),
            Kind('security_group', self.networks),
            Kind('keypair', self.servers))}

    def each(self, function, *lists):
        """Call a function for each at the same time; return the results."""
        pool = concurrent.futures.ThreadPoolExecutor(4)
        try:
            return list(pool.map(function, *lists))
        except BaseException:
            # Includes Ctrl-C: whoever waits for the cloud sees it and ends.
            self.stopping.set()
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    # Waiting

    def wait(self, kind_name, thing_id, wanted, say):
        """Wait for a status, in small letters; return the thing."""
        kind = self._kinds[kind_name]
        self._await(lambda: kind.get(thing_id).status.lower(), wanted,
                    f'{kind_name} {thing_id}', say)
        return kind.get(thing_id)

    def _await(self, status, wanted, what, say):
        end = time.monotonic() + PATIENCE
        while (seen := status()) != wanted:
            say(seen)
            if seen in _BAD:
                raise Problem(f'{what} is {seen}.')
            if time.monotonic() > end:
                raise Problem(f'{what} is still {seen}.')
            self.check_stopping(0.5)
        say(wanted)

    def check_stopping(self, pause=0):
        if self.stopping.wait(pause):
            raise Stopped('stopped')

    # What is left

    def left(self, *kinds):
        """Return ``[(kind, id, name)]`` of all that the run has made.

        :param kinds: such as ``server``; all when none is named
        """
        found = []
        for kind in kinds or self._kinds:
            # Else images that others offer are listed as well.
            wanted = {'owner': self.project_id} if kind == 'image' else {}
            found += [(kind, thing.id, thing.name)
                      for thing in self._kinds[kind].list(**wanted)
                      if self._is_ours(thing)]
        return found

    def _is_ours(self, thing):
        return ((thing.name or '').startswith(self.prefix)
                or thing.id in self.ids
                or getattr(thing, 'volume_id', None) in self.ids
                or getattr(thing, 'instance_uuid', None) in self.ids)

    def clean(self, say=lambda *state: None):
        """Remove all that the run has made; return what would not go."""
        self.stopping.clear()
        left = self.left()
        self.ids |= {thing_id for _kind, thing_id, _name in left}
        ours = collections.defaultdict(list)
        for thing in left + self.left('image', 'backup', 'snapshot'):
            ours[thing[0]].append(thing)
        for kind in self._kinds:
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                list(pool.map(lambda thing: self._try_delete(*thing, say),
                              dict.fromkeys(ours[kind])))
        return self.left()

    def _try_delete(self, kind, thing_id, name, say):
        """Delete something as soon as the cloud lets it go.

        A volume that becomes an image, a backup that is restored, a network
        with a port can not be deleted before that has ended.
        """
        end = time.monotonic() + _LEAVING_SECONDS
        while True:
            say(f'{kind} {name or thing_id}')
            try:
                return self.delete(kind, thing_id, lambda *state: None)
            except _NOT_NOW as error:
                if time.monotonic() > end:
                    return say(f'{kind} {thing_id} stays: {error}')
            self.check_stopping(1)

    def delete(self, kind_name, thing_id, say):
        """Delete something; returns when the cloud knows it no more."""
        kind = self._kinds[kind_name]
        kind.delete(thing_id)

        def status():
            try:
                thing = kind.get(thing_id)
            except exceptions.NotFoundException:
                return 'deleted'
            return (getattr(thing, 'status', None) or 'there').lower()
        self._await(status, 'deleted', f'{kind_name} {thing_id}', say)


def check(answer, what):
    """Raise unless the cloud's answer to a plain request is good."""
    if answer.status_code >= 400:
        raise Problem(f'The cloud refuses to {what}: HTTP '
                      f'{answer.status_code} {answer.text[:300]}')
