# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The programs: configuration and one service each.

oslo.messaging requires oslo.service, which requires eventlet. Ours are
threaded programs, so eventlet's import is blocked and the threading backend
chosen here, before anything else of ours is imported: the order matters,
because oslo.messaging asks for the backend when it is imported.
"""

import sys

sys.modules.setdefault('eventlet', None)

from oslo_service import backend  # noqa: E402

backend.init_backend(backend.BackendType.THREADING)
