# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The demonstration: what happens, in the order in which it happens.

Separate from those who do it: the cloud, the service and the screen.
"""

import concurrent.futures
import contextlib
import os
import pathlib
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile

from keystoneauth1 import exceptions as keystone_exceptions
from openstack import exceptions as sdk_exceptions

import cloud
import options as demo_options
import screen
import service

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
STACK = CHECKOUT / 'tools' / 'stack'
STACK_CLOUDS = CHECKOUT / '.stack' / 'clouds.yaml'
STACK_USER = 'demo'
#: What looks wrong on the way but is not worth a traceback.
PROBLEMS = (cloud.Problem, sdk_exceptions.SDKException,
            keystone_exceptions.ClientException, OSError)


class Story:
    """One run, from volumes to volumes.

    :param prefix: begins the name of everything that is made
    """

    def __init__(self, options, prefix, stage):
        self._options = options
        self._prefix = prefix
        self._stage = stage
        self._volumes = []
        self._data = []
        self._before = {}
        self._restored = {}
        self._plan = None
        self._checkpoint = None
        self.cloud = None
        self.service = None
        self.api = None
        self.url = None

    def tell(self):
        """Tell it.

        :raises cloud.Problem: something went wrong, or other bytes came back
        """
        self._start_service()
        self._make_volumes()
        self._before = self._read('Read the volumes: SHA-256', {
            one.name: one.id for one in self._volumes})
        self._protect()
        self._delete_volumes()
        self._restore()
        if self._options.corrupt:
            self._corrupt()
        self._compare()
        if not self._options.keep:
            self._delete_checkpoint()

    def _start_service(self):
        name = self._options.os_cloud
        with self._stage.step('Start karbor-all-in-one'):
            self.cloud = cloud.Cloud(name, self._prefix)
            self.service = service.Service(
                tempfile.mkdtemp(prefix=f'{self._prefix}-'), name)
            self.url = self.service.start()
            self.api = service.Api(self.cloud.session, self.url,
                                   self.cloud.stopping)

    def _make_volumes(self):
        given = self._options
        names = [f'volume-{number + 1}' for number in range(given.volumes)]
        self._data = [cloud.random_bytes(given.data) for _ in names]
        text = (f'Create {given.volumes} volumes of {given.size} GiB, '
                f'{given.data} MiB of random bytes in each')
        with self._stage.step(text, names) as lanes:
            self._volumes = self._each(
                lambda name, data: self.cloud.make_volume(
                    name, given.size, data, lanes[name]), names, self._data)

    def _read(self, text, volume_ids):
        """Turn ``{name: volume id}`` into ``{name: SHA-256}``."""
        with self._stage.step(text, self._lanes()) as lanes:
            digests = self._each(
                lambda name, volume_id: self.cloud.sha256(
                    volume_id, lanes[self._lane(name)]),
                volume_ids.keys(), volume_ids.values())
        return dict(zip(volume_ids, digests, strict=True))

    def _protect(self):
        with self._stage.step('Make a plan of them'):
            provider = self.api.provider()
            self._plan = self.api.create_plan(
                self._prefix, provider['id'], self._volumes,
                {service.VOLUME: {'backup_mode': 'full',
                                  'backup_name': f'{self._prefix}-backup'}})
        with self._stage.step('Protect the plan: a checkpoint',
                              self._lanes()) as lanes:
            self._checkpoint = self.api.protect(self._plan)
            self._checkpoint = self.api.wait(
                self._look_at_checkpoint, 'available',
                lambda seen: self._show(seen, lanes))
        self._stage.graph(f'checkpoint {self._checkpoint["id"]} of plan '
                          f'{self._plan["name"]}', self._checkpoint)

    def _look_at_checkpoint(self):
        return self.api.checkpoint(self._plan, self._checkpoint['id'])

    def _delete_volumes(self):
        with self._stage.step('Delete the volumes', self._lanes()) as lanes:
            self._each(lambda one: self.cloud.delete_volume(
                one.id, lanes[self._lane(one.name)]), self._volumes)
            left = self.cloud.left('volumes')
            if left:
                raise cloud.Problem(f'Volumes that were deleted are still '
                                    f'there: {left}')

    def _restore(self):
        parameters = {
            f'{service.VOLUME}#{one.id}': {
                'restore_name': f'{one.name}-restored'}
            for one in self._volumes}
        with self._stage.step('Restore the checkpoint',
                              self._lanes()) as lanes:
            made = self.api.restore(self._plan, self._checkpoint['id'],
                                    parameters)
            restore = self.api.wait(
                lambda: self.api.get_restore(made['id']), 'success',
                lambda seen: self._meet(seen, lanes))
        missing = {one.id for one in self._volumes} - set(self._restored)
        if missing:
            raise cloud.Problem(f'Restore {restore["id"]} made nothing of '
                                f'{", ".join(sorted(missing))}.')

    def _meet(self, restore, lanes):
        self._show(restore, lanes)
        for one in restore['resources']:
            if one['new_id']:
                self._restored[one['id']] = one['new_id']
                self.cloud.volume_ids.add(one['new_id'])

    def _corrupt(self):
        """Flip a byte of the last restored volume.

        No cloud's API writes into a volume; so one that differs in a byte
        takes its place.
        """
        victim = self._volumes[-1]
        name = self._lane(victim.name)
        with self._stage.step(f'Flip one byte of the restored {name}',
                              [name]) as lanes:
            changed = self.cloud.replace_volume(
                self._restored[victim.id], self._options.size,
                cloud.flip_one_byte(self._data[-1]), lanes[name])
            self._restored[victim.id] = changed.id

    def _compare(self):
        after = self._read('Read the restored volumes: SHA-256', {
            one.name: self._restored[one.id] for one in self._volumes})
        other = self._stage.comparison([
            (name, before, after[name])
            for name, before in self._before.items()])
        if other:
            raise cloud.Problem('These volumes came back with other bytes: '
                                + ', '.join(other))

    def _delete_checkpoint(self):
        with self._stage.step('Delete the checkpoint; nothing of it is left '
                              'in Cinder'):
            self._forget_checkpoint()
            left = self.cloud.left('backups', 'snapshots')
            if left:
                raise cloud.Problem(f'Left of the checkpoint: {left}')

    def _forget_checkpoint(self):
        self.api.delete_checkpoint(self._plan, self._checkpoint['id'])
        self.api.wait(self._look_at_checkpoint, 'deleted')
        self._checkpoint = None

    def clean(self, say):
        """Remove all that was made, however far it came; return the rest."""
        if self.cloud is None:
            return []
        self.cloud.stopping.clear()
        if self._checkpoint is not None:
            with contextlib.suppress(*PROBLEMS):
                self._forget_checkpoint()
        self.stop_service()
        return self.cloud.clean(say)

    def stop_service(self):
        if self.service is not None:
            self.service.stop()

    def _lane(self, name):
        """Return the short name of a volume."""
        return name.removeprefix(f'{self._prefix}-')

    def _lanes(self):
        return [self._lane(one.name) for one in self._volumes]

    def _show(self, seen, lanes):
        """Show the progress of a checkpoint's or restore's resources."""
        for one in seen['resources']:
            say = lanes[self._lane(one['name'])]
            say(one['status'])
            if one['progress']:
                say(one['progress'], 100)

    def _each(self, function, *lists):
        """Call a function for each at the same time; return the results."""
        pool = concurrent.futures.ThreadPoolExecutor(4)
        try:
            return list(pool.map(function, *lists))
        except BaseException:
            # Includes Ctrl-C: whoever waits for the cloud sees it and ends.
            self.cloud.stopping.set()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


class Stack:
    """The cloud of this machine, when the user has named no other."""

    def __init__(self, stage):
        self._stage = stage
        self._is_ours = False

    def start(self):
        """Start it unless it runs; return the name of its user."""
        states = self._states()
        if not states or set(states) != {'ok'}:
            self._is_ours = 'ok' not in states
            with self._stage.step('Start an OpenStack on this machine', None):
                if subprocess.run([STACK, 'up', 'cloud']).returncode:
                    raise cloud.Problem('tools/stack could not start it.')
        os.environ['OS_CLIENT_CONFIG_FILE'] = str(STACK_CLOUDS)
        for name in ('no_proxy', 'NO_PROXY'):
            os.environ[name] = '127.0.0.1,' + os.environ.get(name, '')
        return STACK_USER

    @staticmethod
    def _states():
        """Return the states of its services; karbor's do not matter."""
        asked = subprocess.run([STACK, 'status'], capture_output=True,
                               text=True)
        return [line.split()[-1] for line in asked.stdout.splitlines()
                if not line.startswith('karbor-')]

    def stop(self):
        """Stop it if it did not run before."""
        if self._is_ours:
            subprocess.run([STACK, 'down'])


