# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Streams: data in banks, its parts, and the checkpoints that use it.

A stream lives as long as a checkpoint uses it. Whoever adds or removes a use
holds the stream's row locked, so that the last use can not be removed while
another one is added. States:

writing
  by the operation that has its only use
complete
  all of it is in the bank: operations of later checkpoints may use it
damaged
  a part was missing, or not what was written: nobody new may use it, those
  who do keep it
removing
  nobody will ever use it again: its objects, then its rows may go. The last
  one who did keeps its use until they are gone
"""

import sqlalchemy as sa

from karbor_ng import errors
from karbor_ng.store import models
from karbor_ng.store import query

Stream = models.Stream
Part = models.StreamPart
Use = models.StreamUse


def begin(session, use, values, instead_of=None):
    """Return the stream behind a use, which is added if it is not there.

    What an earlier attempt at the same operation began is gone on with;
    else a complete stream with the same identity is shared; else a new one
    begins. Doing it again leads to the same stream.

    :param use: columns of the :class:`models.StreamUse` but for the stream
    :param values: columns of a new stream, its id among them
    :param instead_of: id of a stream that is found to be damaged: if it is
        the one in use, it is marked, and another one takes its place
    """
    old = session.get(Use, use)
    if old is not None:
        stream = _locked(session, old.stream_id)
        if stream.id == instead_of:
            stream.state = 'damaged'
        if _goes_on(stream, values['identity']):
            return stream
        session.delete(old)
        session.flush()
        if not _is_used(session, stream.id):
            stream.state = 'removing'
    stream = _equal(session, values) or _new(session, values)
    session.add(Use(stream_id=stream.id, **use))
    session.flush()
    return stream


def _goes_on(stream, identity):
    """Whether what was begun earlier is still what is wanted."""
    if stream.state == 'writing':
        stream.identity = identity
    return (stream.state in ('writing', 'complete')
            and stream.identity == identity)


def _equal(session, values):
    """Return a complete stream of the same data, locked, or None."""
    if values['identity'] is None:
        return None
    names = ('identity', 'resource_id', 'project_id', 'bank_uuid',
             'resource_type')
    return session.execute(
        sa.select(Stream)
        .where(*[getattr(Stream, name) == values[name] for name in names],
               Stream.state == 'complete')
        .order_by(Stream.created_at, Stream.id).limit(1)
        .with_for_update()).scalars().first()


def _new(session, values):
    stream = Stream(state='writing', **values)
    session.add(stream)
    session.flush()
    return stream


def adopt(session, use, values, parts):
    """Let a checkpoint use a stream that lies in a bank; add what is missing.

    What is adopted is shared with those who adopt it too, and never with
    new checkpoints: nobody knows its identity any more.

    :param use: columns of the :class:`models.StreamUse` but for the stream
    :param values: columns of the stream
    :param parts: columns of its parts but for the stream
    :raises errors.Conflict: there is another stream with this id, or it is
        being removed
    """
    stream = _locked(session, values['id'])
    if stream is None:
        session.add(Stream(state='complete', identity=None, **values))
        session.flush()
        session.add_all([Part(stream_id=values['id'], **part)
                         for part in parts])
    elif ((stream.bank_uuid, stream.project_id, stream.state == 'removing')
            != (values['bank_uuid'], values['project_id'], False)):
        raise errors.Conflict(
            f'The database has another stream {stream.id}, or one that is '
            f'being removed.')
    session.merge(Use(stream_id=values['id'], **use))
    session.flush()


def parts(session, stream_id):
    """Return the stream's parts in order."""
    return session.execute(
        sa.select(Part).where(Part.stream_id == stream_id)
        .order_by(Part.number)).scalars().all()


def identity_of(session, stream_id):
    """Return a stream's identity; None where it is not known."""
    return session.execute(sa.select(Stream.identity).where(
        Stream.id == stream_id)).scalar()


def has_key(session, stream_id, number, key):
    """Return whether this object is recorded as this part."""
    part = session.get(Part, (stream_id, number))
    return part is not None and part.key == key


def put_part(session, values):
    """Write that a part lies in the bank; it replaces an earlier one."""
    session.merge(Part(**values))


def complete(session, stream_id, count, size, sha256):
    """Write that the stream consists of its first ``count`` parts."""
    session.execute(sa.delete(Part).where(Part.stream_id == stream_id,
                                          Part.number >= count))
    query.change(session, Stream,
                 {'size': size, 'sha256': sha256, 'state': 'complete'},
                 Stream.id == stream_id, Stream.state == 'writing')


def damage(session, stream_id):
    """Write that a stream is not whole any more, if it ever was."""
    query.change(session, Stream, {'state': 'damaged'},
                 Stream.id == stream_id, Stream.state == 'complete')


def used_by(session, checkpoint_id):
    """Return ids of the streams that a checkpoint uses."""
    return session.execute(
        sa.select(Use.stream_id).distinct()
        .where(Use.checkpoint_id == checkpoint_id)
        .order_by(Use.stream_id)).scalars().all()


def release(session, stream_id, checkpoint_id):
    """Remove a checkpoint's uses of a stream, unless they are the last.

    Then the stream is marked, and its uses go with it, so that the
    checkpoint knows of it until then.
    """
    stream = _locked(session, stream_id)
    if stream is None:
        return
    if _is_used(session, stream_id, Use.checkpoint_id != checkpoint_id):
        session.execute(sa.delete(Use).where(
            Use.stream_id == stream_id, Use.checkpoint_id == checkpoint_id))
    else:
        stream.state = 'removing'


def to_remove(session, bank_uuid):
    """Return the streams of a bank that may go, whoever marked them."""
    return session.execute(
        sa.select(Stream)
        .where(Stream.state == 'removing', Stream.bank_uuid == bank_uuid)
        .order_by(Stream.created_at, Stream.id)).scalars().all()


def forget(session, stream_id):
    """Remove the rows of a stream whose objects are gone."""
    stream = _locked(session, stream_id)
    if stream is not None and stream.state == 'removing':
        for model in (Part, Use):
            session.execute(sa.delete(model).where(
                model.stream_id == stream_id))
        session.delete(stream)


def _locked(session, stream_id):
    """Return the row as it is now; it stays so while we have it."""
    return session.get(Stream, stream_id, with_for_update=True,
                       populate_existing=True)


def _is_used(session, stream_id, *conditions):
    # Locking, because a plain read may show MySQL's older state of affairs.
    return session.execute(
        sa.select(Use.checkpoint_id)
        .where(Use.stream_id == stream_id, *conditions)
        .limit(1).with_for_update()).first() is not None
