# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""karbor-manage db: the database of the services."""

import collections
import datetime

from karbor_ng.cmd.nouns import verb
from karbor_ng.store import models
from karbor_ng.store import purge
from karbor_ng.store import schema
from karbor_ng.store import session


def sync(conf):
    """Upgrade the schema."""
    db = session.Database.from_conf(conf, is_patient=True)
    before = schema.upgrade(db)
    after = schema.newest()
    print(f'The database already had schema {after}.' if before == after
          else f'The database has schema {after} now.')


def version(conf):
    """Print the schema's version."""
    print(schema.version(session.Database.from_conf(conf)) or 'none')


def purge_rows(conf):
    """Remove rows of what has ended long ago."""
    db = verb.database(conf)
    before = models.utcnow() - datetime.timedelta(days=conf.noun.age_in_days)
    counts = (db.read(purge.count, before) if conf.noun.dry_run
              else _purge(db, before, conf.noun.batch_size))
    verb.show_rows(conf, ('table', 'rows'), [
        {'table': name, 'rows': number}
        for name, number in sorted(counts.items())])
    if conf.noun.format == 'table':
        print(f'{sum(counts.values())} rows '
              f'{"would be" if conf.noun.dry_run else "were"} removed.')


def _purge(db, before, batch_size):
    total = collections.Counter()
    while removed := db.write(purge.remove, before, batch_size):
        total.update(removed)
    return total


NOUN = verb.Noun('The database of the services.', {
    'sync': verb.Verb(
        sync,
        'Create the tables, or bring them to what this release needs. '
        'Harmless to repeat, and several hosts may do it at once: one '
        'works, the others wait.'),
    'version': verb.Verb(
        version,
        'Print which schema the database has, or "none".'),
    'purge': verb.Verb(
        purge_rows,
        'Remove rows of deleted checkpoints, of ended restores and '
        'verifications, and of ended operations with their steps and '
        'externals. What deleting or restoring a checkpoint needs stays. '
        'Services may run meanwhile.',
        ((('--age-in-days',), {
            'type': verb.at_least(0), 'required': True, 'metavar': 'DAYS',
            'help': 'Only what has ended so many days ago or earlier.'}),
         (('--dry-run',), {
             'action': 'store_true',
             'help': 'Count what would go, and remove nothing.'}),
         (('--batch-size',), {
             'type': verb.at_least(1), 'default': 100, 'metavar': 'NUMBER',
             'help': 'Checkpoints, restores or operations that are removed '
                     'in one transaction; 100 unless said otherwise.'}),
         verb.FORMAT)),
})
