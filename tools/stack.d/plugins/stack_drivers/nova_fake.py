# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Nova's fake driver whose servers have root disks of real bytes.

A server that boots from an image gets a file with the image's bytes; who
writes into the file does what a guest would do. A snapshot uploads what the
file has at that moment.
"""

import contextlib
import pathlib

from nova.compute import power_state
from nova.compute import task_states
import nova.conf
from nova.image import glance
from nova.virt import driver
from nova.virt import fake
from oslo_concurrency import processutils

CONF = nova.conf.CONF


class StackDriver(fake.FakeDriverWithoutFakeNodes):
    """FakeDriver itself keeps no identity of its node, so that the second
    start of nova-compute refuses to run; its heir here does not."""

    vcpus = 1000
    memory_mb = 1 << 20
    local_gb = 10000

    def spawn(self, context, instance, image_meta, *args,
              block_device_info=None, **kwargs):
        disk = _disk(instance)
        if not _boots_from_volume(block_device_info) and not disk.exists():
            _fill(context, disk, image_meta.id)
        super().spawn(context, instance, image_meta, *args,
                      block_device_info=block_device_info, **kwargs)

    def destroy(self, context, instance, network_info,
                block_device_info=None, destroy_disks=True,
                destroy_secrets=True):
        super().destroy(context, instance, network_info, block_device_info,
                        destroy_disks, destroy_secrets)
        if destroy_disks:
            _disk(instance).unlink(missing_ok=True)

    def snapshot(self, context, instance, image_id, update_task_state):
        with _frozen(_disk(instance), image_id) as frozen:
            update_task_state(task_state=task_states.IMAGE_PENDING_UPLOAD)
            update_task_state(
                task_state=task_states.IMAGE_UPLOADING,
                expected_state=task_states.IMAGE_PENDING_UPLOAD)
            _upload(context, image_id, frozen)

    def resume_state_on_host_boot(self, context, instance, *args, **kwargs):
        """Go on with a server that ran when nova-compute ended."""
        self.instances[instance.uuid] = fake.FakeInstance(
            instance.name, power_state.RUNNING, instance.uuid)


def _boots_from_volume(block_device_info):
    root = driver.block_device_info_get_root_device(block_device_info)
    return any(
        mapping['mount_device'] == root for mapping
        in driver.block_device_info_get_mapping(block_device_info))


def _disk(instance):
    return pathlib.Path(CONF.state_path) / 'disks' / instance.uuid


def _fill(context, disk, image_id):
    disk.parent.mkdir(parents=True, exist_ok=True)
    part = disk.with_suffix('.part')
    glance.API().download(context, image_id, dest_path=str(part))
    part.rename(disk)


@contextlib.contextmanager
def _frozen(disk, image_id):
    """Yield a copy that nobody writes into."""
    frozen = disk.with_name(f'{image_id}.snapshot')
    try:
        processutils.execute('cp', '--reflink=auto', '--sparse=always',
                             str(disk), str(frozen))
        yield frozen
    finally:
        frozen.unlink(missing_ok=True)


def _upload(context, image_id, path):
    images = glance.API()
    image = {'name': images.get(context, image_id)['name'],
             'disk_format': 'raw', 'container_format': 'bare',
             'properties': {}}
    with path.open('rb') as source:
        images.update(context, image_id, image, source, purge_props=False)
