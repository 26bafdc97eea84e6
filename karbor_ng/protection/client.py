# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The front door of protection: what may be asked of it, for any caller.

Each verb checks what rows can tell, counts the quota, writes the rows in one
transaction, and says after the commit that there is work. No cloud and no
bank is asked here. The API's dialects and the operation engine come through
the same verbs.
"""

import uuid

from karbor_ng import errors
from karbor_ng import parameters as parameter_rules
from karbor_ng import quota
from karbor_ng.store import checkpoints
from karbor_ng.store import copies
from karbor_ng.store import models
from karbor_ng.store import operations
from karbor_ng.store import plans
from karbor_ng.store import providers
from karbor_ng.store import restores
from karbor_ng.store import verifications

#: Resources that one error names.
_MOST_NAMED = 10

#: Statuses of checkpoints that are being made; what is at work on one.
_MADE = ('protecting', *copies.UNFINISHED)
_BUSY = {**dict.fromkeys(_MADE, operations.MAKING),
         'deleting': ('delete',)}
#: Copies that one request starts at most.
MOST_COPIES = 100


class ProtectionClient:
    """Accepts operations.

    :param hints: has ``operation_queued(operation_id)`` and
        ``operation_aborted(operation_id)``
    """

    def __init__(self, conf, db, hints):
        self._conf = conf
        self._db = db
        self._hints = hints

    def protect(self, caller, plan_id, provider_id=None, extra_info=None,
                **scheduled):
        """Start a checkpoint of a plan; return the checkpoint's row.

        :param caller: a :class:`karbor_ng.context.Caller`
        :param provider_id: must be the plan's own when given
        :param scheduled: ``scheduled_operation_id`` and
            ``scheduled_run_id`` when the clock asks
        :raises errors.NotFound: no such plan in the caller's project, or
            nobody has loaded its provider
        :raises errors.Invalid: another provider, no plugin for a resource
        :raises errors.OverQuota: too many checkpoints
        """
        checkpoint, operation_id = self._db.write(
            self._accept_protect, caller, plan_id, provider_id,
            extra_info or {'created_by': 'manual'}, scheduled,
            str(uuid.uuid4()), str(uuid.uuid4()))
        self._hints.operation_queued(operation_id)
        return checkpoint

    def protect_within(self, session, caller, plan_id, provider_id,
                       extra_info, **scheduled):
        """Start a checkpoint in a transaction of somebody else's.

        Whoever begins that holds the quotas of all projects first, and calls
        :meth:`announce` after it has ended. Raises like :meth:`protect`, and
        has written nothing then.

        :return: the checkpoint's row, and the id of its operation
        """
        return self._accept_protect(
            session, caller, plan_id, provider_id, extra_info, scheduled,
            str(uuid.uuid4()), str(uuid.uuid4()))

    def announce(self, operation_id):
        """Say that there is work, of which this is some."""
        self._hints.operation_queued(operation_id)

    def check_protect(self, caller, plan_id, provider_id=None):
        """Refuse what :meth:`protect` would, and write nothing.

        Return the rows of the plan and of its provider.
        """
        return self._db.read(self._protectable, caller, plan_id, provider_id)

    def _protectable(self, session, caller, plan_id, provider_id):
        plan = plans.get(session, plan_id, caller.project_id)
        _refuse_other_provider(plan, provider_id)
        provider = providers.get(session, plan.provider_id)
        check_resources(provider, plan.resources)
        quota.check_checkpoints(session, self._conf, caller.project_id)
        return plan, provider

    def _accept_protect(self, session, caller, plan_id, provider_id,
                        extra_info, scheduled, checkpoint_id, operation_id):
        quota.hold(session, caller.project_id)
        plan, _provider = self._protectable(session, caller, plan_id,
                                            provider_id)
        checkpoint = checkpoints.create(session, {
            'id': checkpoint_id, 'project_id': caller.project_id,
            'user_id': caller.user_id, 'provider_id': plan.provider_id,
            'plan_id': plan.id, 'status': 'protecting',
            'plan': plan_snapshot(plan), 'graph': checkpoints.EMPTY_GRAPH,
            'extra_info': extra_info})
        self._queue(session, caller, operation_id, 'protect', checkpoint,
                    **scheduled)
        return checkpoint, operation_id

    def restore(self, caller, checkpoint_id, provider_id=None,
                parameters=None, target=None):
        """Start restoring a checkpoint; return the restore's row.

        :param target: a :class:`karbor_ng.restore_targets.Kept`; None for
            the checkpoint's own project
        :raises errors.NotFound: no such checkpoint in the caller's project
        :raises errors.Invalid: wrong parameters, restoring is not possible
        :raises errors.Conflict: the checkpoint is not available
        """
        restore, operation_id = self._db.write(
            self._accept_restore, caller, checkpoint_id, provider_id,
            parameters or {}, target,
            str(uuid.uuid4()), str(uuid.uuid4()))
        self._hints.operation_queued(operation_id)
        return restore

    def check_restore(self, caller, checkpoint_id, provider_id=None,
                      parameters=None, target=None):
        """Refuse what :meth:`restore` would, and write nothing.

        Return the rows of the checkpoint and of its provider, and the
        parameters in the types of their schemas.
        """
        def check(session):
            checkpoint = self._own(session, caller, checkpoint_id,
                                   provider_id)
            return checkpoint, *_restorable(session, checkpoint,
                                            parameters or {}, target)
        return self._db.read(check)

    def _accept_restore(self, session, caller, checkpoint_id, provider_id,
                        parameters, target, restore_id, operation_id):
        checkpoint = self._own(session, caller, checkpoint_id, provider_id)
        # The row is locked, so that a delete is not accepted beside this;
        # only now, so that nobody locks another project's.
        session.refresh(checkpoint, with_for_update=True)
        _provider, parameters = _restorable(session, checkpoint, parameters,
                                            target)
        restore = restores.create(session, {
            'id': restore_id, 'project_id': caller.project_id,
            'user_id': caller.user_id,
            'provider_id': checkpoint.provider_id,
            'checkpoint_id': checkpoint.id, 'parameters': parameters,
            'restore_target': target and target.url,
            'restore_auth': target and target.auth, 'status': 'started'})
        self._queue(session, caller, operation_id, 'restore', checkpoint,
                    restore_id=restore_id,
                    target_credentials=target and target.credentials)
        return restore, operation_id

    def verify(self, caller, checkpoint_id, provider_id=None,
               parameters=None):
        """Start verifying a checkpoint; return the verification's row.

        :raises errors.NotFound: no such checkpoint in the caller's project
        :raises errors.Invalid: wrong parameters
        :raises errors.Conflict: the checkpoint is not available
        """
        verification, operation_id = self._db.write(
            self._accept_verify, caller, checkpoint_id, provider_id,
            parameters or {}, str(uuid.uuid4()), str(uuid.uuid4()))
        self._hints.operation_queued(operation_id)
        return verification

    def _accept_verify(self, session, caller, checkpoint_id, provider_id,
                       parameters, verification_id, operation_id):
        checkpoint = self._own(session, caller, checkpoint_id, provider_id)
        # The row is locked, so that a delete is not accepted beside this;
        # only now, so that nobody locks another project's.
        session.refresh(checkpoint, with_for_update=True)
        _refuse_unavailable(checkpoint, 'verified')
        provider = providers.get(session, checkpoint.provider_id)
        verification = verifications.create(session, {
            'id': verification_id, 'project_id': caller.project_id,
            'user_id': caller.user_id,
            'provider_id': checkpoint.provider_id,
            'checkpoint_id': checkpoint.id, 'status': 'started',
            'parameters': parameter_rules.check(
                parameters, provider.schemas['verify_schema'])})
        self._queue(session, caller, operation_id, 'verify', checkpoint,
                    verification_id=verification_id)
        return verification, operation_id

    def delete(self, caller, checkpoint_id, provider_id=None,
               scheduled_operation_id=None):
        """Start deleting a checkpoint, whatever state it ended in.

        Deleting what is deleted, or being deleted, already does nothing.
        What waits to be made, or whose worker is gone, is not made
        any more; if that had not begun, it is deleted at once.

        :param scheduled_operation_id: of which it is an old checkpoint, when
            that is why it goes
        :raises errors.NotFound: no such checkpoint in the caller's project
        :raises errors.Conflict: it is being made, restored, verified
            or copied, or later incremental backups build on it
        """
        operation_id = self._db.write(
            self._accept_delete, caller, checkpoint_id, provider_id,
            str(uuid.uuid4()), scheduled_operation_id)
        if operation_id:
            self._hints.operation_queued(operation_id)

    def _accept_delete(self, session, caller, checkpoint_id, provider_id,
                       operation_id, scheduled_operation_id):
        checkpoint = self._own(session, caller, checkpoint_id, provider_id)
        dropped = _drop(session, checkpoint, _MADE,
                        'Its checkpoint was deleted.')
        session.refresh(checkpoint, with_for_update=True)
        if checkpoint.status in ('deleting', 'deleted'):
            return None
        _refuse_busy(checkpoint, dropped)
        _refuse_while_needed(session, checkpoint_id)
        checkpoints.move(session, checkpoint_id, 'deleting')
        if dropped is not None and dropped.attempt == 0:
            return self._delete_nothing(
                session, caller, operation_id, checkpoint,
                scheduled_operation_id=scheduled_operation_id)
        self._queue(session, caller, operation_id, 'delete', checkpoint,
                    scheduled_operation_id=scheduled_operation_id)
        return operation_id

    def _delete_nothing(self, session, caller, operation_id, checkpoint,
                        **values):
        """Delete a checkpoint of which nothing was made: no worker needed.

        There may be none: that nobody offers its provider any more may be
        why it has waited.
        """
        now = models.utcnow()
        checkpoints.move(session, checkpoint.id, 'deleted', deleted_at=now)
        self._queue(session, caller, operation_id, 'delete', checkpoint,
                    state='done', credentials=None, started_at=now,
                    ended_at=now, **values)

    def reset_state(self, caller, checkpoint_id, state, provider_id=None):
        """Let a checkpoint be ``available`` or ``error`` again.

        What waits for a worker, or has lost its worker, of making or
        deleting it is ended. What it has left stays in the rows: deleting
        the checkpoint removes it.

        :raises errors.NotFound: no such checkpoint in the caller's project
        :raises errors.Conflict: a service is at work on it, it is deleted,
            or it shall be available and is not whole
        """
        self._db.write(self._reset_state, caller, checkpoint_id, state,
                       provider_id)

    def _reset_state(self, session, caller, checkpoint_id, state,
                     provider_id):
        checkpoint = self._own(session, caller, checkpoint_id, provider_id)
        dropped = _drop(session, checkpoint, _BUSY,
                        'The state of its checkpoint was reset.')
        session.refresh(checkpoint, with_for_update=True)
        if checkpoint.status == 'deleted':
            raise errors.Conflict(
                f'Checkpoint {checkpoint_id} is deleted: there is nothing '
                f'left to be {state}.')
        _refuse_busy(checkpoint, dropped)
        if checkpoint.status == state:
            return
        _spoil(session, checkpoint, dropped)
        if state == 'available':
            _refuse_incomplete(session, checkpoint_id)
        checkpoints.move(
            session, checkpoint_id, state,
            finished_at=checkpoint.finished_at or models.utcnow())

    def copy(self, caller, plan_id, provider_id, target_provider_id,
             parameters=None):
        """Start copying a plan's checkpoints into another provider's bank.

        Those that have a copy there are left out, and of the others the
        :data:`MOST_COPIES` oldest are taken: ask again for the rest, until
        there is none. One that can not be copied refuses all of them.

        Return pairs, of a checkpoint's id and its copy's, and the
        parameters in the types of their schemas.

        :raises errors.NotFound: no such plan in the caller's project, or
            nobody has loaded its provider
        :raises errors.Invalid: another provider, one that nobody has
            loaded or that has other plugins, wrong parameters,
            no available checkpoint
        :raises errors.Conflict: not all of the data lies in the bank
        :raises errors.OverQuota: too many checkpoints
        """
        pairs, operation_ids, parameters = self._db.write(
            self._accept_copy, caller, plan_id, provider_id,
            target_provider_id, parameters or {})
        for operation_id in operation_ids[:1]:
            # The others come after it.
            self._hints.operation_queued(operation_id)
        return pairs, parameters

    def _accept_copy(self, session, caller, plan_id, provider_id,
                     target_provider_id, parameters):
        # One request of a project after the other: none copies twice.
        quota.hold(session, caller.project_id)
        plan = plans.get(session, plan_id, caller.project_id)
        _refuse_other_provider(plan, provider_id)
        provider = providers.get(session, provider_id)
        target = _target(session, provider, target_provider_id)
        parameters = parameter_rules.check(
            parameters, provider.schemas.get('copy_schema', {}))
        found = copies.wanting(session, plan.id, provider.id, target.id,
                               MOST_COPIES)
        if not found and not copies.can_any(session, plan.id, provider.id):
            raise errors.Invalid(f'plan_id: plan {plan.id} has no available '
                                 f'checkpoint with provider {provider.id}')
        _refuse_uncopyable(session, target, [row.id for row in found])
        pairs, operation_ids = [], []
        for source in found:
            operation_ids.append(str(uuid.uuid4()))
            pairs.append((source.id, self._queue_copy(
                session, caller, source, target, operation_ids[-1],
                parameters)))
        return pairs, operation_ids, parameters

    def _queue_copy(self, session, caller, source, target, operation_id,
                    parameters):
        quota.check_checkpoints(session, self._conf, caller.project_id)
        checkpoint = checkpoints.create(session, {
            'id': str(uuid.uuid4()), 'project_id': caller.project_id,
            'user_id': caller.user_id, 'provider_id': target.id,
            'plan_id': source.plan_id, 'status': 'wait_copying',
            'plan': source.plan, 'graph': checkpoints.EMPTY_GRAPH,
            'extra_info': dict(source.extra_info, created_by='copy'),
            'copied_from': source.id,
            'data_time': source.data_time or source.created_at})
        self._queue(session, caller, operation_id, 'copy', checkpoint,
                    source_checkpoint_id=source.id, credentials=None,
                    extra_info={'copied_from': source.id,
                                'parameters': parameters})
        return checkpoint.id

    def abort_checkpoint(self, caller, checkpoint_id, provider_id=None):
        """Ask that a checkpoint is not finished, and what it made removed.

        Asking twice does nothing more. A checkpoint that is just being
        finished may become available all the same.

        :raises errors.NotFound: no such checkpoint in the caller's project
        :raises errors.Conflict: it is neither being protected nor copied
        """
        operation_id = self._db.write(
            self._abort_checkpoint, caller, checkpoint_id, provider_id)
        self._hints.operation_aborted(operation_id=operation_id)

    def _abort_checkpoint(self, session, caller, checkpoint_id,
                          provider_id):
        checkpoint = self._own(session, caller, checkpoint_id, provider_id)
        operation = operations.making_of(session, checkpoint_id)
        if operation is None or not operations.request_abort(
                session, operation.id):
            raise errors.Conflict(
                f'Checkpoint {checkpoint_id} is {checkpoint.status}: only '
                f'what is being made can be aborted.')
        return operation.id

    def abort_restore(self, caller, restore_id):
        """Ask that a restore ends, and what it made is removed.

        Asking twice does nothing more. A restore that is just ending may
        succeed all the same; one that no service has begun ends at once.

        :raises errors.NotFound: no such restore in the caller's project
        :raises errors.Conflict: it has ended
        """
        self._abort(restores, operations.restore_of, caller, restore_id)

    def abort_verification(self, caller, verification_id):
        """Ask that a verification ends; it counts as failed then.

        Asking twice does nothing more. A verification that is just ending
        may succeed all the same; one that no service has begun ends at once.

        :raises errors.NotFound: none such in the caller's project
        :raises errors.Conflict: it has ended
        """
        self._abort(verifications, operations.verify_of, caller,
                    verification_id)

    def _abort(self, *asked):
        operation_id = self._db.write(_end_or_request_abort, *asked)
        self._hints.operation_aborted(operation_id=operation_id)

    def _own(self, session, caller, checkpoint_id, provider_id):
        return checkpoints.get(session, checkpoint_id, caller.project_id,
                               provider_id)

    def _queue(self, session, caller, operation_id, operation_type,
               checkpoint, **values):
        operations.create(session, {
            'id': operation_id, 'type': operation_type,
            'project_id': caller.project_id, 'user_id': caller.user_id,
            'request_id': caller.request_id,
            'provider_id': checkpoint.provider_id,
            'plan_id': checkpoint.plan_id, 'checkpoint_id': checkpoint.id,
            'credentials': caller.credentials, **values})


def _restorable(session, checkpoint, parameters, target):
    """Return the provider and the checked parameters of a restore."""
    _refuse_unavailable(checkpoint, 'restored')
    if target is not None:
        _refuse_outside_bank(session, checkpoint)
    provider = providers.get(session, checkpoint.provider_id)
    return provider, parameter_rules.check(
        parameters, provider.schemas['restore_schema'])


def _refuse_outside_bank(session, checkpoint):
    """:raises errors.Conflict: it has backups that can not be taken away"""
    rows = copies.outside_bank(session, [checkpoint.id], _MOST_NAMED)
    if rows:
        names = ', '.join(f'{row.type} {row.id}' for row in rows)
        raise errors.Conflict(
            f'Checkpoint {checkpoint.id} can only be restored in its own '
            f'project of this cloud, without restore_target and restore_auth: '
            f'the backups of {names} are in the cloud and not in the bank.')


def _refuse_unavailable(checkpoint, what):
    """:raises errors.Conflict: it is not available, so it can not be what"""
    if checkpoint.status != 'available':
        raise errors.Conflict(
            f'Checkpoint {checkpoint.id} is {checkpoint.status}: only an '
            f'available one can be {what}.')


def _refuse_other_provider(plan, provider_id):
    if provider_id not in (None, plan.provider_id):
        raise errors.Invalid(
            f'provider_id: plan {plan.id} belongs to provider '
            f'{plan.provider_id}, not to {provider_id}')


def check_resources(provider, resources):
    """:raises errors.Invalid: the provider has no plugin for a resource"""
    for index, resource in enumerate(resources):
        if 'protect' not in provider.capabilities.get(resource['type'], ()):
            raise errors.Invalid(
                f'resources[{index}].type: provider {provider.id} can not '
                f'protect {resource["type"]}; it protects: '
                f'{", ".join(sorted(provider.capabilities))}')


def plan_snapshot(plan):
    """Return what a checkpoint keeps of its plan."""
    return {name: getattr(plan, name) for name in (
        'id', 'name', 'description', 'provider_id', 'resources',
        'parameters')}


def _drop(session, checkpoint, statuses, reason):
    """End what makes or deletes a checkpoint if nobody works on it.

    Return the operation that was ended, or None. Call it before the
    checkpoint is locked: workers lock their operation first.

    :param statuses: of the checkpoint, with which this is wanted
    """
    if checkpoint.status not in statuses:
        return None
    operation = operations.unended_of(session, checkpoint.id,
                                      _BUSY[checkpoint.status])
    if operation is None or not operations.abandon(session, operation,
                                                   reason):
        return None
    return operation


def _end_unbegun(session, operation):
    """End what waits and was never claimed; return whether it was that.

    Perhaps nobody offers its provider any more, and it would wait, and keep
    its checkpoint from being deleted, for ever.
    """
    return (operation is not None and operation.attempt == 0
            and operations.abandon(session, operation,
                                   'Aborted before it had begun.'))


def _end_or_request_abort(session, noun, operation_of, caller, row_id):
    """Return the id of a restore's or a verification's operation."""
    row = noun.get(session, row_id, caller.project_id)
    operation = operation_of(session, row_id)
    if _end_unbegun(session, operation):
        noun.move(session, row_id, 'failed', finished_at=models.utcnow())
    elif operation is None or not operations.request_abort(
            session, operation.id):
        raise errors.Conflict(
            f'{type(row).__name__} {row_id} is {row.status}: it has ended.')
    return operation.id


def _refuse_busy(checkpoint, dropped):
    """:raises errors.Conflict: somebody is at work on the checkpoint"""
    if checkpoint.status in _BUSY and dropped is None:
        raise errors.Conflict(
            f'Checkpoint {checkpoint.id} is {checkpoint.status}: wait until '
            f'that has ended.')


def _spoil(session, checkpoint, dropped):
    """Write down of which resources there is no backup any more."""
    if checkpoint.status in _MADE:
        doing = 'Copying' if checkpoint.copied_from else 'Protecting'
        checkpoints.spoil_resources(session, checkpoint.id,
                                    f'{doing} it has not ended.')
    elif checkpoint.status == 'error-deleting' or (
            dropped is not None and dropped.attempt > 0):
        checkpoints.spoil_resources(session, checkpoint.id,
                                    'Deleting it had begun.')


def _refuse_incomplete(session, checkpoint_id):
    """:raises errors.Conflict: nobody could restore the checkpoint"""
    if not (operations.is_made(session, checkpoint_id)
            and checkpoints.is_whole(session, checkpoint_id)):
        raise errors.Conflict(
            f'Checkpoint {checkpoint_id} can not be available: it was not '
            f'finished, or deleting it had begun. It can only be deleted.')


def _target(session, provider, target_provider_id):
    """Return the row of the provider that is copied to."""
    what = f'target_provider_id: provider {target_provider_id}'
    try:
        target = providers.get(session, target_provider_id)
    except errors.NotFound:
        raise errors.Invalid(f'{what} is not there.') from None
    if target.bank_uuid == provider.bank_uuid:
        raise errors.Invalid(
            f'{what} has the bank that the checkpoints are in: name one '
            f'with another bank.')
    return target


def _refuse_uncopyable(session, target, checkpoint_ids):
    """Refuse what could not be restored afterwards."""
    for kind, plugin in copies.types(session, checkpoint_ids):
        if (target.plugins or {}).get(kind) != plugin:
            raise errors.Invalid(
                f'target_provider_id: provider {target.id} has no plugin '
                f'{plugin} for {kind}, which has protected it and could '
                f'restore it')
    rows = copies.outside_bank(session, checkpoint_ids, _MOST_NAMED)
    if rows:
        names = '; '.join(
            f'{row.type} {row.id} of checkpoint {row.checkpoint_id}'
            for row in rows)
        raise errors.Conflict(
            f'Only what lies in the bank can be copied, and the backups of '
            f'these lie in the cloud: {names}.')


def _refuse_while_needed(session, checkpoint_id):
    for noun, what in ((restores, 'restored by'),
                       (verifications, 'verified by'),
                       (copies, 'copied into')):
        running = noun.running_of(session, checkpoint_id)
        if running:
            raise errors.InUse(
                f'Checkpoint {checkpoint_id} is being {what} '
                f'{", ".join(running)}.')
    built = checkpoints.built_upon(session, checkpoint_id)
    if built:
        raise errors.InUse(
            f'Incremental backups in checkpoints {", ".join(built)} build on '
            f'checkpoint {checkpoint_id}: delete those first.')
