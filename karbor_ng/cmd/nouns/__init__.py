# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The nouns of karbor-manage: one module for each, with its verbs.

Apart from ``manage.py``, which only finds them, so that a noun is one file
and one line there.
"""
