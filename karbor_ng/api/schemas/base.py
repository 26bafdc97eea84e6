# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Pieces that the schemas of several nouns are made of."""

TEXT = {'type': 'string'}
TEXT_OR_NULL = {'type': ['string', 'null']}
FLAG = {'type': 'boolean'}
COUNT = {'type': 'integer', 'minimum': 0}
COUNT_OR_NULL = {'type': ['integer', 'null'], 'minimum': 0}
TEXTS = {'type': 'array', 'items': TEXT}
ANYTHING = {'description': 'Any JSON value.'}

UUID = {'type': 'string', 'format': 'uuid'}
UUID_OR_NULL = {'type': ['string', 'null'], 'format': 'uuid'}

DAY = {'type': 'string', 'format': 'date'}
#: A time in UTC, with its zone.
MOMENT = {'type': 'string', 'format': 'date-time',
          'pattern': r'\.[0-9]{6}\+00:00$'}
MOMENT_OR_NULL = {**MOMENT, 'type': ['string', 'null']}

PERCENT = {'type': 'integer', 'minimum': 0, 'maximum': 100}
#: The packed graph.
GRAPH = {'type': 'string', 'contentMediaType': 'application/json'}

NAME = {'type': 'string', 'maxLength': 255, 'pattern': r'\S'}

DESCRIPTION = {'type': ['string', 'null'], 'maxLength': 255}

#: Resources in one plan, at most.
MOST_RESOURCES = 5000

#: Options for a type of resource or for one resource. Which keys, options
#: and values there are is for the provider to say; here is how many: some for
#: each resource and each type of the largest plan.
PARAMETERS = {
    'type': ['object', 'null'],
    'description': 'Options by key, which is TYPE or TYPE#ID.',
    'maxProperties': MOST_RESOURCES + 100,
    'propertyNames': {'maxLength': 320},
    'additionalProperties': {
        'type': 'object',
        'maxProperties': 64,
        'propertyNames': {'maxLength': 255},
        'additionalProperties': {'maxLength': 4096, 'maxItems': 256,
                                 'maxProperties': 256},
    },
}

#: Notes of the caller; None where there are none.
METADATA = {
    'type': ['object', 'null'],
    'maxProperties': 128,
    'propertyNames': {'maxLength': 255, 'pattern': r'\S'},
    'additionalProperties': {
        'type': ['boolean', 'string', 'integer'], 'maxLength': 1024},
}


def envelope(noun, properties, required=(), **rules):
    """Return the schema of a body: one field, named like the noun."""
    return {
        'type': 'object',
        'required': [noun],
        'additionalProperties': False,
        'properties': {
            noun: {
                'type': 'object',
                'required': list(required),
                'additionalProperties': False,
                'properties': properties,
                **rules,
            },
        },
    }


#: How answers have :data:`PARAMETERS`.
EFFECTIVE_PARAMETERS = {'type': 'object',
                        'additionalProperties': {'type': 'object'}}

#: Texts by what they are about: TYPE#ID.
TEXT_BY_KEY = {'type': 'object', 'additionalProperties': TEXT}

LINKS = {
    'type': 'array',
    'items': {
        'title': 'Link', 'type': 'object', 'required': ['rel', 'href'],
        'additionalProperties': False,
        'properties': {'rel': TEXT,
                       'href': {'type': 'string', 'format': 'uri'}}}}


def thing(title, properties, optional=()):
    """Return the schema of an object in answers, which is published as title.

    :param optional: names of properties that are not always there
    """
    return {
        'title': title,
        'type': 'object',
        'required': [name for name in properties if name not in optional],
        'additionalProperties': False,
        'properties': properties,
    }


def one(noun, schema):
    """Return the schema of an answer about one thing."""
    return envelope_of({noun: schema})


def page(key, schema):
    """Return the schema of a page of a list."""
    return envelope_of({key: {'type': 'array', 'items': schema},
                        f'{key}_links': LINKS}, required=[key])


def envelope_of(properties, required=None):
    """Return the schema of an answer with these fields, and no others."""
    return {
        'type': 'object',
        'required': list(properties if required is None else required),
        'additionalProperties': False,
        'properties': properties,
    }


def either(*schemas):
    """Return the schema of what has one of several forms."""
    return {'anyOf': list(schemas)}


#: What has begun answers nothing more.
NOTHING = envelope_of({})

#: The only thing that can be done with what is running.
ABORT = envelope('abort', {})
