# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""tools/demo on the stack's cloud: its verdict, and what it leaves."""

import os
import re
import subprocess

from karbor_ng.tests.functional import base

DEMO = base.ROOT / 'tools' / 'demo'
KINDS = ('volumes', 'snapshots', 'backups')


class DemoTest(base.StackTestCase):

    def tell(self, *arguments):
        """Run it with two small volumes; return exit code and lines."""
        ended = subprocess.run(
            [DEMO, '--os-cloud', 'demo', '--volumes', '2', '--data', '2',
             *arguments], capture_output=True, text=True, timeout=300,
            env=dict(os.environ, OS_CLIENT_CONFIG_FILE=str(
                base.STACK / 'clouds.yaml')))
        lines = ended.stdout.splitlines()
        self.check_nothing_left(re.search(r'This is run (\w+)',
                                          ended.stdout).group(1))
        return ended.returncode, lines

    def check_nothing_left(self, run):
        prefix = f'karbor-demo-{run}'
        for kind in KINDS:
            there = getattr(self.demo.cloud.block_storage, kind)()
            self.assertEqual([], [one.name for one in there
                                  if (one.name or '').startswith(prefix)])
        images = self.demo.cloud.image.images(visibility='private')
        self.assertEqual([], [one.name for one in images
                              if one.name.startswith(prefix)])

    def test_a_flipped_byte_is_seen(self):
        """One volume comes back, the other one is told from it."""
        code, lines = self.tell('--corrupt')
        self.assertEqual((1, 'FAIL'), (code, lines[-1]), lines)
        self.assertRegex(lines[-2], 'other bytes: \\S+-volume-2$')
        self.assertEqual(1, len([
            line for line in lines if line.endswith(' before and after')
            and '-volume-1: ' in line]), lines)
