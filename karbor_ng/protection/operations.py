# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Operations: one attempt at one claimed operation, from claim to end.

The verbs (``protect``, ``restore``, ``verify``, ``delete``) know what to do; here is
what they share, and the one place that decides how an attempt ends: done,
failed, handed back, or silently left to its new owner.
"""

import dataclasses
import logging
import time

from karbor_ng import context
from karbor_ng import errors
from karbor_ng import restore_targets
from karbor_ng.protection import copy
from karbor_ng.protection import delete
from karbor_ng.protection import fence
from karbor_ng.protection import hooks
from karbor_ng.protection import journal
from karbor_ng.protection import plugin_limits
from karbor_ng.protection import protect
from karbor_ng.protection import restore
from karbor_ng.protection import streams
from karbor_ng.protection import verify
from karbor_ng.store import operations
from karbor_ng.store import trusts

LOG = logging.getLogger(__name__)

VERBS = {'protect': protect.Protect, 'restore': restore.Restore,
         'verify': verify.Verify, 'delete': delete.Delete,
         'copy': copy.Copy}

#: Seconds for which an operation waits for a Keystone that does not answer.
KEYSTONE_PATIENCE = 900
#: The same, for one that refuses the service user: while it starts, it may.
REFUSAL_PATIENCE = 120


@dataclasses.dataclass(frozen=True)
class Tools:
    """What a protection service hands to every operation.

    :ivar conf: the ``[protection]`` options
    :ivar cloud: makes sessions (``user_session(access)``)
    :ivar sealer: opens stored credentials; None where none are stored
    :ivar providers: ``{id: Provider}`` that this service has loaded
    :ivar protectables: asked for the children of resources; None where
        there is no cloud to ask
    :ivar pools: threads for flows
    :ivar stream_slots: bounds how many streams are open at once
    :ivar targets: makes sessions of other clouds and projects
    :ivar plugin_limits: bounds how many hooks of a plugin run at once
    """

    conf: object
    db: object
    cloud: object
    sealer: object
    providers: dict
    protectables: object
    pools: object
    stream_slots: streams.Slots
    plugin_limits: plugin_limits.PluginLimits
    targets: restore_targets.Targets


class Attempt:
    """One attempt at one operation: what its verb and its hooks work with.

    :ivar session: the user's rights in the cloud, or in that into which is
        restored; None before
        :meth:`open_session`, or where there is no cloud
    :ivar has_access: whether :meth:`open_session` has succeeded
    :ivar restored: ``{original id: new id}``
    :ivar has_repeated: whether a creation was tried again, so that a thing
        may exist twice
    """

    def __init__(self, tools, operation, lease):
        self.tools = tools
        self.operation = operation
        self.lease = lease
        self.provider = tools.providers[operation.provider_id]
        self.journal = journal.Journal(tools.db, operation, lease)
        self.session = None
        self.has_access = False
        self.has_repeated = False
        self.restored = {}

    def open_session(self):
        """:raises errors.CredentialsError: the credentials are of no use"""
        try:
            self.session = fence.fenced(self._open_session(), self.journal)
        except errors.TrustError as problem:
            self._give_up_trust(problem)
            raise
        self.has_access = True

    def _give_up_trust(self, problem):
        """Let nothing be started any more with a trust that is refused."""
        ids = self.tools.db.write(trusts.give_up, problem.trust_id,
                                  str(problem))
        if ids:
            LOG.warning('Scheduled operations %s are disabled: %s',
                        ', '.join(ids), problem)

    def _open_session(self):
        operation, tools = self.operation, self.tools
        if operation.target_credentials:
            return tools.targets.session(restore_targets.Target.opened(
                tools.sealer, operation.target_credentials))
        access = None
        if operation.credentials:
            access = tools.sealer.open(operation.credentials)
        return tools.cloud.user_session(access)


def run(tools, operation, lease):
    """Make one attempt; return when it has ended, however it did."""
    context.RequestContext.of_operation(operation, lease.sleep)
    started = time.monotonic()
    what = f'{operation.type} {operation.id}'
    LOG.info('Starting %s of checkpoint %s (attempt %s)', what,
             operation.checkpoint_id, operation.attempt)
    attempt, outcome = None, 'failed'
    try:
        attempt = Attempt(tools, operation, lease)
        outcome = _run(attempt)
    except errors.Fenced as lost:
        outcome = f'left to its new owner ({lost})'
        _withdraw(attempt)
    except errors.Stopping:
        tools.db.write(operations.hand_back, operation.id, operation.attempt)
        outcome = 'handed back'
    except Exception:
        # The end could not be written; the lease runs out, somebody else
        # tries again.
        LOG.exception('Attempt %s at %s broke', operation.attempt, what)
        outcome = 'broken'
    LOG.info('Ended %s: %s after %.1f s', what, outcome,
             time.monotonic() - started)


def _withdraw(attempt):
    """Remove what came too late to be anybody's."""
    operation = attempt.operation
    try:
        with context.undisturbed():
            attempt.journal.undo_late()
            VERBS[operation.type](attempt).withdraw()
    except Exception:
        # "karbor-manage bank check" finds it.
        LOG.exception('Could not remove what attempt %s at %s %s has left '
                      'in the bank', operation.attempt, operation.type,
                      operation.id)


def _run(attempt):
    verb = VERBS[attempt.operation.type](attempt)
    reason = _work(attempt, verb)
    attempt.lease.check_owned()
    if attempt.lease.stop_hearing_aborts():
        return verb.abort()
    return verb.finish(reason)


def _work(attempt, verb):
    """Do the work; return why it failed as a whole, or None."""
    operation, limit = attempt.operation, attempt.tools.conf.max_take_overs
    if operation.resume_count > limit:
        return (f'Given up after {limit} take-overs: each worker that tried '
                f'it died.')
    try:
        if verb.NEEDS_CLOUD:
            _open_session(attempt)
        attempt.lease.check()
        verb.work()
    except hooks.INTERRUPTIONS:
        raise
    except errors.Error as problem:
        LOG.warning('%s %s failed: %s', operation.type, operation.id, problem)
        return str(problem)
    except Exception as problem:
        LOG.exception('%s %s failed', operation.type, operation.id)
        return hooks.describe(problem)
    return None


def _open_session(attempt):
    """Open the user's session, with patience for a Keystone that is away."""
    begun = time.monotonic()
    pause = 1
    while True:
        try:
            return attempt.open_session()
        except (errors.Unavailable, errors.ConfigError) as problem:
            patience = (KEYSTONE_PATIENCE if isinstance(
                problem, errors.Unavailable) else REFUSAL_PATIENCE)
            if time.monotonic() > begun + patience:
                raise
            LOG.warning('%s Trying again.', problem)
        attempt.lease.sleep(pause)
        pause = min(pause * 2, 30)
