# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What functional tests share: users of the stack, its karbor, real bytes."""

import concurrent.futures
import contextlib
import errno
import fcntl
import functools
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import time
import uuid

from keystoneauth1 import adapter
from keystoneauth1 import exceptions as keystone_exceptions
import openstack
from oslotest import base
import requests

from karbor_ng.tests import conformance
from karbor_ng.tests.functional import secrecy

ROOT = pathlib.Path(__file__).parents[3]
STACK = ROOT / '.stack'
SWIFT_PROVIDER = 'cf56bd3e-97a7-4078-b6d5-f36246333fd9'
FILESYSTEM_PROVIDER = '6659007d-6f66-4a0f-9cb4-17d6aded0bb9'
NOOP_PROVIDER = 'b766f37c-d011-4026-8228-28730d734a3f'
VOLUME = 'OS::Cinder::Volume'
PROJECT = 'OS::Keystone::Project'
MIB = 2 ** 20
#: As it was before tests got a home of their own; the stack lives in ours.
ENVIRONMENT = dict(os.environ)


def stack(*words):
    """Run ``tools/stack`` with these words; fails with what it printed."""
    run = subprocess.run([str(ROOT / 'tools' / 'stack'), *words],
                         capture_output=True, text=True, cwd=ROOT,
                         env=ENVIRONMENT)
    if run.returncode:
        raise AssertionError(f'tools/stack {" ".join(words)}: '
                             f'{run.stdout}{run.stderr}')
    return run.stdout


def wait(look, seconds=120, pause=0.5, what='it'):
    """Call ``look`` until it returns something true; return that."""
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f'{what} did not happen in {seconds} s')
        time.sleep(pause)


def volume_digest(volume_id):
    """Return the :func:`digest` of a volume, where Cinder has it.

    Reading it through Cinder and Glance, as users would, moves a gigabyte
    several times; :meth:`User.hash_through_api` does that.
    """
    return digest(STACK / 'cinder' / 'volumes' / f'volume-{volume_id}')


def digest(path):
    """Return a hash that is equal for equal bytes; reads no holes.

    A hole and zeros that were written are the same bytes.
    """
    digest = hashlib.sha256(b'%d bytes' % path.stat().st_size)
    with path.open('rb') as file:
        start = 0
        while (start := _next_data(file, start)) is not None:
            start -= start % MIB
            file.seek(start)
            block = file.read(MIB)
            if block != bytes(len(block)):
                digest.update(b' at %d: ' % start + block)
            start += MIB
    return digest.hexdigest()


def _next_data(file, start):
    try:
        return os.lseek(file.fileno(), start, os.SEEK_DATA)
    except OSError as problem:
        if problem.errno != errno.ENXIO:
            raise
        return None


class Karbor(adapter.Adapter):
    """A karbor, each of whose answers is held against its description."""

    def request(self, url, method, **kwargs):
        answer = super().request(url, method, **kwargs)
        secrecy.note('token', answer.request.headers.get('X-Auth-Token'))
        prefix, version, path = answer.request.url.partition('/v1/')
        _description(prefix).check(method, version + path,
                                   answer.status_code, answer.headers,
                                   answer.content)
        return answer


@functools.cache
def _description(prefix):
    """Return what the service at this address says about itself."""
    answer = requests.get(f'{prefix}/v1/openapi.json', timeout=30)
    return conformance.Description(answer.json())


class User:
    """A user of the stack's cloud and of its karbor.

    :ivar cloud: openstacksdk's connection
    :ivar karbor: keystoneauth adapter of the ``data-protect`` endpoint,
        which ends with the project's id; it does not raise for status
    """

    def __init__(self, name, **auth):
        """Sign in as ``name`` of clouds.yaml; ``auth`` changes parts."""
        os.environ['OS_CLIENT_CONFIG_FILE'] = str(STACK / 'clouds.yaml')
        self.cloud = openstack.connect(cloud=name, auth=auth)
        self.project_id = self.cloud.current_project_id
        secrecy.note('password', self.cloud.config.get_auth_args().get(
            'password'))
        self.karbor = Karbor(
            self.cloud.session, service_type='data-protect',
            interface='public', raise_exc=False)

    # Volumes with real bytes, through the cloud's own API

    def create_volume(self, data, size=1, name=None):
        """Make a volume that starts with these bytes; return it."""
        name = name or f'test-{uuid.uuid4().hex[:8]}'
        image = self._upload(data, name)
        volume = self.cloud.block_storage.create_volume(
            name=name, size=size, image_id=image.id)
        volume = self.volume_in(volume.id, 'available')
        self.cloud.image.delete_image(image.id)
        return volume

    def create_volumes(self, count, mib=4):
        """Make volumes of random bytes at the same time; return a list."""
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            return list(pool.map(
                lambda _: self.create_volume(os.urandom(mib * MIB)),
                range(count)))

    def overwrite_volume(self, volume, data):
        """Put other bytes into a volume that is not attached."""
        image = self._upload(data)
        volumes = self.cloud.block_storage
        answer = volumes.post(
            f'/volumes/{volume.id}/action', microversion='3.68',
            json={'os-reimage': {'image_id': image.id,
                                 'reimage_reserved': False}})
        if answer.status_code != 202:
            raise AssertionError(f'reimage: {answer.text}')
        wait(lambda: volumes.get_volume(volume.id).status == 'available',
             what=f'new bytes in volume {volume.id}')
        self.cloud.image.delete_image(image.id)

    def _upload(self, data, name=None):
        return self.cloud.image.create_image(
            name=name or f'test-{uuid.uuid4().hex[:8]}', data=data,
            disk_format='raw', container_format='bare',
            validate_checksum=False)

    def volume_in(self, volume_id, status, seconds=180):
        def look():
            volume = self.cloud.block_storage.get_volume(volume_id)
            if volume.status.startswith('error') and status != volume.status:
                raise AssertionError(f'volume {volume_id}: {volume.status}')
            return volume if volume.status == status else None
        return wait(look, seconds, what=f'volume {volume_id} {status}')

    def hash_through_api(self, volume_id):
        """Return the SHA-256 of all bytes, read as volume, image, stream."""
        name = f'hash-{uuid.uuid4().hex[:8]}'
        made = self.cloud.block_storage.upload_volume_to_image(
            volume_id, name, disk_format='raw', container_format='bare',
            force=True, visibility='private')
        image_id = made['image_id']
        wait(lambda: self.cloud.image.get_image(image_id).status == 'active',
             what=f'image of volume {volume_id}')
        digest = hashlib.sha256()
        answer = self.cloud.image.download_image(image_id, stream=True)
        for piece in answer.iter_content(4 * MIB):
            digest.update(piece)
        self.cloud.image.delete_image(image_id)
        return digest.hexdigest()

    def delete_volume(self, volume_id):
        volumes = self.cloud.block_storage
        volumes.delete_volume(volume_id, ignore_missing=True)
        wait(lambda: volumes.find_volume(volume_id) is None,
             what=f'volume {volume_id} gone')

    def backups_of(self, volume_id):
        """Return Cinder's own list of a volume's backups."""
        return [backup for backup in self.cloud.block_storage.backups()
                if backup.volume_id == volume_id]

    def snapshots_of(self, volume_id):
        return [snapshot for snapshot
                in self.cloud.block_storage.snapshots()
                if snapshot.volume_id == volume_id]


