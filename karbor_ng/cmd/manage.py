# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""karbor-manage: what operators do by hand, as ``NOUN VERB``.

A row of :data:`NOUNS` is a noun; its verbs are in ``karbor_ng/cmd/nouns``.
"""

import sys

from oslo_config import cfg
from oslo_db import exception as db_exception

from karbor_ng import conf as configuration
from karbor_ng import errors
from karbor_ng.cmd.nouns import bank
from karbor_ng.cmd.nouns import credentials
from karbor_ng.cmd.nouns import database
from karbor_ng.cmd.nouns import operation
from karbor_ng.cmd.nouns import service

OWNERS = ('karbor_ng.conf', 'karbor_ng.credentials', 'karbor_ng.api.options',
          'karbor_ng.store.session', 'karbor_ng.protection.options')

NOUNS = {'db': database.NOUN, 'operation': operation.NOUN,
         'service': service.NOUN, 'bank': bank.NOUN,
         'credentials': credentials.NOUN}


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
    for name, noun in NOUNS.items():
        parser = parsers.add_parser(name, help=noun.help,
                                    description=noun.help)
        _add_verbs(parser.add_subparsers(
            dest='verb', metavar='VERB', required=True), noun.verbs)


def _add_verbs(parsers, verbs):
    for name, verb in verbs.items():
        parser = parsers.add_parser(name, help=verb.help,
                                    description=verb.help)
        for names, options in verb.arguments:
            parser.add_argument(*names, **options)
        parser.set_defaults(run=verb.run)
