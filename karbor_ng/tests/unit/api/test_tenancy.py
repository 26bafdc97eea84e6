# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Who may do what: every route, asked by everybody."""

from oslotest import base
import testscenarios

from karbor_ng.api.v1 import routes
from karbor_ng.store import checkpoints
from karbor_ng.tests.unit.api import environment
from karbor_ng.tests.unit.api import test_bad_input as good
from karbor_ng.tests.unit.api.environment import ADMIN
from karbor_ng.tests.unit.api.environment import CHECKPOINT_ID
from karbor_ng.tests.unit.api.environment import OPERATION_ID
from karbor_ng.tests.unit.api.environment import OWNER
from karbor_ng.tests.unit.api.environment import PLAN_ID
from karbor_ng.tests.unit.api.environment import PROJECT
from karbor_ng.tests.unit.api.environment import PROVIDER_ID
from karbor_ng.tests.unit.api.environment import READER
from karbor_ng.tests.unit.api.environment import RESTORE_ID
from karbor_ng.tests.unit.api.environment import SERVER
from karbor_ng.tests.unit.api.environment import STRANGER
from karbor_ng.tests.unit.api.environment import TRIGGER_ID
from karbor_ng.tests.unit.api.environment import VERIFICATION_ID

OTHER_MEMBER = f'second:{PROJECT}'
NOBODY = f'guest:{PROJECT}:guest'
CHECKPOINT = f'{good.CHECKPOINTS}/{CHECKPOINT_ID}'
SCHEDULED_OPERATION = (
    f'/scheduled_operations/{environment.SCHEDULED_OPERATION_ID}')

