# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Types of triggers: what each must be able to do, and how they are found.

Apart from the API, which lets users make triggers, and from the engine, which
fires them: both ask a type, by its name, and know no more of it than stands
here. A type is one class with an entry point in ``karbor.triggers``.
"""

import abc
import itertools

from stevedore import extension

from karbor_ng import errors

NAMESPACE = 'karbor.triggers'

GROUP = None


def __getattr__(name):
    """Have the options of all types as OPTS, like other owners of options.

    When this module begins, the types can not be there yet.
    """
    if name != 'OPTS':
        raise AttributeError(name)
    return [option for type_class in _classes().values()
            for option in type_class.OPTS]


class Schedule(abc.ABC):
    """When a trigger fires.

    :ivar window_seconds: how late a run may still start
    """

    window_seconds = 0

    @abc.abstractmethod
    def runs(self, after):
        """Yield all due times after a moment, one after the other.

        :param after: with a zone; not itself a due time of what follows
        :returns: moments in UTC, strictly ascending. There can be endlessly
            many; finding the next one, or that there is none, takes a
            bounded time.
        """

    def next_run(self, after):
        """Return the first due time after a moment, or None."""
        return next(iter(self.runs(after)), None)

    def preview(self, after, count):
        """Return the next due times, at most so many."""
        return list(itertools.islice(self.runs(after), count))


class TriggerType(abc.ABC):
    """One type of triggers.

    :cvar SCHEMA: JSON schema (2020-12) of a trigger's properties
    :cvar OPTS: the type's options, in ``[DEFAULT]`` of the services'
        configuration
    """

    SCHEMA = {'type': 'object'}
    OPTS = ()

    def __init__(self, conf):
        """:raises errors.ConfigError: its options contradict each other"""
        self._conf = conf

    @abc.abstractmethod
    def check(self, properties, now):
        """Return a user's properties as they are to be stored and shown.

        They fulfil SCHEMA. Limits that operators set are checked here and
        only here, so that a new limit does not break what exists.

        :param now: what "from now on" means, with a zone
        :raises errors.Invalid: naming the property, as ``properties.NAME``
        """

    @abc.abstractmethod
    def schedule(self, properties):
        """Return the :class:`Schedule` of stored properties.

        :raises errors.Invalid: they can not be read any more
        """


def load(conf):
    """Return an object of each type, by its name.

    :raises errors.ConfigError: a type can not be loaded
    """
    return {name: type_class(conf)
            for name, type_class in _classes().items()}


def schemas():
    """Return the schema of the properties of each type, by its name."""
    return {name: type_class.SCHEMA
            for name, type_class in _classes().items()}


def _classes():
    plugins = extension.ExtensionManager(
        NAMESPACE, on_load_failure_callback=_refuse)
    return {plugin.name: plugin.plugin for plugin in
            sorted(plugins, key=lambda plugin: plugin.name)}


def _refuse(manager, entry_point, problem):
    raise errors.ConfigError(
        f'The type of triggers "{entry_point.name}" ({entry_point.value}) '
        f'can not be loaded: {problem}') from problem
