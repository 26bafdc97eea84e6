# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Whether the service works, for balancers and for those on duty.

Apart from the controllers because each answer is kept for some seconds, and
because nothing that hangs may hang a request.

oslo.middleware has a healthcheck too: its checks are built from the
configuration alone, so they could not share our connections, and what it
shows as details is about Python, not about us.
"""

from concurrent import futures
import dataclasses
import logging
import os
import threading
import time

from oslo_config import cfg
from oslo_config import types
from oslo_db import exception as db_errors
from sqlalchemy import exc as sqlalchemy_errors

from karbor_ng import errors
from karbor_ng import trouble
from karbor_ng.store import health as rows

LOG = logging.getLogger(__name__)

#: In the order in which they are shown.
CHECKS = ('maintenance', 'database', 'broker', 'keystone', 'providers',
          'queue', 'leases', 'schedules')
#: What is said of what we need when it refuses us, and when it hangs.
AWAY = {
    'broker': ('The broker lets nobody in; operations start later.',
               'The broker does not answer; operations start later.'),
    'keystone': ('Keystone does not work: only tokens of the last minutes '
                 'are known, and operations wait for it.',
                 'Keystone does not answer: only tokens of the last minutes '
                 'are known, and operations wait for it.'),
}
#: Seconds for which an answer is good.
GOOD_SECONDS = 5
#: Seconds after which whoever has not answered is not well.
PATIENCE_SECONDS = 5
#: Seconds after which a question that hangs is asked once more: what it
#: hangs in may be a connection that nobody will ever answer on.
LOST_SECONDS = 60

GROUP = 'healthcheck'
OPTS = [
    cfg.BoolOpt('detailed', default=False,
                help='Whether /healthcheck shows numbers, providers and '
                     'hosts to everybody. Otherwise it shows them to those '
                     'who send the token of an administrator.'),
    cfg.ListOpt('essential', default=['database'],
                item_type=types.String(choices=[
                    name for name in CHECKS if name != 'maintenance']),
                help='Checks without which /healthcheck answers 503 instead '
                     'of 200, so that a balancer sends requests elsewhere. '
                     'Whatever else fails makes the status "degraded": '
                     'another node of the API would not do better.'),
    cfg.IntOpt('silence_seconds', default=300, min=120,
               help='Seconds after which a provider of which no protection '
                    'service has said that it is well, an operation whose '
                    'lease ran out and that nobody has taken over, and a '
                    'trigger that is due and has not fired, count as '
                    'failures. Services say it every 15 seconds.'),
    cfg.IntOpt('queue_seconds', default=3600, min=1,
               help='Seconds after which an operation that still waits for '
                    'a worker counts as a failure.'),
    cfg.StrOpt('disable_by_file_path',
               help='File whose existence makes /healthcheck answer 503: '
                    'create it to let a balancer send requests elsewhere '
                    'before this node is stopped.'),
]


@dataclasses.dataclass(frozen=True)
class Finding:
    """What one check has found.

    :ivar reason: a sentence without names of hosts; None if all is well
    :ivar details: for operators
    """

    reason: str | None = None
    details: dict = dataclasses.field(default_factory=dict)

    def shown(self, is_detailed):
        """Return what becomes JSON."""
        body = {'status': 'failed' if self.reason else 'ok'}
        if self.reason:
            body['reason'] = self.reason
        if self.details and is_detailed:
            body['details'] = self.details
        return body


class Health:
    """Looks at everything that the service needs; asked by any thread.

    :param broker: has ``check()``, which raises ``errors.Unavailable``;
        None where messages do not leave the process
    :param keystone: has ``check()`` as well; None where there is none
    """

    def __init__(self, conf, db, broker=None, keystone=None):
        self._conf = conf.healthcheck
        # Misspelt names are refused at start, not in each answer.
        _ = self._conf.essential
        self._db = db
        self._trouble = trouble.Trouble(LOG, 'The database is not well')
        self._probes = {'rows': _Probe(self._ask_rows)}
        for name, needed in (('broker', broker), ('keystone', keystone)):
            if needed is not None:
                self._probes[name] = _Probe(_asking(name, needed))

    def report(self):
        """Return ``(status, {check: Finding})``.

        The status is ``ok``, ``degraded``, or ``failed`` if something
        essential is not well. What was found in the last seconds is told
        again; nobody waits longer than :data:`PATIENCE_SECONDS`.
        """
        found = self._find()
        found = {name: found[name] for name in CHECKS if name in found}
        failed = {name for name, finding in found.items() if finding.reason}
        if failed & {'maintenance', *self._conf.essential}:
            return 'failed', found
        return 'degraded' if failed else 'ok', found

    def _find(self):
        found = {}
        path = self._conf.disable_by_file_path
        if path and os.path.exists(path):
            found['maintenance'] = Finding(
                'This node is being taken out of service.',
                {'disable_by_file_path': path})
        for probe in self._probes.values():
            probe.start()
        found.update(self._probes['rows'].answer() or {'database': Finding(
            'The database does not answer.')})
        for name in self._probes.keys() & AWAY.keys():
            found[name] = self._probes[name].answer() or Finding(
                AWAY[name][1])
        return found

    def _ask_rows(self):
        try:
            glance = self._db.read(rows.glance)
            self._trouble.end()
        except (db_errors.DBError, sqlalchemy_errors.SQLAlchemyError,
                OSError) as problem:
            self._trouble.meet(problem)
            return None
        silence = self._conf.silence_seconds
        return {'database': Finding(),
                'providers': judge_providers(glance, silence),
                'queue': judge_queue(glance, self._conf.queue_seconds),
                'leases': judge_leases(glance, silence),
                'schedules': judge_schedules(glance, silence)}


def _asking(name, needed):
    """Return what asks a service that we need, and makes the finding."""
    away = trouble.Trouble(LOG, f'Not well: {name}')

    def ask():
        try:
            needed.check()
        except errors.Unavailable as problem:
            away.meet(problem)
            return Finding(AWAY[name][0], {'problem': str(problem)})
        away.end()
        return Finding()
    return ask


def judge_providers(glance, silence):
    """Return the finding about providers, and with them their banks."""
    details = {'providers': glance.providers}
    if not glance.providers:
        return Finding('No protection service has offered a provider yet.')
    ill = [one for one in glance.providers if one['problem']]
    if ill:
        return Finding(
            f'{len(ill)} of {len(glance.providers)} providers: no protection '
            f'service reaches the bank, or it is another one.', details)
    silent = [one for one in glance.providers
              if one['silent_seconds'] > silence]
    if not silent:
        return Finding(details=details)
    return Finding(
        f'{len(silent)} of {len(glance.providers)} providers: for '
        f'{silence} seconds no protection service has said that provider '
        f'and bank are well.', details)


def judge_queue(glance, patience):
    """Return the finding about operations that wait for a worker."""
    details = {'queued': glance.queued,
               'oldest_queued_seconds': glance.oldest_queued_seconds,
               'disabled_services': glance.disabled}
    if glance.oldest_queued_seconds <= patience:
        return Finding(details=details)
    reason = (f'An operation has waited for a worker for more than '
              f'{patience} seconds.')
    if glance.disabled:
        reason += f' {len(glance.disabled)} services are disabled.'
    return Finding(reason, details)


def judge_leases(glance, silence):
    """Return the finding about operations that are being worked on."""
    details = {'running': glance.running, 'lost': glance.lost,
               'longest_lost_seconds': glance.longest_lost_seconds}
    if glance.longest_lost_seconds <= silence:
        return Finding(details=details)
    return Finding(f'For more than {silence} seconds nobody has taken an '
                   f'operation over whose worker is gone.', details)


def judge_schedules(glance, silence):
    """Return the finding about triggers that should have fired by now."""
    details = {'overdue': glance.overdue,
               'longest_overdue_seconds': glance.longest_overdue_seconds,
               'without_trust': glance.given_up}
    if glance.longest_overdue_seconds <= silence:
        return Finding(details=details)
    return Finding(f'A trigger has been due for more than {silence} seconds, '
                   f'and no operation engine has come to it.', details)


class _Probe:
    """Asks a question in a thread of its own, and remembers the answer.

    There is one such thread at a time; after :data:`LOST_SECONDS` in which
    it has not come back there is another one.
    """

    def __init__(self, ask):
        self._ask = ask
        self._lock = threading.Lock()
        self._asked_at = 0.0
        #: When to ask again.
        self._ask_at = 0.0
        self._future = None

    def start(self):
        """Begin to ask, unless what is known is fresh; return at once."""
        with self._lock:
            now = time.monotonic()
            if now > self._ask_at:
                self._asked_at = now
                self._ask_at = now + LOST_SECONDS
                self._future = futures.Future()
                threading.Thread(target=self._run, args=(self._future,),
                                 name='health', daemon=True).start()

    def answer(self):
        """Return the answer, None if there is none in time."""
        left = self._asked_at + PATIENCE_SECONDS - time.monotonic()
        try:
            return self._future.result(max(0, left))
        except futures.TimeoutError:
            LOG.warning('A look at the health of the service has not ended '
                        'in %s seconds.', PATIENCE_SECONDS)
            return None

    def _run(self, future):
        try:
            found = self._ask()
        except Exception:
            LOG.exception('A look at the health of the service failed')
            found = None
        with self._lock:
            if future is self._future:
                self._ask_at = time.monotonic() + GOOD_SECONDS
        future.set_result(found)
