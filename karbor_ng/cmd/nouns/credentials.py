# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""karbor-manage credentials: what operations keep to act for their users."""

from karbor_ng import credentials
from karbor_ng.cmd.nouns import verb


def key(conf):
    """Print a new key."""
    print(credentials.new_key())


NOUN = verb.Noun('What running operations keep to act for their users.', {
    'key': verb.Verb(
        key,
        'Print a new key for [credentials] keys. Nothing is stored.'),
})
