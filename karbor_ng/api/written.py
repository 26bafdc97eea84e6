# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Rows of long lists as JSON text, written piece by piece.

Apart from the views of single things because JSON that is stored as text
goes out as it came in: reading a thousand rows into objects, only to write
them out again, takes five times as long.
"""

import json

#: Of a text that is there.
string = json.encoder.encode_basestring_ascii


def text(value):
    """Return the JSON of a text, or of None."""
    return 'null' if value is None else string(value)


def raw(stored):
    """Return JSON as it is stored; None becomes null."""
    return 'null' if stored is None else stored


def number(value):
    """Return the JSON of a whole number, or of None."""
    return 'null' if value is None else str(value)


def flag(value):
    """Return the JSON of a truth."""
    return 'true' if value else 'false'


def items(written):
    """Return the JSON of a list of what is JSON already."""
    return f'[{", ".join(written)}]'
