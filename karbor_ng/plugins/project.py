# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Project: the container of everything else that can be protected."""

from karbor_ng import clients
from karbor_ng.plugins import api

RESOURCE_TYPE = 'OS::Keystone::Project'


class ProjectProtectable(api.Protectable):
    """Tells callers about their own project and about no other."""

    resource_type = RESOURCE_TYPE

    def list(self, session, *, project_id, marker=None, limit=None,
             filters=None):
        project = self.show(session, project_id)
        if project is None or marker == project.id or limit == 0:
            return []
        wanted = filters or {}
        # A project that somebody has a token for has no other status.
        if (wanted.get('name', project.name) != project.name
                or wanted.get('status', 'enabled') != 'enabled'):
            return []
        return [project]

    def show(self, session, resource_id, parameters=None):
        clients.need_cloud(session)
        if resource_id != session.get_project_id():
            return None
        return api.Resource(RESOURCE_TYPE, resource_id,
                            _project_name(session))

    def children(self, session, parents):
        return {}


class ProjectProtection(api.Protection):
    """Protects a project: that is, what discovery finds in it.

    Those are its servers, volumes and images at the time of each checkpoint,
    as far as the provider has plugins for them. Nothing of the project
    itself is kept; checkpoints say what else it has.
    """

    resource_types = (RESOURCE_TYPE,)
    container = True
    Delete = None
    leaves_out = (
        'Networks, subnets, routers, security groups, floating IPs, key '
        'pairs and server groups: restored servers use those that still '
        'exist.',
        'Load balancers, VPNs, firewalls and DNS zones.',
        'Snapshots, groups and other backups of volumes, and volume types.',
        'Object storage, shares, databases, clusters, stacks and secrets.',
        'Users, roles, quotas and settings of the project.')

    options_schema = {'title': 'Project Protection Options',
                      'type': 'object', 'properties': {}}
    saved_info_schema = {'title': 'Project Protection Saved Info',
                         'type': 'object', 'properties': {}}
    restore_schema = {'title': 'Project Protection Restore',
                      'type': 'object', 'properties': {}}
    verify_schema = {'title': 'Project Protection Verify',
                     'type': 'object', 'properties': {}}


def _project_name(session):
    """Read the name off the token: asking Keystone needs more rights."""
    auth = getattr(session.auth, 'user_auth', session.auth)
    return auth.get_access(session).project_name or ''
