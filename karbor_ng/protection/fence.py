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
#: Requests that change nothing.
_READING = ('GET', 'HEAD')
#: What of a session changes something.
_CHANGING = frozenset(('post', 'put', 'patch', 'delete'))


class FencedSession:
    """A keystoneauth session for one attempt at one operation.

    Clients send all they have to say with :meth:`request`. What else may ask
    a cloud is fenced as well; for anything else it is the session within.

    :param journal: the attempt's, which has its lease
    :raises errors.Fenced: from each request, once the lease is lost
    """

    def __init__(self, session, journal):
        self._session = session
        self._journal = journal

    def __getattr__(self, name):
        found = getattr(self._session, name)
        if name in _ASKING:
            self._journal.lease.check_owned()
        if name in _CHANGING:
            self._journal.settle()
        return found

    def request(self, url, method, **kwargs):
        """Send a request, unless the operation is somebody else's by now.

        What was done until now is committed before anything is changed: no
        hook runs again that ended before this request.
        """
        self._journal.lease.check_owned()
        if method.upper() not in _READING:
            self._journal.settle()
        return self._session.request(url, method, **kwargs)


def fenced(session, journal):
    """Return the session behind a fence; None where there is no cloud."""
    return None if session is None else FencedSession(session, journal)


def unfenced(session):
    """Return the session itself.

    Only for who removes, by its id, what was made before the lease was found
    to be lost: nobody else may know of it.
    """
    return (session._session if isinstance(session, FencedSession)
            else session)
