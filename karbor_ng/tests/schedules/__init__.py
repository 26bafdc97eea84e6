# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""A world in which weeks of schedules pass in seconds.

``world`` is what happens: users, operation engines that die, stand still and
lose their database, work that ends sooner or later. ``patterns`` are what
users schedule, and ``proof`` holds what became of it against what ought to
have. Apart from the unit tests, which begin such worlds, because a command
does so too, for longer.
"""
