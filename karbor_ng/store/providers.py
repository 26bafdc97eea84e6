# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Providers: what the protection services said they have loaded."""

import sqlalchemy as sa

from karbor_ng import errors
from karbor_ng.store import models
from karbor_ng.store import query

Provider = models.Provider


def publish(session, values):
    """Insert or refresh the row of a provider.

    :raises errors.Conflict: checkpoints of this provider lie in a bank with
        another marker: what claims to be the provider's bank is not it
    """
    held = session.execute(sa.select(models.Checkpoint.bank_uuid).where(
        models.Checkpoint.provider_id == values['id'],
        models.Checkpoint.status != 'deleted',
        models.Checkpoint.bank_uuid.isnot(None),
        models.Checkpoint.bank_uuid != values['bank_uuid'])).first()
    if held:
        raise errors.Conflict(
            f'Provider {values["id"]} has checkpoints in bank {held[0]}, but '
            f'its configuration leads to bank {values["bank_uuid"]}.')
    values = dict(values, published_at=models.utcnow())
    changed = query.change(session, Provider, values,
                           Provider.id == values['id'])
    if not changed:
        session.add(Provider(**values))


def withdraw(session, host, keep):
    """Remove what the host once published and does not load any more."""
    session.execute(sa.delete(Provider).where(
        Provider.host == host, Provider.id.notin_(tuple(keep))))


def get(session, provider_id):
    """:raises errors.NotFound: nobody has loaded such a provider"""
    provider = session.get(Provider, provider_id)
    if provider is None:
        raise errors.NotFound(f'There is no provider {provider_id}.')
    return provider


def list(session, page, name=None, description=None):
    """Return a page of providers; filters are exact, as they always were."""
    conditions = []
    if name is not None:
        conditions.append(Provider.name == name)
    if description is not None:
        conditions.append(Provider.description == description)
    return query.page(session, Provider, page, *conditions)
