# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The ways to a cloud: keystoneauth sessions, ours and our users'.

``Cloud``, ``SingleUserCloud`` and ``NoCloud`` answer the same questions for
the three kinds of deployment; everybody else is handed a session and does
not know whose credentials are behind it. What Keystone refuses is told as
one of ``karbor_ng.errors``, with what to do and without any token.
"""

import contextlib
import datetime
import hashlib
import json
import logging
import threading
import time

from keystoneauth1 import access
from keystoneauth1 import exceptions
from keystoneauth1 import loading
from keystoneauth1 import service_token
from keystoneauth1 import session as keystone_session
from keystoneauth1.identity import access as access_plugin
from keystoneauth1.loading import session as session_loading
from oslo_config import cfg
from oslo_context import context as oslo_context
import requests

from karbor_ng import errors
from karbor_ng import patience

LOG = logging.getLogger(__name__)

GROUP = 'service_user'

_SERVICE_USER = 'the user in [service_user]'
_IDENTITY = {'service_type': 'identity', 'version': (3, 0)}
_TIMEOUT_SECONDS = 60
_USER_AGENT = 'karbor-protection'

#: Of keystoneauth's adapter options, those that fit all services at once.
_ADAPTER_OPTIONS = ('valid_interfaces', 'region_name', 'connect_retries',
                    'status_code_retries')
_DEFAULTS = {
    'valid_interfaces': ['internal', 'public'],
    'connect_retries': patience.REPETITIONS,
    'status_code_retries': patience.REPETITIONS,
    'timeout': _TIMEOUT_SECONDS,
}
_HELPS = {
    'insecure': 'Talk to servers whose certificates nobody has signed.',
    'timeout': 'Seconds that a request waits for a connection, and then for '
               'each next byte of the answer, before a silent server is '
               'given up.',
    'connect_retries': 'How often a request is repeated after its connection '
                       'failed or was silent. Requests that create something '
                       'are repeated only if there was no connection.',
    'status_code_retries': 'How often a request is repeated after the answer '
                           '429, 500, 502, 503 or 504. Requests that create '
                           'something are repeated only after 429 and 503.',
}

#: Connections kept open per server; more threads than this open new ones.
_POOL_CONNECTIONS = 64

#: Options that say for what a token is; a trust takes the place of them.
_SCOPES = {'project_id', 'project_name', 'project_domain_id',
           'project_domain_name', 'domain_id', 'domain_name', 'system_scope'}
_TRUST_REFUSALS = (exceptions.NotFound, exceptions.Unauthorized,
                   exceptions.Forbidden)
_TRUST_WORDS = (
    'Keystone does not accept the trust of the scheduled operation any more: '
    'it was revoked or has expired, or its user is disabled or lacks a role '
    'or the project that it had. Enable the scheduled operation again to '
    'renew it.')

#: How long Keystone may take to say that it is there.
_CHECK_SECONDS = 2

#: How long a checked token is believed, and how many of them.
_CHECKED_SECONDS = 300
_CHECKED_TOKENS = 256


def _options():
    """keystoneauth's options, as the password method needs them."""
    options = loading.get_auth_common_conf_options()
    options += loading.get_auth_plugin_conf_options('password')
    options += loading.get_session_conf_options()
    options += [option for option in loading.get_adapter_conf_options(
        include_deprecated=False) if option.dest in _ADAPTER_OPTIONS]
    for option in options:
        option.default = _DEFAULTS.get(option.dest, option.default)
        option.help = _HELPS.get(option.dest, option.help)
        # A deployment without a cloud has none of them.
        option.required = False
    return options + [
        cfg.ListOpt(
            'service_roles', default=['service'],
            help='Roles of which the service user needs one in its project: '
                 'what service_token_roles of the other services name. '
                 'Services do not start without one.'),
        cfg.IntOpt(
            'retry_after_max', default=patience.LONGEST_PAUSE, min=0,
            help='Seconds that a request is put off at most when a service '
                 'asks for it with Retry-After. What it asks for beyond '
                 'that is cut off.'),
    ]


OPTS = _options()


@contextlib.contextmanager
def _explained(who):
    """Tell what Keystone refuses to ``who`` in our words.

    Causes are cut off: Keystone quotes tokens in some of its answers.
    """
    try:
        yield
    except exceptions.Unauthorized:
        raise errors.ConfigError(
            f'Keystone refuses {who} (HTTP 401): check its name, password '
            'and project.') from None
    except exceptions.Forbidden:
        raise errors.ConfigError(
            f'Keystone forbids {who} to check tokens (HTTP 403): give it '
            'the role "service" in its project.') from None
    except (exceptions.AuthPluginException,
            exceptions.CatalogException) as exc:
        raise errors.ConfigError(
            f'The credentials of {who} can not be used: {exc}') from None
    except exceptions.ClientException as exc:
        raise errors.Unavailable(
            f'Keystone does not answer {who}: {exc}') from None


