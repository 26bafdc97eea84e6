# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The build hook that hands setup.cfg to pbr."""

import setuptools

setuptools.setup(setup_requires=['pbr>=7.0.0'], pbr=True)
