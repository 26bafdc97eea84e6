# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Kinds of scheduled operations: the contract, and those installed.

Apart from the kinds because the front door checks definitions by them and
the engine asks them what to keep. All of them make checkpoints; they differ
in what their definitions can say and in what becomes of old ones.
"""

from stevedore import extension

from karbor_ng import errors

NAMESPACE = 'karbor.scheduled_operations'


class Kind:
    """A value of ``operation_type``; its entry point's name.

    :cvar properties: JSON schemas of what a definition can have beside
        ``provider_id`` and ``plan_id``. Old clients send numbers as text.
    """

    properties: dict = {}

    def rules(self, definition, timezone):
        """Return which of its own checkpoints a scheduled operation keeps.

        :param definition: what fits the properties
        :param timezone: name of the zone of its trigger
        :return: a :class:`karbor_ng.operationengine.retention.Rules`; None
            to keep all
        :raises errors.Invalid: naming the property that is wrong
        """
        return None


def load():
    """Return ``{name: kind}`` of all that are installed.

    :raises errors.ConfigError: one can not be loaded
    """
    found = extension.ExtensionManager(
        NAMESPACE, invoke_on_load=True, on_load_failure_callback=_refuse)
    return {one.name: one.obj for one in found}


def _refuse(_manager, entry_point, problem):
    raise errors.ConfigError(
        f'The kind of scheduled operations "{entry_point.name}" '
        f'({entry_point.value}) can not be loaded: {problem}') from problem
