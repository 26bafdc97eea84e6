# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Nova's fake driver whose server snapshots upload real bytes."""

import hashlib
import io

from nova.image import glance
from nova.virt import fake

SNAPSHOT_BLOCKS = 32768


class StackDriver(fake.FakeDriverWithoutFakeNodes):
    """FakeDriver itself keeps no identity of its node, so that the second
    start of nova-compute refuses to run; its heir here does not."""

    vcpus = 64
    memory_mb = 65536
    local_gb = 1000

    def snapshot(self, context, instance, image_id, update_task_state):
        """Upload 1 MiB that depends on the server's id alone."""
        super().snapshot(context, instance, image_id, update_task_state)
        image = {'name': f'{instance.display_name or "server"}-snap',
                 'disk_format': 'raw', 'container_format': 'bare',
                 'properties': {}}
        glance.API().update(context, image_id, image,
                            io.BytesIO(_content(instance.uuid)),
                            purge_props=False)


def _content(server_id):
    return b''.join(hashlib.sha256(f'{server_id}-{block}'.encode()).digest()
                    for block in range(SNAPSHOT_BLOCKS))
