# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Who may do what, with real users, roles and tokens of a real Keystone.

What is expected is the table of the unit tests, for all routes. Here nothing
is done but asked: whoever may change something sends a body that is none, and
is told so, which nobody else is.
"""

import uuid

import requests

from karbor_ng.tests.functional import base
from karbor_ng.tests.functional import secrecy
from karbor_ng.tests.unit.api import environment
from karbor_ng.tests.unit.api import test_tenancy

#: Users of the project, and their roles. The owner makes the things.
ROLES = {'owner': 'member', 'other member': 'member', 'reader': 'reader'}
#: Columns of the table.
COLUMNS = ('owner', 'reader', 'guest', 'stranger')
NO_JSON = b'{'
#: Rows whose answers depend on what is in the cloud: resources of others
#: are there for nobody.
IN_THE_CLOUD = {'GET protectables/*/instances/*': (200, 200, 403, 404)}


class Project:
    """A project with a user for each role, made by the administrator.

    :ivar users: ``{name: base.User}``
    """

    def __init__(self):
        self._cloud = base.User('admin').cloud
        self._identity = self._cloud.identity
        self._name = f'test-{uuid.uuid4().hex[:8]}'
        self._made = []
        self._project = self._kept(self._identity.create_project(
            name=self._name, domain_id='default'))
        self.id = self._project.id
        # Somebody who belongs to the project, and has no right to anything.
        guest = self._kept(self._identity.create_role(
            name=f'{self._name}-guest'))
        self.users = {name: self._user(name, self._identity.find_role(role))
                      for name, role in ROLES.items()}
        self.users['guest'] = self._user('guest', guest)

    def _kept(self, thing):
        self._made.append(thing)
        return thing

    def _user(self, name, role):
        name = f'{self._name}-{name.replace(" ", "-")}'
        password = secrecy.new_password()
        user = self._kept(self._identity.create_user(
            name=name, password=password, domain_id='default'))
        self._identity.assign_project_role_to_user(self._project, user, role)
        return base.User('demo', username=name, project_name=self._name,
                         password=password)

    def remove(self):
        for thing in reversed(self._made):
            thing.delete(self._identity)


class TenantTest(base.StackTestCase):

    def setUp(self):
        super().setUp()
        self.project = Project()
        self.addCleanup(self.project.remove)
        self.demo = self.project.users['owner']
        self.users = {**self.project.users, 'stranger': base.User('demo2'),
                      'admin': base.User('admin')}
        self.real = self.make_things()

    def make_things(self):
        """Return ``{id in the table: id of the real thing}``."""
        volume = self.demo.cloud.block_storage.create_volume(size=1)
        self.addCleanup(self.demo.delete_volume, volume.id)
        self.demo.volume_in(volume.id, 'available')
        plan_id = self.create_plan([volume], base.NOOP_PROVIDER)
        path = self.protect(plan_id, base.NOOP_PROVIDER)
        self.addCleanup(self.delete, path)
        self.ended(path)
        restore_id = self.restore(path)['id']
        checkpoint_id = path.rpartition('/')[2]
        return {
            environment.PROJECT: self.project.id,
            environment.PROVIDER_ID: base.NOOP_PROVIDER,
            environment.SECOND_PROVIDER_ID: base.FILESYSTEM_PROVIDER,
            environment.SERVER: base.VOLUME,
            environment.APP_SERVER: volume.id,
            environment.PLAN_ID: plan_id,
            environment.CHECKPOINT_ID: checkpoint_id,
            environment.RUNNING_CHECKPOINT_ID: checkpoint_id,
            environment.RESTORE_ID: restore_id,
            environment.RUNNING_RESTORE_ID: restore_id,
            **self.make_verification(checkpoint_id),
            **self.make_schedule(plan_id),
            environment.OPERATION_ID: self.request(
                'GET', f'/operation_logs?restore_id={restore_id}')[
                    'operation_logs'][0]['id'],
            environment.SERVICE_ID: str(self.request(
                'GET', '/os-services', user=self.users['admin'])[
                    'services'][0]['id']),
        }

    def make_verification(self, checkpoint_id):
        made = self.request('POST', '/verifications', {'verification': {
            'provider_id': base.NOOP_PROVIDER,
            'checkpoint_id': checkpoint_id}})['verification']['id']
        path = f'/verifications/{made}'
        base.wait(lambda: self.request('GET', path)['verification'][
            'status'] != 'started', what=f'end of {path}')
        return {environment.VERIFICATION_ID: made,
                environment.RUNNING_VERIFICATION_ID: made}

    def make_schedule(self, plan_id):
        trigger_id = self.make('/triggers', 'trigger_info', {
            'name': 'yearly', 'type': 'time', 'properties': {
                'format': 'crontab', 'pattern': '0 3 1 1 *'}})
        operation_id = self.make(
            '/scheduled_operations', 'scheduled_operation', {
                'name': 'yearly', 'operation_type': 'retention_protect',
                'trigger_id': trigger_id, 'operation_definition': {
                    'provider_id': base.NOOP_PROVIDER, 'plan_id': plan_id,
                    'max_backups': 3}})
        return {environment.TRIGGER_ID: trigger_id,
                environment.SCHEDULED_OPERATION_ID: operation_id}

    def make(self, path, noun, values):
        """Make what another member then deletes; return its id."""
        made = self.request('POST', path, {noun: values})[noun]['id']
        self.addCleanup(self.request, 'DELETE', f'{path}/{made}',
                        user=self.users['other member'])
        return made

    # Asking

    def test_everybody_asks_for_everything(self):
        wrong = []
        for route, path, body, *expected in test_tenancy.ANSWERS:
            method = route.partition(' ')[0]
            path, body = self.with_real_ids(path, body)
            expected = dict(zip(COLUMNS, IN_THE_CLOUD.get(route, expected),
                                strict=True))
            expected['other member'] = expected['owner']
            for name, status in expected.items():
                wrong += self.ask(name, method, path, body, status)
            wrong += self.ask('admin', method, path, body, 200)
            wrong += self.ask_below_others(method, path, body)
        self.assertEqual([], wrong)

    def with_real_ids(self, path, body):
        path = '/'.join(self.real_id(part) for part in path.split('/'))
        return path, self._with_real_ids(body)

    def _with_real_ids(self, value):
        if isinstance(value, dict):
            return {name: self._with_real_ids(item)
                    for name, item in value.items()}
        if isinstance(value, list):
            return [self._with_real_ids(item) for item in value]
        return self.real_id(value) if isinstance(value, str) else value

    def real_id(self, text):
        unknown = [name for name, value in vars(environment).items()
                   if name.endswith('_ID') and value == text
                   and text not in self.real]
        self.assertEqual([], unknown, 'Make such a thing in make_things.')
        return self.real.get(text, text)

    def ask(self, name, method, path, body, status):
        """Return what is wrong with the answer: a list of one, or empty."""
        if status == 200 and method == 'DELETE':
            return []
        if status == 200 and method != 'GET':
            answer = self.send(name, method, path, NO_JSON)
            status = 400
        else:
            answer = self.send(name, method, path, body)
        return _difference(name, method, path, answer, status)

    def ask_below_others(self, method, path, body):
        """Ask below a project that the token is not for, and without one."""
        answer = self.send('stranger', method, path, body, self.project.id)
        yield from _difference('stranger there', method, path, answer, 403)
        answer = requests.request(
            method, self.url(self.project.id) + path, json=body, timeout=60)
        yield from _difference('nobody', method, path, answer, 401)

    def send(self, name, method, path, body, project_id=None):
        """:param body: bytes, or what becomes JSON"""
        user = self.users[name]
        if name == 'admin':
            project_id = self.project.id
        given = ({'data': body, 'headers': {
            'Content-Type': 'application/json'}}
            if isinstance(body, bytes) else {'json': body})
        return user.karbor.request(
            path, method, **given,
            **({'endpoint_override': self.url(project_id)}
               if project_id else {}))

    def url(self, project_id):
        own = self.demo.karbor.get_endpoint()
        return f'{own.rpartition("/")[0]}/{project_id}'


def _difference(name, method, path, answer, status):
    if answer.status_code == status:
        return []
    return [f'{name}: {method} {path}: {answer.status_code}, not {status}: '
            f'{answer.text[:300]}']
