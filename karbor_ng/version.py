# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The version of the installed package."""

from pbr import version as pbr_version


def text():
    """Return the version, such as ``1.2.0``."""
    return pbr_version.VersionInfo('karbor_ng').release_string()
