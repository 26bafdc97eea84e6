# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""One id, from the answer that a user got to the logs of the cloud."""

import re

from karbor_ng.tests.functional import base


def lines_of(name, words):
    """Return the lines of a log of the stack that have these words."""
    log = base.STACK / 'log' / f'{name}.log'
    with open(log, errors='replace') as file:
        return [line for line in file if words in line]


class LogIdTest(base.StackTestCase):

    def test_from_the_request_to_the_cloud(self):
        volume, = self.demo.create_volumes(1, mib=1)
        self.addCleanup(self.demo.delete_volume, volume.id)
        answer = self.demo.karbor.post(
            f'/providers/{base.FILESYSTEM_PROVIDER}/checkpoints',
            json={'checkpoint': {'plan_id': self.create_plan([volume])}})
        request_id = answer.headers['X-Openstack-Request-Id']
        path = (f'/providers/{base.FILESYSTEM_PROVIDER}/checkpoints/'
                f'{answer.json()["checkpoint"]["id"]}')
        self.addCleanup(self.delete, path)
        self.ended(path)
        lines = base.wait(lambda: [
            line for line in lines_of('karbor-protection', request_id)
            if 'Ended' in line])
        self.assertEqual(1, len(lines))
        self.assertRegex(lines[0], r'Ended protect .*: done after \d')
        operation_id = re.search(r'\[protect ([0-9a-f-]{36})\]',
                                 lines[0]).group(1)
        lines = lines_of('karbor-protection', operation_id)
        self.assertLessEqual(2, len(lines))
        self.assertEqual([], [line for line in lines
                              if request_id not in line])
        # Cinder has it as the global id, before that of its own request.
        self.assertNotEqual(
            [], lines_of('cinder-api', f'[{request_id} req-'))
