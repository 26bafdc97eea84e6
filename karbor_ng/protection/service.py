# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The protection service: claims operations and runs them.

Any number of these work on one database. Nothing that matters is only in
memory: an operation that this process drops is found by another one.
"""

from concurrent import futures
import datetime
import logging
import threading
import time
import uuid

import futurist
from oslo_db import exception as db_exception

from karbor_ng import errors
from karbor_ng import restore_targets
from karbor_ng import trouble
from karbor_ng import version
from karbor_ng.protection import flow
from karbor_ng.protection import lease
from karbor_ng.protection import operations as operation_runner
from karbor_ng.protection import plugin_limits
from karbor_ng.protection import streams
from karbor_ng.store import models
from karbor_ng.store import operations
from karbor_ng.store import providers as provider_rows
from karbor_ng.store import services
from karbor_ng.store import session as store_session

LOG = logging.getLogger(__name__)

#: Renewals in one lease.
RENEWALS = 4
#: Seconds until leases are tried again whose rows were locked.
LOCKED_SECONDS = 0.25
#: What the rows of services call this program.
BINARY = 'karbor-protection'
#: Seconds to wait for a renewal that goes on while the service stops.
GOODBYE_SECONDS = 5
#: Seconds between two looks at the banks of what is offered.
REFRESH_SECONDS = 15
#: Seconds that a turn of a loop may last beyond its pause.
TURN_SECONDS = 60


class ProtectionService:
    """One worker. Its hint methods may be called from any thread.

    :param conf: has ``host`` and the ``[protection]`` options
    :param cloud: see ``operations.Tools``
    :param providers: ``{id: Provider}`` from the provider files
    """

    def __init__(self, conf, db, cloud, sealer, providers, protectables):
        self._conf = conf.protection
        self._host = conf.host
        self._db = db
        # Not behind all those who wait for a connection.
        self._renewals = db.beside()
        self.owner = f'{conf.host}:{uuid.uuid4()}'
        self._self = {'id': self.owner, 'binary': BINARY, 'host': conf.host,
                      'version': version.text(),
                      'started_at': models.utcnow()}
        self._closed_providers = dict(providers)
        self._providers = {}
        size = self._conf.max_parallel_resources
        self._pools = flow.Pools(
            size, futurist.ThreadPoolExecutor(max_workers=size))
        self._tools = self._tools_of_operations(
            cloud=cloud, sealer=sealer, protectables=protectables,
            targets=restore_targets.Targets(conf, cloud))
        self._operations = futures.ThreadPoolExecutor(
            self._conf.max_concurrent_operations,
            thread_name_prefix='operation')
        self._running = {}
        self._is_disabled = False
        #: when the loops that all depends on began their last turns
        self._turned_at = dict.fromkeys(('sweep', 'renew'), time.monotonic())
        self._database = trouble.Trouble(
            LOG, 'The database is away; operations wait for it')
        self._lock = threading.Lock()
        self._look_now = threading.Event()
        self._renew_now = threading.Event()
        self._stopping = threading.Event()
        self._stopped = threading.Event()
        self._looked = threading.Event()
        self._threads = [
            threading.Thread(target=loop, name=name, daemon=True)
            for name, loop in (('sweep', self._sweep_loop),
                               ('renew', self._renew_loop),
                               ('publish', self._publish_loop))]

    def _tools_of_operations(self, **tools):
        return operation_runner.Tools(
            conf=self._conf, db=self._db, providers=self._providers,
            pools=self._pools,
            stream_slots=streams.Slots(self._conf.max_parallel_streams),
            plugin_limits=self._plugin_limits(), **tools)

    def _plugin_limits(self):
        limits = plugin_limits.PluginLimits(
            self._conf.max_parallel_by_plugin)
        limits.warn_of_unknown(self._closed_providers.values())
        return limits

    def start(self):
        """Start claiming; returns at once."""
        LOG.info('Protection service %s starts', self.owner)
        for thread in self._threads:
            thread.start()

    def stop(self):
        """Stop claiming, let steps end, hand the rest back; then return."""
        self._stopping.set()
        self._look_now.set()
        with self._lock:
            running = dict(self._running)
        for held, _future in running.values():
            held.stop()
        futures.wait([future for _held, future in running.values()],
                     timeout=self._conf.graceful_shutdown_timeout)
        self._hand_back_rest()
        self._renew_now.set()
        self._operations.shutdown(wait=False, cancel_futures=True)
        self._pools.shutdown()
        self._say_goodbye()
        LOG.info('Protection service %s has stopped', self.owner)

    def _hand_back_rest(self):
        """Let others go on at once with what does not come to an end here.

        It hangs in a call that nobody can interrupt; what comes of that is
        found as after a crash.
        """
        with self._lock:
            # Nothing begins any more.
            self._stopped.set()
            running = dict(self._running)
        for (operation_id, attempt), (held, _future) in running.items():
            held.lose()
            try:
                self._db.write(operations.hand_back, operation_id, attempt)
                LOG.warning('Operation %s did not come to a step at which it '
                            'could stop; it is handed back', operation_id)
            except db_exception.DBError as problem:
                LOG.warning('Operation %s could not be handed back, its '
                            'lease will run out: %s', operation_id, problem)

    def _say_goodbye(self):
        renewing = self._threads[1]
        if renewing.is_alive():
            # It would write that we live.
            renewing.join(GOODBYE_SECONDS)
        try:
            self._db.write(services.gone, self.owner)
        except db_exception.DBError as problem:
            LOG.warning('Our end could not be written: %s', problem)
        if self._renewals is not self._db:
            self._renewals.dispose()

    def wait_until_ready(self):
        """Return when the banks have been asked and work looked for, once."""
        self._looked.wait()

    def is_alive(self):
        """Whether the loops turn; not whether what they do succeeds.

        A service that is stopping does not look for work any more, and
        lives.
        """
        limit = TURN_SECONDS + 2 * max(
            self._conf.sweep_seconds, self._conf.lease_seconds / RENEWALS)
        oldest = min(self._turned_at.values())
        return self._stopping.is_set() or time.monotonic() - oldest < limit

    def describe(self):
        """Return one line for operators."""
        with self._lock:
            running = len(self._running)
        offered = len(self._providers)
        state = '; disabled' if self._is_disabled else ''
        return (f'{running} operations; {offered} of '
                f'{offered + len(self._closed_providers)} providers offered'
                f'{state}')

    # Hints

    def operation_queued(self, context=None, operation_id=None):
        """Look for work now."""
        self._look_now.set()

    def operation_aborted(self, context=None, operation_id=None):
        """Renew now, if it is ours: that tells what is to end."""
        with self._lock:
            is_ours = any(running_id == operation_id
                          for running_id, _attempt in self._running)
        if is_ours:
            self._renew_now.set()

    # The sweep

    def _sweep_loop(self):
        while not self._stopping.is_set():
            self._turned_at['sweep'] = time.monotonic()
            try:
                self._sweep()
                self._database.end()
            except store_session.AWAY as problem:
                self._database.meet(problem)
            except Exception:
                LOG.exception('Looking for operations failed')
            self._looked.set()
            self._look_now.wait(self._conf.sweep_seconds)
            self._look_now.clear()

    def _sweep(self):
        self._open_providers()
        free = self._free()
        if not self._providers or free <= 0:
            return
        for operation_id in self._db.read(self._claimable, free * 2):
            if self._stopping.is_set() or self._free() <= 0:
                break
            self._claim(operation_id)

    def _claimable(self, session, limit):
        is_disabled = services.is_disabled(session, BINARY, self._host)
        if is_disabled != self._is_disabled:
            LOG.info('This host is %s: it claims %s.', *(
                ('disabled', 'nothing') if is_disabled
                else ('enabled', 'operations')))
            self._is_disabled = is_disabled
        if is_disabled:
            return []
        return operations.claimable(
            session, self._banks(), limit, self.owner,
            self._conf.max_concurrent_operations_per_project)

    def _banks(self):
        return {provider.id: provider.bank_uuid
                for provider in self._providers.values()}

    def _free(self):
        with self._lock:
            return self._conf.max_concurrent_operations - len(self._running)

    def _claim(self, operation_id):
        since = time.monotonic()
        operation = self._db.write(operations.claim, operation_id,
                                   self.owner, self._conf.lease_seconds)
        if operation is None:
            return
        seconds = self._conf.lease_seconds
        held = lease.Lease(
            operation.id, operation.attempt, seconds, since,
            operation.lease_until - datetime.timedelta(seconds=seconds))
        with self._lock:
            if self._stopped.is_set():
                self._db.write(operations.hand_back, operation.id,
                               operation.attempt)
                return
            if self._stopping.is_set():
                held.stop()
            if operation.abort_requested:
                held.abort()
            key = operation.id, operation.attempt
            future = self._operations.submit(self._run, operation, held, key)
            self._running[key] = held, future

    def _run(self, operation, held, key):
        try:
            operation_runner.run(self._tools, operation, held)
        finally:
            with self._lock:
                self._running.pop(key, None)
            self._look_now.set()

    def _open_providers(self):
        """Meet the providers' banks and publish them, until it works."""
        for provider in list(self._closed_providers.values()):
            try:
                provider.open()
                self._db.write(provider_rows.publish,
                               provider.values(self._host))
            except errors.Error as problem:
                LOG.error('Provider %s (%s) can not be offered: %s',
                          provider.name, provider.id, problem)
                continue
            self._providers[provider.id] = provider
            del self._closed_providers[provider.id]
            LOG.info('Provider %s (%s) is offered', provider.name,
                     provider.id)
            if not self._closed_providers:
                self._db.write(provider_rows.withdraw, self._host,
                               list(self._providers))

    # The leases

    def _renew_loop(self):
        pause = 0
        while True:
            self._renew_now.wait(pause)
            self._renew_now.clear()
            if self._stopped.is_set():
                return
            self._turned_at['renew'] = time.monotonic()
            try:
                has_all = self._renew()
                self._renewals.write(services.seen, self._self)
                pause = self._conf.lease_seconds / RENEWALS
                if not has_all:
                    pause = min(pause, LOCKED_SECONDS)
            # Tried again soon: leases end by themselves if it fails on.
            except store_session.AWAY as problem:
                self._database.meet(problem)
                pause = min(pause or 1, 1)
            except Exception:
                LOG.exception('Renewing leases failed')
                pause = min(pause or 1, 1)

    def _renew(self):
        """Return whether nothing was in the way of any lease."""
        with self._lock:
            running = {key: held for key, (held, _) in self._running.items()}
        if not running:
            return True
        since = time.monotonic()
        owned = self._renewals.write(
            operations.renew, self.owner,
            {operation_id for operation_id, _attempt in running},
            self._conf.lease_seconds)
        for (operation_id, attempt), held in running.items():
            row = owned.get(operation_id)
            if row is None or row.attempt != attempt:
                # It has ended a moment ago, or somebody took it over.
                self._lose(operation_id, attempt)
                continue
            if row.is_renewed:
                held.renewed(since)
            if row.abort_requested:
                held.abort()
        return all(row.is_renewed for row in owned.values())

    def _lose(self, operation_id, attempt):
        with self._lock:
            held = self._running.get((operation_id, attempt))
        if held is not None:
            held[0].lose()

    # What others are told

    def _publish_loop(self):
        """Apart from the other loops, because a bank may hang.

        And each bank apart from the others.
        """
        looks = {}
        while not self._stopping.wait(REFRESH_SECONDS):
            if not self.is_alive():
                LOG.error('Protection service %s hangs', self.owner)
                continue
            for provider in list(self._providers.values()):
                if provider.id in looks and looks[provider.id].is_alive():
                    continue
                looks[provider.id] = threading.Thread(
                    target=self._look_after, args=(provider,),
                    name='publish', daemon=True)
                looks[provider.id].start()

    def _look_after(self, provider):
        try:
            self._publish(provider)
        except store_session.AWAY as problem:
            self._database.meet(problem)
        except Exception:
            LOG.exception('Publishing provider %s failed', provider.id)

    def _publish(self, provider):
        """Say of a provider that it is well, or what is wrong.

        Who reads it can rely on a bank that answers and on somebody who
        looks for work. A row that was lost is back.
        """
        try:
            provider.check_bank()
            self._db.write(provider_rows.publish, provider.values(self._host))
        except errors.Error as problem:
            LOG.error('Provider %s (%s) is not well: %s', provider.name,
                      provider.id, problem)
            self._db.write(provider_rows.complain, provider.id, self._host,
                           str(problem))
