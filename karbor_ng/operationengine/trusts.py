# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Trusts of users: made when first needed, revoked after their last use.

Apart from the store, which only remembers them, because whoever adds or
takes away a use may have to ask Keystone, outside of transactions: the front
door at once, the engine for whatever a process that died left behind.
"""

import logging

from karbor_ng import errors
from karbor_ng.store import trusts

LOG = logging.getLogger(__name__)

#: Seconds that a trust may wait for its first use, and how many leftovers
#: are looked at in a turn.
_IDLE_SECONDS = 3600
_MOST_LEFTOVERS = 500

_GONE = ('The trust of the user was revoked in Keystone: enable the scheduled '
         'operation again to renew it.')


class Trusts:
    """Trusts, in Keystone and in rows; may be used by any thread.

    :param delegation: a :class:`karbor_ng.delegation.Delegation`
    """

    def __init__(self, db, delegation):
        self._db = db
        self._delegation = delegation

    def use(self, context, function, *args):
        """Run ``function(session, trust_id, *args)``, which writes a use.

        The trust can not be revoked before the transaction has ended. It is
        None where none is needed.

        :param context: the context of the user's request
        :raises errors.Forbidden: Keystone makes no trust of this token
        :raises errors.Unavailable: Keystone does not answer
        """
        if not self._delegation.is_needed:
            return self._db.write(function, None, *args)
        self._delegation.check(context)
        trust_id = self._living(context)
        try:
            return self._db.write(_used, trust_id, function, *args)
        except errors.Error:
            self.release(trust_id)
            raise

    def release(self, trust_id):
        """Revoke a trust unless it is used; never raises for Keystone."""
        if self._db.write(trusts.release, trust_id):
            self.revoke(trust_id)

    def revoke(self, trust_id):
        """Delete a trust that is marked for it; :meth:`sweep` tries again.

        Twice is harmless.
        """
        try:
            self._delegation.revoke(trust_id)
        except errors.Error as problem:
            LOG.warning('Trust %s can not be revoked yet: %s', trust_id,
                        problem)
            self._db.write(trusts.explain, trust_id, str(problem))
            return
        self._db.write(trusts.remove, trust_id)

    def sweep(self):
        """Revoke what is not used and was not revoked when that began."""
        if self._delegation.is_needed:
            for trust_id in self._db.read(trusts.leftovers, _IDLE_SECONDS,
                                          _MOST_LEFTOVERS):
                self.release(trust_id)

    def give_up(self, trust_id, reason):
        """Disable what uses a trust that Keystone accepts no more."""
        ids = self._db.write(trusts.give_up, trust_id, reason)
        if ids:
            LOG.warning('Scheduled operations %s are disabled: %s',
                        ', '.join(ids), reason)

    def _living(self, context):
        """Return the id of a trust that has a row and that Keystone knows."""
        user = context.user_id, context.project_id
        for trust_id in self._db.read(trusts.living, *user):
            if self._delegation.is_known(trust_id):
                return trust_id
            self.give_up(trust_id, _GONE)
        return self._adopted(context, user) or self._made(context, user)

    def _adopted(self, context, user):
        """Return a trust that a request made which died before its row."""
        found = self._delegation.find(context)
        for trust_id in found:
            if not self._db.read(trusts.known, [trust_id]):
                self._db.write(trusts.add, trust_id, *user)
                # Until now somebody might have been about to revoke it.
                if self._delegation.is_known(trust_id):
                    return trust_id
                self.release(trust_id)
        return None

    def _made(self, context, user):
        trust_id = self._delegation.give(context)
        self._db.write(trusts.add, trust_id, *user)
        return trust_id


def _used(session, trust_id, function, *args):
    if not trusts.lock(session, trust_id):
        raise errors.Unavailable(
            'The trust of the user was being revoked at this moment; try '
            'again.')
    return function(session, trust_id, *args)
