# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Everything that karbor_ng raises on purpose.

One small tree, apart from those who raise it, so that every room of the
house may name what happened without importing the room where it happens.
``code`` is the HTTP status with which the API answers the error; the text of
the error is written for the person who reads that answer.
"""


class Error(Exception):
    """Anything that went wrong and that we can explain."""

    code = 500


class Invalid(Error):
    """The request is malformed: its text names the field and the rule."""

    code = 400


class Unauthorized(Error):
    """No, or no valid, credentials came with the request."""

    code = 401


class Forbidden(Error):
    """The caller's roles do not allow this."""

    code = 403


class NotFound(Error):
    """There is no such thing, or it belongs to another project."""

    code = 404


class Conflict(Error):
    """The thing's present state forbids the request; the text says which."""

    code = 409


class InUse(Conflict):
    """Something else still uses the thing; the text names what."""


class TriggerInUse(InUse):
    """Scheduled operations still use a trigger; Karbor's own word for it."""

    code = 424


class OverQuota(Error):
    """The project has used up its limit."""

    code = 413


class UnsupportedMediaType(Error):
    """The body's content type is not JSON."""

    code = 415


class Unavailable(Error):
    """A service that we need does not answer at the moment."""

    code = 503


class Exists(Error):
    """Something with this key or id is there already."""

    code = 409


class BankError(Error):
    """The bank failed; the text names the key and what the bank said."""


class Fenced(Error):
    """This worker no longer owns the operation: stop, touch nothing."""


class Stopping(Error):
    """This worker is stopping; another one will go on."""


class Aborted(Error):
    """Somebody asked that the operation ends now."""


class CredentialsError(Error):
    """The stored credentials of an operation can not be used any more."""


class TrustError(CredentialsError):
    """Keystone gives no token for the trust of a scheduled operation."""

    def __init__(self, trust_id, text):
        super().__init__(text)
        self.trust_id = trust_id


class ResourceError(Error):
    """Protecting, restoring or deleting one resource failed."""


class Skipped(ResourceError):
    """This resource can not be protected, or restored, as things are."""


class Timeout(ResourceError):
    """An external wait passed its deadline."""


class ConfigError(Error):
    """A service can not start as it is configured; the text says what to do."""
