# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Protectables: every type of resource that can be put in a plan.

Loads what the installed plugins bring and puts each question to those it
concerns. Apart from the plugins, because both the API and the worker ask,
and neither of them shall know which types there are.
"""

from karbor_ng import errors
from karbor_ng import installed

#: What instances can be filtered by, in exact values.
FILTERS = ('name', 'status')


class Protectables:
    """All protectables of this installation; one object per process."""

    def __init__(self, extra=()):
        """Load everything that is installed.

        :param extra: further :class:`plugins.api.Protectable` objects; they
            take the place of installed ones of the same type
        :raises errors.ConfigError: an installed one can not be loaded
        """
        known = installed.protectables() + list(extra)
        self._by_type = {item.resource_type: item for item in known}

    def types(self):
        """Return the names of all types, sorted."""
        return sorted(self._by_type)

    def get(self, resource_type):
        """Return the protectable of a type.

        :raises errors.NotFound: there is no such type
        """
        try:
            return self._by_type[resource_type]
        except KeyError:
            raise errors.NotFound(
                f'"{resource_type}" is not a type that can be protected; '
                f'there are: {", ".join(self.types()) or "none"}') from None

    def dependent_types(self, resource_type):
        """Return which types can be children of a type, sorted.

        :raises errors.NotFound: there is no such type
        """
        self.get(resource_type)
        return sorted(item.resource_type for item in self._by_type.values()
                      if resource_type in item.parent_types
                      and item.resource_type != resource_type)

    def list(self, session, resource_type, *, project_id, marker=None,
             limit=None, filters=None):
        """Return resources of a type; see the contract for the arguments.

        :raises errors.NotFound: there is no such type
        :raises errors.Invalid: a filter or the marker is unknown
        :raises errors.Error: the cloud refuses or fails; names the type
        """
        protectable = self.get(resource_type)
        unknown = sorted(set(filters or ()) - set(FILTERS))
        if unknown:
            raise errors.Invalid(
                f'Unknown filter {", ".join(unknown)}: instances can be '
                f'filtered by {" and ".join(FILTERS)}.')
        return _ask(resource_type, protectable.list, session,
                    project_id=project_id, marker=marker, limit=limit,
                    filters=filters)

    def show(self, session, resource_type, resource_id, parameters=None):
        """Return one resource, or None; raises like :meth:`list`."""
        return _ask(resource_type, self.get(resource_type).show, session,
                    resource_id, parameters)

    def children_of(self, session, parents):
        """Return ``{parent: [child, ...]}`` for resources of any types.

        Each protectable is asked once, for all parents that can have
        children of its type. Parents without children are left out.

        :raises errors.Error: a listing failed; names its type
        """
        found = {}
        for resource_type in self.types():
            protectable = self._by_type[resource_type]
            parent_types = frozenset(protectable.parent_types)
            possible = [parent for parent in parents
                        if parent.type in parent_types]
            if not possible:
                continue
            answer = _ask(resource_type, protectable.children, session,
                          possible)
            for parent, children in answer.items():
                if children:
                    found.setdefault(parent, []).extend(children)
        return found


def _ask(resource_type, question, *args, **kwargs):
    return installed.ask(f'resources of type {resource_type}', question,
                         *args, **kwargs)
