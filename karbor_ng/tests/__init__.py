# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The tests. They run as our programs do: threaded, without eventlet."""

import os

import karbor_ng.cmd  # noqa: F401  (before anything else is imported)

# A test that fails shows what it logged and printed; others keep quiet. The
# libraries' own debugging would be most of the time and all of the output.
for name, value in (('OS_LOG_CAPTURE', '1'), ('OS_STDOUT_CAPTURE', '1'),
                    ('OS_STDERR_CAPTURE', '1'), ('OS_DEBUG', 'INFO')):
    os.environ.setdefault(name, value)
