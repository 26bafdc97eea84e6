# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""A bank in one container of OpenStack's object storage.

Swift keeps several copies of everything and prefers to answer. What that
means here:

- A new object can be read at once. A *listing* may miss it, or still show a
  deleted one, for as long as Swift's updaters lag behind (seconds in a sound
  cluster). What must not be missed is therefore found by keys in a manifest,
  never by listing.
- ``If-None-Match: *`` is checked when a put arrives, not when it is
  committed, so that two of them at the same moment can both succeed, and the
  later one stays. A put with ``if_absent`` signs its object, lets the dust
  settle for some times its own duration, and looks whose signature is there.
  A request that hung inside Swift for longer than that could still replace
  an object unnoticed: what needs more than this is decided in the database.
"""

import contextlib
import email.utils
import hashlib
import http.client
import threading
import time
import uuid

from keystoneauth1 import exceptions as keystone_exceptions
from keystoneauth1 import session as keystone_session
from keystoneauth1.identity import generic
from oslo_config import cfg
import requests
import swiftclient
from swiftclient import client
import urllib3

from karbor_ng import errors
from karbor_ng import patience
from karbor_ng.bank import driver

CLIENT_GROUP = 'swift_client'
GROUP = 'swift_bank_plugin'

#: Swift's own default for the longest listing is ten times as much.
LONGEST_PAGE = 1000
#: Who wrote an object that was put if absent.
SIGNATURE = 'x-object-meta-karbor-writer'
#: How long the dust settles: times the duration of the put, and in seconds.
SETTLE_TIMES = 4
SETTLE_SHORTEST = 0.5
SETTLE_LONGEST = 5

#: Statuses after which the same request may succeed: a token that was revoked
#: (the next one is new), time-outs, a body that was damaged on the way (422),
#: rate limits.
PASSING = {401, 408, 409, 422, 429, 498, 499, 500, 502, 503, 504}
ADVICE = {
    401: 'access was refused: check swift_user, swift_key, swift_tenant_name '
         'and the domain names in the provider file',
    403: 'access was refused: swift_user needs a role that may write to the '
         'account (an operator role of Swift)',
    413: 'it is too large, or the quota of the account or container is used '
         'up',
    507: 'the storage is full',
}
#: What swiftclient lets through from the libraries below it.
NETWORK_ERRORS = (requests.RequestException, urllib3.exceptions.HTTPError,
                  http.client.HTTPException, OSError)
#: These do not heal by themselves.
CERTIFICATE_ERRORS = (requests.exceptions.SSLError,
                      keystone_exceptions.SSLError)
_UNUSED = 'Banks have no leases any more; the option has no effect.'
_UNREAD = 'It was never read; the service catalog says where Swift is.'

# The log of swiftclient shows the beginning of tokens unless told otherwise.
client.logger_settings['reveal_sensitive_prefix'] = 0


class SwiftBank(driver.BankDriver):
    """Keeps every object of the bank in an object of a container.

    The container is created by the first put that misses it. One connection
    for each thread; one token for all of them.
    """

    KIND = 'swift'
    SETTLE_SECONDS = SETTLE_LONGEST
    OPTS = [
        (CLIENT_GROUP, [
            cfg.StrOpt('swift_auth_url',
                       help='URL of Keystone, with or without the version.'),
            cfg.StrOpt('swift_user',
                       help='Name of the user that owns the bank.'),
            cfg.StrOpt('swift_key', secret=True,
                       help="The user's password."),
            cfg.StrOpt('swift_tenant_name',
                       help='Name of the project in whose account the bank '
                            'is.'),
            cfg.StrOpt('swift_project_domain_name', default='default',
                       help="Name of the project's domain."),
            cfg.StrOpt('swift_user_domain_name', default='default',
                       help="Name of the user's domain."),
            cfg.StrOpt('swift_region_name',
                       help='Region whose Swift is used. Needed only where '
                            'the catalog has several.'),
            cfg.StrOpt('swift_interface', default='public',
                       choices=['public', 'internal', 'admin'],
                       help='Which endpoint of the catalog is used.'),
            cfg.StrOpt('swift_ca_cert_file',
                       help='File with the certificates of the authorities '
                            'that Keystone and Swift are verified against. '
                            "The system's when unset."),
            cfg.BoolOpt('swift_auth_insecure', default=False,
                        help='Do not verify the certificates of Keystone and '
                             'Swift. Whoever is between can then read and '
                             'change the bank.'),
            cfg.IntOpt('swift_retry_attempts', default=3, min=0,
                       help='How often a request is repeated that was '
                            'interrupted.'),
            cfg.FloatOpt('swift_retry_backoff', default=2, min=0,
                         help='Seconds before the first repetition; each '
                              'later pause is twice as long.'),
            cfg.FloatOpt('swift_timeout', default=60, min=1,
                         help='Seconds without an answer, or without any '
                              'byte of one, after which a request to '
                              'Keystone or Swift counts as interrupted.'),
            cfg.StrOpt('swift_endpoint', deprecated_for_removal=True,
                       deprecated_reason=_UNREAD,
                       help='Has no effect.'),
            cfg.StrOpt('swift_catalog_info', deprecated_for_removal=True,
                       deprecated_reason=_UNREAD,
                       help='Has no effect.'),
        ]),
        (GROUP, [
            cfg.StrOpt('bank_swift_object_container', default='karbor',
                       help='Container that holds the bank. Created when it '
                            'does not exist. Two banks in one account need '
                            'different containers.'),
        ] + [
            cfg.IntOpt(name, default=seconds, deprecated_for_removal=True,
                       deprecated_reason=_UNUSED,
                       help='Has no effect.')
            for name, seconds in (('lease_expire_window', 600),
                                  ('lease_renew_window', 120),
                                  ('lease_validity_window', 100))
        ]),
    ]

    def __init__(self, conf):
        super().__init__(conf)
        self._options = conf[CLIENT_GROUP]
        for name in ('swift_auth_url', 'swift_user', 'swift_key',
                     'swift_tenant_name'):
            if not self._options[name]:
                raise errors.ConfigError(
                    f'Set {name} in [{CLIENT_GROUP}] of the provider file.')
        self._container = conf[GROUP].bank_swift_object_container
        if not self._container or '/' in self._container:
            raise errors.ConfigError(
                f'bank_swift_object_container in [{GROUP}] of the provider '
                'file must be a name without a slash.')
        self.retry_attempts = self._options.swift_retry_attempts
        self.retry_backoff = self._options.swift_retry_backoff
        self._session = self._make_session()
        self._local = threading.local()

    def put(self, key, data, if_absent=False):
        if if_absent:
            self._put_if_absent(key, data)
        else:
            self._put(key, data, {})

    def get(self, key):
        headers, data = self._call(key, client.get_object, key)
        if headers.get('etag', '').strip('"') != _md5(data):
            raise driver.Interrupted(
                f'Swift failed at "{key}": the bytes that arrived are not '
                'those that Swift has.')
        return data

    def age(self, key):
        headers = self._call(key, client.head_object, key)
        now = email.utils.parsedate_to_datetime(headers['date'])
        # Dates are whole seconds, time stamps are not.
        return max(0, now.timestamp() - float(headers['x-timestamp']))

    def list(self, prefix, after=None, limit=1000):
        try:
            _headers, found = self._call(
                prefix, client.get_container, prefix=prefix, marker=after,
                limit=min(limit, LONGEST_PAGE))
        except errors.NotFound:
            return []
        return [item['name'] for item in found]

    def delete(self, key):
        with contextlib.suppress(errors.NotFound):
            self._call(key, client.delete_object, key)

    def _put_if_absent(self, key, data):
        signature = uuid.uuid4().hex
        began = time.monotonic()
        self._put(key, data, {'If-None-Match': '*', SIGNATURE: signature})
        _settle(time.monotonic() - began)
        try:
            headers = self._call(key, client.head_object, key,
                                 headers={'X-Newest': 'true'})
        except errors.NotFound:
            raise driver.Interrupted(
                f'Swift failed at "{key}": it was deleted while it was '
                'stored.') from None
        if headers.get(SIGNATURE) != signature:
            raise errors.Exists(
                f'The bank has "{key}" from another writer at the same '
                'moment.')

    def _put(self, key, data, headers):
        def put():
            self._call(key, client.put_object, key, data,
                       content_length=len(data), etag=_md5(data),
                       content_type='application/octet-stream',
                       headers=headers)

        try:
            put()
        except errors.NotFound:
            self._call(key, client.put_container)
            try:
                put()
            except errors.NotFound:
                raise errors.BankError(
                    f'Swift failed at "{key}": container '
                    f'"{self._container}" does not exist and could not be '
                    'created.') from None

    def _call(self, key, function, *arguments, **options):
        """Call one of swiftclient's functions; raise only our own errors."""
        try:
            return function(
                self._url(), self._session.get_token(), self._container,
                *arguments, http_conn=self._connection(), **options)
        except swiftclient.ClientException as problem:
            if problem.http_status == 404:
                raise errors.NotFound(f'The bank has no "{key}".') from None
            if problem.http_status == 412 and 'If-None-Match' in options.get(
                    'headers', ()):
                raise errors.Exists(f'The bank already has "{key}".') from None
            self._drop(problem.http_status == 401)
            raise _explain_status(key, problem) from problem
        except keystone_exceptions.ClientException as problem:
            self._drop(True)
            raise _explain_keystone(key, problem) from problem
        except NETWORK_ERRORS as problem:
            # Swift may have hung up on a big put because the token was
            # revoked, before we could read its answer.
            self._drop(True)
            raise _explain_network(key, problem) from problem

    def _url(self):
        options = self._options
        url = self._session.get_endpoint(
            service_type='object-store', interface=options.swift_interface,
            region_name=options.swift_region_name)
        if not url:
            raise keystone_exceptions.EndpointNotFound()
        return url

    def _connection(self):
        """Return this thread's own: they can not be shared."""
        connection = getattr(self._local, 'connection', None)
        if connection is None:
            connection = self._local.connection = client.http_connection(
                self._url(), timeout=self._options.swift_timeout,
                cacert=self._options.swift_ca_cert_file,
                insecure=self._options.swift_auth_insecure)
        return connection

    def _drop(self, with_token):
        """Start afresh: after a failure nobody knows what is in the pipe."""
        if with_token:
            self._session.invalidate()
        connection = getattr(self._local, 'connection', None)
        self._local.connection = None
        if connection:
            with contextlib.suppress(*NETWORK_ERRORS):
                connection[1].close()

    def _make_session(self):
        options = self._options
        password = generic.Password(
            auth_url=options.swift_auth_url, username=options.swift_user,
            password=options.swift_key,
            project_name=options.swift_tenant_name,
            user_domain_name=options.swift_user_domain_name,
            project_domain_name=options.swift_project_domain_name)
        verify = options.swift_ca_cert_file or True
        return keystone_session.Session(
            auth=password, timeout=options.swift_timeout,
            verify=False if options.swift_auth_insecure else verify)


