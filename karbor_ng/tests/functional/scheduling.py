# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What tests of schedules on the stack share: triggers, and what they start.

Apart from the tests because several modules of them run side by side.
"""

import types
import uuid

from karbor_ng.tests.functional import base

#: Due every five seconds, which the stack's configuration allows.
PATTERN = ('BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:tests\nBEGIN:VEVENT\n'
           'RRULE:FREQ=MINUTELY;BYSECOND=0,5,10,15,20,25,30,35,40,45,50,55\n'
           'END:VEVENT\nEND:VCALENDAR')


class Scheduling(base.StackTestCase):
    """A user with a plan that the no-op provider protects."""

    def setUp(self):
        super().setUp()
        thing = types.SimpleNamespace(id=str(uuid.uuid4()), name='nothing')
        self.plan_id = self.create_plan([thing], base.NOOP_PROVIDER)

    def trigger(self, **properties):
        """Make a trigger; return its id."""
        made = self.request('POST', '/triggers', {'trigger_info': {
            'name': 'functional', 'type': 'time', 'properties': {
                'format': 'calendar', 'pattern': PATTERN, 'window': 60,
                **properties}}})['trigger_info']
        self.addCleanup(self.demo.karbor.delete, f'/triggers/{made["id"]}')
        return made['id']

    def schedule(self, operation_type='protect', user=None, expect=200,
                 trigger_id=None, **definition):
        """Make a scheduled operation; return its path, or what is said."""
        answer = self.request(
            'POST', '/scheduled_operations', {'scheduled_operation': {
                'name': 'functional', 'operation_type': operation_type,
                'trigger_id': trigger_id or self.trigger(),
                'operation_definition': {
                    'provider_id': base.NOOP_PROVIDER,
                    'plan_id': self.plan_id, **definition}}},
            expect=expect, user=user)
        if expect != 200:
            return answer
        path = f'/scheduled_operations/{answer["scheduled_operation"]["id"]}'
        self.addCleanup(self.demo.karbor.delete, path)
        return path

    def runs(self, path, query=''):
        return self.request('GET', f'{path}/runs?sort=planned_at:asc{query}'
                            )['runs']

    def succeeded(self, path, number=1):
        """Wait for so many runs that have succeeded; return them."""
        def look():
            found = self.runs(path, '&status=succeeded')
            return found if len(found) >= number else None
        return base.wait(look, what=f'{number} runs of {path}')

    def stop(self, path):
        """Disable it, and wait until nothing goes on any more."""
        self.request('PUT', path, {'scheduled_operation': {'enabled': 0}})
        base.wait(lambda: not [
            run for run in self.runs(path)
            if run['status'] in ('due', 'started')], what=f'rest of {path}')

    def trusts(self, user=None):
        """Return the user's trusts for karbor, as Keystone has them."""
        found = (user or self.demo).cloud.identity.get(
            '/OS-TRUST/trusts', params={
                'trustor_user_id': (user or self.demo).cloud.current_user_id})
        return found.json()['trusts']
