# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The fence: a session that sends nothing for an operation that is lost.

Clouds can not be asked who owns an operation. A worker that was stopped
anywhere and wakes up when another one goes on in its place must be silent at
its very next request; looking at the lease where hooks begin or wait would be
too late. Apart from the lease, which knows nothing of clouds.
"""

#: What of a session may ask a cloud before, or instead of, a request.
_ASKING = frozenset((
    'get', 'head', 'post', 'put', 'patch', 'delete', 'get_all_version_data',
    'get_api_major_version', 'get_auth_headers', 'get_endpoint',
    'get_endpoint_data', 'get_project_id', 'get_token', 'get_user_id'))


class FencedSession:
    """A keystoneauth session for one attempt at one operation.

    Clients send all they have to say with :meth:`request`. What else may ask
    a cloud is fenced as well; for anything else it is the session within.

    :raises errors.Fenced: from each request, once the lease is lost
    """

    def __init__(self, session, lease):
        self._session = session
        self._lease = lease

    def __getattr__(self, name):
        found = getattr(self._session, name)
        if name in _ASKING:
            self._lease.check_owned()
        return found

    def request(self, url, method, **kwargs):
        """Send a request, unless the operation is somebody else's by now."""
        self._lease.check_owned()
        return self._session.request(url, method, **kwargs)


def fenced(session, lease):
    """Return the session behind a fence; None where there is no cloud."""
    return None if session is None else FencedSession(session, lease)


def unfenced(session):
    """Return the session itself.

    Only for who removes, by its id, what was made before the lease was found
    to be lost: nobody else may know of it.
    """
    return (session._session if isinstance(session, FencedSession)
            else session)
