# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Plugins as they are installed: found by their names, and asked.

Apart from those who use them, because services load providers' plugins and
the API asks their classes and the protectables; what a cloud answers badly
becomes one of our errors in the same way for all.
"""

from keystoneauth1 import exceptions as keystone_exceptions
from oslo_utils import importutils
from stevedore import driver as stevedore_driver
from stevedore import exception as stevedore_exception
from stevedore import extension

from karbor_ng import errors

PROTECTABLES = 'karbor.protectables'
PROTECTIONS = 'karbor.protections'

#: How a refusal of a cloud is passed on to the caller of the API.
_REFUSALS = {401: errors.Unauthorized, 403: errors.Forbidden,
             429: errors.Unavailable, 502: errors.Unavailable,
             503: errors.Unavailable, 504: errors.Unavailable}


def protection(name):
    """Return the class of a protection or of a bank.

    :param name: an entry point in ``karbor.protections``, or the dotted
        name of a class
    :raises errors.ConfigError: there is neither
    """
    try:
        return stevedore_driver.DriverManager(
            PROTECTIONS, name, warn_on_missing_entrypoint=False).driver
    except stevedore_exception.NoMatches:
        pass
    try:
        return importutils.import_class(name)
    except (ImportError, ValueError):
        raise errors.ConfigError(
            f'There is no plugin "{name}": neither an entry point in '
            f'{PROTECTIONS} nor a class.') from None


def protectables():
    """Return an object of each protectable.

    :raises errors.ConfigError: one can not be loaded
    """
    plugins = extension.ExtensionManager(
        PROTECTABLES, invoke_on_load=True, on_load_failure_callback=_refuse)
    return [plugin.obj for plugin in plugins]


def _refuse(manager, entry_point, problem):
    raise errors.ConfigError(
        f'The protectable "{entry_point.name}" ({entry_point.value}) can '
        f'not be loaded: {problem}') from problem


def ask(subject, question, *args, **kwargs):
    """Call a plugin; tell what its cloud answered badly in our errors.

    :param subject: completes "Asking for" in the text of an error
    """
    try:
        return question(*args, **kwargs)
    except errors.Error:
        raise
    except Exception as problem:
        text = str(problem) or repr(problem)
        raise _class_of(problem)(
            f'Asking for {subject} failed: {text}') from problem


def _class_of(problem):
    if isinstance(problem, (keystone_exceptions.ConnectionError,
                            ConnectionError)):
        return errors.Unavailable
    code = getattr(problem, 'http_status', getattr(problem, 'code', None))
    return _REFUSALS.get(code, errors.Error)
