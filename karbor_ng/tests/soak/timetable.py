# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""A lane of schedules: made, changed, disabled and deleted at random.

Separate from the other lanes because it keeps a history: what was due when
is held against the runs in the end. An answer that did not come leaves a
time in which either may be so.
"""

import dataclasses
import datetime
import time
import uuid

from karbor_ng.tests.soak import api as apis
from karbor_ng.tests.soak import due_times
from karbor_ng.tests.soak import lanes
from karbor_ng.tests.soak import providers

STEPS = (5, 10, 15, 20, 30)
#: Seconds in which a late request is done that nobody waits for any more: an
#: API that was paused has it before it answers the next one.
_LATE = 5
_PATTERN = ('BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:soak\nBEGIN:VEVENT\n'
            'RRULE:FREQ=MINUTELY;BYSECOND={}\nEND:VEVENT\nEND:VCALENDAR')


def properties(step):
    seconds = ','.join(map(str, range(0, 60, step)))
    return {'format': 'calendar', 'pattern': _PATTERN.format(seconds),
            'window': 60}


@dataclasses.dataclass
class Scheduled:
    """A trigger and what it starts.

    :ivar step: seconds between due times, while it is enabled
    """

    trigger: apis.Kept
    kept: apis.Kept
    step: int
    is_enabled: bool = True
    history: due_times.History = dataclasses.field(
        default_factory=due_times.History)


def now():
    return datetime.datetime.now(datetime.timezone.utc)


class Timetable(lanes.Lane):
    """Some schedules at once, of several plans.

    :param plans: what is protected
    """

    PAUSE = (4, 15)
    WEIGHTS = {'add': 4, 'change_step': 3, 'switch': 2, 'drop': 1}
    _MOST = 3

    def __init__(self, *args, plans):
        super().__init__(*args)
        self.plans = plans
        #: all that ever was
        self.scheduled = []

    def living(self):
        return [one for one in self.scheduled if one.kept.state != apis.GONE]

    def add(self):
        if len(self.living()) >= self._MOST:
            return
        step, plan = self.random.choice(STEPS), self.random.choice(self.plans)
        trigger = self.api.create('triggers', '/triggers', 'trigger_info', {
            'name': 'soak', 'type': 'time', 'properties': properties(step)})
        if trigger is None:
            return
        self.asked('schedule')
        before = now()
        kept = self.api.create(
            'scheduled_operations', '/scheduled_operations',
            'scheduled_operation', {
                'name': f'soak-{uuid.uuid4().hex[:8]}',
                'trigger_id': trigger.id, **self._definition(plan)})
        if kept is None:
            # Perhaps it is there, but nobody knows its id.
            self.api.delete(trigger)
            return
        one = Scheduled(trigger, kept, step)
        one.history.add(before, now(), step)
        self.scheduled.append(one)

    def _definition(self, plan):
        definition = {'provider_id': plan.facts['provider_id'],
                      'plan_id': plan.id}
        is_retaining = (plan.facts['provider_id'] != providers.NOOP
                        or self.random.random() < 0.7)
        if is_retaining:
            definition['max_backups'] = self.random.randint(2, 4)
        return {'operation_definition': definition,
                'operation_type': 'retention_protect' if is_retaining
                else 'protect'}

    def _one(self):
        living = self.living()
        return self.random.choice(living) if living else None

    def change_step(self):
        one = self._one()
        if one:
            self._settle(one, lambda: self.api.ask(
                'PUT', one.trigger.path, {'trigger_info': {
                    'properties': properties(self.random.choice(STEPS))}}))

    def switch(self):
        one = self._one()
        if one:
            self.enable(one, not one.is_enabled)

    def enable(self, one, is_enabled):
        self._settle(one, lambda: self.api.ask(
            'PUT', one.kept.path, {'scheduled_operation': {
                'enabled': int(is_enabled)}}))

    def _settle(self, one, change):
        """Change something; then know, from some moment on, how it is."""
        before = now()
        status, _said = change()
        if status is None or status >= 500:
            self.api.look(one.kept.path, 'scheduled_operation')
            time.sleep(_LATE)
        self._learn(one, before)

    def _learn(self, one, before):
        shown = self.api.look(one.kept.path, 'scheduled_operation')
        trigger = self.api.look(one.trigger.path, 'trigger_info')
        one.is_enabled = bool(shown['enabled'])
        one.step = next(step for step in STEPS if trigger['properties'][
            'pattern'] == properties(step)['pattern'])
        if shown['disabled_reason']:
            self.tally.violation(f'{one.kept.path} was disabled: '
                                 f'{shown["disabled_reason"]}')
        one.history.add(before, now(), one.step if one.is_enabled else None)

    def drop(self):
        one = self._one()
        if not one or len(self.living()) < self._MOST:
            return
        before = now()
        status = self.api.delete(one.kept)
        if status is None or status >= 500:
            self.api.surely('DELETE', one.kept.path)
            one.kept.state = apis.GONE
        if one.kept.state == apis.GONE:
            one.history.add(before, now(), None)

    def rest(self):
        """Disable what is left; call it once nothing goes wrong any more."""
        for one in self.living():
            self.enable(one, False)
