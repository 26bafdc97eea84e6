# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""tools/demo on the stack's cloud: its verdict, and what it leaves."""

import itertools
import os
import re
import subprocess

from karbor_ng.tests.functional import base

DEMO = base.ROOT / 'tools' / 'demo'


class DemoTest(base.StackTestCase):

    def tell(self, *arguments):
        """Run it with little data; return exit code and lines."""
        ended = subprocess.run(
            [DEMO, '--os-cloud', 'demo', '--volumes', '1', '--data', '2',
             *arguments], capture_output=True, text=True, timeout=600,
            env=dict(os.environ, OS_CLIENT_CONFIG_FILE=str(
                base.STACK / 'clouds.yaml')))
        lines = ended.stdout.splitlines()
        self.check_nothing_left(re.search(r'This is run (\w+)',
                                          ended.stdout).group(1))
        return ended.returncode, lines

    def check_nothing_left(self, run):
        cloud = self.demo.cloud
        volumes, networks = cloud.block_storage, cloud.network
        there = itertools.chain(
            cloud.compute.servers(), cloud.compute.keypairs(),
            cloud.image.images(owner=self.demo.project_id),
            volumes.volumes(), volumes.snapshots(), volumes.backups(),
            networks.networks(), networks.security_groups())
        self.assertEqual([], [one.name for one in there
                              if (one.name or '').startswith(
                                  f'karbor-demo-{run}')])

    def test_a_flipped_byte_is_seen(self):
        """All comes back but the volume with data, and that is told."""
        code, lines = self.tell('--corrupt')
        self.assertEqual((1, 'FAIL'), (code, lines[-1]), lines)
        self.assertEqual('This came back different: data-1: SHA-256',
                         lines[-2])
        for name in ('db-disk', 'image', 'web: root disk'):
            self.assertEqual(1, len([
                line for line in lines if 'the same' in line
                and f' {name}: SHA-256 ' in line]), lines)