def _md5(data):
    """Return what Swift calls an object's ETag; no protection from malice."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _settle(seconds):
    """Wait until puts that arrived before ours was there are done."""
    time.sleep(min(max(SETTLE_TIMES * seconds, SETTLE_SHORTEST),
                   SETTLE_LONGEST))


def _explain_status(key, problem):
    status = problem.http_status
    advice = ADVICE.get(status, f'it answered {status} '
                                f'{problem.http_reason or problem.msg}')
    request = (f' (request {problem.transaction_id})'
               if problem.transaction_id else '')
    words = f'Swift failed at "{key}": {advice}{request}.'
    if status not in PASSING:
        return errors.BankError(words)
    return driver.Interrupted(words, retry_after=patience.retry_after(
        requests.structures.CaseInsensitiveDict(
            problem.http_response_headers or {})))


def _explain_network(key, problem):
    kind = (errors.BankError if isinstance(problem, CERTIFICATE_ERRORS)
            else driver.Interrupted)
    return kind(f'Swift failed at "{key}": {problem}.')


def _explain_keystone(key, problem):
    """Keystone may be away for a moment as well; a wrong password stays."""
    status = getattr(problem, 'http_status', None)
    if status in (401, 403):
        return errors.BankError(f'Swift failed at "{key}": {ADVICE[401]}.')
    if isinstance(problem, keystone_exceptions.CatalogException):
        return errors.BankError(
            f'Swift failed at "{key}": the service catalog has no such '
            'object-store; check swift_region_name and swift_interface in '
            'the provider file.')
    passing = status in PASSING or isinstance(
        problem, (keystone_exceptions.ConnectionError,
                  keystone_exceptions.DiscoveryFailure))
    words = f'Swift failed at "{key}": Keystone gave no access: {problem}.'
    if not passing or isinstance(problem, CERTIFICATE_ERRORS):
        return errors.BankError(words)
    response = getattr(problem, 'response', None)
    return driver.Interrupted(words, retry_after=patience.retry_after(
        getattr(response, 'headers', None)))