#: Route, path, body, and the answers to: a member and a reader of the
#: project, somebody without roles there, a member of another project. Those
#: of another project ask below their own. Functional tests ask for the same,
#: as users of a real Keystone.
ANSWERS = [
    ('GET providers', '/providers', None, 200, 200, 403, 200),
    ('GET providers/*', f'/providers/{PROVIDER_ID}', None,
     200, 200, 403, 200),
    ('GET protectables', '/protectables', None, 200, 200, 403, 200),
    ('GET protectables/*', f'/protectables/{SERVER}', None,
     200, 200, 403, 200),
    ('GET protectables/*/instances', f'/protectables/{SERVER}/instances',
     None, 200, 200, 403, 200),
    ('GET protectables/*/instances/*',
     f'/protectables/{SERVER}/instances/{environment.APP_SERVER}', None,
     200, 200, 403, 200),
    ('GET plans', '/plans', None, 200, 200, 403, 200),
    ('POST plans', '/plans', {'plan': good.PLAN}, 200, 403, 403, 200),
    ('GET plans/*', f'/plans/{PLAN_ID}', None, 200, 200, 403, 404),
    ('PUT plans/*', f'/plans/{PLAN_ID}', {'plan': {'name': 'other'}},
     200, 403, 403, 404),
    ('DELETE plans/*', f'/plans/{PLAN_ID}', None, 200, 403, 403, 404),
    ('GET providers/*/checkpoints', good.CHECKPOINTS, None,
     200, 200, 403, 200),
    ('POST providers/*/checkpoints', good.CHECKPOINTS,
     {'checkpoint': good.CHECKPOINT}, 200, 403, 403, 404),
    ('GET providers/*/checkpoints/*', CHECKPOINT, None, 200, 200, 403, 404),
    ('DELETE providers/*/checkpoints/*', CHECKPOINT, None,
     200, 403, 403, 404),
    ('PUT providers/*/checkpoints/*', CHECKPOINT,
     {'os-resetState': {'state': 'error'}}, 200, 403, 403, 404),
    ('POST providers/*/checkpoints/*/action',
     f'{good.CHECKPOINTS}/{environment.RUNNING_CHECKPOINT_ID}/action',
     {'abort': {}}, 200, 403, 403, 404),
    ('GET restores', '/restores', None, 200, 200, 403, 200),
    ('POST restores', '/restores', {'restore': good.RESTORE},
     200, 403, 403, 404),
    ('GET restores/*', f'/restores/{RESTORE_ID}', None, 200, 200, 403, 404),
    ('POST providers/*/checkpoints/action', f'{good.CHECKPOINTS}/action',
     {'copy': good.COPY}, 200, 403, 403, 404),
    ('POST restores/*/action',
     f'/restores/{environment.RUNNING_RESTORE_ID}/action', {'abort': {}},
     200, 403, 403, 404),
    ('GET verifications', '/verifications', None, 200, 200, 403, 200),
    ('POST verifications', '/verifications',
     {'verification': good.VERIFICATION}, 200, 403, 403, 404),
    ('GET verifications/*', f'/verifications/{VERIFICATION_ID}', None,
     200, 200, 403, 404),
    ('POST verifications/*/action',
     f'/verifications/{environment.RUNNING_VERIFICATION_ID}/action',
     {'abort': {}}, 200, 403, 403, 404),
    ('GET os-services', '/os-services', None, 403, 403, 403, 403),
    ('PUT os-services/*', f'/os-services/{environment.SERVICE_ID}',
     {'status': 'disabled'}, 403, 403, 403, 403),
    ('GET quotas/*', f'/quotas/{PROJECT}', None, 200, 200, 403, 403),
    ('GET quotas/*/detail', f'/quotas/{PROJECT}/detail', None,
     200, 200, 403, 403),
    ('GET quotas/*/defaults', f'/quotas/{PROJECT}/defaults', None,
     200, 200, 403, 403),
    ('PUT quotas/*', f'/quotas/{PROJECT}', {'quota': {'plans': 7}},
     403, 403, 403, 403),
    ('DELETE quotas/*', f'/quotas/{PROJECT}', None, 403, 403, 403, 403),
    ('GET quota_classes/*', '/quota_classes/default', None,
     200, 200, 403, 200),
    ('PUT quota_classes/*', '/quota_classes/default',
     {'quota_class': {'plans': 7}}, 403, 403, 403, 403),
    ('GET triggers', '/triggers', None, 200, 200, 403, 200),
    ('POST triggers', '/triggers', {'trigger_info': good.TRIGGER},
     200, 403, 403, 200),
    ('GET triggers/*', f'/triggers/{TRIGGER_ID}', None, 200, 200, 403, 404),
    ('PUT triggers/*', f'/triggers/{TRIGGER_ID}',
     {'trigger_info': {'name': 'other'}}, 200, 403, 403, 404),
    ('DELETE triggers/*', f'/triggers/{TRIGGER_ID}', None,
     200, 403, 403, 404),
    ('GET scheduled_operations', '/scheduled_operations', None,
     200, 200, 403, 200),
    ('POST scheduled_operations', '/scheduled_operations',
     {'scheduled_operation': environment.SCHEDULE}, 200, 403, 403, 404),
    ('GET scheduled_operations/*', SCHEDULED_OPERATION, None,
     200, 200, 403, 404),
    ('PUT scheduled_operations/*', SCHEDULED_OPERATION,
     {'scheduled_operation': {'name': 'other'}}, 200, 403, 403, 404),
    ('DELETE scheduled_operations/*', SCHEDULED_OPERATION, None,
     200, 403, 403, 404),
    ('GET scheduled_operations/*/runs', f'{SCHEDULED_OPERATION}/runs', None,
     200, 200, 403, 404),
    ('GET scheduled_operations/*/retention',
     f'{SCHEDULED_OPERATION}/retention', None, 200, 200, 403, 404),
    ('GET operation_logs', '/operation_logs', None, 200, 200, 403, 200),
    ('GET operation_logs/*', f'/operation_logs/{OPERATION_ID}', None,
     200, 200, 403, 404),
]
SECRETS = (PLAN_ID, CHECKPOINT_ID, RESTORE_ID, VERIFICATION_ID,
           TRIGGER_ID, environment.SCHEDULED_OPERATION_ID, OPERATION_ID,
           PROJECT)


