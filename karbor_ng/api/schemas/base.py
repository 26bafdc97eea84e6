# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Pieces that the schemas of several nouns are made of."""

UUID = {'type': 'string', 'format': 'uuid'}

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


#: The only thing that can be done with what is running.
ABORT = envelope('abort', {})
