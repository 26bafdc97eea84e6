# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Environment variables: of the services, and of the stack's users.

Separate because both the services and the person at the shell need the same
facts in this other form.
"""

import json
import os
import shlex

import paths
import ports
import render

PROJECTS = {'admin': 'admin', 'demo': 'demo', 'demo2': 'demo2',
            'demo_reader': 'demo', 'karbor': 'service'}
_PROXIES = {'http_proxy', 'https_proxy', 'all_proxy'}


def of_services(cloud):
    """What every process of the cloud gets."""
    env = {name: value for name, value in os.environ.items()
           if name.lower() not in _PROXIES}
    env.update(
        PATH=f'{paths.BIN}:{cloud}/bin:{os.environ["PATH"]}:/usr/sbin:/sbin',
        PYTHONPATH=str(paths.PLUGINS), LANG='C.UTF-8',
        PYTHONWARNINGS='ignore', PYTHONDONTWRITEBYTECODE='1',
        no_proxy='*', NO_PROXY='*',
        OS_NEUTRON_CONFIG_FILES='neutron.conf;ml2_conf.ini')
    for name in ('keystone', 'glance', 'placement', 'nova', 'neutron'):
        env[f'OS_{name.upper()}_CONFIG_DIR'] = str(paths.ETC / name)
    return env


def of_karbor(product):
    """What karbor's processes get: no word of the cloud's environment."""
    env = {name: value for name, value in os.environ.items()
           if name.lower() not in _PROXIES
           and not name.startswith(('OS_', 'PYTHONPATH'))}
    env.update(PATH=f'{product}/bin:{os.environ["PATH"]}', LANG='C.UTF-8',
               no_proxy='*', NO_PROXY='*')
    return env


def of_user(user='admin'):
    if user not in PROJECTS:
        raise SystemExit(f'no user {user}; there are {", ".join(PROJECTS)}')
    return {
        'OS_AUTH_URL': render.auth_url(),
        'OS_USERNAME': user,
        'OS_PASSWORD': render.PASSWORD,
        'OS_PROJECT_NAME': PROJECTS[user],
        'OS_USER_DOMAIN_ID': 'default',
        'OS_PROJECT_DOMAIN_ID': 'default',
        'OS_IDENTITY_API_VERSION': '3',
        'OS_REGION_NAME': render.REGION,
        'OS_CLIENT_CONFIG_FILE': str(paths.STATE / 'clouds.yaml'),
    }


def exports(user, cloud):
    """Lines for the shell: eval "$(tools/stack env USER)"."""
    lines = [f'export {name}={shlex.quote(value)}'
             for name, value in of_user(user).items()]
    lines.append(f'export PATH="$PATH":{shlex.quote(str(cloud / "bin"))}')
    lines.append(f'export no_proxy="{ports.IP}${{no_proxy:+,$no_proxy}}"')
    return '\n'.join(lines)


def write_clouds():
    """Write clouds.yaml for openstacksdk; JSON is YAML as well."""
    clouds = {user: {
        'auth': {'auth_url': render.auth_url(), 'username': user,
                 'password': render.PASSWORD, 'project_name': project,
                 'user_domain_id': 'default', 'project_domain_id': 'default'},
        'region_name': render.REGION, 'identity_api_version': '3',
    } for user, project in PROJECTS.items()}
    path = paths.STATE / 'clouds.yaml'
    path.write_text(json.dumps({'clouds': clouds}, indent=2) + '\n')
    path.chmod(0o600)