class Session(keystone_session.Session):
    """keystoneauth's session, with the manners that all our calls need.

    It knows where the endpoints are (hand ``interface`` and ``region_name``
    to clients that have defaults of their own). What it repeats is settled in
    :mod:`karbor_ng.patience`, whatever clients wish.

    :param connect_retries: how often after a broken connection
    :param status_code_retries: how often after an answer
    :param retry_after_max: seconds that a service may ask for at most
    :param total: seconds after which nothing is repeated
    :param refused: makes, of a URL, the error that is raised when the service
        there answers 401; None to raise what keystoneauth does
    """

    def __init__(self, *, interface=None, region_name=None, refused=None,
                 connect_retries=patience.REPETITIONS,
                 status_code_retries=patience.REPETITIONS,
                 retry_after_max=patience.LONGEST_PAUSE, total=None,
                 timeout=None, **kwargs):
        super().__init__(
            timeout=timeout or _TIMEOUT_SECONDS, user_agent=_USER_AGENT,
            session=patience.Requests(connect_retries, status_code_retries,
                                      retry_after_max, total), **kwargs)
        self.interface = interface
        self.region_name = region_name
        self._refused = refused
        adapter = keystone_session.TCPKeepAliveAdapter(
            tls_ciphers=self.tls_ciphers,
            tls_min_version=self.tls_min_version,
            pool_maxsize=_POOL_CONNECTIONS)
        for scheme in list(self.session.adapters):
            self.session.mount(scheme, adapter)

    def request(self, url, method, **kwargs):
        """Send a request; see keystoneauth for the arguments."""
        kwargs.update(connect_retries=0, status_code_retries=0)
        kwargs['headers'] = {**_request_id(), **(kwargs.get('headers') or {})}
        try:
            response = super().request(url, method, **kwargs)
        except exceptions.Unauthorized as exc:
            self._check_refusal(exc.url or url, kwargs)
            raise
        if response.status_code == 401:
            self._check_refusal(response.url, kwargs)
        return response

    def get_endpoint(self, auth=None, **kwargs):
        """Return a URL, of our region and interface if none is named."""
        return super().get_endpoint(auth, **self._placed(kwargs))

    def get_endpoint_data(self, auth=None, **kwargs):
        """Return what is known of an endpoint; like get_endpoint."""
        return super().get_endpoint_data(auth, **self._placed(kwargs))

    def _placed(self, wanted):
        place = {'interface': self.interface, 'region_name': self.region_name}
        return {**place, **{name: value for name, value in wanted.items()
                            if value is not None}}

    def _check_refusal(self, url, sent):
        # keystoneauth asks for versions without any of these two, and knows
        # how to go on when that is refused.
        is_call = sent.get('endpoint_filter') or sent.get('endpoint_override')
        if self._refused and is_call:
            raise self._refused(url.partition('?')[0]) from None


def _of_token(kind):
    """Return what makes the error of a token that can not be renewed."""
    def refused(url):
        return kind(
            f'{url} does not accept the token of the user any more (HTTP '
            '401): it was revoked, or it has expired and the user in '
            '[service_user] has not the role "service" that keeps it usable.')
    return refused


def _request_id():
    """Return the header by which a cloud logs the request that we work for.

    Services take nothing but ids of this form as each other's.
    """
    context = oslo_context.get_current()
    found = context and (context.global_request_id or context.request_id)
    if found and found.startswith('req-'):
        return {'X-OpenStack-Request-ID': found}
    return {}


class _SessionLoader(session_loading.Session):
    plugin_class = Session


class _UserAuth(service_token.ServiceTokenAuthWrapper):
    """A user's token with ours beside it, so that its end does not matter."""

    def get_headers(self, session):
        with _explained(_SERVICE_USER):
            return super().get_headers(session)

    def invalidate(self):
        """Drop our token; return True, for there will be another one.

        Another thread may have dropped it a moment ago, after the same
        refusal: that is no reason to give up.
        """
        super().invalidate()
        return True


class _TrustAuth(_UserAuth):
    """A token of a trust, renewed when it ends, with ours beside it."""

    def __init__(self, trust_id, *plugins):
        super().__init__(*plugins)
        self._trust_id = trust_id

    def get_headers(self, session):
        try:
            self.user_auth.get_token(session)
        except _TRUST_REFUSALS:
            raise errors.TrustError(self._trust_id, _TRUST_WORDS) from None
        return super().get_headers(session)


