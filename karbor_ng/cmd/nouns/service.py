# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""karbor-manage service: which services there are."""

from karbor_ng.cmd.nouns import verb
from karbor_ng.store import services

_LISTED = ('host', 'binary', 'status', 'state', 'operations', 'silent_seconds',
           'started_at', 'version', 'id')


def list_all(conf):
    """Print all services that have not stopped in order."""
    db = verb.database(conf)
    lease = conf.protection.lease_seconds
    verb.show_rows(conf, _LISTED, [
        _fields(found, lease) for found in db.read(services.list)])


def clean(conf):
    """Forget services that are silent for long."""
    db = verb.database(conf)
    removed = db.write(services.clean, conf.noun.minutes * 60)
    verb.show_rows(conf, ('id',), [{'id': one} for one in removed])


def _fields(found, lease_seconds):
    row = found.service
    return {'host': row.host, 'binary': row.binary,
            'status': 'disabled' if found.is_disabled else 'enabled',
            'state': 'up' if found.silent_seconds <= lease_seconds
            else 'down',
            'operations': found.operations,
            'silent_seconds': round(found.silent_seconds, 1),
            'started_at': row.started_at.isoformat(timespec='seconds'),
            'seen_at': row.seen_at.isoformat(), 'version': row.version,
            'id': row.id}


NOUN = verb.Noun('The services.', {
    'list': verb.Verb(
        list_all,
        'Print the services, and how many operations each works on. One '
        'that was not heard of for [protection] lease_seconds is down; one '
        'that has stopped in order is not there. One that is disabled '
        'claims no more operations.',
        (verb.FORMAT,)),
    'clean': verb.Verb(
        clean,
        'Forget services that were killed, and print their ids. Their '
        'operations are taken over without this.',
        ((('--minutes',), {
            'type': verb.at_least(1), 'default': 60,
            'help': 'Only services that are silent for longer than this; '
                    '60 unless said otherwise.'}),
         verb.FORMAT)),
})
