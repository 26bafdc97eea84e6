# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Rows of long lists as JSON text, written piece by piece.

Apart from the views of single things because JSON that is stored as text
goes out as it came in: reading a thousand rows into objects, only to write
them out again, takes five times as long.
"""

import json
import threading

import cachetools

#: Of a text that is there.
string = json.encoder.encode_basestring_ascii


class Memory:
    """Texts that were written before; for any number of threads.

    Those that were not asked for longest are forgotten.

    :param size: bytes of all texts together
    """

    def __init__(self, size):
        self._texts = cachetools.LRUCache(size, getsizeof=len)
        self._lock = threading.Lock()

    def recall(self, keys):
        """Return ``{key: text}`` of those that are known."""
        with self._lock:
            return {key: self._texts[key] for key in keys
                    if key in self._texts}

    def remember(self, texts):
        """Keep ``{key: text}``; texts of more than all the room are not."""
        with self._lock:
            self._texts.update({
                key: text for key, text in texts.items()
                if len(text) <= self._texts.maxsize})


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
