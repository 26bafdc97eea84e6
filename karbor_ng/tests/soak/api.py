# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""karbor's API as a tenant meets it who does not know what has died.

Separate because it settles once what an answer means: what was acknowledged
is kept in the books and has to be there in the end, what was not answered
may be or not.
"""

import dataclasses
import threading
import time

from keystoneauth1 import exceptions

from karbor_ng.tests.functional import base

#: Seconds for one request; a paused API answers later than that.
TIMEOUT = 15
#: Seconds for which a question is asked again.
PATIENCE = 240
THERE, PERHAPS, GONE = 'there', 'perhaps', 'gone'


@dataclasses.dataclass
class Kept:
    """Something that a tenant has got, as long as nobody deletes it.

    :ivar state: whether it has to be there, by what was answered
    :ivar facts: what whoever asked for it wants to know later
    """

    noun: str
    id: str
    path: str
    api: object
    state: str = THERE
    facts: dict = dataclasses.field(default_factory=dict)


class Books:
    """All that was acknowledged, of all tenants."""

    def __init__(self):
        self._lock = threading.Lock()
        self._kept = []

    def add(self, kept):
        with self._lock:
            self._kept.append(kept)
        return kept

    def of(self, noun=None, api=None, state=None, **facts):
        """Return what there is of a noun, of one tenant, in a state."""
        with self._lock:
            return [one for one in self._kept
                    if noun in (None, one.noun) and api in (None, one.api)
                    and state in (None, one.state)
                    and all(one.facts.get(name) == value
                            for name, value in facts.items())]


class Api:
    """The API, with a tenant's token.

    :param tenant: a :class:`karbor_ng.tests.functional.base.User`
    :param url: of the API, without a version
    """

    def __init__(self, tenant, url, tally, books):
        self.tenant = tenant
        self.project_id = tenant.project_id
        self._tally = tally
        self._books = books
        self._karbor = base.Karbor(
            tenant.cloud.session, raise_exc=False,
            endpoint_override=f'{url}/v1/{tenant.project_id}')

    def ask(self, method, path, body=None):
        """Return status and body of an answer; (None, None) without one."""
        what = f'{method} {path}'
        try:
            answer = self._karbor.request(
                path, method, timeout=TIMEOUT,
                **({} if body is None else {'json': body}))
        except exceptions.ClientException as problem:
            self._tally.count('answers', 'none')
            self._tally.note(f'{what}: {type(problem).__name__}')
            return None, None
        except AssertionError as problem:
            self._tally.count('answers', 'not as described')
            self._tally.violation(f'{what} is not as described: {problem}')
            return None, None
        status = answer.status_code
        self._tally.count('answers', str(status))
        if method != 'GET' or status >= 400:
            self._tally.note(f'{what}: {status} {answer.text[:300]}')
        if status >= 500 and status != 503:
            self._tally.violation(f'{what}: {status} {answer.text[:500]}')
        return status, answer.json() if answer.content else None

    def surely(self, method, path, body=None):
        """Ask until something is answered that is not about outages.

        :raises AssertionError: nothing was, for minutes
        """
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            status, said = self.ask(method, path, body)
            if status is not None and status < 500:
                return status, said
            time.sleep(1)
        raise AssertionError(f'{method} {path} is not answered for '
                             f'{PATIENCE} s')

    def look(self, path, key):
        """Return one thing, asking until there is an answer."""
        status, said = self.surely('GET', path)
        if status != 200:
            raise AssertionError(f'GET {path}: {status} {said}')
        return said[key]

    def pages(self, path, key):
        """Return all items of a list, asking until there are answers."""
        found, marker = [], ''
        mark = '&' if '?' in path else '?'
        while True:
            status, said = self.surely(
                'GET', f'{path}{mark}limit=500&sort=id:asc{marker}')
            if status != 200:
                raise AssertionError(f'GET {path}: {status} {said}')
            found += said[key]
            if len(said[key]) < 500:
                return found
            marker = f'&marker={found[-1]["id"]}'

    # What is kept

    def create(self, noun, path, key, body, where=None, **facts):
        """Ask for something new; return what is kept, None without.

        :param path: of the list
        :param key: of body and answer
        :param where: folder of its path, if that is not the list's
        """
        status, said = self.ask('POST', path, {key: body})
        if status != 200:
            return None
        made = said[key]
        return self._books.add(Kept(
            noun, made['id'], f'{where or path}/{made["id"]}', self,
            facts=dict(facts, shown=made)))

    def delete(self, kept):
        """Ask for something to go; return the status of the answer."""
        status, _said = self.ask('DELETE', kept.path)
        if status is None or status >= 500:
            kept.state = PERHAPS
        elif status in (200, 202, 204, 404):
            kept.state = GONE
        return status
