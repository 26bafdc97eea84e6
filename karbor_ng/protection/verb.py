# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""A verb: what protecting, restoring and so on have in common."""

import logging

from karbor_ng import errors
from karbor_ng.bank import bank
from karbor_ng.protection import flow
from karbor_ng.protection import hooks
from karbor_ng.protection import manifest
from karbor_ng.protection import work
from karbor_ng.resource import Resource

LOG = logging.getLogger(__name__)

#: Why something did not end well that somebody has aborted.
ABORTED = 'Aborted on request.'


class Verb:
    """The work of one operation type, for one attempt.

    :cvar AVAILABLE: what a resource is called that ended well
    :cvar CHILDREN_COUNT: whether a parent fails with its children
    :cvar NEEDS_CLOUD: whether it acts for the user in a cloud
    """

    AVAILABLE = 'available'
    CHILDREN_COUNT = True
    NEEDS_CLOUD = True

    def __init__(self, attempt):
        self.attempt = attempt
        self.operation = attempt.operation
        self.journal = attempt.journal
        self.provider = attempt.provider
        self.tools = attempt.tools
        self.bank = attempt.provider.bank
        self.hooks = None

    def work(self):
        """Do it. May run again after a take-over, and goes on then."""
        raise NotImplementedError

    def finish(self, reason):
        """Write the end; return ``done`` or ``failed``.

        :param reason: why the whole operation failed, or None
        """
        raise NotImplementedError

    def abort(self):
        """Remove what was made, write the end; return as :meth:`finish`.

        Called instead of :meth:`finish` when somebody asked for it before
        the work had ended.
        """
        return self.finish(ABORTED)

    def withdraw(self):
        """Remove what this attempt wrote to a bank after it was lost.

        Called once all threads of an attempt have ended that found somebody
        else to own the operation. Without a lease only that may be touched
        which nobody can have any use for.
        """

    @property
    def prefix(self):
        """Where the checkpoint lies in the bank."""
        return manifest.prefix(self.operation.project_id,
                               self.operation.checkpoint_id)

    def section(self, resource):
        """Return the resource's section of the bank for this attempt."""
        where = resource.type.replace('::', '.')
        return self.bank.section(
            f'{self.prefix}/data/{self.operation.attempt}/{where}/'
            f'{bank.component(resource.id)}')

    def run_hooks(self, graph, members, source_operation_id, **skipping):
        """Run all hooks of the members over the graph.

        :param skipping: what may be skipped; see :class:`hooks.Hooks`
        """
        self.hooks = hooks.Hooks(
            self.attempt, graph, members, self.AVAILABLE,
            self.CHILDREN_COUNT, source_operation_id, **skipping)
        flow.run(self.tools.pools, graph, self.hooks.hooks_of,
                 self.hooks.run, self.journal.settle_overdue)
        self.journal.end_hooks(source_operation_id)
        self.journal.lease.check_owned()
        if self.hooks.broken:
            raise errors.Error(self.hooks.broken)
        if self.hooks.is_stopped:
            raise errors.Stopping('Not all hooks could run.')
        self._fail_with_children(members)

    def _fail_with_children(self, members):
        """Fail parents whose own last hook had ended before a child failed."""
        for resource, reason in self.hooks.child_failures.items():
            if (resource in members and resource not in self.hooks.failures
                    and resource not in self.hooks.skipped):
                self.journal.set_resource(resource, status='error',
                                          reason=reason)

    def end_containers(self, graph):
        """Let containers end as their children did."""
        for node in graph.nodes:
            if self.is_container(node.type):
                reason = self.hooks.reason(node)
                self.journal.set_resource(
                    node, status='error' if reason else self.AVAILABLE,
                    reason=reason, progress=100)

    def is_container(self, resource_type):
        plugin = self.provider.protections.get(resource_type)
        return plugin is not None and plugin.container

    def ended_rows(self, unfinished, reason):
        """Return the resource rows, all of them ended.

        :param unfinished: what those are called that have not
        :param reason: why, or None
        """
        rows = self.journal.resources()
        left = [row for row in rows if row.status == unfinished]
        for row in left:
            self.journal.set_resource(
                row, status='error', reason=reason or 'Not finished.')
        return self.journal.resources() if left else rows

    def failed_texts(self, rows):
        """Return the reasons of failed resources as one text, or None."""
        texts = [f'{row.type} {row.id}: {row.reason}' for row in rows
                 if row.status == 'error']
        return '; '.join(texts) or None

    # Things in clouds at the end of an operation

    def tidy(self):
        """Settle what the operation made; return its rows afterwards.

        Never raises but interruptions.

        Temporary things are removed. Where an answer may have been lost,
        the cloud is asked once more by tag: what the journal lacks is
        written down, what is there twice is removed. What came last goes
        first: it may hold what was there before, as a server its volumes.
        """
        if not self.attempt.has_access:
            # All stays in the journal: deleting the checkpoint meets it.
            return self.journal.externals_of(self.operation.id)
        rows, is_changed = self.journal.externals_of(self.operation.id), False
        for row in reversed(rows):
            if row.state == 'gone':
                continue
            try:
                is_changed |= self._tidy(row)
            except hooks.INTERRUPTIONS:
                raise
            except Exception:
                # Stays in the journal: deleting the checkpoint meets it.
                is_changed = True
                LOG.exception('Could not settle %s %s', row.kind,
                              row.external_id or row.tag)
        return (self.journal.externals_of(self.operation.id) if is_changed
                else rows)

    def _tidy(self, row):
        """Return whether there was anything to do."""
        plugin = self.provider.protections.get(row.resource_type)
        if plugin is None:
            return False
        external, resource = work.as_external(row), _resource_of(row)
        kind = plugin.kind(row.kind)
        is_unsure = (row.state == 'intended' or self.operation.attempt > 1
                     or self.attempt.has_repeated)
        is_unwanted = kind.temporary or self.is_unwanted(resource)
        if is_unsure:
            external = self._settle(plugin, kind, external, resource)
        if is_unwanted:
            self.discard(plugin, external, resource)
        return is_unsure or is_unwanted

    def _settle(self, plugin, kind, external, resource):
        """Make the journal and the cloud agree about one tag."""
        found = kind.find(self.attempt.session, external.tag, resource)
        kept = external.external_id
        if kept is None and found:
            kept = found[0]
            self.journal.exists(external.id, kept)
        for other in found:
            if other != kept:
                LOG.warning('Removing %s %s: it exists twice', kind.name,
                            other)
                work.remove(self, plugin, kind, self.attempt.session, other)
        return work.replace_id(external, kept)

    def is_unwanted(self, resource):
        """Whether nothing of this resource shall stay in the cloud."""
        return False

    def discard(self, plugin, external, resource):
        work.discard(self, plugin, self.attempt.session, self.journal,
                     external, resource)

    # What ``work.discard`` waits with.

    def sleep(self, seconds):
        self.journal.lease.sleep(seconds)

    def poll(self, poll):
        return poll()


def planned(found):
    """Return the resources that the plan in a manifest names."""
    return [Resource(item['type'], item['id'])
            for item in found['plan']['resources']]


def without_notes(saved):
    """Return what is known of a backup to those who make notes of their own.

    What is not included stays so.
    """
    return {name: value for name, value in saved.items() if name != 'notes'}


def _resource_of(row):
    return Resource(row.resource_type, row.resource_id)
