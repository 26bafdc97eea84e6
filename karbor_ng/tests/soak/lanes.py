# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What tenants do: lanes of random choices, two for each tenant.

One lane is about things in a cloud, and sees one operation end before it
begins the next, so that it knows which bytes were protected. The other is
about nothing, which is quick, and waits for nobody. What is scheduled is in
``timetable``.
"""

import logging
import random
import threading
import uuid

from keystoneauth1 import exceptions as keystone_exceptions
from openstack import exceptions

from karbor_ng.tests.soak import api as apis
from karbor_ng.tests.soak import goods
from karbor_ng.tests.soak import providers
from karbor_ng.tests.soak import restored

LOG = logging.getLogger(__name__)

#: What a cloud that is just restarted does to its users.
TROUBLE = (exceptions.SDKException, keystone_exceptions.ClientException,
           AssertionError)
FINAL = ('available', 'error', 'deleted', 'error-deleting')
SHARE = 'OS::Manila::Share'


class Lane(threading.Thread):
    """Chooses and does, until it is told to stop.

    :cvar PAUSE: shortest and longest between two choices, in seconds
    :cvar WEIGHTS: ``{name of a method: how often}``
    :param others: APIs of other tenants
    """

    PAUSE = (0.1, 1)
    WEIGHTS: dict = {}

    def __init__(self, name, seed, api, books, tally, others=()):
        super().__init__(name=name, daemon=True)
        self.random = random.Random(f'{seed} {name}')
        self.api = api
        self.books = books
        self.tally = tally
        self.others = others
        self.stopping = threading.Event()

    def run(self):
        while not self.stopping.wait(self.random.uniform(*self.PAUSE)):
            names = list(self.WEIGHTS)
            chosen, = self.random.choices(names, self.WEIGHTS.values())
            try:
                getattr(self, chosen)()
            except TROUBLE as problem:
                self.tally.count('trouble of tenants', chosen)
                self.tally.note(f'{self.name} {chosen}: {problem}')
            except Exception as problem:
                LOG.exception('%s fell over', self.name)
                self.tally.violation(f'{self.name} {chosen} fell over: '
                                     f'{problem!r}')

    def asked(self, verb):
        self.tally.count('asked for', verb)

    # What both kinds do

    def plan(self, provider_id, resources):
        return self.api.create('plans', '/plans', 'plan', {
            'name': f'soak-{uuid.uuid4().hex[:8]}',
            'provider_id': provider_id, 'parameters': {},
            'resources': [{'type': kind, 'id': thing_id, 'name': thing_id}
                          for kind, thing_id in resources]},
            provider_id=provider_id)

    def protect(self, plan):
        self.asked('protect')
        provider_id = plan.facts['provider_id']
        return self.api.create(
            'checkpoints', f'/providers/{provider_id}/checkpoints',
            'checkpoint', {'plan_id': plan.id}, provider_id=provider_id,
            plan_id=plan.id)

    def restore(self, checkpoint):
        self.asked('restore')
        return self.api.create('restores', '/restores', 'restore', {
            'provider_id': checkpoint.facts['provider_id'],
            'checkpoint_id': checkpoint.id, 'parameters': {}},
            checkpoint_id=checkpoint.id)

    def verify(self, checkpoint):
        self.asked('verify')
        return self.api.create(
            'verifications', '/verifications', 'verification', {
                'provider_id': checkpoint.facts['provider_id'],
                'checkpoint_id': checkpoint.id, 'parameters': {}},
            checkpoint_id=checkpoint.id)

    def abort(self, kept):
        self.asked('abort')
        self.api.ask('POST', f'{kept.path}/action', {'abort': {}})

    def remove(self, kept):
        self.asked('delete')
        return self.api.delete(kept)

    def some(self, noun, **facts):
        """Return one of what the tenant has got, or None."""
        there = self.books.of(noun, self.api, apis.THERE, **facts)
        return self.random.choice(there) if there else None


class Quick(Lane):
    """Many small operations at once, on what is nothing."""

    PAUSE = (0.1, 1.2)
    WEIGHTS = {'add_plan': 2, 'change_plan': 1, 'drop_plan': 1, 'begin': 8,
               'restore_any': 3, 'verify_any': 3, 'delete_any': 5,
               'abort_any': 2, 'read': 4, 'spy': 2}
    _FACTS = {'provider_id': providers.NOOP}

    def add_plan(self):
        if len(self.books.of('plans', self.api, apis.THERE)) < 12:
            self.plan(providers.NOOP, [
                (SHARE, str(uuid.uuid4()))
                for _number in range(self.random.randint(1, 6))])

    def change_plan(self):
        plan = self.some('plans', **self._FACTS)
        if plan:
            self.api.ask('PUT', plan.path, {'plan': {
                'name': f'soak-{uuid.uuid4().hex[:8]}'}})

    def drop_plan(self):
        if len(self.books.of('plans', self.api, apis.THERE)) > 8:
            plan = self.some('plans', **self._FACTS)
            if plan and not plan.facts.get('is_scheduled'):
                self.api.delete(plan)

    def begin(self):
        plan = self.some('plans', **self._FACTS)
        if plan:
            self.protect(plan)

    def restore_any(self):
        checkpoint = self.some('checkpoints', **self._FACTS)
        if checkpoint:
            self.restore(checkpoint)

    def verify_any(self):
        checkpoint = self.some('checkpoints', **self._FACTS)
        if checkpoint:
            self.verify(checkpoint)

    def delete_any(self):
        checkpoint = self.some('checkpoints', **self._FACTS)
        if checkpoint:
            self.remove(checkpoint)

    def abort_any(self):
        """What was begun last may still go on."""
        there = self.books.of('checkpoints', self.api, apis.THERE,
                              **self._FACTS)
        if there:
            self.abort(there[-1])

    def read(self):
        path, key = self.random.choice([
            ('/plans', 'plans'), ('/restores', 'restores'),
            ('/verifications', 'verifications'),
            ('/operation_logs', 'operation_logs'),
            (f'/providers/{providers.NOOP}/checkpoints', 'checkpoints')])
        status, said = self.api.ask('GET', f'{path}?limit=50')
        if status != 200:
            return
        for item in said[key]:
            owner = item.get('project_id', self.api.project_id)
            if owner != self.api.project_id:
                self.tally.violation(
                    f'{self.name} sees {key} {item["id"]} of {owner}')

    def spy(self):
        """Ask for what another tenant has got."""
        for other in self.others:
            there = self.books.of(None, other, apis.THERE)
            if there:
                theirs = self.random.choice(there)
                status, said = self.api.ask('GET', theirs.path)
                self.tally.count('asked for what is not theirs', str(status))
                if status is not None and status < 400:
                    self.tally.violation(
                        f'{self.name} is shown {theirs.path}: {said}')


class Slow(Lane):
    """One operation after the other, on what a cloud has.

    :param own: a :class:`goods.Goods`
    """

    PAUSE = (0.2, 2)
    WEIGHTS = {'protect_any': 9, 'restore_any': 4, 'verify_any': 2,
               'delete_any': 4, 'copy_image': 2, 'rewrite': 2}

    def __init__(self, *args, own):
        super().__init__(*args)
        self.own = own

    def prepare(self):
        """Make plans of all there is, before anything goes wrong."""
        own = self.own
        image, volume, *of_server = own.things()
        project = (goods.PROJECT, own.tenant.project_id)
        wanted = [(providers.SWIFT, volume, 4), (providers.FILES, image, 4),
                  (providers.FILES, volume, 2), (providers.SWIFT, image, 2)]
        if of_server:
            wanted += [(providers.FILES, of_server[0], 4),
                       (providers.SWIFT, project, 2)]
        self.weights = []
        self.plans = []
        for provider_id, resource, weight in wanted:
            plan = self.plan(provider_id, [resource])
            if plan is None:
                raise AssertionError('no plan before anything has begun')
            plan.facts['is_scheduled'] = True
            self.plans.append(plan)
            self.weights.append(weight)

    def protect_any(self):
        plan, = self.random.choices(self.plans, self.weights)
        checkpoint = self.protect(plan)
        if checkpoint is None:
            return
        if self.random.random() < 0.15:
            self.stopping.wait(self.random.uniform(0, 12))
            self.abort(checkpoint)
        shown = self._ended(checkpoint.path, 'checkpoint', FINAL)
        checkpoint.facts['shown'] = shown or checkpoint.facts['shown']

    def _available(self):
        found = [one for one in self.books.of('checkpoints', self.api,
                                              apis.THERE)
                 if one.facts['provider_id'] != providers.NOOP
                 and one.facts['shown']['status'] == 'available']
        return self.random.choice(found) if found else None

    def restore_any(self):
        checkpoint = self._available()
        restore = checkpoint and self.restore(checkpoint)
        if not restore:
            return
        if self.random.random() < 0.15:
            self.stopping.wait(self.random.uniform(0, 12))
            self.abort(restore)
        shown = self._ended(restore.path, 'restore', restored.ENDED)
        if shown and shown['status'] == 'success':
            restored.check(self.own, checkpoint.facts['shown'], shown,
                           self.tally)

    def verify_any(self):
        checkpoint = self._available()
        made = checkpoint and self.verify(checkpoint)
        if made:
            self._ended(made.path, 'verification', restored.ENDED)

    def delete_any(self):
        """Delete the newest of a plan: what is older it may build on."""
        plan = self.random.choice(self.plans)
        there = self.books.of('checkpoints', self.api, apis.THERE,
                              plan_id=plan.id)
        if len(there) > 1:
            self.remove(there[-1])
            self._ended(there[-1].path, 'checkpoint', FINAL)

    def copy_image(self):
        """Copy from the directory to Swift what has no copy there."""
        self.asked('copy')
        plan = self.plans[1]
        status, said = self.api.ask(
            'POST', f'/providers/{providers.FILES}/checkpoints/action',
            {'copy': {'plan_id': plan.id,
                      'target_provider_id': providers.SWIFT}})
        if status != 200:
            return
        for pair in said['copy']['checkpoint_id']:
            number = pair['checkpoint_copy_id']
            path = f'/providers/{providers.SWIFT}/checkpoints/{number}'
            kept = self.books.add(apis.Kept(
                'checkpoints', number, path, self.api,
                facts={'provider_id': providers.SWIFT, 'plan_id': plan.id,
                       'shown': {'status': 'copying'}}))
            kept.facts['shown'] = self._ended(
                path, 'checkpoint', FINAL) or kept.facts['shown']

    def rewrite(self):
        """Only while nothing goes on that might read it."""
        logs = self.api.pages('/operation_logs', 'operation_logs')
        slow = {plan.id for plan in self.plans}
        if not any(log['plan_id'] in slow and not log['ended_at']
                   for log in logs):
            self.own.rewrite()

    def _ended(self, path, key, final):
        return restored.ended(self.api, path, key, final,
                              self.stopping.is_set)