class Cloud:
    """The cloud that ``[service_user]`` names; one object per process.

    All methods may be called from any thread.
    """

    #: Whether rights of users that outlive their tokens are given as trusts.
    has_trusts = True

    def __init__(self, conf):
        self._conf = conf
        self._lock = threading.Lock()
        self._service = None

    def service_session(self):
        """Return the session of the service user, the same one every time.

        :raises errors.ConfigError: the section is missing or incomplete
        """
        with self._lock:
            if self._service is None:
                self._service = self._session(self._service_auth())
            return self._service

    @property
    def auth_url(self):
        """The URL of Keystone; None where the credentials need none."""
        return getattr(self.service_session().auth, 'auth_url', None)

    def check(self):
        """Return if Keystone answers at all.

        :raises errors.Unavailable: it does not
        """
        _check_answer(self.service_session())

    def check_service_user(self):
        """Sign in, and make sure that tokens of users stay usable.

        A Keystone that does not answer may do so later: that is logged.

        :raises errors.ConfigError: Keystone refuses the service user, or it
            has none of the roles that are needed
        """
        session = self.service_session()
        try:
            with _explained(_SERVICE_USER):
                found = session.auth.get_access(session)
        except errors.Unavailable as problem:
            LOG.warning('%s Whether it has its role is not known.', problem)
            return
        wanted = self._conf[GROUP].service_roles
        if not set(wanted) & set(found.role_names):
            raise errors.ConfigError(
                f'User {found.username}, {_SERVICE_USER}, has no role '
                f'"{", ".join(wanted)}" in project {found.project_name}: '
                'without it operations end when the tokens of their users '
                'expire. Assign it ("openstack role add").')

    def user_session(self, access_json):
        """Return a session with the rights of the user of an operation.

        Asks Keystone once, so that a token that was revoked meanwhile is
        found here; an expired one is as good as new.

        :param access_json: what ``RequestContext.access()`` returned, or
            ``{"trust_id": ...}`` as JSON
        :raises errors.CredentialsError: Keystone knows the token no more
        :raises errors.Unavailable: Keystone does not answer; try again
        :raises errors.ConfigError: the service user is not usable
        """
        if access_json is None:
            raise errors.CredentialsError(
                'The operation has no credentials of its user.')
        kept = json.loads(access_json)
        if 'trust_id' in kept:
            return self.trust_session(kept['trust_id'])
        body = self._fresh_body(kept['token'], kept['body'])
        return self._session(self._user_auth(kept['token'], body),
                             refused=_of_token(errors.CredentialsError))

    def trust_session(self, trust_id):
        """Return a session with the rights that a user has given us.

        Asks Keystone once, so that a trust that is of no use any more is
        found here. Its tokens are renewed as long as it is.

        :raises errors.TrustError: Keystone gives no token for the trust
        :raises errors.Unavailable: Keystone does not answer; try again
        :raises errors.ConfigError: the service user is not usable
        """
        auth = self._service_auth(trust_id)
        made = self._session(
            _TrustAuth(trust_id, auth, self.service_session().auth),
            refused=_of_token(errors.CredentialsError))
        with _explained(_SERVICE_USER):
            try:
                auth.get_access(made)
                return made
            except _TRUST_REFUSALS:
                # Is it the trust, or is it we who are refused?
                own = self._service_auth()
                own.get_access(self._session(own))
        raise errors.TrustError(trust_id, _TRUST_WORDS)

    def token_session(self, token):
        """Return a session with the rights of a token, expired or not.

        Raises like :meth:`user_session`.
        """
        return self._session(
            self._user_auth(token, self._fresh_body(token)),
            refused=_of_token(errors.CredentialsError))

    def session_of(self, auth, refused):
        """Return a session in this cloud with other credentials.

        :param auth: a plugin of keystoneauth
        :param refused: see :class:`Session`
        """
        return self._session(auth, refused=refused)

    def api_session(self, context):
        """Return a session with the rights of the caller of a request.

        The token was checked a moment ago: Keystone is not asked.

        :raises errors.Unauthorized: the request came without a token
        """
        if not context.auth_token or not context.token_info:
            raise errors.Unauthorized('The request carries no token.')
        return self._session(
            self._user_auth(context.auth_token, context.token_info),
            refused=_of_token(errors.Unauthorized),
            # Somebody waits for it, with a thread that others wait for.
            total=self._conf[GROUP].timeout)

    def _session(self, auth, **kwargs):
        conf = self._conf[GROUP]
        return _SessionLoader().load_from_conf_options(
            self._conf, GROUP, auth=auth, interface=conf.valid_interfaces,
            region_name=conf.region_name,
            connect_retries=conf.connect_retries,
            status_code_retries=conf.status_code_retries,
            retry_after_max=conf.retry_after_max, **kwargs)

    def _service_auth(self, trust_id=None):
        """Return what signs the service user in, in its project or a trust."""
        section = self._conf[GROUP].auth_section or GROUP
        self._register(loading.get_auth_common_conf_options(), section)
        auth_type = self._conf[section].auth_type
        if not auth_type:
            raise errors.ConfigError(
                f'No auth_type in [{section}]: write the credentials of the '
                'service user there (auth_type = password, auth_url, '
                'username, password, project_name, user_domain_name, '
                'project_domain_name), or name the section that has them: '
                f'[{GROUP}] auth_section.')
        with _explained(_SERVICE_USER):
            self._register(
                loading.get_auth_plugin_conf_options(auth_type), section)
            loader = loading.get_plugin_loader(auth_type)
        values = {option.dest: self._conf[section][option.dest]
                  for option in loader.get_options()}
        if trust_id is not None:
            if ('trust_id' not in values
                    or 'application_credential_id' in values):
                raise errors.ConfigError(
                    f'[{section}] auth_type: {auth_type} can not use trusts, '
                    'which scheduled operations need: use password.')
            values.update(dict.fromkeys(set(values) & _SCOPES),
                          trust_id=trust_id)
        with _explained(_SERVICE_USER):
            return loader.load_from_options_getter(
                lambda option: values[option.dest])

    def _register(self, options, section):
        for option in options:
            # Methods word the help of the same option differently.
            with contextlib.suppress(cfg.DuplicateOptError):
                self._conf.register_opt(option, group=section)

    def _user_auth(self, token, body):
        reference = access.create(body=body, auth_token=token)
        return _UserAuth(access_plugin.AccessInfoPlugin(reference),
                         self.service_session().auth)

    def _fresh_body(self, token, old_body=None):
        with _explained(_SERVICE_USER):
            try:
                return _ask_keystone(self.service_session(), token,
                                     params={'allow_expired': '1'})
            except exceptions.NotFound:
                raise errors.CredentialsError(
                    _why_gone(old_body)) from None


