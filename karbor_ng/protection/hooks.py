# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Hooks: calling plugins over a graph, and what their outcomes mean.

Decides which hook may run, gives it its :class:`Work`, writes how it ended,
and knows afterwards which resources failed and why.
"""

import copy
import dataclasses
import logging
import threading

from karbor_ng import errors
from karbor_ng import graph as graph_module
from karbor_ng.plugins import api
from karbor_ng.protection import journal as journal_module
from karbor_ng.protection import streams
from karbor_ng.protection import work
from karbor_ng.resource import Resource

LOG = logging.getLogger(__name__)

#: Raised through a hook, these say nothing about the resource.
INTERRUPTIONS = (errors.Fenced, errors.Stopping)


@dataclasses.dataclass
class Member:
    """One resource of a running operation.

    :ivar operation_class: the plugin's, with the hooks
    :ivar bank: the resource's section
    :ivar saved: what the plugin has saved so far
    :ivar objects: what lies in the bank by now
    """

    plugin: api.Protection
    operation_class: type
    parameters: dict
    bank: object
    saved: dict
    objects: list

    def hooks(self):
        return [hook for hook in api.HOOKS
                if getattr(self.operation_class, hook)
                is not getattr(api.Operation, hook)]


class Hooks:
    """Runs the hooks of one attempt; called from many threads.

    :param members: ``{resource: Member}``; resources that are not there
        have no hooks
    :param available: what a resource is called whose last hook ended well
    :param children_count: whether a parent fails with its children
    :param source_operation_id: whose externals the plugin sees
    :param planned: resources that may not be skipped; None for all
    :param indifferent: resources that are complete without their children

    :ivar skipped: ``{resource: reason}`` of what plugins left out
    """

    def __init__(self, job, graph, members, available, children_count,
                 source_operation_id, planned=None, indifferent=()):
        self.job = job
        self.members = members
        self.failures = {}
        self.child_failures = {}
        self.skipped = {}
        #: what kept an end from being told to the journal, if anything did
        self.broken = None
        self._journal = job.journal
        self._parents = graph.parents()
        self._available = available
        self._children_count = children_count
        self._source_operation_id = source_operation_id
        self._planned = frozenset(graph.nodes if planned is None
                                  else planned)
        self._indifferent = set(indifferent)
        self._ended = job.journal.steps_before()
        self._lock = threading.Lock()
        self._stopped = False
        self._skip_again()

    def _skip_again(self):
        """Take over what former attempts have skipped."""
        for (kind, number, _hook), step in self._ended.items():
            if step.state == 'skipped':
                self._skip(Resource(kind, number), step.result)

    def hooks_of(self, resource):
        member = self.members.get(resource)
        return member.hooks() if member else ()

    def run(self, resource, hook):
        """Run a hook unless it may not, or need not, run; never raises."""
        try:
            if not (self._stopped or self._journal.is_broken):
                self._run(resource, hook)
        except INTERRUPTIONS as interruption:
            self._stopped = True
            LOG.info('%s of %s is left to another worker: %s', hook,
                     resource, interruption)
        except Exception as problem:
            # What a plugin saved can not be kept, or a bug of ours.
            LOG.exception('The end of %s of %s could not be kept', hook,
                          resource)
            self._stopped = True
            self.broken = (f'The end of {hook} of {resource} could not be '
                           f'written: {describe(problem)}')

    @property
    def is_stopped(self):
        """Whether hooks were left out that another attempt must run."""
        return self._stopped

    def reason(self, resource):
        """Return why a resource failed, or None if it did not."""
        return (self.failures.get(resource)
                or self.child_failures.get(resource))

    def fail(self, resource, reason):
        """Take a resource, and what needs it, as failed."""
        with self._lock:
            self.failures.setdefault(resource, reason)
            children = [resource]
            while children and self._children_count:
                child = children.pop()
                for parent in self._parents.get(child, ()):
                    if parent not in self.child_failures:
                        self.child_failures[parent] = f'{child} failed'
                        children.append(parent)

    def _skip(self, resource, reason):
        with self._lock:
            self.skipped[resource] = reason
            self._indifferent.add(resource)

    def _can_be_skipped(self, resource):
        with self._lock:
            return graph_module.can_be_skipped(
                resource, self._planned, self._parents, self._indifferent)

    def _run(self, resource, hook):
        step = self._ended.get((resource.type, resource.id, hook))
        if step is not None:
            if step.state == 'failed':
                self.fail(resource, step.result)
            return
        if self._may_run(resource, hook):
            self._call(resource, hook, self.members[resource])

    def _may_run(self, resource, hook):
        if resource in self.skipped:
            return False
        if hook == 'on_prepare_finish':
            # What on_prepare_begin started must end, come what may.
            return True
        if resource in self.failures:
            return False
        if hook != 'on_prepare_begin' and resource in self.child_failures:
            reason = self.child_failures[resource]
            self._journal.set_resource(resource, status='error',
                                       reason=reason)
            self.fail(resource, reason)
            return False
        return True

    def _call(self, resource, hook, member):
        started_at = self._journal.lease.now()
        before = member.saved, member.objects
        saved = copy.deepcopy(member.saved)
        frame = work.Work(self.job, resource, member.plugin,
                          copy.deepcopy(member.parameters), member.bank,
                          saved, self._source_operation_id, member.objects)
        state, reason = self._outcome(resource, hook, getattr(
            member.operation_class(frame), hook))
        if self._journal.lease.is_lost:
            raise errors.Fenced('The lease was lost in the meantime.')
        # Of what is skipped nothing is kept but what must be deleted.
        member.saved = {} if state == 'skipped' else saved
        member.objects = _objects(member, frame.stream_objects())
        values = self._values(member, state, frame.new_id, before)
        self._end(resource, hook, member, started_at, state, reason, values)
        self._remember(resource, state, reason, frame.new_id)

    def _outcome(self, resource, hook, call):
        """Call a hook; return how its step ended, and why if not well."""
        try:
            with self._turn(resource, hook):
                call()
            return 'done', None
        except INTERRUPTIONS:
            raise
        except errors.Error as problem:
            state = ('skipped' if isinstance(problem, errors.Skipped)
                     and self._can_be_skipped(resource) else 'failed')
            LOG.warning('%s of %s %s: %s', hook, resource, state, problem)
            return state, describe(problem)
        except Exception as problem:
            # What a plugin did not expect, or a cloud's own complaint.
            LOG.exception('%s of %s failed', hook, resource)
            return 'failed', describe(problem)

    def _turn(self, resource, hook):
        """Wait until the resource's plugin may run one hook more."""
        job = self.job
        # What on_prepare_begin started must end.
        is_ending = hook == 'on_prepare_finish'
        return job.tools.plugin_limits.turn(
            job.provider.plugin_names.get(resource.type),
            lambda: job.lease.check(is_ending=is_ending))

    def _end(self, resource, hook, member, started_at, state, reason,
             values):
        if state != 'done':
            values.update(
                status='skipped' if state == 'skipped' else 'error',
                reason=reason)
        elif (hook == member.hooks()[-1]
              and self.reason(resource) is None):
            values.update(status=self._available, progress=100,
                          reason=' '.join(member.saved.get('notes', []))
                          or None)
        self._journal.end_step(resource, hook, state, started_at, reason,
                               values)

    def _remember(self, resource, state, reason, new_id):
        if state == 'skipped':
            self.job.restored.pop(resource.id, None)
            self._skip(resource, reason)
        elif new_id is not None:
            self.job.restored[resource.id] = new_id
        if state == 'failed':
            self.fail(resource, reason)

    def _values(self, member, state, new_id, before):
        """Return the columns that tell what is different by now.

        :param before: what was saved, and the objects, before the hook
        """
        kind = self.job.operation.type
        values = {}
        if before != (member.saved, member.objects):
            values = {'saved': member.saved}
            if kind not in journal_module.ROWS:
                values = dict(journal_module.saved_values(member.saved),
                              objects=member.objects)
        if kind == 'restore' and (new_id is not None or state == 'skipped'):
            values['new_id'] = None if state == 'skipped' else new_id
        return values


def _objects(member, stream_objects):
    """Return the member's bank objects, those of former attempts first.

    Parts of streams come last.
    """
    known = {item['key']: item for item in member.objects
             if not streams.is_key(item['key'])}
    for item in member.bank.objects():
        known[item.key] = {'key': item.key, 'size': item.size,
                           'sha256': item.sha256}
    return [*known.values(), *stream_objects]


def describe(problem):
    """Return an exception as users should read it."""
    text = str(problem).strip()
    if isinstance(problem, errors.Error):
        return text
    return f'{type(problem).__name__}: {text}' if text else repr(problem)
