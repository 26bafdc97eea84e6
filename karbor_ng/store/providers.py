# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Providers: what the protection services said they have loaded."""

import datetime

from oslo_db import exception as db_exception
import sqlalchemy as sa

from karbor_ng import errors
from karbor_ng.store import models
from karbor_ng.store import query
from karbor_ng.store import session as store_session

Provider = models.Provider
#: What is shown of each provider in a list.
LISTED = (Provider.id, Provider.name, Provider.description,
          query.stored(Provider.schemas))

#: How long a host's word counts after it was last heard.
FRESH = datetime.timedelta(minutes=10)


def publish(session, values):
    """Insert or refresh the row of a provider.

    :raises errors.Conflict: the provider's checkpoints lie in another bank
        than this one, or another host offers it with another bank: two
        hosts with a directory of their own each, perhaps
    """
    _refuse_other_bank(session, values)
    values = dict(values, published_at=store_session.now(session))
    if not _put(session, values):
        try:
            with session.begin_nested():
                session.add(Provider(**values))
        except db_exception.DBDuplicateEntry:
            # Another service published it in between.
            _put(session, values)


def complain(session, provider_id, host, problem):
    """Write what a host has found wrong with the bank of a provider.

    It counts as long as no host says that all is well.
    """
    query.change(session, Provider, {
        'problem': f'{host}: {problem}'[:Provider.problem.type.length],
        'problem_at': store_session.now(session)},
        Provider.id == provider_id)


def _put(session, values):
    return query.change(session, Provider, values,
                        Provider.id == values['id'])


def _refuse_other_bank(session, values):
    held = session.execute(sa.select(models.Checkpoint.bank_uuid).where(
        models.Checkpoint.provider_id == values['id'],
        models.Checkpoint.status != 'deleted',
        models.Checkpoint.bank_uuid.isnot(None),
        models.Checkpoint.bank_uuid != values['bank_uuid'])).first()
    if held:
        raise errors.Conflict(
            f'Provider {values["id"]} has checkpoints in bank {held[0]}, but '
            f'its configuration leads to bank {values["bank_uuid"]}.')
    other = session.execute(sa.select(Provider).where(
        Provider.id == values['id'],
        Provider.bank_uuid != values['bank_uuid'],
        Provider.host != values['host'],
        Provider.published_at > store_session.now(session) - FRESH,
    )).scalars().first()
    if other:
        raise errors.Conflict(
            f'Host {other.host} offers provider {values["id"]} with bank '
            f'{other.bank_uuid}, but here its configuration leads to bank '
            f'{values["bank_uuid"]}: all hosts must see the same bank.')


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


def list(session, page, name=None, description=None, columns=None):
    """Return a page of providers; filters are exact, as they always were.

    :param columns: as :func:`karbor_ng.store.query.page`
    """
    conditions = []
    if name is not None:
        conditions.append(Provider.name == name)
    if description is not None:
        conditions.append(Provider.description == description)
    return query.page(session, Provider, page, *conditions, columns=columns)
