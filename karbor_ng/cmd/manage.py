# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""karbor-manage: what operators do by hand, as ``NOUN VERB``.

A row of :data:`NOUNS` is a noun with its verbs; a verb is a function of the
configuration, in which it finds its arguments as ``conf.noun``.
"""

from collections.abc import Callable
import dataclasses
import sys

from oslo_config import cfg
from oslo_db import exception as db_exception

from karbor_ng import conf as configuration
from karbor_ng import credentials
from karbor_ng import errors
from karbor_ng.store import schema
from karbor_ng.store import session

OWNERS = ('karbor_ng.conf', 'karbor_ng.credentials',
          'karbor_ng.store.session', 'karbor_ng.protection.options')


@dataclasses.dataclass(frozen=True)
class Verb:
    """One thing that can be done.

    :ivar run: called with the conf object; returns the exit code, or None
        for 0; prints what was asked for
    :ivar help: what it does, as a full sentence
    :ivar arguments: pairs of names and options for ``add_argument``
    """

    run: Callable
    help: str
    arguments: tuple = ()


def db_sync(conf):
    """Upgrade the schema."""
    db = session.Database.from_conf(conf)
    before = schema.upgrade(db)
    after = schema.newest()
    print(f'The database already had schema {after}.' if before == after
          else f'The database has schema {after} now.')


def db_version(conf):
    """Print the schema's version."""
    print(schema.version(session.Database.from_conf(conf)) or 'none')


def credentials_key(conf):
    """Print a new key."""
    print(credentials.new_key())


NOUNS = {
    'db': ('The database of the services.', {
        'sync': Verb(
            db_sync,
            'Create the tables, or bring them to what this release needs. '
            'Harmless to repeat, and several hosts may do it at once: one '
            'works, the others wait.'),
        'version': Verb(
            db_version,
            'Print which schema the database has, or "none".'),
    }),
    'credentials': ('What running operations keep to act for their users.', {
        'key': Verb(
            credentials_key,
            'Print a new key for [credentials] keys. Nothing is stored.'),
    }),
}


def main(argv=None):
    """Run one verb; return the exit code: 0, 1 for errors, 2 for misuse."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        conf = configuration.load(argv, OWNERS, cli=[cfg.SubCommandOpt(
            'noun', title='nouns',
            handler=_add_nouns)])
        return conf.noun.run(conf) or 0
    except (errors.Error, cfg.Error) as problem:
        return _fail(problem)
    except db_exception.DBError as problem:
        return _fail(f'The database refused: {str(problem).splitlines()[0]}')


def _fail(problem):
    print(f'karbor-manage: {problem}', file=sys.stderr)
    return 1


def _add_nouns(parsers):
    for noun, (text, verbs) in NOUNS.items():
        parser = parsers.add_parser(noun, help=text, description=text)
        _add_verbs(parser.add_subparsers(
            dest='verb', metavar='VERB', required=True), verbs)


def _add_verbs(parsers, verbs):
    for name, verb in verbs.items():
        parser = parsers.add_parser(name, help=verb.help,
                                    description=verb.help)
        for names, options in verb.arguments:
            parser.add_argument(*names, **options)
        parser.set_defaults(run=verb.run)
