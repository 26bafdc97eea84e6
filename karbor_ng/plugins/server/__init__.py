# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Server: Nova's servers with their root disks, networks and volumes.

A package, because what is read of a server, how it is protected, how it is
fitted into the cloud of another day and how it is made again are each a
subject of its own.
"""
