# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Starts nova-compute with our virt driver.

Nova loads virt drivers from its own nova.virt package only, so our folder is
added to where that package looks.
"""

import pathlib
import sys

import nova.virt

nova.virt.__path__.append(
    str(pathlib.Path(__file__).resolve().parent / 'stack_drivers'))
from nova.cmd.compute import main  # noqa: E402

sys.argv[0] = 'nova-compute'
sys.exit(main())
