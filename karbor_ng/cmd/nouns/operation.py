# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""karbor-manage operation: what services work on, and what is stuck."""

from karbor_ng import errors
from karbor_ng.cmd.nouns import verb
from karbor_ng.store import externals
from karbor_ng.store import operations
from karbor_ng.store import query
from karbor_ng.store import session as store_session
from karbor_ng.store import steps

STATES = ('queued', 'running', 'failed', 'done')
_LISTED = ('id', 'type', 'state', 'age', 'owner', 'lease', 'attempt',
           'checkpoint_id', 'error_info')
_SHOWN = ('id', 'type', 'state', 'project_id', 'user_id', 'request_id',
          'provider_id', 'plan_id', 'checkpoint_id', 'restore_id',
          'verification_id', 'source_checkpoint_id', 'owner', 'attempt',
          'resume_count', 'abort_requested', 'error_info')
_TIMES = ('created_at', 'started_at', 'lease_until', 'ended_at')
_STEP = ('resource_type', 'resource_id', 'hook', 'state', 'attempt',
         'seconds', 'result')
_EXTERNAL = ('resource_type', 'resource_id', 'label', 'service', 'kind',
             'external_id', 'state', 'tag')
#: What to do instead of resuming what has failed: its credentials are gone,
#: and users may have seen it fail.
_INSTEAD = {
    'protect': 'create a new checkpoint of the plan, and delete checkpoint '
               '{operation.checkpoint_id}, which removes what the failed one '
               'has made',
    'restore': 'restore checkpoint {operation.checkpoint_id} again; what the '
               'failed restore had made is removed, or in its reasons',
    'verify': 'verify checkpoint {operation.checkpoint_id} again',
    'delete': 'delete checkpoint {operation.checkpoint_id} again: it goes on '
              'with what is left',
    'copy': 'copy the checkpoints of plan {operation.plan_id} again, and '
            'delete checkpoint {operation.checkpoint_id}, which removes what '
            'was copied',
}


def list_some(conf):
    """Print the newest operations in the wanted states."""
    db = verb.database(conf)
    page = query.Page(limit=conf.noun.limit)
    rows = db.read(_rows, conf.noun.states or STATES[:3], page)
    verb.show_rows(conf, _LISTED, rows)


def show(conf):
    """Print all that is known of an operation, but its credentials."""
    db = verb.database(conf)
    found = db.read(_details, conf.noun.id)
    if conf.noun.format == 'json':
        verb.show_one(conf, found)
        return
    lists = {name: found.pop(name) for name in ('steps', 'externals')}
    verb.show_one(conf, found)
    for name, columns in (('steps', _STEP), ('externals', _EXTERNAL)):
        print(f'{name}:' if lists[name] else f'{name}: none')
        if lists[name]:
            verb.show_rows(conf, columns, lists[name])


def resume(conf):
    """Let another worker go on with what its worker has dropped."""
    db = verb.database(conf)
    operation = db.read(operations.get, conf.noun.id)
    if operation.state == 'queued':
        print('It is queued already: whoever is free takes it.')
        return
    if not db.write(operations.requeue_lapsed, operation.id):
        _refuse(db.read(operations.get, operation.id))
    print('It is queued again: whoever is free goes on with it.')


def abort(conf):
    """Ask that an operation ends, and what it made is removed."""
    db = verb.database(conf)
    operation = db.read(operations.get, conf.noun.id)
    if not db.write(operations.request_abort, operation.id):
        raise errors.Conflict(
            f'Operation {operation.id}, {operation.type}, is '
            f'{operation.state}: only {", ".join(operations.ABORTABLE)} can '
            f'be aborted, while they are queued or running.')
    print('It is asked to end: see "operation show" in some seconds.')


def _refuse(operation):
    """:raises errors.Conflict: always; says what to do instead"""
    if operation.state == 'running':
        raise errors.Conflict(
            f'Operation {operation.id} is worked on by {operation.owner}, '
            f'whose lease lasts until {operation.lease_until:%H:%M:%S} UTC. '
            f'Stop that service, or abort the operation.')
    if operation.state == 'done':
        raise errors.Conflict(f'Operation {operation.id} is done.')
    instead = _INSTEAD[operation.type].format(operation=operation)
    raise errors.Conflict(
        f'Operation {operation.id} has failed, and the credentials that its '
        f'user lent it are gone. Instead, {instead}.')


def _rows(session, states, page):
    now = store_session.now(session)
    return [dict(_fields(row), age=_age(now, row), lease=_lease(now, row))
            for row in operations.in_states(session, states, page)]


def _details(session, operation_id):
    row = operations.get(session, operation_id)
    now = store_session.now(session)
    ended = sorted(steps.ended(session, operation_id).values(),
                   key=lambda step: step.ended_at)
    things = externals.of_operation(session, operation_id)
    return dict(
        _fields(row), age=_age(now, row), lease=_lease(now, row),
        steps=[_step(step) for step in ended],
        externals=[{name: getattr(thing, name) for name in _EXTERNAL}
                   for thing in things])


def _fields(row):
    fields = {name: getattr(row, name) for name in _SHOWN}
    for name in _TIMES:
        moment = getattr(row, name)
        fields[name] = moment and moment.isoformat()
    return fields


def _step(step):
    fields = {name: getattr(step, name) for name in _STEP
              if name != 'seconds'}
    took = step.ended_at - step.started_at
    return dict(fields, seconds=round(took.total_seconds(), 1))


def _age(now, row):
    """Return since when it waits or runs, or how long it took."""
    return str((row.ended_at or now) - row.created_at).partition('.')[0]


def _lease(now, row):
    if row.state != 'running':
        return None
    left = (row.lease_until - now).total_seconds()
    return f'{left:.0f} s left' if left > 0 else f'lapsed {-left:.0f} s ago'


_ID = (('id',), {'metavar': 'OPERATION', 'help': 'Its id, which is that of '
                                                 'the operation log.'})

NOUN = verb.Noun('What services work on, for all projects.', {
    'list': verb.Verb(
        list_some,
        'Print operations, the newest first, with who works on them and '
        'for how long that worker has promised to.',
        ((('--state',), {
            'dest': 'states', 'action': 'append', 'choices': STATES,
            'help': 'Only those in this state; can be repeated. Without it '
                    'all that are not done.'}),
         (('--limit',), {
             'type': verb.at_least(1), 'default': 100, 'metavar': 'NUMBER',
             'help': 'At most so many; 100 unless said otherwise.'}),
         verb.FORMAT)),
    'show': verb.Verb(
        show,
        'Print an operation, the hooks of plugins that have ended, and what '
        'it has made in clouds.',
        (_ID, verb.FORMAT)),
    'abort': verb.Verb(
        abort,
        'Ask that an operation ends that deletes nothing: its worker removes '
        'what was made so far, and the checkpoint ends as error, the '
        'restore or the verification as failed. Users may ask for it too.',
        (_ID,)),
    'resume': verb.Verb(
        resume,
        'Queue an operation again whose worker has let its lease run out, '
        'and forget how often it was taken over. It goes on where it was. '
        'What is worked on, or has ended, is refused, with what to do '
        'instead.',
        (_ID,)),
})