class NoCloud:
    """A deployment without a cloud: there are no sessions."""

    has_trusts = False
    auth_url = None

    def check_service_user(self):
        """There is none."""

    def service_session(self):
        return None

    def user_session(self, access_json):
        return None

    def token_session(self, token):
        return None

    def session_of(self, auth, refused):
        return None

    def api_session(self, context):
        return None


class SingleUserCloud:
    """A cloud as one user sees it, with openstacksdk's configuration.

    For a server that works for nobody else: it keeps no tokens, since it has
    the user's own credentials.
    """

    has_trusts = False

    def __init__(self, name=None):
        """Read ``clouds.yaml`` and the ``OS_*`` variables; asks nobody yet.

        :param name: of a cloud in ``clouds.yaml``; None for ``OS_CLOUD`` or
            the other variables
        :raises errors.ConfigError: there is no such cloud, or it is
            incomplete
        """
        self._who = f'the user of cloud "{name}"' if name else (
            'the user that the OS_* variables name')
        self._lock = threading.Lock()
        self._checked = {}
        self._session = _sdk_session(name, self._who)

    @property
    def auth_url(self):
        return getattr(self._session.auth, 'auth_url', None)

    @property
    def project_id(self):
        """The user's project.

        :raises errors.ConfigError: the credentials are wrong or for none
        :raises errors.Unavailable: Keystone does not answer
        """
        with _explained(self._who):
            project_id = self._session.get_project_id()
        if not project_id:
            raise errors.ConfigError(
                f'The credentials of {self._who} are for no project: name '
                'one (project_name, or OS_PROJECT_NAME).')
        return project_id

    @property
    def user_id(self):
        """The user's id; raises like :attr:`project_id`."""
        with _explained(self._who):
            return self._session.get_user_id()

    def check(self):
        """Return if Keystone answers at all; raises like Cloud's."""
        _check_answer(self._session)

    def service_session(self):
        return self._session

    def user_session(self, access_json):
        return self._session

    def token_session(self, token):
        body = self._ask(token)
        return self.session_of(
            access_plugin.AccessInfoPlugin(
                access.create(body=body, auth_token=token)),
            _of_token(errors.CredentialsError))

    def session_of(self, auth, refused):
        own = self._session
        return Session(auth=auth, verify=own.verify, cert=own.cert,
                       timeout=own.timeout, interface=own.interface,
                       region_name=own.region_name, refused=refused)

    def api_session(self, context):
        return self._session

    def check_token(self, token):
        """Return the body of a token of this same user and project.

        An answer is believed for five minutes.

        :raises errors.Unauthorized: the token is not valid
        :raises errors.Forbidden: it belongs to another user or project
        :raises errors.Unavailable: Keystone does not answer
        """
        key = hashlib.sha256(token.encode()).digest()
        with self._lock:
            until, body = self._checked.get(key, (0, None))
        if time.monotonic() < until:
            return body
        body = self._ask(token)
        self._refuse_others(body['token'])
        self._remember(key, body)
        return body

    def _ask(self, token):
        # With the token itself: everybody may check an own token, while
        # others' tokens need rights that a plain user has not.
        with _explained(self._who):
            try:
                return _ask_keystone(self._session, token,
                                     authenticated=False,
                                     headers={'X-Auth-Token': token})
            except (exceptions.NotFound, exceptions.Unauthorized):
                raise errors.Unauthorized(
                    'The token is not valid.') from None

    def _refuse_others(self, token):
        if token['user']['id'] != self.user_id:
            raise errors.Forbidden(
                f'This server works for {self._who} alone.')
        if token.get('project', {}).get('id') != self.project_id:
            raise errors.Forbidden(
                'This server works for one project alone: use a token for '
                f'project {self.project_id}.')

    def _remember(self, key, body):
        with self._lock:
            while len(self._checked) >= _CHECKED_TOKENS:
                del self._checked[next(iter(self._checked))]
            self._checked[key] = (time.monotonic() + _CHECKED_SECONDS, body)


