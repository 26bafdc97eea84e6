# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""A Keystone in memory: gives tokens to the service user, and checks them.

The users' own are good whatever their text is: what is tried out with them
is how long the services take them.
"""

import datetime
import json
import uuid

from keystoneauth1 import fixture

from karbor_ng import keystone
from karbor_ng.tests import fixtures_service
from karbor_ng.tests.crashes import clouds

URL = 'http://keystone.test/v3'
USERS_TOKEN = 'token-of-the-user'  # nosec B105
#: What a deployment with this Keystone has in ``[service_user]``.
OPTIONS = {'auth_type': 'password', 'auth_url': URL,
           'username': 'karbor', 'password': 'known',
           'project_name': 'service', 'user_domain_id': 'default',
           'project_domain_id': 'default'}


class Keystone(fixtures_service.Service):
    """The service; its tokens have all services in their catalog."""

    type = 'identity'
    url = URL

    def versions(self):
        return {'version': fixture.V3Discovery(URL)}

    def send(self, request, **kwargs):
        answer = super().send(request, **kwargs)
        if answer.status_code == 200:
            answer.headers['X-Subject-Token'] = uuid.uuid4().hex
        return answer

    def _tokens(self, body, filters):
        return token_body()


Keystone.routes = (
    ('POST', 'auth/tokens', Keystone._tokens),
    ('GET', 'auth/tokens', Keystone._tokens),
)


def token_body():
    """Return the body of a token of the project that is protected."""
    body = fixture.V3Token(
        project_id=fixtures_service.PROJECT,
        expires=datetime.datetime.now(datetime.UTC)
        + datetime.timedelta(hours=1))
    body.add_role(name='service')
    for service in (Keystone, *clouds.SERVICES):
        body.add_service(service.type).add_standard_endpoints(
            public=service.url)
    return body


def access():
    """Return what an operation keeps of its caller, as JSON."""
    return json.dumps({'token': USERS_TOKEN, 'body': token_body()})


def cloud(conf):
    """Return the cloud, with the credentials of the service user."""
    for name, value in OPTIONS.items():
        conf.set_override(name, value, group=keystone.GROUP)
    return keystone.Cloud(conf)
