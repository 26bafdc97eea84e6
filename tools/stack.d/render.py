# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Writes the configuration of every service from the templates in etc/.

Separate so that the configuration files can be read as such: a template is
the file itself with $names in it, and this module knows what a name means.
"""

import base64
import getpass
import os
import pathlib
import string

import paths
import ports

PASSWORD = 'secret'
REGION = 'RegionOne'
TOKEN_SECONDS = '14400'


def auth_url():
    return ports.url('keystone') + '/v3'


def database(name):
    return (f'mysql+pymysql://stack:{PASSWORD}@{ports.IP}:'
            f'{ports.port("mariadb")}/{name}?charset=utf8mb4')


def transport():
    return f'rabbit://guest:guest@{ports.IP}:{ports.port("rabbitmq")}/'


class Names(dict):
    """What templates may name; port_X, url_X, database_X, user_X and
    authtoken_X exist for every X."""

    def __missing__(self, key):
        kind, _, name = key.partition('_')
        makers = {'port': ports.port, 'url': ports.url, 'database': database,
                  'user': _user, 'authtoken': _authtoken}
        if kind not in makers:
            raise KeyError(key)
        return makers[kind](name)


def _user(name):
    """Lines with which a service signs in as its own user."""
    return '\n'.join([
        f'auth_url = {auth_url()}',
        'auth_type = password',
        f'username = {name}',
        f'password = {PASSWORD}',
        'project_name = service',
        'user_domain_id = default',
        'project_domain_id = default',
        f'region_name = {REGION}'])


def _authtoken(name):
    """Lines with which a service checks its callers' tokens.

    A token that is past its time is accepted beside a service token.
    """
    return '\n'.join([
        _user(name),
        f'www_authenticate_uri = {auth_url()}',
        f'memcached_servers = {ports.IP}:{ports.port("memcached")}',
        'service_token_roles = service',
        'service_token_roles_required = true'])


def names(cloud):
    """All names; `cloud` is the folder of the cloud's environment."""
    return Names(
        ip=ports.IP, region=REGION, password=PASSWORD, auth_url=auth_url(),
        transport_url=transport(), state=paths.STATE, etc=paths.ETC,
        package_etc=cloud / 'etc', account=getpass.getuser(),
        token_seconds=os.environ.get('STACK_TOKEN_SECONDS', TOKEN_SECONDS),
        credentials_key=credentials_key())


def credentials_key():
    """The Fernet key of karbor's credentials, made once and kept."""
    path = paths.STATE / 'karbor' / 'credentials.key'
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix('.part')
        part.write_bytes(base64.urlsafe_b64encode(os.urandom(32)))
        part.chmod(0o600)
        part.rename(path)
    return path.read_text()


def write(cloud):
    """Write every template whose text differs from what is there."""
    known = names(cloud)
    for template in sorted(paths.TEMPLATES.rglob('*.*')):
        if template.is_file():
            text = string.Template(template.read_text()).substitute(known)
            _replace(paths.ETC / template.relative_to(paths.TEMPLATES), text)
    paste = (cloud / 'etc' / 'nova' / 'api-paste.ini').read_text()
    _replace(paths.ETC / 'nova' / 'api-paste.ini', paste)


def _replace(path: pathlib.Path, text):
    if path.exists() and path.read_text() == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + '.part')
    part.write_text(text)
    part.chmod(0o600)
    part.rename(path)
