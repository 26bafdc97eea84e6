# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""JSON schemas of the requests, one module for each noun.

They are data: what validates requests is what is published.
"""
