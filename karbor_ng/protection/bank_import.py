# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Importing: from the manifests of a bank to the rows of a database.

For the day on which the database is lost, or a bank moves to another
deployment. Apart from ``manifest``, which writes what is read here, because
services never do this.
"""

import collections
import dataclasses
import datetime
import logging
import uuid

import jsonschema
from oslo_db import api as db_api
from oslo_db import exception as db_exception

from karbor_ng import errors
from karbor_ng import graph as graph_module
from karbor_ng.protection import contents
from karbor_ng.protection import journal
from karbor_ng.protection import manifest
from karbor_ng.protection import old_bank
from karbor_ng.store import checkpoints
from karbor_ng.store import models
from karbor_ng.store import plans
from karbor_ng.store import streams

LOG = logging.getLogger(__name__)

_TEXT = {'type': 'string'}
_ID = {'type': 'string', 'maxLength': 36}
_NAME = {'type': ['string', 'null'], 'maxLength': 255}
_WORD = {'type': 'string', 'maxLength': 64}
_SIZE = {'type': 'integer', 'minimum': 0, 'maximum': 2 ** 63 - 1}
_OBJECT = {'type': 'object'}
_OBJECTS = {'type': 'array', 'items': {
    'type': 'object', 'required': ['key', 'size', 'sha256'],
    'properties': {'key': _TEXT, 'size': _SIZE, 'sha256': _TEXT}}}
_STREAMS = {'type': 'object', 'additionalProperties': {
    'type': 'object', 'required': ['id', 'size', 'sha256'],
    'properties': {'id': _ID, 'size': _SIZE, 'sha256': _TEXT}}}
_SAVED = {'type': 'object', 'properties': {
    **dict.fromkeys(journal.SAVED_COLUMNS, _NAME), 'streams': _STREAMS,
    'size': dict(_SIZE, type=['integer', 'null'])}}
_EXTERNALS = {'type': 'array', 'items': {
    'type': 'object', 'required': ['service', 'kind', 'id', 'label', 'tag',
                                   'state'],
    'properties': {'service': _WORD, 'kind': _WORD, 'id': _NAME,
                   'label': _WORD, 'tag': _ID,
                   'state': {'enum': ['intended', 'exists', 'gone']}}}}
_PLAN = {'type': 'object', 'required': ['id', 'name', 'resources'],
         'properties': {'id': _ID, 'name': _NAME, 'resources': {
             'type': 'array', 'items': {'type': 'object', 'required': [
                 'type', 'id']}}}}
_RESOURCE = {
    'type': 'object',
    'required': ['type', 'id', 'name', 'status', 'reason', 'plugin',
                 'plugin_version', 'parameters', 'saved', 'extra_info',
                 'size', 'externals', 'objects'],
    'properties': {
        'type': _WORD, 'id': dict(_NAME, type='string'), 'name': _NAME,
        'status': _WORD, 'reason': {'type': ['string', 'null']},
        'plugin': _NAME, 'plugin_version': {'type': ['string', 'null'],
                                            'maxLength': 64},
        'size': dict(_SIZE, type=['integer', 'null']),
        'parameters': _OBJECT, 'saved': _SAVED, 'externals': _EXTERNALS,
        'objects': _OBJECTS}}
#: What rows are made of; see "Bank format" in the contributor's manual.
_SCHEMA = jsonschema.Draft202012Validator({
    'type': 'object',
    'required': ['id', 'project_id', 'provider_id', 'status', 'created_at',
                 'finished_at', 'extra_info', 'plan', 'graph', 'operation',
                 'resources'],
    'properties': {
        'status': {'enum': ['available', 'error']},
        'created_at': _TEXT, 'finished_at': _TEXT, 'graph': _TEXT,
        'user_id': _NAME, 'plan': _PLAN, 'extra_info': _OBJECT,
        'operation': {'type': 'object', 'required': ['id', 'attempt'],
                      'properties': {'id': _ID, 'attempt': {
                          'type': 'integer', 'minimum': 0,
                          'maximum': 2 ** 31 - 1}}},
        'copied_from': _ID, 'data_time': _TEXT,
        'resources': {'type': 'array', 'items': _RESOURCE},
    },
    'dependentRequired': {'copied_from': ['data_time']},
})


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one checkpoint of the bank.

    :ivar what: ``imported``, ``known`` or ``refused``
    :ivar reason: why it was refused, else None
    """

    project_id: str | None
    checkpoint_id: str
    what: str
    reason: str | None = None


def import_all(db, provider, is_dry=False):
    """Import all checkpoints of a provider's bank; yield an Outcome for each.

    Each checkpoint is a transaction, so interrupting it loses nothing, and
    doing it again goes on. Rows that are there are never changed.

    :param provider: a :class:`providers.Provider` that is open
    :param is_dry: only look what would be done
    :raises errors.Conflict: the database knows the provider with another
        bank
    """
    db.read(refuse_other_bank, provider)
    for project_id, checkpoint_id in contents.checkpoints(provider.bank):
        try:
            what = _import(db, provider, project_id, checkpoint_id, is_dry)
        except (errors.BankError, errors.Conflict) as problem:
            yield Outcome(project_id, checkpoint_id, 'refused', str(problem))
            continue
        if what is not None:
            yield Outcome(project_id, checkpoint_id, what)


