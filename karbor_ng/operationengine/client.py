# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The front door of the operation engine: scheduled operations, for the API.

Each verb checks what rows can tell, has a trust of the user where one is
needed, and writes in one transaction. The engine itself is never asked: it
finds rows. What was due before a change happens as if the change came later,
even if no engine has looked since.
"""

import uuid

from karbor_ng import errors
from karbor_ng.operationengine import firing
from karbor_ng.operationengine import kinds
from karbor_ng.operationengine import own_checkpoints
from karbor_ng.operationengine import trusts
from karbor_ng.store import plans
from karbor_ng.store import scheduled_operations
from karbor_ng.store import session as store_session
from karbor_ng.store import triggers


def definition_properties():
    """Return JSON schemas of what definitions can have, of all kinds."""
    return {name: schema for kind in kinds.load().values()
            for name, schema in kind.properties.items()}


class EngineClient:
    """Accepts scheduled operations.

    :param delegation: a :class:`karbor_ng.delegation.Delegation`
    :param types: ``{name: karbor_ng.triggers.TriggerType}``
    :ivar kinds: ``{operation type: Kind}``
    """

    def __init__(self, db, delegation, types):
        self._db = db
        self._types = types
        self._delegation = delegation
        self._trusts = trusts.Trusts(db, delegation)
        self.kinds = kinds.load()

    def create(self, context, project_id, values):
        """Begin to do something at the times of a trigger; return the row.

        :param context: the context of the user's request
        :param values: ``name``, ``description``, ``operation_type``,
            ``trigger_id``, ``definition`` and ``is_enabled``
        :raises errors.Invalid: naming the field that is wrong
        :raises errors.NotFound: no such trigger or plan in the project
        :raises errors.Forbidden: Keystone makes no trust of this token
        """
        definition = values['definition']
        row = dict(values, id=str(uuid.uuid4()), project_id=project_id,
                   user_id=context.user_id,
                   provider_id=definition['provider_id'],
                   plan_id=definition['plan_id'])
        # What can be refused is, before Keystone is asked.
        self._db.read(self._check, row)
        self._check_own(context, project_id)
        return self._trusts.use(context, self._insert, row)

    def _check(self, session, row):
        trigger = triggers.get(session, row['trigger_id'], row['project_id'])
        plan = plans.get(session, row['plan_id'], row['project_id'])
        if plan.provider_id != row['provider_id']:
            raise errors.Invalid(
                'scheduled_operation.operation_definition.provider_id: plan '
                f'{plan.id} belongs to provider {plan.provider_id}, not to '
                f'{row["provider_id"]}.')
        self._check_definition(row['operation_type'], row['definition'],
                               trigger)

    def _check_definition(self, operation_type, definition, trigger):
        kind = self.kinds.get(operation_type)
        if kind is None:
            raise errors.Invalid(
                f'scheduled_operation.operation_type: "{operation_type}" is '
                f'unknown; there are: {", ".join(sorted(self.kinds))}.')
        for name in definition:
            if name not in ('provider_id', 'plan_id', *kind.properties):
                raise errors.Invalid(
                    f'scheduled_operation.operation_definition.{name} is '
                    f'nothing that {operation_type} has.')
        kind.rules(definition,
                   trigger.properties.get('timezone') or 'UTC')

    def _insert(self, session, trust_id, row):
        # Locked, so that neither goes while this comes.
        triggers.get(session, row['trigger_id'], with_for_update=True)
        plans.hold(session, row['plan_id'], row['project_id'])
        self._check(session, row)
        return scheduled_operations.create(session, dict(
            row, trust_id=trust_id, created_at=store_session.now(session)))

    def update(self, context, row, values):
        """Change a scheduled operation; return its row as it is then.

        Who enables one whose trust is of no use any more gives a new one,
        and it runs with this user's rights from then on.

        :param row: the row that is to change
        :param values: some of those of :meth:`create`
        :raises errors.Invalid: as :meth:`create`, or another plan
        """
        values = dict(values)
        if values.get('definition', {}).get('plan_id',
                                            row.plan_id) != row.plan_id:
            raise errors.Invalid(
                'scheduled_operation.operation_definition.plan_id can not '
                'change: make a scheduled operation for the other plan.')
        if 'is_enabled' in values:
            values.update(disabled_reason=None, disabled_at=None)
        if (values.get('is_enabled') and self._delegation.is_needed
                and not self._db.read(scheduled_operations.has_trust,
                                      row.id)):
            return self._renew(context, row, values)
        return self._db.write(self._update, None, row, values)

    def _renew(self, context, row, values):
        self._check_own(context, row.project_id)
        found = self._trusts.use(context, self._update, row,
                                 dict(values, user_id=context.user_id))
        if row.trust_id not in (None, found.trust_id):
            self._trusts.release(row.trust_id)
        return found

    def _update(self, session, trust_id, row, values):
        if trust_id is not None:
            values = dict(values, trust_id=trust_id)
        row = self._caught_up(session, row.id, row.project_id,
                              values.get('trigger_id'))
        if {'trigger_id', 'definition'} & set(values):
            self._check(session, {
                name: values.get(name, getattr(row, name)) for name in (
                    'project_id', 'operation_type', 'trigger_id',
                    'plan_id', 'definition')} | {
                'provider_id': values.get(
                    'definition', row.definition)['provider_id']})
        return scheduled_operations.update(session, row.id, row.project_id,
                                           values)

    def delete(self, scheduled_operation_id, project_id):
        """Stop doing something; its runs and checkpoints stay.

        :raises errors.NotFound: there is none in the project
        """
        trust_id = self._db.write(self._delete, scheduled_operation_id,
                                  project_id).trust_id
        if trust_id is not None:
            self._trusts.release(trust_id)

    def _delete(self, session, scheduled_operation_id, project_id):
        self._caught_up(session, scheduled_operation_id, project_id)
        return scheduled_operations.delete(session, scheduled_operation_id,
                                           project_id)

    def _caught_up(self, session, scheduled_operation_id, project_id,
                   trigger_id=None):
        """Return a row that may change; it and its triggers are locked.

        :param trigger_id: of the trigger that it gets; None if it does not
        """
        row = scheduled_operations.get(
            session, scheduled_operation_id, project_id,
            with_for_update=True, populate_existing=True)
        for one in sorted({row.trigger_id, trigger_id or row.trigger_id}):
            self.catch_up(session, one)
        return row

    def catch_up(self, session, trigger_id):
        """Let what is due be due, in the transaction that changes a trigger.

        Return the database's time; what changes counts from then on.

        :raises errors.NotFound: there is no such trigger
        """
        return firing.catch_up(session, self._types, trigger_id)

    def retention(self, row):
        """Return what would become of the checkpoints of a row now.

        That is after a run that succeeds; without one nothing is deleted.

        :return: decisions of :mod:`karbor_ng.operationengine.retention`,
            each with its checkpoint; empty if all are kept for ever
        """
        return self._db.read(self._retention, row)

    def _retention(self, session, row):
        trigger = triggers.get(session, row.trigger_id)
        return own_checkpoints.decide(
            session, row, own_checkpoints.rules(self.kinds, row, trigger))

    def _check_own(self, context, project_id):
        if self._delegation.is_needed and context.project_id != project_id:
            raise errors.Forbidden(
                'A trust can be given for the project of the token alone: '
                'what is scheduled in another project needs a token for it.')