class StackTestCase(base.BaseTestCase):
    """Tests against the running stack; they fail where there is none."""

    def setUp(self):
        super().setUp()
        self.assertTrue((STACK / 'clouds.yaml').exists(),
                        'There is no stack: run "tools/stack up".')
        self.demo = User('demo')

    def disturb(self):
        """Wait for the turn to stop and kill services, until this test ends.

        Tests run side by side; others only wait longer meanwhile.
        """
        turn = open(STACK / 'run' / 'disturbing', 'w')
        self.addCleanup(turn.close)
        fcntl.flock(turn, fcntl.LOCK_EX)
        self.addCleanup(stack, 'start', 'karbor-protection')

    def request(self, method, path, body=None, expect=200, user=None):
        """Call karbor; return the decoded answer, checked for its status."""
        user = user or self.demo
        answer = user.karbor.request(path, method, json=body)
        self.assertEqual(expect, answer.status_code,
                         f'{method} {path}: {answer.text[:2000]}')
        return answer.json() if answer.content else None

    # What a user does

    def create_plan(self, volumes, provider=FILESYSTEM_PROVIDER,
                    parameters=None):
        """Make a plan of volumes; return its id."""
        plan = {'name': 'functional', 'provider_id': provider,
                'parameters': parameters or {},
                'resources': [{'id': volume.id, 'type': VOLUME,
                               'name': volume.name or volume.id}
                              for volume in volumes]}
        made = self.request('POST', '/plans', {'plan': plan})['plan']['id']
        self.addCleanup(self.remove_plan, self.demo, made)
        return made

    def remove_plan(self, user, plan_id):
        """Remove a plan, unless its service has gone with the test."""
        with contextlib.suppress(keystone_exceptions.ConnectFailure):
            user.karbor.delete(f'/plans/{plan_id}')

    def protect(self, plan_id, provider=FILESYSTEM_PROVIDER):
        """Start a checkpoint; return its path."""
        made = self.request(
            'POST', f'/providers/{provider}/checkpoints',
            {'checkpoint': {'plan_id': plan_id}})['checkpoint']
        return f'/providers/{provider}/checkpoints/{made["id"]}'

    def ended(self, path, status='available', seconds=300):
        """Wait for a checkpoint's end, which must be this; return it."""
        transitional = ('protecting', 'deleting')

        def look():
            found = self.request('GET', path)['checkpoint']
            return None if found['status'] in transitional else found
        found = wait(look, seconds, what=f'end of {path}')
        self.assertEqual(status, found['status'], json.dumps(
            found.get('resources'), indent=1))
        return found

    def restore(self, path, status='success', parameters=None, seconds=300):
        """Restore a checkpoint; return the restore as it ended."""
        _, _, provider, _, checkpoint_id = path.split('/')
        made = self.request('POST', '/restores', {'restore': {
            'provider_id': provider, 'checkpoint_id': checkpoint_id,
            'parameters': parameters or {}}})['restore']

        def look():
            found = self.request(
                'GET', f'/restores/{made["id"]}')['restore']
            return None if found['status'] == 'started' else found
        found = wait(look, seconds, what=f'restore of {path}')
        self.assertEqual(status, found['status'], json.dumps(found))
        return found

    def restored_ids(self, restore):
        """Return ids of the volumes that a restore made."""
        return [key.partition('#')[2] for key in restore['resources_status']]

    def delete(self, path, status='deleted', seconds=300):
        """Delete a checkpoint and wait for its end."""
        self.assertEqual({}, self.request('DELETE', path))
        return self.ended(path, status, seconds)


def spawn_worker(point, plan_id, ready, log):
    """Start a worker that dies at a named point; see ``crash_worker``."""
    config = STACK / 'etc' / 'karbor' / 'karbor.conf'
    return subprocess.Popen(
        [sys.executable, '-m', 'karbor_ng.tests.functional.crash_worker',
         point, plan_id, str(ready), str(config)], cwd=ROOT, stdout=log,
        stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