def seen_project(session):
    """Return the project whose things a session sees; None for an admin's.

    :raises errors.ConfigError: the credentials are wrong
    :raises errors.Unavailable: Keystone does not answer
    """
    with _explained('the user of this session'):
        found = session.auth.get_access(session)
    return None if 'admin' in found.role_names else found.project_id


def _sdk_session(name, who):
    """Return the session of a cloud of openstacksdk's configuration."""
    # Not above: no other deployment needs this package, and it is large.
    from openstack import config
    from openstack import exceptions as sdk_exceptions
    try:
        with _explained(who):
            region = config.OpenStackConfig().get_one(cloud=name)
        if (region.config.get('auth_type') == 'password'
                and not region.config['auth'].get('password')):
            # keystoneauth finds out late, with a bare Exception.
            raise errors.ConfigError(
                f'The credentials of {who} have no password: add it, or use '
                'an auth_type that needs none.')
        region.set_session_constructor(
            lambda **kwargs: Session(interface=region.get_interface(),
                                     region_name=region.get_region_name(),
                                     **kwargs))
        return region.get_session()
    except sdk_exceptions.ConfigException as exc:
        raise errors.ConfigError(f'No usable cloud: {exc}') from None


def _check_answer(session):
    """Ask Keystone for its versions: once, with a connection of its own."""
    url = session.auth.auth_url
    try:
        with requests.get(url, timeout=_CHECK_SECONDS, verify=session.verify,
                          cert=session.cert) as answer:
            code = answer.status_code
    except requests.RequestException as problem:
        raise errors.Unavailable(f'{url}: {problem}') from None
    if code >= 500:
        raise errors.Unavailable(f'{url} answers HTTP {code}.')


def _ask_keystone(session, token, headers=None, **kwargs):
    """Return what Keystone says about a token, unlogged.

    Tokens of application credentials with access rules are unknown to
    callers that do not announce to respect those; the services that we call
    with the token do.
    """
    response = session.get(
        '/auth/tokens', endpoint_filter=_IDENTITY, log=False,
        headers={'X-Subject-Token': token,
                 'OpenStack-Identity-Access-Rules': '1', **(headers or {})},
        **kwargs)
    return response.json()


def _why_gone(body):
    """Say why Keystone does not know a token that it once gave."""
    reference = access.create(body=body) if body else None
    if reference and reference.will_expire_soon(stale_duration=0):
        expired = reference.expires.astimezone(datetime.UTC)
        return ('Keystone does not accept the token of the user any more: it '
                f'was revoked, or it expired ({expired:%Y-%m-%d %H:%M} UTC) '
                'longer ago than [token] allow_expired_window of Keystone '
                'lets a service use it.')
    return ('The token of the user was revoked, or its user or project '
            'disabled: Keystone does not accept it any more.')
