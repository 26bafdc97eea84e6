# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The demonstration: what happens, in the order in which it happens.

Separate from those who do it: the application, the cloud, the service and
the screen.
"""

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

import application
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
    """One run, from an application to the same application.

    :param prefix: begins the name of everything that is made
    """

    def __init__(self, options, prefix, stage):
        self._options = options
        self._prefix = prefix
        self._stage = stage
        self._plan = None
        self._checkpoint = None
        self._restored = {}
        self.application = None
        self.cloud = None
        self.service = None
        self.api = None
        self.url = None

    def tell(self):
        """Tell it.

        :raises cloud.Problem: something went wrong, or something came back
            different
        """
        self._start_service()
        self._make_application()
        before = self._describe('Read image and disks: SHA-256',
                                self.application.ids)
        self._protect()
        self._destroy()
        self._restore()
        if self._options.corrupt:
            self._corrupt()
        after = self._describe('Read what was restored: SHA-256',
                               self._restored)
        self._compare(before, after)
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

    def _make_application(self):
        given = self._options
        made = self.application = application.Application(self.cloud, given)
        with self._stage.step('Create a network, security groups, a key'):
            made.make_surroundings()
        with self._stage.step(
                f'Create an image and {len(made.volumes)} volumes of '
                f'{given.size} GiB, {given.data} MiB of random bytes in each'
        ) as lanes:
            made.make_disks(lanes)
        with self._stage.step('Start two servers: web from the image, db '
                              'from a volume') as lanes:
            made.make_servers(lanes)
        if made.write_as_guest():
            self._stage.say("  web has written into its root disk, which "
                            "is not the image's any more")

    def _describe(self, text, ids):
        """Return all that can be compared, ``{(name, fact): text}``."""
        with self._stage.step(text) as lanes:
            digests = self.application.sha256(ids, lanes)
        return self.application.facts(ids) | {
            (name, 'SHA-256'): digest for name, digest in digests.items()}

    def _protect(self):
        with self._stage.step('Make a plan of the two servers'):
            self._plan = self.api.create_plan(
                self._prefix, self.api.provider()['id'],
                [{'id': self.application.ids[name], 'type': service.SERVER,
                  'name': self.application.full_name(name)}
                 for name in application.SERVERS],
                {service.VOLUME: {'backup_mode': 'full',
                                  'backup_name': f'{self._prefix}-backup'}})
        with self._stage.step('Protect the plan: a checkpoint') as lanes:
            self._checkpoint = self.api.protect(self._plan)
            self._checkpoint = self.api.wait(
                self._look_at_checkpoint, 'available',
                lambda seen: self._show(seen, lanes))
        self._stage.graph(f'checkpoint {self._checkpoint["id"]} of plan '
                          f'{self._plan["name"]}', self._checkpoint)
        self._stage.texts('The checkpoint says what it does not include:', {
            self._lane(one): one['not_included']
            for one in self._checkpoint['resources']})

    def _look_at_checkpoint(self):
        return self.api.checkpoint(self._plan, self._checkpoint['id'])

    def _destroy(self):
        with self._stage.step('Delete the servers, all volumes and the '
                              'image') as lanes:
            self.application.destroy(lanes)

    def _restore(self):
        made = self.application
        parameters = {
            f'{service.VOLUME}#{made.ids[name]}': {
                'restore_name': made.full_name(name)}
            for name in made.volumes}
        with self._stage.step('Restore the checkpoint') as lanes:
            restore = self.api.restore(self._plan, self._checkpoint['id'],
                                       parameters)
            restore = self.api.wait(
                lambda: self.api.get_restore(restore['id']), 'success',
                lambda seen: self._meet(seen, lanes))
        self._stage.texts('The restore says:', {
            self._lane(one): [one['reason']] if one['reason'] else []
            for one in restore['resources']})
        missing = made.ids.keys() - self._restored.keys()
        if missing:
            raise cloud.Problem(f'Restore {restore["id"]} made nothing of '
                                f'{", ".join(sorted(missing))}.')

    def _meet(self, restore, lanes):
        self._show(restore, lanes)
        names = {thing_id: name
                 for name, thing_id in self.application.ids.items()}
        for one in restore['resources']:
            if one['new_id']:
                self._restored[names[one['id']]] = one['new_id']
                self.cloud.ids.add(one['new_id'])

    def _corrupt(self):
        name = self.application.data_volumes[-1]
        with self._stage.step(f'Flip one byte of the restored {name}'
                              ) as lanes:
            self.application.corrupt(self._restored, name, lanes[name])

    def _compare(self, before, after):
        other = self._stage.comparison(before, after)
        if other:
            raise cloud.Problem('This came back different: '
                                + ', '.join(other))

    def _delete_checkpoint(self):
        with self._stage.step('Delete the checkpoint; nothing of it is left '
                              'in the cloud'):
            self._forget_checkpoint()
            left = self.cloud.left('backup', 'snapshot')
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

    def _lane(self, resource):
        """Return the short name of a checkpoint's or restore's resource."""
        return resource['name'].removeprefix(f'{self._prefix}-')

    def _show(self, seen, lanes):
        """Show the progress of a checkpoint's or restore's resources."""
        for one in seen['resources']:
            say = lanes[self._lane(one)]
            say(one['status'])
            if one['progress']:
                say(one['progress'], 100)


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
            with self._stage.step('Start an OpenStack on this machine',
                                  is_quiet=True):
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
    with stage.step(f'Remove what run {options.clean_up} has left'
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
        with stage.step('Remove everything from the cloud') as lanes:
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
        stage.say(f'Left in the cloud: {kind} {thing_id} {name}', 'red')
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
                  'server list; openstack volume backup list')
    stage.say(f'  to remove it: kill {story.service and story.service.pid}; '
              f'tools/demo --clean-up {run}; tools/stack down')


def _prefix(run):
    return f'{demo_options.PREFIX}-{run}'


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
