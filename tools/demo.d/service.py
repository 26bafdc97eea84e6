# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""karbor-all-in-one as the demonstration's user meets it: program and API.

Separate from the cloud's side, which must not know of it. Speaks plain HTTP
with the cloud's token, as every user of the API would.
"""

import os
import pathlib
import re
import signal
import subprocess
import sys
import time

from keystoneauth1 import adapter
from keystoneauth1 import exceptions

import cloud

#: Seconds that the program may take to start.
START_SECONDS = 90
#: Seconds that one operation may take.
PATIENCE = 3600
VOLUME = 'OS::Cinder::Volume'
IMAGE = 'OS::Glance::Image'
SERVER = 'OS::Nova::Server'


class Service:
    """The running program.

    :param state: folder of its state, made if missing
    :param os_cloud: as the program's option; None for the variables
    """

    def __init__(self, state, os_cloud):
        self.state = pathlib.Path(state)
        self._process = None
        self._command = [
            pathlib.Path(sys.executable).with_name('karbor-all-in-one'),
            '--state', self.state, '--port', '0']
        if os_cloud:
            self._command += ['--os-cloud', os_cloud]

    def start(self):
        """Start it; return the URL of its API."""
        output = self.state.with_suffix('.out')
        with open(output, 'wb') as log:
            # In a session of its own, so that Ctrl-C leaves it the time to
            # help with cleaning up.
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True)
        end = time.monotonic() + START_SECONDS
        while True:
            said = output.read_text(errors='replace')
            if found := re.search(r'http://\S+', said):
                return found.group()
            if self._process.poll() is not None:
                raise cloud.Problem(f'karbor-all-in-one ended: {said}')
            if time.monotonic() > end:
                raise cloud.Problem('karbor-all-in-one does not start: '
                                    f'{said} (see {self.state})')
            time.sleep(0.1)

    @property
    def pid(self):
        return self._process.pid if self._process else None

    def stop(self):
        """Stop it, gently at first."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(90)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


class Api:
    """Version 1 of karbor's API.

    :param url: with the project's id
    :param stopping: an event that ends all waiting
    """

    def __init__(self, session, url, stopping):
        self._adapter = adapter.Adapter(session, endpoint_override=url)
        self._stopping = stopping

    def provider(self):
        """Return the first provider that can protect all that we have."""
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            for provider in self._call('GET', '/providers')['providers']:
                schemas = provider['extended_info_schema']['options_schema']
                if schemas.keys() >= {SERVER, IMAGE, VOLUME}:
                    return provider
            self._check_stopping(0.5)
        raise cloud.Problem('No provider of karbor-all-in-one can protect '
                            'servers, images and volumes; its log says why.')

    def create_plan(self, name, provider_id, resources, parameters):
        return self._call('POST', '/plans', {'plan': {
            'name': name, 'provider_id': provider_id,
            'description': 'made by tools/demo', 'resources': resources,
            'parameters': parameters}})['plan']

    def protect(self, plan):
        """Start a checkpoint; return it."""
        return self._call(
            'POST', f'/providers/{plan["provider_id"]}/checkpoints',
            {'checkpoint': {'plan_id': plan['id']}})['checkpoint']

    def checkpoint(self, plan, checkpoint_id):
        return self._call('GET', self._path(plan, checkpoint_id))['checkpoint']

    def delete_checkpoint(self, plan, checkpoint_id):
        self._call('DELETE', self._path(plan, checkpoint_id))

    def restore(self, plan, checkpoint_id, parameters):
        """Start a restore; return it."""
        return self._call('POST', '/restores', {'restore': {
            'provider_id': plan['provider_id'],
            'checkpoint_id': checkpoint_id, 'restore_target': None,
            'restore_auth': None, 'parameters': parameters}})['restore']

    def get_restore(self, restore_id):
        return self._call('GET', f'/restores/{restore_id}')['restore']

    def wait(self, look, until, seen=lambda thing: None):
        """Look until the status is final; return what was seen last.

        :param look: returns a checkpoint or restore
        :param until: the status that ends it well
        :param seen: called with all that is seen on the way
        :raises cloud.Problem: it ended in another way; says why
        """
        end = time.monotonic() + PATIENCE
        while True:
            thing = look()
            seen(thing)
            if thing['status'] == until:
                return thing
            if thing['status'] in ('error', 'failed', 'error-deleting',
                                   'available', 'deleted'):
                raise cloud.Problem(_why(thing))
            if time.monotonic() > end:
                raise cloud.Problem(f'It is still {thing["status"]}.')
            self._check_stopping(0.7)

    def _path(self, plan, checkpoint_id):
        return (f'/providers/{plan["provider_id"]}/checkpoints/'
                f'{checkpoint_id}')

    def _call(self, method, path, body=None):
        try:
            answer = self._adapter.request(
                path, method, raise_exc=False,
                **({} if body is None else {'json': body}))
        except exceptions.ClientException as error:
            raise cloud.Problem(f'{method} {path}: {error}') from error
        if answer.status_code >= 300:
            raise cloud.Problem(f'karbor answers {method} {path} with HTTP '
                                f'{answer.status_code}: {answer.text}')
        return answer.json()

    def _check_stopping(self, pause):
        if self._stopping.wait(pause):
            raise cloud.Stopped('stopped')


def _why(thing):
    """Gather the reasons of a checkpoint or restore that went wrong."""
    reasons = [f'{one["type"]} {one["id"]}: {one["reason"]}'
               for one in thing.get('resources', ()) if one.get('reason')]
    reasons += [f'{key}: {reason}' for key, reason
                in (thing.get('resources_reason') or {}).items()]
    return (f'It ended with status {thing["status"]}. '
            + '; '.join(reasons))
