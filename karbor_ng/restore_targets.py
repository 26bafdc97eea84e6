# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Restore targets: other clouds and projects that restores may go to.

Separate from the ways to our own cloud, because here a user says where to
connect, and with which secret: what is allowed, how the secret is kept, and
the session that is made of both stand together.
"""

import contextlib
import dataclasses
import functools
import json
import logging
import re

from keystoneauth1 import access
from keystoneauth1 import exceptions
from keystoneauth1.identity import access as access_plugin
from keystoneauth1.identity import v3
from oslo_config import cfg

from karbor_ng import errors
from karbor_ng import keystone

LOG = logging.getLogger(__name__)

GROUP = 'restore_targets'
OPTS = [
    cfg.ListOpt('allowed', default=[],
                help='URLs of the Keystones of other clouds that users may '
                     'restore into, with or without the version, such as '
                     'https://cloud.example:5000/v3. A restore makes the '
                     'services connect to them, and to the endpoints in '
                     'their catalogs: list only clouds that you trust, for '
                     'an asterisk, which allows every URL, lets users reach '
                     'what only this host should. Other projects of this '
                     'cloud can always be restored into; name here the URLs '
                     'by which users know this cloud, if [service_user] '
                     'auth_url is another one.'),
    cfg.ListOpt('valid_interfaces', default=['public'],
                help='Which endpoints in the catalog of another cloud are '
                     'used: the first kind that a service has of these.'),
    cfg.StrOpt('cafile',
               help='File with certificates, as PEM, of the authorities that '
                    'other clouds are trusted by, instead of those that the '
                    'system knows.'),
    cfg.BoolOpt('insecure', default=False,
                help='Talk to servers of other clouds whose certificates '
                     'nobody has signed.'),
    cfg.IntOpt('timeout', default=60, min=1,
               help='Seconds after which a silent server of another cloud is '
                    'given up.'),
]

SCHEMES = {'http': 80, 'https': 443}
#: Nothing that two programs could read in two ways.
_URL = re.compile(r'(?P<scheme>https?)://(?P<host>[a-z0-9._-]+|'
                  r'\[[0-9a-f:.]+\])(:(?P<port>[0-9]{1,5}))?'
                  r'(?P<path>(/[a-z0-9._~-]*)*)', re.ASCII | re.IGNORECASE)
#: Of what a user gives, what nobody may see again; and how it is shown.
SECRETS = ('password', 'token', 'application_credential_secret')
HIDDEN = '***'

#: In the list of what is allowed.
_EVERYTHING = '*'
#: The domain of users and projects of which none is named.
_DOMAIN_ID = 'default'
_VERSIONS = ('/v3', '/v2.0')

#: What reading the answers of something else than a Keystone ends with, and
#: talking to one whose certificate nobody trusts.
_UNUSABLE = (exceptions.InvalidResponse, exceptions.SSLError, ValueError,
             LookupError, TypeError, AttributeError, NotImplementedError)

_USER = ('user_id', 'username', 'user_domain_id', 'user_domain_name')
_PROJECT = ('project_id', 'project_name', 'project_domain_id',
            'project_domain_name')
_CREDENTIAL = ('application_credential_id', 'application_credential_name',
               'application_credential_secret')


@dataclasses.dataclass(frozen=True)
class Kept:
    """A target as rows have it.

    :ivar url: as the user gave it, or None for this cloud
    :ivar auth: what the user gave to enter it with, secrets hidden
    :ivar credentials: all of it, sealed
    """

    url: str | None
    auth: dict
    credentials: str


@dataclasses.dataclass(frozen=True)
class Target:
    """Where a restore goes, if not to its own project.

    :ivar url: of a Keystone; None for this cloud's own
    :ivar auth: what to enter with: ``type`` and what belongs to it
    """

    url: str | None
    auth: dict = dataclasses.field(repr=False)

    @classmethod
    def wanted(cls, url, auth):
        """Return the target that a request names, or None if it names none.

        What is blank counts as not given.

        :raises errors.Invalid: naming the field that is wrong
        """
        if not auth:
            if url:
                raise errors.Invalid(
                    'restore.restore_auth is missing: restore_target needs '
                    'credentials to enter it with.')
            return None
        if url:
            _parts(url)
        _check_auth(auth)
        return cls(url or None, auth)

    def keep(self, sealer):
        """Return what may be stored, and shown to users.

        :raises errors.Invalid: the deployment has nothing to seal with
        """
        if sealer is None:
            raise errors.Invalid(
                'restore.restore_auth: this deployment keeps no credentials, '
                'since it has no keys ([credentials] keys): restore without '
                'restore_auth.')
        shown = {name: HIDDEN if name in SECRETS else value
                 for name, value in self.auth.items()}
        # Sealed as one: who can write rows can not send a secret elsewhere.
        return Kept(self.url, shown, sealer.seal(json.dumps(
            {'url': self.url, 'auth': self.auth})))

    @classmethod
    def opened(cls, sealer, credentials):
        """Return what :meth:`keep` sealed.

        :raises errors.CredentialsError: the key is not configured any more
        """
        return cls(**json.loads(sealer.open(credentials)))

    def __str__(self):
        return self.url or 'this cloud'


def _check_auth(auth):
    """Refuse what the schema lets through although something is missing."""
    if auth['type'] == 'application_credential':
        _need(auth, 'application_credential_secret')
        if _need(auth, 'application_credential_id',
                 'application_credential_name') != _CREDENTIAL[0]:
            _need(auth, 'user_id', 'username')
    elif auth['type'] == 'token':
        _need(auth, 'token')
    else:
        _need(auth, 'username', 'user_id')
        _need(auth, 'password')


def _need(auth, *names):
    """Return which of the names is there, the first one that is."""
    for name in names:
        if auth.get(name):
            return name
    others = f' (or {names[1]})' if names[1:] else ''
    raise errors.Invalid(f'restore.restore_auth.{names[0]}{others} is missing '
                         f'for the type {auth["type"]}.')


def _parts(url):
    """Return what of a URL tells which Keystone it is.

    :raises errors.Invalid: it can not be that of a Keystone
    """
    match = _URL.fullmatch(url)
    if match is None:
        raise errors.Invalid(
            'restore.restore_target must be the URL of a Keystone, such as '
            'https://cloud.example:5000/v3: with http or https, a host, and '
            'neither a user nor a query.')
    scheme = match['scheme'].lower()
    return (scheme, match['host'].lower(),
            int(match['port'] or SCHEMES[scheme]),
            _unversioned(match['path']))


def _unversioned(path):
    path = path.rstrip('/')
    for version in _VERSIONS:
        path = path.removesuffix(version)
    return path.rstrip('/')


def _v3(url):
    """Return where version 3 is, without asking: links may lead elsewhere."""
    return _unversioned(url) + '/v3'


class Targets:
    """Tells which targets are allowed, and makes sessions that lead there.

    :param conf: has ``[restore_targets]``
    :param cloud: our own, of ``karbor_ng.keystone``
    """

    def __init__(self, conf, cloud):
        self._conf = conf[GROUP]
        self._cloud = cloud
        for url in self._conf.allowed:
            if url != _EVERYTHING and not _is_usable(url):
                LOG.warning('[restore_targets] allowed: "%s" is no URL of a '
                            'Keystone and allows nothing.', url)

    def check(self, target):
        """:raises errors.Invalid: this deployment does not restore there"""
        allowed = self._conf.allowed
        if (self._is_own(target) or _EVERYTHING in allowed
                or any(_is(url, target.url) for url in allowed)):
            return
        raise errors.Invalid(
            f'restore.restore_target: this deployment does not restore into '
            f'{target.url}: ask its operator to list it in [restore_targets] '
            'allowed.')

    def _is_own(self, target):
        return target.url is None or _is(self._cloud.auth_url, target.url)

    def session(self, target):
        """Return a session with the rights of the target's user there.

        Signs in, so that what is wrong is found here. It renews its token
        as long as the credentials are good; a token alone lives as long as
        its Keystone says, and for services of this cloud as long as those of
        all operations.

        :raises errors.CredentialsError: the target refuses the credentials
        :raises errors.Invalid: the target is not allowed
        :raises errors.Unavailable: the target does not answer; try again
        """
        self.check(target)
        with _explained(target):
            session = self._open(target)
        if session is None:
            raise errors.CredentialsError(
                'This deployment has no cloud to restore into.')
        if target.auth.get('region_name'):
            session.region_name = target.auth['region_name']
        return session

    def _open(self, target):
        auth, is_own = target.auth, self._is_own(target)
        url = _v3((self._cloud.auth_url if is_own else target.url) or '')
        connect = functools.partial(self._connect, target, is_own)
        if auth['type'] == 'token' and is_own and not _project(auth):
            session = self._cloud.token_session(auth['token'])
        else:
            session = connect(_plugin(url, auth, connect))
        if session is not None and not session.get_project_id():
            project_id = _only_project(session, url)
            session = connect(_plugin(
                url, {**auth, 'project_id': project_id}, connect))
            session.get_token()
        return session

    def _connect(self, target, is_own, auth):
        """Return a session, which has not asked anybody yet."""
        refused = functools.partial(_refused, target)
        if is_own:
            return self._cloud.session_of(auth, refused)
        conf = self._conf
        # Whoever answers with a redirection would get the secret as well.
        return keystone.Session(
            auth=auth, redirect=False, timeout=conf.timeout,
            verify=not conf.insecure and (conf.cafile or True),
            interface=conf.valid_interfaces, refused=refused)


def _is(url, wanted):
    """Return whether two URLs name one Keystone; one of them is right."""
    return _is_usable(url) and _parts(url) == _parts(wanted)


def _is_usable(url):
    return bool(url and _URL.fullmatch(url))


def _plugin(url, auth, connect):
    """Return keystoneauth's plugin for what a user has given."""
    if auth['type'] == 'application_credential':
        return v3.ApplicationCredential(
            url, **_some(auth, *_CREDENTIAL), **_user(auth))
    if auth['type'] == 'password':
        return v3.Password(url, password=auth['password'], **_user(auth),
                           **_project(auth))
    if _project(auth):
        return v3.Token(url, auth['token'], **_project(auth))
    # As it is: to exchange it would lose the project that it is for.
    session = connect(None)
    body = session.get(
        f'{url}/auth/tokens', authenticated=False, log=False,
        headers={'X-Auth-Token': auth['token'],
                 'X-Subject-Token': auth['token'],
                 'OpenStack-Identity-Access-Rules': '1'}).json()
    return access_plugin.AccessInfoPlugin(
        access.create(body=body, auth_token=auth['token']))


