# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Logs whose lines nobody can forge.

Users choose names and ids, and may put a line feed into one, with something
behind it that looks like a line of ours. Separate from the configuration,
because whatever writes lines needs it, and it needs nobody.
"""

import logging
import re

from oslo_log import log

#: Control characters but the tabulator, and what some programs take for the
#: end of a line, or turn a line around at.
_UNFIT = re.compile(
    '[\0-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]')


class OneLine(logging.Filter):
    """Makes one line of each message; what follows it stays as it is.

    Libraries that write several lines on purpose get one, too. Traces of
    exceptions are no part of a message.
    """

    def filter(self, record):
        text = record.getMessage()
        if _UNFIT.search(text):
            record.msg, record.args = one_line(text), ()
        return True


def one_line(text):
    """Return a text with escapes instead of what could not be in a line."""
    return _UNFIT.sub(
        lambda found: found.group().encode('unicode_escape').decode(), text)


def setup(conf):
    """Let the process write its log, as ``conf`` says."""
    log.setup(conf, 'karbor')
    for handler in logging.getLogger().handlers:
        handler.addFilter(OneLine())