def import_plans(db, provider):
    """Insert plans that are not there, as the newest checkpoint has them.

    Plans that were deleted while a checkpoint of theirs lives come back too.
    Return how many were inserted.
    """
    db.read(refuse_other_bank, provider)
    newest = {}
    for found in _sound_manifests(provider):
        known = newest.get(found['plan']['id'])
        if known is None or (_time(known['created_at'])
                             < _time(found['created_at'])):
            newest[found['plan']['id']] = found
    return sum(db.write(_insert_plan, found) for found in newest.values())


def _sound_manifests(provider):
    for project_id, checkpoint_id in contents.checkpoints(provider.bank):
        try:
            found = manifest.read(provider.bank, project_id, checkpoint_id)
            if found is not None:
                check(found, provider)
                yield found
        except (errors.BankError, errors.Conflict) as problem:
            LOG.info('No plan of checkpoint %s: %s', checkpoint_id, problem)


def _insert_plan(session, found):
    plan = found['plan']
    if session.get(models.Plan, plan['id']) is not None:
        return 0
    plans.create(session, {
        'id': plan['id'], 'project_id': found['project_id'],
        'user_id': found.get('user_id'),
        # Of a copy it is not the provider that has it.
        'provider_id': plan.get('provider_id') or found['provider_id'],
        'name': plan['name'], 'description': plan.get('description'),
        'status': 'suspended', 'resources': plan['resources'],
        'parameters': plan.get('parameters') or {},
        'created_at': _time(found['created_at'])})
    return 1


def import_old(db, provider, is_dry=False):
    """Import the checkpoints of Karbor in the same place; see import_all.

    What was deleted there is passed over. What is known here, perhaps as
    deleted, is not converted again.
    """
    db.read(refuse_other_bank, provider)
    conversion = old_bank.Conversion(provider)
    for checkpoint_id in conversion.checkpoint_ids():
        try:
            index = conversion.index(checkpoint_id)
            if index is None:
                continue
            what = _import_old(db, provider, conversion, index, is_dry)
        except (errors.BankError, errors.Conflict) as problem:
            yield Outcome(None, checkpoint_id, 'refused', str(problem))
            continue
        yield Outcome(index['project_id'], checkpoint_id, what)


def _import_old(db, provider, conversion, index, is_dry):
    where = {'id': index['id'], 'project_id': index['project_id']}
    if db.read(_is_known, where, provider):
        return 'known'
    if is_dry:
        return 'imported'
    conversion.convert(index)
    return _import(db, provider, index['project_id'], index['id'], False)


def refuse_other_bank(session, provider):
    """:raises errors.Conflict: rows say that the provider's bank is another

    What is imported from a wrong bank could neither be restored nor deleted.
    """
    row = session.get(models.Provider, provider.id)
    if row is not None and row.bank_uuid != provider.bank_uuid:
        raise errors.Conflict(
            f'The protection services offer provider {provider.id} with '
            f'bank {row.bank_uuid}, but the provider file leads to bank '
            f'{provider.bank_uuid} here.')


def _import(db, provider, project_id, checkpoint_id, is_dry):
    found = manifest.read(provider.bank, project_id, checkpoint_id)
    if found is None:
        return None
    check(found, provider)
    if is_dry:
        is_known = db.read(_is_known, found, provider)
        return 'known' if is_known else 'imported'
    return _patiently(db, found, provider)


@db_api.wrap_db_retry(max_retries=5, retry_interval=0.1,
                      exception_checker=lambda problem: isinstance(
                          problem, db_exception.DBDuplicateEntry))
def _patiently(db, found, provider):
    """Insert; again if somebody else imports the same at this moment."""
    return db.write(_insert, found, provider)


def check(found, provider):
    """Make sure that rows can be made of a manifest.

    :raises errors.BankError: it is damaged
    :raises errors.Conflict: it was made by another provider
    """
    check_shape(found)
    if found['provider_id'] != provider.id:
        raise errors.Conflict(
            f'It was made by provider {found["provider_id"]}, not by '
            f'{provider.id}.')
    _check_graph(found)


def check_shape(found):
    """:raises errors.BankError: a manifest lacks something, or is no such"""
    problem = jsonschema.exceptions.best_match(_SCHEMA.iter_errors(found))
    if problem is not None:
        raise errors.BankError(
            f'Its manifest is damaged: {problem.json_path}: '
            f'{problem.message}')


def _check_graph(found):
    try:
        nodes = graph_module.unpack(found['graph']).nodes
        times = [_time(found[name]) for name in (
            'created_at', 'finished_at', 'data_time') if name in found]
    except (errors.Error, LookupError, TypeError, ValueError,
            AttributeError, RecursionError) as problem:
        raise errors.BankError(
            f'Its manifest is damaged: {problem}') from problem
    listed = {(item['type'], item['id']) for item in found['resources']}
    if {(node.type, node.id) for node in nodes} != listed or None in times:
        raise errors.BankError('Its manifest is damaged: graph and '
                               'resources differ.')


