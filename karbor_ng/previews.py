# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Previews: what the plugins of a provider would do with resources.

Puts each question to the plugins that it concerns, once for all their
resources. Apart from them, because the API asks without knowing which plugins
there are, as it does with protectables.
"""

from karbor_ng import errors
from karbor_ng import installed
from karbor_ng.plugins import api

#: What the answers are made of, for those who do not know plugins.
Preview = api.Preview


class Previews:
    """The protections of one provider, as classes that can be asked.

    :param names: ``{type: plugin}`` as the provider's service published it
    """

    def __init__(self, names):
        self._classes = {
            resource_type: _loaded(name)
            for resource_type, name in (names or {}).items()}

    def get(self, resource_type):
        """Return the class of the protection of a type.

        None where the service that offers the provider has a plugin that
        is not installed where this process runs.
        """
        return self._classes.get(resource_type)

    def protect(self, session, resources, parameters):
        """Return ``{resource: Preview}`` of protecting the resources.

        :param parameters: ``{resource: its options, defaults applied}``
        :raises errors.Error: the cloud refuses or fails
        """
        found = {}
        for plugin, own in self._by_plugin(resources).items():
            found.update(_ask(plugin, plugin.preview_protect, session, own,
                              {item: parameters[item] for item in own}))
        return _complete(found, resources)

    def restore(self, session, kept, parameters):
        """Return ``{resource: Preview}`` of restoring.

        :param kept: ``{resource: what was saved of it}``
        :raises errors.Error: the cloud refuses or fails
        """
        found = {}
        for plugin, own in self._by_plugin(kept).items():
            found.update(_ask(plugin, plugin.preview_restore, session,
                              {item: kept[item] for item in own},
                              {item: parameters[item] for item in own}))
        return _complete(found, kept)

    def _by_plugin(self, resources):
        found = {}
        for resource in resources:
            plugin = self.get(resource.type)
            if plugin is not None:
                found.setdefault(plugin, []).append(resource)
        return found


def _loaded(name):
    try:
        return installed.protection(name)
    except errors.ConfigError:
        return None


def _ask(plugin, question, *args):
    return installed.ask(
        f'a preview by {plugin.__name__}', question, *args)


def _complete(found, resources):
    unknown = Preview('Nothing is known beforehand.', notes=(
        'Its plugin could not tell anything here.',))
    return {resource: found.get(resource, unknown)
            for resource in resources}
