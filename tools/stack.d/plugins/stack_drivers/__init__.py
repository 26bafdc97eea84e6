# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Drivers with which the cloud's services need no hypervisor, no agents and
no storage beyond a directory."""
