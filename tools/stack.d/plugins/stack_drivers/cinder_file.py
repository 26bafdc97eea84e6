# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Cinder volume driver: a volume is a sparse file in a plain directory.

No LVM, iSCSI or NFS: os-brick opens the file through its "local" connector.
"""

import os
import shutil

from cinder import exception
from cinder import interface
from cinder.image import image_utils
from cinder.volume import configuration
from cinder.volume import driver
from cinder.volume import volume_utils
from oslo_concurrency import processutils
from oslo_config import cfg
from oslo_utils import units

OPTS = [
    cfg.StrOpt('file_volume_dir', default='$state_path/volumes',
               help='Directory with one sparse file for each volume and '
                    'snapshot.'),
]
cfg.CONF.register_opts(OPTS, group=configuration.SHARED_CONF_GROUP)


def _copy(source, target):
    processutils.execute('cp', '--reflink=auto', '--sparse=always',
                         source, target)


def _grow(path, gibibytes):
    """Extend with a hole; a file that is long enough stays as it is."""
    with open(path, 'ab') as handle:
        if handle.seek(0, os.SEEK_END) < gibibytes * units.Gi:
            handle.truncate(gibibytes * units.Gi)


@interface.volumedriver
class FileDriver(driver.VolumeDriver):
    VERSION = '1.0'
    SUPPORTED = True
    CI_WIKI_NAME = 'none'

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.configuration.append_config_values(OPTS)

    @classmethod
    def get_driver_options(cls):
        return OPTS

    def do_setup(self, context):
        self.root = os.path.abspath(self.configuration.file_volume_dir)
        os.makedirs(self.root, exist_ok=True)

    def check_for_setup_error(self):
        if not os.access(self.root, os.W_OK):
            raise exception.VolumeBackendAPIException(
                data=f'{self.root} is not writable')

    def local_path(self, volume_or_snapshot):
        return os.path.join(self.root, volume_or_snapshot.name)

    def create_volume(self, volume):
        _grow(self.local_path(volume), volume.size)

    def delete_volume(self, volume):
        try:
            os.unlink(self.local_path(volume))
        except FileNotFoundError:
            pass

    def extend_volume(self, volume, new_size):
        _grow(self.local_path(volume), new_size)

    def _fill(self, volume, source):
        _copy(self.local_path(source), self.local_path(volume))
        _grow(self.local_path(volume), volume.size)

    def create_cloned_volume(self, volume, src_vref):
        self._fill(volume, src_vref)

    def create_snapshot(self, snapshot):
        _copy(self.local_path(snapshot.volume), self.local_path(snapshot))

    def delete_snapshot(self, snapshot):
        self.delete_volume(snapshot)

    def create_volume_from_snapshot(self, volume, snapshot):
        self._fill(volume, snapshot)

    def revert_to_snapshot(self, context, volume, snapshot):
        self._fill(volume, snapshot)

    def copy_image_to_volume(self, context, volume, image_service, image_id,
                             disable_sparse=False):
        image_utils.fetch_to_raw(context, image_service, image_id,
                                 self.local_path(volume),
                                 self.configuration.volume_dd_blocksize,
                                 size=volume.size)
        _grow(self.local_path(volume), volume.size)

    def copy_volume_to_image(self, context, volume, image_service,
                             image_meta):
        volume_utils.upload_volume(context, image_service, image_meta,
                                   self.local_path(volume), volume)

    def ensure_export(self, context, volume):
        pass

    def create_export(self, context, volume, connector):
        pass

    def remove_export(self, context, volume):
        pass

    def initialize_connection(self, volume, connector, **kwargs):
        return {'driver_volume_type': 'local',
                'data': {'device_path': self.local_path(volume)}}

    def terminate_connection(self, volume, connector, **kwargs):
        # cinder-backup truncates what it restores into and skips blocks of
        # zeros: a volume that ends in a hole would come back short.
        _grow(self.local_path(volume), volume.size)

    def _update_volume_stats(self):
        disk = shutil.disk_usage(self.root)
        self._stats = {
            'volume_backend_name':
                self.configuration.safe_get('volume_backend_name') or 'file',
            'vendor_name': 'karbor_ng', 'driver_version': self.VERSION,
            'storage_protocol': 'local',
            'pools': [{
                'pool_name': 'file',
                'total_capacity_gb': disk.total / units.Gi,
                'free_capacity_gb': disk.free / units.Gi,
                'reserved_percentage': 0,
                'thin_provisioning_support': True,
                'thick_provisioning_support': False,
                'max_over_subscription_ratio': '20.0',
                'provisioned_capacity_gb': 0,
                'multiattach': True, 'QoS_support': False,
            }],
        }
