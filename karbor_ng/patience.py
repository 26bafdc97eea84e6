# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Patience with clouds: which requests are sent again, and when.

keystoneauth can repeat requests too, but knows neither a cap nor dates in
``Retry-After``, nor which requests may be repeated, and sleeps where nobody
can wake it. So each request of its sessions is sent through :class:`Requests`
instead, one layer below, where nothing is nested: what fetches a token, asks
for versions or calls a service is repeated for itself alone.
"""

import logging
import random

import requests
import tenacity
import urllib3
from urllib3 import exceptions as urllib3_exceptions

from karbor_ng import context

LOG = logging.getLogger(__name__)

#: Answers after which the same request may succeed.
PASSING = (429, 500, 502, 503, 504)
#: Those of them which say that nothing was done.
NOT_DONE = (429, 503)
#: What may be done twice without harm.
IDEMPOTENT = ('GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE')

#: Seconds: the first pause, and the longest.
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 60
#: How often a request is repeated if nobody says anything else.
REPETITIONS = 3

#: How a connection ends that broke or was silent for too long.
_BROKEN = (requests.exceptions.ConnectionError,
           requests.exceptions.Timeout,
           requests.exceptions.ChunkedEncodingError)


def retry_after(headers, longest=LONGEST_PAUSE):
    """Return for how many seconds a service asks to be left alone.

    It may say so in seconds or by a date. None if it does not, or in words
    that nobody understands.

    :param headers: of its answer; None where there was no answer
    :param longest: seconds; not more than these are returned
    """
    asked = (headers or {}).get('Retry-After')
    if not asked:
        return None
    try:
        return float(urllib3.Retry(
            retry_after_max=longest).parse_retry_after(asked))
    except (urllib3_exceptions.InvalidHeader, OverflowError, ValueError):
        return None


def pause(failures, asked=None, first=FIRST_PAUSE, longest=LONGEST_PAUSE):
    """Return the seconds to wait after so many failures in a row.

    Each pause is twice as long as the one before. A part of it is chance, so
    that those who failed together do not come back together.

    :param asked: what :func:`retry_after` returned: the least to wait
    """
    own = min(first * 2 ** min(failures - 1, 30), longest)
    # No secret.
    own *= random.uniform(0.75, 1.25)  # nosec B311
    if asked is None:
        return own
    # All others were asked for the same.
    return asked + min(own, asked / 4)


class Requests(requests.Session):
    """Sends requests, again where that can not do harm.

    What may be done twice is sent again after a connection broke or was
    silent, and after the answers in ``PASSING``. Anything else only if
    nothing can have been done: the answers in ``NOT_DONE``, or nobody was
    there. A body that was read once is not sent again.

    Pauses end early, by raising, when the operation that this thread works
    for ends; see ``context.sleep``.

    :param connection_repetitions: how often after a broken connection
    :param status_repetitions: how often after an answer
    :param longest_asked: the most seconds that ``Retry-After`` is heeded
    :param total: seconds after which nothing is sent again; None for no such
        limit
    """

    def __init__(self, connection_repetitions=REPETITIONS,
                 status_repetitions=REPETITIONS, longest_asked=LONGEST_PAUSE,
                 total=None):
        super().__init__()
        self._repetitions = {True: connection_repetitions,
                             False: status_repetitions}
        self._longest_asked = longest_asked
        self._total = total

    def request(self, method, url, **kwargs):
        """Send a request; see requests for the arguments."""
        sent = _Sent(method, url, kwargs)
        repeating = tenacity.Retrying(
            retry=lambda state: sent.may_be_repeated(state.outcome),
            wait=self._pause, stop=self._is_over, sleep=context.sleep,
            before_sleep=sent.tell,
            # The last answer, or problem, is the caller's.
            retry_error_callback=lambda state: state.outcome.result())
        return repeating(super().request, method, url, **kwargs)

    def _pause(self, state):
        return pause(state.attempt_number, retry_after(
            _headers(state.outcome), self._longest_asked))

    def _is_over(self, state):
        if state.attempt_number > self._repetitions[state.outcome.failed]:
            return True
        return (self._total is not None and
                state.seconds_since_start + state.upcoming_sleep
                > self._total)


class _Sent:
    """One request, for the questions whether it may be sent once more."""

    def __init__(self, method, url, details):
        self._method = method.upper()
        self._url = url.partition('?')[0]
        headers = details.get('headers') or {}
        # What carries no token asks for one.
        self._is_idempotent = (self._method in IDEMPOTENT
                               or 'X-Auth-Token' not in headers)
        self._is_readable = isinstance(
            details.get('data'), (bytes, str, type(None)))

    def may_be_repeated(self, outcome):
        if outcome.failed:
            problem = outcome.exception()
            return _is_unmade(problem) or (
                self._is_idempotent and self._is_readable
                and _is_broken(problem))
        codes = PASSING if self._is_idempotent else NOT_DONE
        return self._is_readable and outcome.result().status_code in codes

    def tell(self, state):
        """Log why and when it is sent again; let go of the connection."""
        if state.outcome.failed:
            reason = type(state.outcome.exception()).__name__
        else:
            reason = f'HTTP {state.outcome.result().status_code}'
            state.outcome.result().close()
        LOG.warning('%s %s: %s. Sending it again in %.1f s.', self._method,
                    self._url, reason, state.upcoming_sleep)


def _is_broken(problem):
    # A certificate does not get better by asking again.
    return isinstance(problem, _BROKEN) and not isinstance(
        problem, requests.exceptions.SSLError)


def _is_unmade(problem):
    """Return whether there was no connection on which to send anything."""
    if isinstance(problem, requests.exceptions.SSLError):
        return False
    reason = getattr(problem.args[0], 'reason', None) if problem.args else None
    return (isinstance(problem, requests.exceptions.ConnectTimeout)
            or isinstance(reason, urllib3_exceptions.NewConnectionError))


def _headers(outcome):
    return None if outcome.failed else outcome.result().headers
