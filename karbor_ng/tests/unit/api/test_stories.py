# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Runs the stories in gabbits/: requests in order, answers in full."""

import os
import sys

from gabbi import driver
from gabbi import fixture

from karbor_ng.tests.unit.api import environment

_STORIES = os.path.join(os.path.dirname(__file__), 'gabbits')
_apis = []


class ApiFixture(fixture.GabbiFixture):
    """The application, with the history of a project."""

    def start_fixture(self):
        self.api = environment.Api()
        self.api.setUp()
        self.api.add_history()
        _apis.append(self.api)
        os.environ.update(_names())

    def stop_fixture(self):
        _apis.remove(self.api)
        self.api.cleanUp()


def _names():
    """Return what stories refer to as ``$ENVIRON['...']``."""
    return {name: value for name, value in vars(environment).items()
            if name.isupper() and isinstance(value, str)}


def _current(environ, start_response):
    """The application of the story that runs: gabbi wants one at once."""
    return _apis[-1].app(environ, start_response)


def load_tests(loader, tests, pattern):
    """Make a test of each request; unittest asks for this."""
    return driver.build_tests(
        _STORIES, loader, host=None,
        intercept=lambda: _current, fixture_module=sys.modules[__name__])