class MatrixTest(testscenarios.WithScenarios, base.BaseTestCase):
    """Each route, asked by one after the other."""

    scenarios = [(row[0], {'row': row}) for row in ANSWERS]

    def setUp(self):
        super().setUp()
        self.api = self.useFixture(environment.Api())
        self.api.add_history()
        if '/action' in self.row[0]:
            self.api.add_running()
        if 'scheduled_operations' in self.row[0]:
            self.api.add_schedule()
        route, self.path, self.body, *self.expected = self.row
        self.method = route.partition(' ')[0]

    def _ask(self, token, path=None):
        return self.api.call(self.method, path or self.path, self.body,
                             token=token)

    def test_answers(self):
        # Those who may change something come last.
        for token, expected in reversed(list(zip(
                (OWNER, READER, NOBODY, STRANGER), self.expected,
                strict=True))):
            before = self.api.rows()
            answer = self._ask(token)
            self.assertEqual(expected, answer.status_int,
                             (token, answer.text))
            if expected >= 400:
                self.assertEqual(before, self.api.rows())
                self.assertEqual([], self.api.hints.queued)

    def test_members_share_what_the_project_has(self):
        answer = self._ask(OTHER_MEMBER)
        self.assertEqual(self.expected[0], answer.status_int, answer.text)

    def test_outsiders(self):
        self._check_without_a_token()
        self._check_other_projects_in_the_path()
        self._check_strangers_see_nothing_of_it()

    def _check_strangers_see_nothing_of_it(self):
        answer = self._ask(STRANGER)
        for secret in SECRETS:
            if answer.status_int == 200:
                self.assertNotIn(secret, answer.text)

    def test_what_is_hidden_looks_like_what_is_not_there(self):
        hidden = self._ask(STRANGER)
        if hidden.status_int != 404:
            return
        empty = environment.Api()
        self.api = self.useFixture(empty)
        self.assertEqual(hidden.json, self._ask(STRANGER).json)

    def _check_other_projects_in_the_path(self):
        answer = self._ask(STRANGER, f'/v1/{PROJECT}{self.path}')
        self.assertEqual(403, answer.status_int)
        # Whatever the rules of an operator say.
        self.assertIn('project in the path', answer.text)
        self.assertEqual([], self.api.hints.queued)

    def _check_without_a_token(self):
        answer = self._ask('', f'/v1/{PROJECT}{self.path}')
        self.assertEqual(401, answer.status_int)

    def test_admins_may_below_any_project(self):
        answer = self._ask(ADMIN, f'/v1/{PROJECT}{self.path}')
        self.assertEqual(200, answer.status_int, answer.text)


class AllRoutesTest(base.BaseTestCase):
    """The matrix leaves no route out."""

    def test_complete(self):
        private = {f'{method} {path.removeprefix("v1/*/")}'
                   for path, verbs in routes.ROUTES.items()
                   for method in verbs if path.startswith('v1/*')}
        self.assertEqual(private, {row[0] for row in ANSWERS})


class AdminTest(base.BaseTestCase):
    """What an admin does for others belongs to them."""

    def setUp(self):
        super().setUp()
        self.api = self.useFixture(environment.Api())
        self.api.add_history()

    def test_checkpoint_belongs_to_the_plans_project(self):
        answer = self.api.call('POST', good.CHECKPOINTS,
                               {'checkpoint': good.CHECKPOINT}, token=ADMIN)
        self.assertEqual(PROJECT, answer.json['checkpoint']['project_id'])

    def test_restore_belongs_to_the_checkpoints_project(self):
        answer = self.api.call('POST', '/restores',
                               {'restore': good.RESTORE}, token=ADMIN)
        self.assertEqual(PROJECT, answer.json['restore']['project_id'])

    def test_verification_belongs_to_the_checkpoints_project(self):
        answer = self.api.call(
            'POST', '/verifications', {'verification': good.VERIFICATION},
            token=ADMIN)
        self.assertEqual(PROJECT, answer.json['verification']['project_id'])

    def test_deleting(self):
        answer = self.api.call('DELETE', CHECKPOINT, token=ADMIN)
        self.assertEqual(200, answer.status_int, answer.text)
        self.assertEqual('deleting', self.api.db.read(
            checkpoints.get, CHECKPOINT_ID, PROJECT).status)
