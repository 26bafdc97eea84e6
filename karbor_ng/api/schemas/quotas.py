# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Schemas of requests and answers about quotas, and classes of them."""

from karbor_ng import quota
from karbor_ng.api.schemas import base

_MOST = 2 ** 31 - 1

#: -1 is no limit. Clients send some numbers as texts.
_SET = {'type': ['integer', 'string'], 'minimum': -1, 'maximum': _MOST,
        'pattern': r'^(-1|[0-9]{1,9})$',
        'description': 'A limit; -1 for none.'}
_SETS = dict.fromkeys(quota.RESOURCES, _SET)
_LIMIT = {'type': 'integer', 'minimum': -1, 'maximum': _MOST}
_LIMITS = dict.fromkeys(quota.RESOURCES, _LIMIT)
_CLASS = {'type': ['string', 'null'], 'maxLength': 255, 'pattern': r'\S'}

UPDATE = base.envelope('quota', {**_SETS, 'quota_class': _CLASS},
                       minProperties=1)
UPDATE_CLASS = base.envelope('quota_class', _SETS, minProperties=1)

SHOWN = base.one('quota', base.thing('Quota', {
    'id': base.TEXT, **_LIMITS, 'quota_class': base.TEXT_OR_NULL}))
DEFAULTS = base.one('quota', base.thing('DefaultQuota', {
    'id': base.TEXT, **_LIMITS}))
DETAIL = base.one('quota', base.thing('QuotaDetail', {
    'id': base.TEXT,
    **dict.fromkeys(quota.RESOURCES, base.thing('QuotaUse', {
        'limit': _LIMIT, 'in_use': base.COUNT, 'reserved': base.COUNT})),
    'quota_class': base.TEXT_OR_NULL}))
CLASS_SHOWN = base.one('quota_class', base.thing('QuotaClass', {
    'id': base.TEXT, **_LIMITS}))
