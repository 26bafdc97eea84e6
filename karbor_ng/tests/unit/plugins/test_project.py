# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Tests of the project's plugin."""

import unittest

from keystoneauth1 import fixture
from keystoneauth1 import service_token
from keystoneauth1 import session
from keystoneauth1.access import access
from keystoneauth1.identity import access as access_plugin

from karbor_ng.plugins import project

PROJECT = '24f7f1f5cb044d3ba4ab1b4d3b8a8e3c'


def user_session(wrapped=True):
    token = fixture.V3Token(project_id=PROJECT, project_name='demo')
    auth = access_plugin.AccessInfoPlugin(access.create(
        body=token, auth_token='token'))
    if wrapped:
        auth = service_token.ServiceTokenAuthWrapper(auth, auth)
    return session.Session(auth)


class ProjectTest(unittest.TestCase):

    def setUp(self):
        super().setUp()
        self.projects = project.ProjectProtectable()
        self.session = user_session()

    def _list(self, **kwargs):
        return self.projects.list(self.session, project_id=PROJECT, **kwargs)

    def test_the_own_project_is_shown(self):
        for wrapped in (True, False):
            shown = self.projects.show(user_session(wrapped), PROJECT)
            self.assertEqual(('OS::Keystone::Project', PROJECT, 'demo'),
                             (shown.type, shown.id, shown.name))

    def test_no_other_project_is_shown(self):
        other = PROJECT.replace('2', '3')
        self.assertIsNone(self.projects.show(self.session, other))
        self.assertEqual([], self.projects.list(self.session,
                                                project_id=other))

    def test_list(self):
        mine = [self.projects.show(self.session, PROJECT)]
        self.assertEqual(mine, self._list())
        self.assertEqual(mine, self._list(limit=5))
        self.assertEqual([], self._list(limit=0))
        self.assertEqual([], self._list(marker=PROJECT))
        self.assertEqual(mine, self._list(filters={'name': 'demo',
                                                   'status': 'enabled'}))
        self.assertEqual([], self._list(filters={'name': 'other'}))
        self.assertEqual([], self._list(filters={'status': 'disabled'}))

    def test_it_is_nobodys_child_and_holds_others(self):
        self.assertEqual((), self.projects.parent_types)
        protection = project.ProjectProtection(None)
        self.assertTrue(protection.container)
        self.assertIsNone(protection.Protect)
        self.assertIsNone(protection.Delete)
