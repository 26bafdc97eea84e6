# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Holds what was restored against what was protected, then removes it.

Separate because tenants do so all the time, and the proof in the end once
more.
"""

import datetime

from karbor_ng.tests.functional import base
from karbor_ng.tests.soak import goods

ENDED = ('success', 'failed')


def check(own, checkpoint, restore, tally):
    """Compare and remove; return how many things were compared.

    :param own: the tenant's :class:`goods.Goods`
    :param checkpoint: as the API shows it
    :param restore: as the API shows it, once it has succeeded
    """
    rows = [row for row in restore['resources']
            if row['new_id'] and not own.is_original(row['new_id'])
            and row['type'] in goods.ORDER]
    begin = datetime.datetime.fromisoformat(checkpoint['created_at_time'])
    end = datetime.datetime.fromisoformat(checkpoint['finished_at_time'])
    compared = 0
    for row in rows:
        wanted = own.at(row['id'], begin, end)
        if wanted is None:
            tally.count('restored', 'changed meanwhile, not compared')
            continue
        compared += 1
        if own.portrait(row['type'], row['new_id']) != wanted:
            tally.violation(
                f'restore {restore["id"]} of checkpoint {checkpoint["id"]}: '
                f'{row["type"]} {row["id"]} came back as {row["new_id"]} '
                'with other bytes')
    tally.count('restored', 'equal things', compared)
    for row in sorted(rows, key=lambda row: goods.ORDER.index(row['type'])):
        own.remove(row['type'], row['new_id'])
    return compared


def ended(api, path, key, final, is_stopping=lambda: False):
    """Wait for an end; return what is shown then, None if it is stopping."""
    def look():
        shown = api.look(path, key)
        if is_stopping() or shown['status'] in final:
            return shown
        return None
    shown = base.wait(look, 1800, 1, what=f'end of {path}')
    return shown if shown['status'] in final else None
