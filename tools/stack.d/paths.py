# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Where things are: checkout, cache and the state of the running stack.

Separate because every other module of the stack needs it and it needs none.
"""

import os
import pathlib

HERE = pathlib.Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
CONSTRAINTS = CHECKOUT / 'constraints'
PLUGINS = HERE / 'plugins'
TEMPLATES = HERE / 'etc'

STATE = CHECKOUT / '.stack'
ETC = STATE / 'etc'
LOG = STATE / 'log'
RUN = STATE / 'run'
BIN = STATE / 'bin'


def _cache():
    named = os.environ.get('KARBOR_NG_CACHE')
    if named:
        return pathlib.Path(named).absolute()
    base = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
    return pathlib.Path(base).expanduser() / 'karbor_ng'


CACHE = _cache()
