# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""karbor-manage bank: what lies in the banks of providers."""

from karbor_ng import errors
from karbor_ng.cmd.nouns import verb
from karbor_ng.protection import bank_import
from karbor_ng.protection import providers

_OUTCOME = ('checkpoint_id', 'project_id', 'outcome', 'reason')


def import_all(conf):
    """Make rows of what lies in a bank; exit code 1 if some was refused."""
    db = verb.database(conf)
    provider = _provider(conf)
    rows = [{'checkpoint_id': one.checkpoint_id,
             'project_id': one.project_id, 'outcome': one.what,
             'reason': one.reason}
            for one in bank_import.import_all(db, provider,
                                              conf.noun.dry_run)]
    verb.show_rows(conf, _OUTCOME, rows)
    return int(any(row['outcome'] == 'refused' for row in rows))


def _provider(conf):
    """Return the wanted provider, open.

    :raises errors.ConfigError: there is no such provider file, or its bank
        is none
    """
    found = providers.load_all(conf.protection.provider_config_dir)
    wanted = conf.noun.provider
    named = [provider for provider in found.values()
             if wanted in (None, provider.id, provider.name)]
    if len(named) != 1:
        offered = ', '.join(f'{provider.id} ("{provider.name}")'
                            for provider in found.values())
        raise errors.ConfigError(
            f'--provider: name one of {offered}, by its id if names are the '
            f'same.')
    provider = named[0]
    if not provider.bank.has_marker():
        raise errors.ConfigError(
            f'The bank of provider {provider.name} has no "bank.json": it '
            f'is no bank yet, or the provider file leads elsewhere.')
    provider.open()
    return provider


_PROVIDER = (('--provider',), {
    'metavar': 'PROVIDER',
    'help': 'Id or name of the provider whose bank it is, as its provider '
            'file says. Needed if there is more than one.'})

NOUN = verb.Noun('What lies in the banks of providers.', {
    'import': verb.Verb(
        import_all,
        'Make rows of the checkpoints in a bank that the database does not '
        'know, so that they can be restored and deleted again. Rows that '
        'are there are never changed; doing it again goes on. The exit code '
        'is 1 if a checkpoint was refused.',
        (_PROVIDER,
         (('--dry-run',), {
             'action': 'store_true',
             'help': 'Only print what would be done.'}),
         verb.FORMAT)),
})
