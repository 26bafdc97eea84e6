# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Limits of plugins: how many of one's hooks a process runs at once.

Apart from the flow's threads, which all plugins share: what a cloud's service
bears differs from service to service.
"""

import contextlib
import logging

from karbor_ng.protection import streams

LOG = logging.getLogger(__name__)


class PluginLimits:
    """Lets hooks of limited plugins wait for each other.

    :param limits: ``{plugin: hooks at once}``, by names as in provider files
    """

    def __init__(self, limits):
        self._slots = {name: streams.Slots(count)
                       for name, count in limits.items()}

    @contextlib.contextmanager
    def turn(self, plugin, check):
        """Hold one of the plugin's turns; wait until there is one.

        A hook that holds one must not wait for another hook.

        :param check: called before, and while waiting; what it raises ends
            the waiting
        """
        slots = self._slots.get(plugin)
        if slots is None:
            check()
            yield
            return
        slots.take(check)
        try:
            yield
        finally:
            slots.give_back()

    def warn_of_unknown(self, providers):
        """Log which limits are for plugins that no provider has.

        :param providers: those that this service has loaded
        """
        known = {name for provider in providers
                 for name in provider.plugin_names.values()}
        for name in sorted(set(self._slots) - known):
            LOG.warning(
                '[protection] max_parallel_by_plugin: no provider file names '
                'a plugin "%s"; its limit has no effect.', name)