def main(arguments):
    """Tell the story; return the exit code."""
    options = demo_options.parse(arguments)
    stage = screen.Screen()
    signal.signal(signal.SIGTERM, _interrupt)
    stack = Stack(stage)
    is_well = False
    try:
        if not demo_options.has_cloud(options):
            options.os_cloud = stack.start()
        is_well = (_clean_up if options.clean_up else _run)(options, stage)
    except PROBLEMS as problem:
        stage.say(f'{problem}', 'red')
    except KeyboardInterrupt:
        stage.say('Interrupted.', 'red')
    if not options.keep:
        stack.stop()
    stage.say('PASS' if is_well else 'FAIL',
              'bold green' if is_well else 'bold red')
    return 0 if is_well else 1


def _interrupt(_number, _frame):
    raise KeyboardInterrupt


def _clean_up(options, stage):
    there = cloud.Cloud(options.os_cloud, _prefix(options.clean_up))
    with stage.step(f'Remove what run {options.clean_up} has left', ['now']
                    ) as lanes:
        left = there.clean(lanes['now'])
    return _tell_left(left, stage, options.clean_up)


def _run(options, stage):
    run = secrets.token_hex(3)
    stage.say(f'This is run {run}: everything that it makes in the cloud is '
              f'called {_prefix(run)}-...')
    story = Story(options, _prefix(run), stage)
    try:
        story.tell()
    except BaseException:
        _end(story, stage, run, options, is_well=False)
        raise
    return _end(story, stage, run, options, is_well=True)