def _is_known(session, found, provider):
    """:raises errors.Conflict: another checkpoint has this id"""
    row = session.get(models.Checkpoint, found['id'])
    if row is None:
        return False
    known = row.project_id, row.provider_id, row.bank_uuid
    if known != (found['project_id'], provider.id, provider.bank_uuid):
        raise errors.Conflict(
            f'The database has another checkpoint {found["id"]}: of project '
            f'{row.project_id}, provider {row.provider_id}, bank '
            f'{row.bank_uuid}.')
    return True


def _insert(session, found, provider):
    if _is_known(session, found, provider):
        return 'known'
    if session.get(models.Operation, found['operation']['id']) is not None:
        raise errors.Conflict(
            f'The database has another operation '
            f'{found["operation"]["id"]}.')
    checkpoints.create(session, _checkpoint(found, provider))
    checkpoints.put_resources(
        session, found['id'],
        [_resource(found, item) for item in found['resources']])
    session.add(_operation(found))
    session.flush()
    for item in found['resources']:
        session.add_all([_external(found, item, external)
                         for external in item['externals']])
        _adopt_streams(session, found, item, provider)
    session.flush()
    return 'imported'


def _checkpoint(found, provider):
    sizes = [item['size'] for item in found['resources']
             if item['size'] is not None]
    return {
        **{name: found[name] for name in (
            'id', 'project_id', 'provider_id', 'status', 'plan', 'graph',
            'extra_info')},
        'user_id': found.get('user_id'), 'plan_id': found['plan']['id'],
        'size': sum(sizes) if sizes else None,
        'bank_uuid': provider.bank_uuid,
        'created_at': _time(found['created_at']),
        'finished_at': _time(found['finished_at']), **_origin(found)}


def _origin(found):
    """Return the columns that only copies have."""
    if 'copied_from' not in found:
        return {}
    return {'copied_from': found['copied_from'],
            'data_time': _time(found['data_time'])}


def _resource(found, item):
    planned = {(resource['type'], resource['id'])
               for resource in found['plan']['resources']}
    values = dict(
        {'backup_id': None, 'parent_backup': None, 'chain_id': None},
        **journal.saved_values(item['saved']))
    return {**{name: item[name] for name in (
        'type', 'id', 'name', 'status', 'reason', 'plugin',
        'plugin_version', 'parameters', 'objects', 'extra_info')},
        **values, 'size': item['size'],
        'progress': 100 if item['status'] == 'available' else 0,
        'in_plan': (item['type'], item['id']) in planned}


def _operation(found):
    """Return what made it, without which nothing can be deleted."""
    is_done = found['status'] == 'available'
    reasons = [f'{item["type"]} {item["id"]}: {item["reason"]}'
               for item in found['resources'] if item['status'] == 'error']
    return models.Operation(
        id=found['operation']['id'],
        type='copy' if 'copied_from' in found else 'protect',
        source_checkpoint_id=found.get('copied_from'),
        project_id=found['project_id'], user_id=found.get('user_id'),
        provider_id=found['provider_id'], plan_id=found['plan']['id'],
        checkpoint_id=found['id'], state='done' if is_done else 'failed',
        attempt=found['operation']['attempt'],
        error_info=None if is_done else '; '.join(reasons) or None,
        created_at=_time(found['created_at']),
        started_at=_time(found['created_at']),
        ended_at=_time(found['finished_at']))


def _external(found, item, external):
    return models.External(
        id=str(uuid.uuid4()), operation_id=found['operation']['id'],
        checkpoint_id=found['id'], resource_type=item['type'],
        resource_id=item['id'], external_id=external['id'],
        attempt=found['operation']['attempt'],
        created_at=_time(found['finished_at']),
        **{name: external[name] for name in (
            'label', 'tag', 'service', 'kind', 'state')})


def _adopt_streams(session, found, item, provider):
    """Let the checkpoint use its streams, which others may use as well."""
    parts = collections.defaultdict(list)
    for part in item['objects']:
        place = contents.stream_of(part['key'])
        if place is not None:
            parts[place[0]].append(dict(part, number=place[1]))
    for label, kept in item['saved'].get('streams', {}).items():
        streams.adopt(
            session,
            {'checkpoint_id': found['id'], 'resource_type': item['type'],
             'resource_id': item['id'], 'label': label},
            {'id': kept['id'], 'bank_uuid': provider.bank_uuid,
             'project_id': found['project_id'],
             'resource_type': item['type'], 'resource_id': item['id'],
             'size': kept['size'], 'sha256': kept['sha256'],
             'created_at': _time(found['created_at'])},
            parts[kept['id']])


def _time(text):
    moment = datetime.datetime.fromisoformat(text)
    return moment if moment.tzinfo else None
