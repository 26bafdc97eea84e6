# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""karbor-manage bank: what lies in the banks of providers."""

import sys

from karbor_ng import errors
from karbor_ng import keystone
from karbor_ng.cmd.nouns import verb
from karbor_ng.protection import bank_check
from karbor_ng.protection import bank_import
from karbor_ng.protection import providers

_FINDING = ('what', 'project_id', 'thing', 'repaired', 'detail')
_OUTCOME = ('checkpoint_id', 'project_id', 'outcome', 'reason')


def import_all(conf):
    """Make rows of what lies in a bank; exit code 1 if some was refused."""
    db = verb.database(conf)
    provider = _provider(conf, conf.noun.karbor)
    read = (bank_import.import_old if conf.noun.karbor
            else bank_import.import_all)
    rows = [{'checkpoint_id': one.checkpoint_id,
             'project_id': one.project_id, 'outcome': one.what,
             'reason': one.reason}
            for one in read(db, provider, conf.noun.dry_run)]
    verb.show_rows(conf, _OUTCOME, rows)
    if conf.noun.plans and not conf.noun.dry_run:
        print(f'{bank_import.import_plans(db, provider)} plans imported.',
              file=sys.stderr)
    return int(any(row['outcome'] == 'refused' for row in rows))


def check(conf):
    """Compare bank, rows and clouds; exit code 1 if findings are left."""
    db = verb.database(conf)
    provider = _provider(conf)
    db.read(bank_import.refuse_other_bank, provider)
    rows = [_row(finding, conf.noun.fix)
            for one in _checks(conf, db, provider) for finding in one.run()]
    verb.show_rows(conf, _FINDING, rows)
    if conf.noun.format == 'table' and _is_without_cloud(conf):
        print('Clouds were not looked at: see --cloud.')
    return int(any(row['repaired'] != 'yes' for row in rows))


def _checks(conf, db, provider):
    grace = conf.noun.grace_hours * 3600
    yield bank_check.BankCheck(db, provider, grace, conf.noun.read)
    if conf.noun.cloud is not None:
        session = keystone.SingleUserCloud(
            conf.noun.cloud or None).service_session()
        yield bank_check.CloudCheck(db, provider, session, grace,
                                    keystone.seen_project(session))
    elif conf.auth_strategy == 'noauth':
        yield bank_check.CloudCheck(db, provider, None, grace)


def _is_without_cloud(conf):
    return conf.noun.cloud is None and conf.auth_strategy != 'noauth'


def _row(finding, is_fixing):
    repaired = 'no' if finding.repair is None else 'with --fix'
    detail = finding.detail
    if is_fixing and finding.repair is not None:
        repaired = 'yes'
        try:
            finding.repair()
        except errors.Error as problem:
            repaired, detail = 'no', f'{detail} Removing failed: {problem}'
    return {'what': finding.what, 'project_id': finding.project_id,
            'thing': finding.thing, 'repaired': repaired, 'detail': detail}


def _provider(conf, is_old=False):
    """Return the wanted provider, open.

    :param is_old: it may be a place that only the old Karbor has used
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
    if not is_old and not provider.bank.has_marker():
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
         (('--plans',), {
             'action': 'store_true',
             'help': 'Make the plans again, too, as their newest checkpoints '
                     'have them. Plans that were deleted come back as well.'}),
         (('--karbor',), {
             'action': 'store_true',
             'help': 'Import what the old Karbor left in the same place '
                     'instead: what our plugins understand of it becomes a '
                     'checkpoint of ours.'}),
         verb.FORMAT)),
    'check': verb.Verb(
        check,
        'Compare a bank, the rows of its checkpoints, and on request the '
        'clouds, and print what differs. Nothing is changed without --fix. '
        'The exit code is 1 if something differs that was not repaired.',
        (_PROVIDER,
         (('--read',), {
             'action': 'store_true',
             'help': 'Read all data and compare it with its checksums, '
                     'instead of looking only whether it is there.'}),
         (('--cloud',), {
             'nargs': '?', 'const': '', 'metavar': 'NAME',
             'help': 'Look into the cloud as well, with the credentials of '
                     'this cloud in clouds.yaml, or without a name those in '
                     'the OS_* variables. An admin sees all projects.'}),
         (('--fix',), {
             'action': 'store_true',
             'help': 'Remove what no checkpoint and no operation that goes '
                     'on needs, and what is older than --grace-hours.'}),
         (('--grace-hours',), {
             'type': verb.at_least(0), 'default': 24, 'metavar': 'HOURS',
             'help': 'How old a thing must be to be removed; 24 unless said '
                     'otherwise.'}),
         verb.FORMAT)),
})