def _some(auth, *names):
    return {name: auth[name] for name in names if auth.get(name)}


def _user(auth):
    return _in_domain(_some(auth, *_USER), 'username', 'user')


def _project(auth):
    found = _some(auth, *_PROJECT)
    if not found.keys() & {'project_id', 'project_name'}:
        return {}
    domains = _some(auth, 'user_domain_id', 'user_domain_name')
    return _in_domain(found, 'project_name', 'project', {
        name.replace('user', 'project'): value
        for name, value in domains.items()})


def _in_domain(found, name, noun, default=None):
    """Add the domain that a name needs, if none is given."""
    given = found.keys() & {f'{noun}_domain_id', f'{noun}_domain_name'}
    if name in found and not given:
        found.update(default or {f'{noun}_domain_id': _DOMAIN_ID})
    return found


def _only_project(session, url):
    """Return the id of the one project that the user can be meant to mean.

    :raises errors.CredentialsError: there are several, or none
    """
    answer = session.get(f'{url}/auth/projects', log=False)
    found = answer.json()['projects']
    if len(found) != 1:
        raise errors.CredentialsError(
            'restore_auth names no project, its user has no default one, and '
            f'roles in {len(found)}: name one with project_id, or '
            'project_name.')
    return found[0]['id']


def _refused(target, url):
    return errors.CredentialsError(
        f'{url} does not accept the credentials in restore_auth, for '
        f'{target}, any more (HTTP 401): they were revoked or changed, or '
        'have expired. Tokens do soon: restore again with a password or an '
        'application credential.')


@contextlib.contextmanager
def _explained(target):
    """Tell what a Keystone refuses in our words.

    Causes are cut off: Keystone quotes tokens in some of its answers.
    """
    try:
        yield
    except (exceptions.Unauthorized, errors.Unauthorized,
            exceptions.NotFound):
        raise errors.CredentialsError(
            f'Keystone of {target} refuses the credentials in restore_auth: '
            'check user, domain, project and secret, and whether a token has '
            'expired.') from None
    except _UNUSABLE as exc:
        raise errors.CredentialsError(
            f'{target} can not be used: it is no Keystone, or is not to be '
            f'trusted ({type(exc).__name__}).') from None
    except exceptions.HttpError as exc:
        raise _of_status(target, exc.http_status) from None
    except exceptions.ClientException as exc:
        raise errors.Unavailable(
            f'Keystone of {target} does not answer: {exc}') from None


def _of_status(target, status):
    if status >= 500:
        return errors.Unavailable(
            f'Keystone of {target} does not answer (HTTP {status}).')
    return errors.CredentialsError(
        f'Keystone of {target} refuses the credentials in restore_auth '
        f'(HTTP {status}).')
