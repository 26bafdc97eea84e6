# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Sealing of secrets that must be kept: the callers' credentials.

Fernet keys from ``[credentials] keys``: the first one seals, all of them
open, so that keys are rotated by putting a new one in front.
"""

from cryptography import fernet
from oslo_config import cfg

from karbor_ng import errors

GROUP = 'credentials'
OPTS = [
    cfg.ListOpt('keys', default=[], secret=True,
                help='Keys that encrypt the credentials which a running '
                     'operation keeps in the database. The first key '
                     'encrypts, all of them decrypt: put a new key in front '
                     'to rotate. "karbor-manage credentials key" prints one. '
                     'All services of one deployment need the same keys.'),
]


def new_key():
    """Return a new key as text."""
    return fernet.Fernet.generate_key().decode()


class Sealer:
    """Seals text for the database and opens it again."""

    def __init__(self, keys):
        """:raises errors.ConfigError: no key, or a malformed one"""
        if not keys:
            raise errors.ConfigError(
                'No key in [credentials] keys: put one there that '
                '"karbor-manage credentials key" prints.')
        try:
            self._fernet = fernet.MultiFernet(
                [fernet.Fernet(key) for key in keys])
        except ValueError:
            raise errors.ConfigError(
                'A key in [credentials] keys is malformed: use what '
                '"karbor-manage credentials key" prints.') from None

    @classmethod
    def from_conf(cls, conf):
        """Take the keys of the configuration.

        :raises errors.ConfigError: no key, or a malformed one
        """
        # Not as an attribute: that is the method of the group, a mapping.
        return cls(conf.credentials['keys'])

    def seal(self, text):
        """Return ``text`` encrypted; None stays None."""
        if text is None:
            return None
        return self._fernet.encrypt(text.encode()).decode()

    def open(self, sealed):
        """Return the text again; None stays None.

        :raises errors.CredentialsError: sealed with a key that is not
            configured any more
        """
        if sealed is None:
            return None
        try:
            return self._fernet.decrypt(sealed.encode()).decode()
        except fernet.InvalidToken:
            raise errors.CredentialsError(
                'The stored credentials were encrypted with a key that is '
                'not in [credentials] keys any more.') from None
