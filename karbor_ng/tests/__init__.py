# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The tests. They run as our programs do: threaded, without eventlet."""

import karbor_ng.cmd  # noqa: F401  (before anything else is imported)