def _end(story, stage, run, options, is_well):
    """Clean up, or tell what is kept; return whether that went well."""
    if not options.keep:
        is_well = _clean(story, stage, run) and is_well
        _drop_state(story, stage, is_well)
    stage.times()
    if options.keep:
        _tell_kept(story, stage, run, options)
    return is_well


def _clean(story, stage, run):
    """Return whether nothing is left."""
    try:
        with stage.step('Remove everything from the cloud', ['now']) as lanes:
            left = story.clean(lanes['now'])
    except BaseException:
        stage.say(f'Not everything is removed; "tools/demo --clean-up {run}" '
                  'goes on with it.')
        raise
    finally:
        story.stop_service()
    return _tell_left(left, stage, run)


def _drop_state(story, stage, is_well):
    if story.service is None:
        return
    state = story.service.state
    if is_well:
        shutil.rmtree(state, ignore_errors=True)
        state.with_suffix('.out').unlink(missing_ok=True)
    else:
        stage.say(f'karbor-all-in-one has logged to {state}/karbor.log')


def _tell_left(left, stage, run):
    """Return whether nothing is left."""
    for kind, thing_id, name in left:
        stage.say(f'Left in the cloud: {kind[:-1]} {thing_id} {name}', 'red')
    if left:
        stage.say(f'"tools/demo --clean-up {run}" tries once more.')
    return not left


def _tell_kept(story, stage, run, options):
    stage.say('Kept, as you wished:', 'bold')
    if story.url:
        stage.say(f'  karbor-all-in-one, process {story.service.pid}, '
                  f'serves {story.url}')
        stage.say(f'  its state and log are in {story.service.state}')
        stage.say(f'  e.g.: curl -H "X-Auth-Token: $(openstack token issue '
                  f'-f value -c id)" {story.url}/plans')
    if options.os_cloud == STACK_USER and 'OS_CLIENT_CONFIG_FILE' in os.environ:
        stage.say('  the cloud: eval "$(tools/stack env demo)"; openstack '
                  'volume list; openstack volume backup list')
    stage.say(f'  to remove it: kill {story.service and story.service.pid}; '
              f'tools/demo --clean-up {run}; tools/stack down')


def _prefix(run):
    return f'{demo_options.PREFIX}-{run}'


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
